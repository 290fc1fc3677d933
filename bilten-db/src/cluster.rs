//! The cluster, used as if it were one connection.

use std::error::Error as StdError;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use async_trait::async_trait;
use sea_orm::{
    AccessMode, ConnectionTrait, DatabaseConnection, DatabaseTransaction, DbBackend, DbErr,
    ExecResult, IsolationLevel, QueryResult, QueryStream, Statement, StreamTrait, TransactionError,
    TransactionOptions, TransactionTrait,
};

use crate::ClusterBuilder;
use crate::call::{Begin, Execute, ExecuteUnprepared, OpenStream, QueryAll, QueryOne};
use crate::node::Node;
use crate::router::Router;
use crate::status::{ClusterStatus, NodeStatus, PoolStatus, Role, State};
use crate::watch::Watches;

/// One primary and its replicas, used as if they were one connection.
///
/// Wherever SeaORM takes `&DatabaseConnection` it takes `&Cluster`: reads go to the replicas in turn, everything else
/// to the primary. Cloning is cheap; all clones share the pools.
///
/// ```
/// use bilten_db::Cluster;
/// use bilten_db::sea_orm::{ConnectionTrait, TransactionTrait};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let dir = std::env::temp_dir().join(format!("bilten-db-doc-{}", std::process::id()));
/// # std::fs::create_dir_all(&dir)?;
/// # let path = dir.join("shop.db");
/// let db = Cluster::builder().sqlite(&path).readers(4).connect().await?;
/// db.execute_unprepared("CREATE TABLE IF NOT EXISTS event (id integer primary key, name text)").await?; // the writer
///
/// let tx = db.begin().await?; // the writer
/// tx.execute_unprepared("INSERT INTO event (name) VALUES ('opening night')").await?;
/// tx.commit().await?;
///
/// let found = db.execute_unprepared("SELECT * FROM event").await?; // a reader
/// # drop(found); db.close().await; std::fs::remove_dir_all(&dir)?;
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Cluster {
    router: Arc<Router>,
    _watches: Arc<Watches>,
}

impl Cluster {
    /// Begins the description of a cluster.
    pub fn builder() -> ClusterBuilder {
        ClusterBuilder::default()
    }

    pub(crate) fn new(router: Router, watches: Watches) -> Self {
        Self {
            router: Arc::new(router),
            _watches: Arc::new(watches),
        }
    }

    /// The primary as a plain connection, for migrations and whatever must not be routed.
    ///
    /// Ask again rather than keep it: after a failure of the primary its pool is replaced.
    ///
    /// ```
    /// # use bilten_db::{Cluster, Error, sea_orm::ConnectionTrait};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
    /// # let db = Cluster::builder().primary("sqlite::memory:").connect().await?;
    /// // Migrator::up(&db.primary(), None).await?;
    /// db.primary().execute_unprepared("CREATE TABLE event (id integer primary key)").await?;
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn primary(&self) -> DatabaseConnection {
        self.router.topology().primary.backend.connection()
    }

    /// What is known about each node right now. Does no I/O.
    #[must_use]
    pub fn status(&self) -> ClusterStatus {
        let topology = self.router.topology();
        let replicas = topology
            .replicas
            .iter()
            .map(|node| node_status(node, Role::Replica));
        ClusterStatus {
            nodes: std::iter::once(node_status(&topology.primary, Role::Primary))
                .chain(replicas)
                .collect(),
            learned_writes: self.router.learned(),
        }
    }

    /// Closes every pool; waits for statements that are running. Calls made after that fail.
    ///
    /// # Cancellation
    ///
    /// Dropped early, the pools still refuse new calls.
    pub async fn close(&self) {
        let topology = self.router.topology();
        topology.primary.backend.close().await;
        for replica in &topology.replicas {
            replica.backend.close().await;
        }
    }
}

fn node_status(node: &Node, role: Role) -> NodeStatus {
    let load = node.backend.load();
    NodeStatus {
        id: node.id.to_string(),
        address: node.backend.address().to_owned(),
        role,
        state: if node.health.is_up() {
            State::Up
        } else {
            State::Ejected
        },
        reason: node.health.reason(),
        in_flight: node.in_flight(),
        pool: PoolStatus {
            size: load.size,
            idle: load.idle,
            max: load.max,
        },
        ejections: node.health.ejections(),
    }
}

impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let topology = self.router.topology();
        f.debug_struct("Cluster")
            .field("primary", &topology.primary)
            .field("replicas", &topology.replicas)
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl ConnectionTrait for Cluster {
    fn get_database_backend(&self) -> DbBackend {
        self.router.backend()
    }

    async fn execute_raw(&self, stmt: Statement) -> Result<ExecResult, DbErr> {
        self.router.run(&Execute(&stmt)).await
    }

    async fn execute_unprepared(&self, sql: &str) -> Result<ExecResult, DbErr> {
        self.router.run(&ExecuteUnprepared(sql)).await
    }

    async fn query_one_raw(&self, stmt: Statement) -> Result<Option<QueryResult>, DbErr> {
        self.router.run(&QueryOne(&stmt)).await
    }

    async fn query_all_raw(&self, stmt: Statement) -> Result<Vec<QueryResult>, DbErr> {
        self.router.run(&QueryAll(&stmt)).await
    }

    fn support_returning(&self) -> bool {
        self.primary().support_returning()
    }
}

impl StreamTrait for Cluster {
    type Stream<'a> = QueryStream;

    fn get_database_backend(&self) -> DbBackend {
        self.router.backend()
    }

    fn stream_raw<'a>(
        &'a self,
        stmt: Statement,
    ) -> Pin<Box<dyn Future<Output = Result<QueryStream, DbErr>> + 'a + Send>> {
        Box::pin(async move { self.router.run(&OpenStream(&stmt)).await })
    }
}

#[async_trait]
impl TransactionTrait for Cluster {
    type Transaction = DatabaseTransaction;

    async fn begin(&self) -> Result<DatabaseTransaction, DbErr> {
        self.begin_with_options(TransactionOptions::default()).await
    }

    async fn begin_with_config(
        &self,
        isolation_level: Option<IsolationLevel>,
        access_mode: Option<AccessMode>,
    ) -> Result<DatabaseTransaction, DbErr> {
        let options = TransactionOptions {
            isolation_level,
            access_mode,
            ..TransactionOptions::default()
        };
        self.begin_with_options(options).await
    }

    async fn begin_with_options(
        &self,
        options: TransactionOptions,
    ) -> Result<DatabaseTransaction, DbErr> {
        self.router.run(&Begin(options)).await
    }

    async fn transaction<F, T, E>(&self, callback: F) -> Result<T, TransactionError<E>>
    where
        F: for<'c> FnOnce(
                &'c DatabaseTransaction,
            ) -> Pin<Box<dyn Future<Output = Result<T, E>> + Send + 'c>>
            + Send,
        T: Send,
        E: fmt::Display + fmt::Debug + Send,
    {
        self.transaction_with_config(callback, None, None).await
    }

    async fn transaction_with_config<F, T, E>(
        &self,
        callback: F,
        isolation_level: Option<IsolationLevel>,
        access_mode: Option<AccessMode>,
    ) -> Result<T, TransactionError<E>>
    where
        F: for<'c> FnOnce(
                &'c DatabaseTransaction,
            ) -> Pin<Box<dyn Future<Output = Result<T, E>> + Send + 'c>>
            + Send,
        T: Send,
        E: fmt::Display + fmt::Debug + Send,
    {
        let tx = self
            .begin_with_config(isolation_level, access_mode)
            .await
            .map_err(TransactionError::Connection)?;
        match callback(&tx).await {
            Ok(value) => tx
                .commit()
                .await
                .map(|()| value)
                .map_err(TransactionError::Connection),
            Err(error) => match tx.rollback().await {
                Ok(()) => Err(TransactionError::Transaction(error)),
                Err(broken) => Err(TransactionError::Connection(broken)),
            },
        }
    }
}

/// `Cluster` goes wherever `Send + Sync + Clone` is asked for.
const _: fn() = || {
    fn is<T: Send + Sync + Clone>() {}
    is::<Cluster>();
    fn is_error<T: StdError + Send + Sync>() {}
    is_error::<crate::Error>();
};
