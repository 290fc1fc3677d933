//! Where the rows are: SQLite without servers, PostgreSQL with replicas on servers.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bilten_cache::LoadContext;
use bilten_db::scope::{Route, with_route};
use bilten_db::{Cluster, PoolConfig, Session, Token};
use bilten_monitor::Monitor;
use bilten_monitor::observe::Observed;
use sea_orm::{DbErr, TransactionTrait};
use tempfile::TempDir;

use crate::config::Config;
use crate::{schema, seed_data};

/// The cluster, with every statement timed. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Database {
    db: Observed<Cluster>,
    monitor: Monitor,
    folder: Option<Arc<Folder>>,
}

/// Where this process keeps its files; a temporary one is removed with the last clone.
#[derive(Debug)]
enum Folder {
    Given(PathBuf),
    Temporary(TempDir),
}

impl Folder {
    fn of(config: &Config) -> Result<Self, Failure> {
        let Some(given) = &config.data_dir else {
            return Ok(Self::Temporary(TempDir::with_prefix("bilten-events-")?));
        };
        std::fs::create_dir_all(given).map_err(|error| {
            let shown = given.display();
            let remedy = "name a directory that this user may write";
            if given.exists() {
                format!("--data-dir {shown} is there and is no directory: {remedy}")
            } else {
                format!("--data-dir {shown} cannot be made ({error}): {remedy}")
            }
        })?;
        Ok(Self::Given(given.clone()))
    }

    fn path(&self) -> &Path {
        match self {
            Self::Given(path) => path,
            Self::Temporary(folder) => folder.path(),
        }
    }
}

impl Database {
    /// Connects, makes the tables and indexes that are missing, and plants the first events.
    ///
    /// # Errors
    /// When the primary cannot be reached or refuses; a replica that is away joins later.
    pub async fn open(config: &Config, monitor: &Monitor) -> Result<Self, Failure> {
        let pool = PoolConfig::default()
            .max(config.pool_max)
            .min(config.pool_max.min(5));
        let mut builder = Cluster::builder().pool(pool);
        let mut folder = None;
        if let Some(url) = &config.database {
            builder = builder.primary(url);
            for (number, url) in config.replica.iter().enumerate() {
                builder = builder.replica(format!("replica-{}", number + 1), url);
            }
        } else {
            let own = folder.insert(Folder::of(config)?);
            builder = builder.sqlite(own.path().join("events.db")).readers(4);
        }
        let cluster = builder.connect().await?;
        prepare(&cluster).await?;
        Ok(Self {
            db: monitor.observe(cluster),
            monitor: monitor.clone(),
            folder: folder.map(Arc::new),
        })
    }

    /// Where this process keeps its files; `None` where the rows are on servers.
    #[must_use]
    pub fn folder(&self) -> Option<&Path> {
        self.folder.as_ref().map(|folder| folder.path())
    }

    /// The reads of one load of the cache: they see what every change saw that was made with
    /// [`after`](bilten_cache::Region::after), in whichever process, from a replica that has come so far or from the
    /// primary. A replica that lags would put the old row back for half an hour.
    #[must_use]
    pub fn for_load<V>(&self, load: &LoadContext<V>) -> Observed<Session> {
        let session = self.cluster().session_at_least(load.at_least());
        self.monitor.observe(session)
    }

    /// The reads and writes of one user's request: they see what that user wrote before, in whichever process, up to
    /// the token that they were given then.
    #[must_use]
    pub fn session(&self, token: Option<Token>) -> Observed<Session> {
        let cluster = self.cluster();
        let session = match token {
            Some(token) => cluster.session_with(token),
            None => cluster.session(),
        };
        self.monitor.observe(session)
    }

    /// The nodes themselves.
    #[must_use]
    pub fn cluster(&self) -> &Cluster {
        self.db.inner()
    }
}

/// Why there is no database.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Tables, indexes and first rows: all or nothing, and then on every replica.
async fn prepare(cluster: &Cluster) -> Result<(), DbErr> {
    let begun = Instant::now();
    let tx = cluster.primary().begin().await?;
    schema::lock(&tx).await?;
    schema::create(&tx).await?;
    let planted = seed_data::plant(&tx).await?;
    tx.commit().await?;
    if planted {
        tracing::info!(
            events = seed_data::EVENTS,
            millis = begun.elapsed().as_millis(),
            "planted the first events"
        );
    }
    if !replicas_have_it(cluster).await? {
        tracing::warn!(
            "a replica still lacks the first events; reads from it fail until it has them"
        );
    }
    Ok(())
}

/// Waits until every replica that is up has answered twice with all the events; `false` after ten seconds.
async fn replicas_have_it(cluster: &Cluster) -> Result<bool, DbErr> {
    let wanted = seed_data::count(&cluster.primary()).await?;
    let deadline = Instant::now() + Duration::from_secs(10);
    let (mut answers, enough) = (0, 2 * cluster.status().replicas().count());
    while answers < enough
        && cluster
            .status()
            .replicas()
            .any(bilten_db::status::NodeStatus::is_up)
    {
        match with_route(Route::Replica, seed_data::count(cluster)).await {
            Ok(found) if found >= wanted => answers += 1,
            _ if Instant::now() > deadline => return Ok(false),
            _ => {
                answers = 0;
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    }
    Ok(true)
}
