//! Databases with a few tables, entities for them, and ways to ask who answered.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::net::SocketAddr;
use std::time::Duration;

use bilten_db::sea_orm::{
    ConnectOptions, ConnectionTrait, Database, DatabaseTransaction, DbErr, EntityTrait, Statement,
    StreamTrait, TransactionTrait, TryGetable,
};
use bilten_db::status::NodeStatus;
use bilten_db::{Cluster, ClusterBuilder, PoolConfig};
use bilten_testbed::{Postgres, PostgresNode, eventually_async};
use futures_util::TryStreamExt;
use tokio::net::{TcpListener, TcpStream};

/// For what comes by itself, on a machine that may be busy with a lot else.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);

/// A pool for tests in which no time is the claim: a login may take long, and so may a place.
pub(crate) fn patient() -> PoolConfig {
    PoolConfig::default()
        .connect_timeout(LIMIT / 3)
        .acquire_timeout(LIMIT)
}

/// A cluster of such pools.
pub(crate) fn cluster() -> ClusterBuilder {
    Cluster::builder().pool(patient())
}

/// `event.port` holds the port of the server that took the insert; `place` answers with the port of the server that
/// reads; `numbers` has as many rows as that port; `held()` answers with it once it is let.
const TABLES: &str = "
    create table event (id serial primary key, name text not null, port int not null default inet_server_port());
    create table ticket (id serial primary key, event_id int not null references event (id), seat text not null);
    create view place as select 1 as id, inet_server_port() as port;
    create view numbers as select n as id, inet_server_port() as port from generate_series(1, inet_server_port()) n;
    create function hidden_write() returns int language sql as
        $$ insert into event (name) values ('hidden') returning port $$;
    create function held() returns int language sql as
        $$ select inet_server_port() from pg_advisory_xact_lock_shared(7) $$;
";

/// Holds up who asks for `held()` on this server, until it is dropped or rolled back. A standby knows such locks too.
pub(crate) async fn hold(url: &str) -> DatabaseTransaction {
    let mut options = ConnectOptions::new(url);
    options.max_connections(1).connect_timeout(LIMIT);
    let holder = Database::connect(options).await.unwrap();
    let tx = holder.begin().await.unwrap();
    let lock = "select pg_advisory_xact_lock(7)";
    tx.execute_unprepared(lock).await.unwrap();
    tx
}

/// How many of `held()` are held up.
pub(crate) const HELD: &str = "select count(*) from pg_stat_activity where wait_event = 'advisory'";

pub(crate) mod event {
    use bilten_db::sea_orm::{self, entity::prelude::*};

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "event")]
    pub(crate) struct Model {
        #[sea_orm(primary_key)]
        pub(crate) id: i32,
        pub(crate) name: String,
        pub(crate) port: i32,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub(crate) enum Relation {
        #[sea_orm(has_many = "super::ticket::Entity")]
        Ticket,
    }

    impl Related<super::ticket::Entity> for Entity {
        fn to() -> RelationDef {
            Relation::Ticket.def()
        }
    }

    impl ActiveModelBehavior for ActiveModel {}
}

pub(crate) mod ticket {
    use bilten_db::sea_orm::{self, entity::prelude::*};

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "ticket")]
    pub(crate) struct Model {
        #[sea_orm(primary_key)]
        pub(crate) id: i32,
        pub(crate) event_id: i32,
        pub(crate) seat: String,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub(crate) enum Relation {
        #[sea_orm(
            belongs_to = "super::event::Entity",
            from = "Column::EventId",
            to = "super::event::Column::Id"
        )]
        Event,
    }

    impl Related<super::event::Entity> for Entity {
        fn to() -> RelationDef {
            Relation::Event.def()
        }
    }

    impl ActiveModelBehavior for ActiveModel {}
}

pub(crate) mod place {
    use bilten_db::sea_orm::{self, entity::prelude::*};

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "place")]
    pub(crate) struct Model {
        #[sea_orm(primary_key)]
        pub(crate) id: i32,
        pub(crate) port: i32,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub(crate) enum Relation {
        #[sea_orm(
            has_many = "super::numbers::Entity",
            from = "Column::Id",
            to = "super::numbers::Column::Id"
        )]
        Numbers,
    }

    impl Related<super::numbers::Entity> for Entity {
        fn to() -> RelationDef {
            Relation::Numbers.def()
        }
    }

    impl ActiveModelBehavior for ActiveModel {}
}

pub(crate) mod numbers {
    use bilten_db::sea_orm::{self, entity::prelude::*};

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "numbers")]
    pub(crate) struct Model {
        #[sea_orm(primary_key)]
        pub(crate) id: i32,
        pub(crate) port: i32,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub(crate) enum Relation {
        #[sea_orm(
            belongs_to = "super::place::Entity",
            from = "Column::Id",
            to = "super::place::Column::Id"
        )]
        Place,
    }

    impl Related<super::place::Entity> for Entity {
        fn to() -> RelationDef {
            Relation::Place.def()
        }
    }

    impl ActiveModelBehavior for ActiveModel {}
}

/// A database with the tables above on shared servers.
pub(crate) struct Shop {
    pub(crate) primary: String,
    pub(crate) replicas: Vec<String>,
}

impl Shop {
    pub(crate) async fn open(name: &str) -> Self {
        let shared = bilten_testbed::shared::postgres()
            .unwrap()
            .database(name)
            .unwrap();
        shared.psql(TABLES).unwrap();
        let shop = Self {
            primary: shared.primary_url(),
            replicas: shared.replica_urls(),
        };
        assert!(shop.replicas.len() >= 2, "these tests need two replicas");
        shop.settle().await;
        shop
    }

    pub(crate) fn builder(&self) -> ClusterBuilder {
        with_replicas(cluster().primary(&self.primary), &self.replicas)
    }

    pub(crate) async fn connect(&self) -> Cluster {
        self.builder().connect().await.unwrap()
    }

    /// Waits until each replica has all that the primary has.
    pub(crate) async fn settle(&self) {
        let primary = Database::connect(&self.primary).await.unwrap();
        let position: String = ask(&primary, "select pg_current_wal_insert_lsn()::text")
            .await
            .unwrap();
        let sql = format!("select pg_last_wal_replay_lsn() >= '{position}'::pg_lsn");
        for url in &self.replicas {
            let replica = Database::connect(url).await.unwrap();
            eventually_async(LIMIT, || async {
                ask::<bool>(&replica, &sql).await.unwrap()
            })
            .await;
            replica.close().await.unwrap();
        }
        primary.close().await.unwrap();
    }

    pub(crate) fn primary_port(&self) -> i32 {
        port_of(&self.primary)
    }

    pub(crate) fn replica_ports(&self) -> Vec<i32> {
        self.replicas.iter().map(|url| port_of(url)).collect()
    }
}

/// A cluster of servers of the test's own, with the tables above.
pub(crate) fn private(replicas: usize) -> Postgres {
    prepared(Postgres::builder().replicas(replicas).start().unwrap())
}

pub(crate) fn prepared(postgres: Postgres) -> Postgres {
    postgres.primary().psql(TABLES).unwrap();
    postgres.wait_for_replicas().unwrap();
    postgres
}

pub(crate) fn builder_for(postgres: &Postgres) -> ClusterBuilder {
    let urls: Vec<String> = postgres.replicas().iter().map(PostgresNode::url).collect();
    with_replicas(cluster().primary(postgres.primary().url()), &urls)
}

fn with_replicas(builder: ClusterBuilder, urls: &[String]) -> ClusterBuilder {
    let numbered = urls.iter().enumerate();
    numbered.fold(builder, |builder, (i, url)| {
        builder.replica(format!("r{}", i + 1), url)
    })
}

pub(crate) fn port(node: &PostgresNode) -> i32 {
    i32::from(node.port())
}

fn port_of(url: &str) -> i32 {
    let (_, host) = url.rsplit_once(':').unwrap();
    host.split('/').next().unwrap().parse().unwrap()
}

/// A server on loopback that does with each connection as told.
pub(crate) async fn serving<F, T>(address: &str, serve: F) -> SocketAddr
where
    F: Fn(TcpStream) -> T + Send + 'static,
    T: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind(address).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream));
        }
    });
    address
}

/// The first column of the first row.
pub(crate) async fn ask<T: TryGetable>(db: &impl ConnectionTrait, sql: &str) -> Result<T, DbErr> {
    let stmt = Statement::from_string(db.get_database_backend(), sql);
    let row = db.query_one_raw(stmt).await?;
    row.ok_or_else(|| DbErr::RecordNotFound(sql.to_owned()))?
        .try_get_by_index(0)
}

/// The port of the server that answers a plain find.
pub(crate) async fn who_reads(db: &impl ConnectionTrait) -> Result<i32, DbErr> {
    let found = place::Entity::find().one(db).await?;
    Ok(found.unwrap().port)
}

/// How many of `reads` each server answered.
pub(crate) async fn tally(db: &impl ConnectionTrait, reads: usize) -> BTreeMap<i32, usize> {
    let mut tally = BTreeMap::new();
    for _ in 0..reads {
        *tally.entry(who_reads(db).await.unwrap()).or_default() += 1;
    }
    tally
}

/// What the status says of a node.
pub(crate) fn seen(db: &Cluster, id: &str) -> NodeStatus {
    let mut nodes = db.status().nodes.into_iter();
    nodes.find(|node| node.id == id).unwrap()
}

pub(crate) fn reason(db: &Cluster, id: &str) -> String {
    seen(db, id).reason.unwrap_or_default()
}

/// As [`builder_for`], connected, with a limit for the lag of the replicas.
pub(crate) async fn limited(postgres: &Postgres, max_lag: Duration) -> Cluster {
    let built = builder_for(postgres).max_lag(max_lag).connect();
    built.await.unwrap()
}

/// All rows of a stream whose first column says which server they come from, and those servers.
pub(crate) async fn places_of_stream<C>(db: &C, sql: &str) -> (usize, BTreeSet<i32>)
where
    C: ConnectionTrait + StreamTrait,
{
    let stmt = Statement::from_string(ConnectionTrait::get_database_backend(db), sql);
    let rows = db.stream_raw(stmt).await.unwrap();
    let from = rows.and_then(|row| async move { row.try_get_by_index::<i32>(0) });
    let from: Vec<i32> = from.try_collect().await.unwrap();
    (from.len(), from.into_iter().collect())
}

pub(crate) fn is_up(db: &Cluster, id: &str) -> bool {
    db.status()
        .nodes
        .iter()
        .any(|node| node.id == id && node.is_up())
}

/// Until each replica has a connection to spare: where another could answer, a read does not wait for a login that takes long.
pub(crate) async fn until_open(db: &Cluster) {
    eventually_async(LIMIT, || async {
        // Before the read: its own connection is on its way back after it.
        let is_open = db.status().replicas().all(|replica| replica.pool.idle > 0);
        if !is_open {
            who_reads(db).await.unwrap();
        }
        is_open
    })
    .await;
}

pub(crate) async fn until_up(db: &Cluster, id: &str, up: bool) {
    eventually_async(LIMIT, || async { is_up(db, id) == up }).await;
}
