//! What runs statements on one node: a pool of sqlx, or a connection that the user brought.

mod acquire;
pub(crate) mod adopted;
mod blocking;
pub(crate) mod build;
pub(crate) mod fill;
pub(crate) mod lease;
#[cfg(feature = "mysql")]
pub(crate) mod mysql;
#[cfg(test)]
pub(crate) mod nowhere;
pub(crate) mod open;
mod parking;
#[cfg(all(test, feature = "postgres"))]
#[allow(clippy::unwrap_used, reason = "helpers of tests may panic like tests")]
mod pings;
pub(crate) mod pool;
#[cfg(feature = "postgres")]
pub(crate) mod postgres;
pub(crate) mod probe;
mod sift;
#[cfg(feature = "sqlite")]
pub(crate) mod sqlite;
pub(crate) mod stream;
mod taken;
pub(crate) mod target;
mod way_back;

use std::fmt::Debug;
use std::future::{Future, ready};
use std::sync::Arc;

use async_trait::async_trait;
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use sea_orm::{
    DatabaseConnection, DbBackend, DbErr, ExecResult, QueryResult, RuntimeErr, Statement,
    TransactionOptions,
};

use sqlx::database::HasStatementCache;

use crate::PoolConfig;
use crate::fault::Fault;
use crate::gtid::Gtids;
use crate::lag::Place;
use crate::rows::Rows;
use crate::transaction::Tx;

/// Runs statements on one node.
///
/// `hurried` does not wait long for a connection that has to be opened: another node has one, perhaps.
#[async_trait]
pub(crate) trait Backend: Debug + Send + Sync {
    fn kind(&self) -> DbBackend;
    /// Host and port, or a path; no user name, no password.
    fn address(&self) -> &str;
    async fn execute(&self, stmt: &Statement, hurried: bool) -> Result<ExecResult, Fault>;
    async fn execute_unprepared(&self, sql: &str, hurried: bool) -> Result<ExecResult, Fault>;
    async fn query_one(
        &self,
        stmt: &Statement,
        hurried: bool,
    ) -> Result<Option<QueryResult>, Fault>;
    async fn query_all(&self, stmt: &Statement, hurried: bool) -> Result<Vec<QueryResult>, Fault>;
    async fn stream(&self, stmt: &Statement, hurried: bool) -> Result<Rows, Fault>;
    async fn begin(&self, options: TransactionOptions) -> Result<Tx, Fault>;
    /// The present pool as SeaORM knows it. Who waits for a connection there is not known here, only that somebody may.
    fn connection(&self) -> DatabaseConnection;
    fn load(&self) -> PoolLoad;
    /// What the node says about itself now, asked through the pool.
    async fn sample(&self) -> Result<Sample, Fault>;
    /// Whether the pool has fewer connections than it should keep.
    fn is_short(&self) -> bool {
        false
    }
    /// Opens connections until the pool has as many as it should keep.
    async fn fill(&self) -> Result<(), Fault> {
        Ok(())
    }
    /// Asks each connection that waits for work now whether anybody answers on it, and throws away those where nobody does. The
    /// pool is that of now, also where another one takes its place before the end.
    fn sift(&self) -> BoxFuture<'static, Sifted> {
        Box::pin(ready(Sifted::default()))
    }
    /// How many transactions and streams wait for an answer right now.
    fn waits_inside(&self) -> u32 {
        0
    }
    /// Gives up every connection and begins with a fresh pool; waiters fail at once.
    fn discard(&self) {}
    /// How often its connections were given up because another server may stand under the address by now.
    fn moves(&self) -> u64 {
        0
    }
    /// How many connections its pools opened so far: each may lead to a server that was started meanwhile.
    fn opened(&self) -> u64 {
        0
    }
    /// Ends every statement that waits for an answer: there will be none.
    fn give_up(&self) {}
    /// The node answered a probe, so it is not silent any more.
    fn heard(&self) {}
    /// How much the node answered outside of single calls.
    fn answers(&self) -> u64 {
        0
    }
    /// From now on sessions refuse writes, or take them; begins with a fresh pool.
    fn set_read_only(&self, _read_only: bool) {}
    async fn close(&self);
    fn prober(&self) -> Box<dyn Prober>;
    /// Whether the node is worth watching even when nothing failed.
    fn is_watched(&self) -> bool;
}

/// Looks at a node on a connection of its own.
#[async_trait]
pub(crate) trait Prober: Send {
    async fn probe(&mut self) -> Result<Sample, Fault>;
    /// When the server was started, asked on a new connection: less than a probe asks for, and refused to nobody.
    async fn started(&mut self) -> Result<Option<i64>, Fault> {
        self.probe().await.map(|sample| sample.started)
    }
    /// Whether the last answer came on a new connection, while the one of before was silent: others may be dead as well.
    fn found_stranded(&self) -> bool {
        false
    }
}

/// What a probe saw.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Sample {
    /// `None` when the database has no such notion.
    pub(crate) in_recovery: Option<bool>,
    /// Position in the log: what a primary wrote, what a replica replayed.
    pub(crate) position: Option<u64>,
    pub(crate) system_id: Option<u64>,
    /// The name of the database that the connection is in.
    pub(crate) database: Option<Arc<str>>,
    pub(crate) timeline: Option<u32>,
    /// When the server was started, as a number that only serves to tell two starts apart.
    pub(crate) started: Option<i64>,
    /// The transactions of a server of MySQL or MariaDB, which has no position as one number.
    pub(crate) gtids: Option<Arc<Gtids>>,
}

impl Sample {
    /// How far it has come on the way of `primary`; not known on a newer timeline, whose numbers do not compare. A replica
    /// names an older one for minutes after a promotion that it follows all the same, so there its position counts.
    pub(crate) fn progress(&self, primary: &Self) -> Option<Place> {
        let position = match (&self.gtids, &primary.gtids) {
            (Some(here), Some(there)) => here.share_of(there),
            (None, None) if self.timeline <= primary.timeline => self.position?,
            _ => return None,
        };
        let gtids = self.gtids.clone();
        Some(Place { position, gtids })
    }

    /// Whether its numbers are those of the history that `primary` writes, so that they prove something.
    pub(crate) fn is_of_the_history_of(&self, primary: &Self) -> bool {
        self.gtids.is_some() || self.timeline == primary.timeline
    }

    /// Whether nothing of what `other` told is missing here, which the same server told before or after.
    pub(crate) fn is_as_far_as(&self, other: &Self) -> bool {
        match (&self.gtids, &other.gtids) {
            (Some(here), Some(there)) => here.covers(there),
            _ => (self.timeline, self.position) >= (other.timeline, other.position),
        }
    }

    /// Whether all that `other` has is here too, as proven by the names of the transactions.
    pub(crate) fn has_all_of(&self, other: &Self) -> bool {
        match (&self.gtids, &other.gtids) {
            (Some(here), Some(there)) => here.has_all_of(there),
            _ => false,
        }
    }

    /// Whether both were told by one server, under two names perhaps.
    pub(crate) fn is_same_server(&self, other: &Self) -> bool {
        let told = self.system_id.is_some() && self.started.is_some();
        told && self.system_id == other.system_id && self.started == other.started
    }
}

/// What came of asking the idle connections of a pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Sifted {
    /// So many answered.
    pub(crate) answered: usize,
    /// So many others were in use after that.
    pub(crate) used: u32,
}

/// Connections of a pool at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PoolLoad {
    pub(crate) size: u32,
    pub(crate) idle: u32,
    /// Of the others, how many wait for the next statement.
    pub(crate) parked: u32,
    pub(crate) max: u32,
}

impl PoolLoad {
    /// So many wait for work, wherever.
    pub(crate) fn at_hand(self) -> u32 {
        self.idle + self.parked
    }

    /// A connection is to spare, or may be opened.
    pub(crate) fn is_free(self) -> bool {
        self.at_hand() > 0 || self.size < self.max
    }
}

/// What differs between the databases that sqlx speaks to.
pub(crate) trait Driver: sqlx::Database + HasStatementCache {
    const BACKEND: DbBackend;
    /// Whether a connection given up in the middle of a statement is thrown away.
    const DETACH: bool;
    /// Whether nodes are probed even when nothing failed.
    const WATCHED: bool;
    /// Whether nothing of an answer is left unread on a connection whose statement ended well, so that the next one has its own.
    const READS_ALL: bool;

    type Options: Clone + Debug + Send + Sync + 'static;

    fn parse(url: &str) -> Result<Self::Options, sqlx::Error>;
    fn address(options: &Self::Options) -> String;
    /// Settings that each connection starts with.
    fn session(options: &Self::Options, pool: &PoolConfig, read_only: bool)
    -> ConnectOptions<Self>;
    /// What a new connection is told before anybody has it.
    fn greet(
        conn: &mut Self::Connection,
        pool: &PoolConfig,
        read_only: bool,
    ) -> impl Future<Output = Result<(), sqlx::Error>> + Send;
    fn wrap(pool: sqlx::Pool<Self>) -> DatabaseConnection;

    fn execute(
        conn: &mut Self::Connection,
        stmt: &Statement,
    ) -> impl Future<Output = Executed> + Send;
    fn execute_unprepared(
        conn: &mut Self::Connection,
        sql: &str,
    ) -> impl Future<Output = Executed> + Send;
    fn query_one(
        conn: &mut Self::Connection,
        stmt: &Statement,
    ) -> impl Future<Output = FetchedOne> + Send;
    fn query_all(
        conn: &mut Self::Connection,
        stmt: &Statement,
    ) -> impl Future<Output = FetchedAll> + Send;
    /// The rows as they come.
    fn fetch<'a>(conn: &'a mut Self::Connection, stmt: &'a Statement) -> Fetched<'a>;
    fn sample(
        conn: &mut Self::Connection,
    ) -> impl Future<Output = Result<Sample, sqlx::Error>> + Send;
    /// When the server was started, as its [`Sample`] tells it.
    fn started(
        conn: &mut Self::Connection,
    ) -> impl Future<Output = Result<Option<i64>, sqlx::Error>> + Send;
    /// Whether the server refused a prepared statement, before any effect, because what it gives changed since it was
    /// prepared.
    fn has_stale_plan(_error: &sqlx::Error) -> bool {
        false
    }
    /// Whether no transaction is open on the connection, or any that was is rolled back now.
    ///
    /// Asked of the server: the driver does not know of one whose BEGIN was sent by somebody who went away before the
    /// answer.
    fn is_outside_transactions(
        conn: &mut Self::Connection,
    ) -> impl Future<Output = Result<bool, sqlx::Error>> + Send;
}

pub(crate) type ConnectOptions<D> =
    <<D as sqlx::Database>::Connection as sqlx::Connection>::Options;
pub(crate) type Executed = Result<ExecResult, sqlx::Error>;
pub(crate) type FetchedOne = Result<Option<QueryResult>, sqlx::Error>;
pub(crate) type Fetched<'a> = BoxStream<'a, Result<QueryResult, sqlx::Error>>;
pub(crate) type FetchedAll = Result<Vec<QueryResult>, sqlx::Error>;

pub(crate) fn exec_err(error: sqlx::Error) -> Fault {
    Fault::Statement(DbErr::Exec(RuntimeErr::SqlxError(error.into())))
}

pub(crate) fn query_err(error: sqlx::Error) -> Fault {
    Fault::Statement(DbErr::Query(RuntimeErr::SqlxError(error.into())))
}
