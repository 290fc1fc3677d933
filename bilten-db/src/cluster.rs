//! The cluster, used as if it were one connection.

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;

use sea_orm::{DatabaseConnection, DbErr};

use crate::ReadRouting;
use crate::call::Call;
use crate::crew::Crew;
use crate::router::Router;
use crate::session::Session;
use crate::snapshot::snapshot;
use crate::status::ClusterStatus;
use crate::token::Token;

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
    crew: Arc<Crew>,
}

impl Cluster {
    pub(crate) fn new(router: Arc<Router>, crew: Crew) -> Self {
        Self {
            router,
            crew: Arc::new(crew),
        }
    }

    pub(crate) fn of(router: Arc<Router>, crew: Arc<Crew>) -> Self {
        Self { router, crew }
    }

    pub(crate) fn router(&self) -> &Router {
        &self.router
    }

    pub(crate) async fn run<C: Call>(&self, call: &C) -> Result<C::Output, DbErr> {
        self.router.run(call).await
    }

    /// Reads and writes that belong together, such as those of one request: they see their own writes.
    #[must_use]
    pub fn session(&self) -> Session {
        Session::new(Arc::clone(&self.router), None)
    }

    /// A session that also sees everything up to the token of an earlier one.
    #[must_use]
    pub fn session_with(&self, token: Token) -> Session {
        Session::new(Arc::clone(&self.router), Some(token))
    }

    /// A session that sees everything up to a token at hand as text, if there is one. With a text that is no token, also an empty one, the
    /// primary answers. Made for the context of a load of bilten-cache: `db.session_at_least(cx.at_least())`.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), bilten_db::Error> {
    /// # let db = bilten_db::Cluster::builder().primary("sqlite::memory:").connect().await?;
    /// let any = db.session_at_least(None);
    /// let newest = db.session_at_least(Some(b""));
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn session_at_least(&self, token: Option<&[u8]>) -> Session {
        match token {
            None => self.session(),
            Some(text) => self.session_with(Token::read(text).unwrap_or_else(Token::nowhere)),
        }
    }

    /// Which reads may leave the primary right now.
    #[must_use]
    pub fn read_routing(&self) -> ReadRouting {
        self.router.mode().load()
    }

    /// Changes which reads may leave the primary, for all clones, from the next statement on.
    ///
    /// A session that once read from the primary stays there, so that it never goes back in time.
    pub fn set_read_routing(&self, mode: ReadRouting) {
        let before = self.read_routing();
        self.router.mode().store(mode);
        if before != mode {
            tracing::info!(?before, now = ?mode, "read routing changed");
        }
    }

    /// A session with the sealed token that a user brought, if any.
    ///
    /// With a token that was forged, is too old or comes from another key, the primary answers, as many at once as
    /// [`Fallback`](crate::Fallback) allows: never a wrong answer, and no flood either.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), bilten_db::Error> {
    /// # let db = bilten_db::Cluster::builder().primary("sqlite::memory:").connect().await?;
    /// # let key = bilten_db::seal::SealKey::new("32 random bytes from your secrets")?;
    /// # let cookie: Option<&str> = Some("made up");
    /// let session = db.session_sealed(cookie, &key);
    /// # Ok(()) }
    /// ```
    #[cfg(feature = "seal")]
    #[must_use]
    pub fn session_sealed(&self, sealed: Option<&str>, key: &crate::seal::SealKey) -> Session {
        match sealed.map(|sealed| Token::open(sealed, key)) {
            None => self.session(),
            Some(Ok(token)) => self.session_with(token),
            Some(Err(error)) => {
                tracing::debug!(%error, "a token was refused");
                self.session_with(Token::nowhere())
            }
        }
    }

    /// The node that a statement of this task would be sent to now, outside of a session: to see why it goes where it does, or to
    /// measure the choice. `None` for a read for which no replica is in rotation, so that [`Fallback`](crate::Fallback) decides.
    ///
    /// Sends nothing, and takes a turn of the balance as a read does.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), bilten_db::Error> {
    /// # let db = bilten_db::Cluster::builder().primary("sqlite::memory:").connect().await?;
    /// assert_eq!(db.preview("DELETE FROM event").as_deref(), Some("primary"));
    /// assert_eq!(db.preview("SELECT 1"), None, "there is no replica");
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn preview(&self, sql: &str) -> Option<Arc<str>> {
        self.router().preview(sql)
    }

    /// The primary as a plain connection, for migrations and whatever must not be routed.
    ///
    /// Ask again rather than keep it: after a failure of the primary its pool is replaced, and while it or a clone of it is kept, statements of the
    /// cluster leave a full pool at once for whoever may wait there. A metric callback or a pool that is taken out of it ends that: then
    /// statements that follow each other may come before.
    ///
    /// A `Migrator` takes it, and not the cluster, of which a part could read from replicas what the last step has not yet
    /// changed there:
    ///
    /// ```compile_fail,E0277
    /// use bilten_db::Cluster;
    /// use bilten_db::sea_orm::IntoDatabaseExecutor; // what sea-orm-migration asks for
    ///
    /// fn up<'c>(db: impl IntoDatabaseExecutor<'c>) {}
    /// fn migrate(db: &Cluster) {
    ///     up(&db.primary());
    ///     up(db); // does not compile
    /// }
    /// ```
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
        snapshot(&self.router)
    }

    pub(crate) fn crew(&self) -> &Arc<Crew> {
        &self.crew
    }

    pub(crate) fn shared_router(&self) -> &Arc<Router> {
        &self.router
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

/// `Cluster` goes wherever `Send + Sync + Clone` is asked for.
const _: fn() = || {
    fn is<T: Send + Sync + Clone>() {}
    is::<Cluster>();
    fn is_error<T: StdError + Send + Sync>() {}
    is_error::<crate::Error>();
};
