//! Puts the four crates together: the one file to read first.

use std::sync::Arc;
use std::time::Duration;

use axum::error_handling::HandleErrorLayer;
use axum::extract::DefaultBodyLimit;
use axum::{BoxError, Router};
use bilten_cache::Cache;
use bilten_cache::status::{Connection, Status};
use bilten_health::{Health, Verdict, check, checks};
use bilten_monitor::Monitor;
use bilten_monitor::dashboard::Dashboard;
use bilten_monitor::prometheus::Exporter;
use sea_orm::ConnectionTrait;
use tokio::runtime::Handle;
use tower::ServiceBuilder;

use crate::body;
use crate::config::Config;
use crate::database::{Database, Failure};
use crate::error::Error;
use crate::events::routes;
use crate::events::service::Events;
use crate::redis::Redis;

/// The whole service, without a socket. Cheap to clone.
#[derive(Clone, Debug)]
pub struct App {
    parts: Arc<Parts>,
}

#[derive(Debug)]
struct Parts {
    database: Database,
    cache: Cache,
    events: Events,
    health: Health,
    monitor: Monitor,
    dashboard: Dashboard,
    metrics: Option<Exporter>,
    redis: Option<Redis>,
}

impl App {
    /// Connects to everything. Without a primary there is no service; Redis and the replicas may come later.
    ///
    /// # Errors
    /// What cannot be reached or has no meaning, and what to do about it.
    pub async fn start(config: &Config, metrics: Option<Exporter>) -> Result<Self, Failure> {
        let monitor = Monitor::builder()
            .slow_query(Duration::from_millis(100))
            .slow_request(Duration::from_secs(1))
            .build()?;
        monitor.watch_runtime(&Handle::current());

        let database = Database::open(config, &monitor).await?;

        let mut cache = Cache::builder("events").memory_bytes(64 << 20);
        if let Some(url) = &config.redis {
            cache = cache.redis(url.as_str());
        } else if let Some(folder) = database.folder() {
            // With the rows: whoever throws those away throws away what was cached of them.
            cache = cache.disk(folder.join("cache"));
        }
        let cache = cache.build().await?;
        tracing::info!("cache: {}", cache.status());

        let redis = config.redis.as_deref().map(Redis::connect).transpose()?;
        let events = Events::new(database.clone(), cache.clone())?;
        if let Some(redis) = &redis {
            redis.connected_within(Duration::from_secs(1)).await;
        }
        let health = health(&database, &cache, redis.as_ref())?;
        Ok(Self {
            parts: Arc::new(Parts {
                database,
                cache,
                events,
                health,
                dashboard: monitor.dashboard().title("events").details_for(|_| true),
                monitor,
                metrics,
                redis,
            }),
        })
    }

    /// Every route, timed.
    pub fn router(&self) -> Router {
        let Parts {
            events,
            health,
            monitor,
            dashboard,
            metrics,
            ..
        } = &*self.parts;
        // Anybody may see the details: the service listens on 127.0.0.1 alone.
        let health = health.routes().details_for(|_| true);
        let mut router = Router::new()
            .merge(routes::routes().with_state(events.clone()))
            .merge(health)
            .route_service("/bilten", dashboard.clone());
        if let Some(metrics) = metrics {
            router = router.route_service("/metrics", metrics.service());
        }
        router
            .fallback(async || Error::NoRoute)
            .method_not_allowed_fallback(async || Error::Method)
            .layer(DefaultBodyLimit::max(body::LARGEST))
            .layer(
                ServiceBuilder::new()
                    .layer(HandleErrorLayer::new(async |_: BoxError| Error::TooSlow))
                    .timeout(ANSWER_WITHIN),
            )
            .layer(monitor.http())
    }

    /// How often the database was asked for an event, a list or a summary.
    #[must_use]
    pub fn loads(&self) -> u64 {
        self.parts.events.loads()
    }

    /// From now on `/readyz` says no; requests are still served.
    pub fn begin_shutdown(&self) {
        self.parts.health.begin_shutdown();
        // An open page would hold up the end.
        self.parts.dashboard.close();
    }

    /// Closes the connections.
    pub async fn close(&self) {
        let left = self.parts.cache.shutdown(CACHE_WITHIN).await;
        tracing::info!("cache: {left}");
        self.parts.database.cluster().close().await;
        if let Some(redis) = &self.parts.redis {
            redis.close().await;
        }
    }
}

/// How long the cache may take to bring its changes to their end.
const CACHE_WITHIN: Duration = Duration::from_secs(1);

/// How long a request may take, with its body. What it has begun to change is still brought to its end.
const ANSWER_WITHIN: Duration = Duration::from_secs(15);

/// Without the database nothing works; without the primary reads work; without the cache's second level everything works,
/// only slower.
fn health(
    database: &Database,
    cache: &Cache,
    redis: Option<&Redis>,
) -> Result<Health, bilten_health::BuildError> {
    let (cluster, cache) = (database.cluster().clone(), cache.clone());
    let primary = move || {
        let primary = cluster.primary();
        async move { primary.execute_unprepared("SELECT 1").await.map(drop) }
    };
    let cached = move || std::future::ready(cache_verdict(&cache.status()));
    let mut health = Health::builder()
        .check(
            checks::database("database", database.cluster())
                .in_readiness()
                .in_startup(),
        )
        .check(check("primary", primary).non_critical())
        .check(check("cache", cached).non_critical());
    if let Some(redis) = redis {
        health = health.check(checks::redis("redis", redis.client()).non_critical());
    }
    health.build()
}

fn cache_verdict(status: &Status) -> Verdict {
    let verdict = match status.connection {
        Connection::MemoryOnly | Connection::Connected => Verdict::up(),
        _ => Verdict::degraded("the second level does not answer: the cache goes on from memory"),
    };
    verdict.detail("status", status.to_string())
}
