//! Whether a database answers.

use super::pool::load;
use super::saturation::{Load, Saturation};
use crate::check::{Check, CheckBuilder, CheckContext, Verdict, check};
use crate::report::Reason;
use sea_orm::{ConnectionTrait, Statement};
use tokio::time::{Instant, timeout};

/// Sends `SELECT 1` over any SeaORM connection, with a time limit of its own just below the check's.
///
/// It uses the connection's pool and never opens a connection beside it. When no answer comes because the pool is full, the
/// database is degraded and not down: it is alive, and taking the service out of traffic would help nobody. It has to have
/// answered within the last 30 s, because calls that wait for a dead database fill a pool, too. That takes a
/// `DatabaseConnection` and the feature of its driver (`postgres`, `mysql`, `sqlite`); otherwise a full pool is down.
///
/// ```
/// use bilten_health::{Health, checks};
///
/// # async fn run() -> Result<(), Box<dyn std::error::Error>> {
/// let connection = sea_orm::Database::connect("sqlite::memory:").await?;
/// let health = Health::builder().check(checks::database("orders", &connection).in_readiness()).build()?;
/// assert!(health.check().await.healthy);
/// # Ok(())
/// # }
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(run()).unwrap();
/// ```
pub fn database<C>(name: impl Into<String>, connection: &C) -> CheckBuilder
where
    C: ConnectionTrait + Clone + Send + Sync + 'static,
{
    check(
        name,
        Database {
            connection: connection.clone(),
            saturation: Saturation::default(),
        },
    )
}

struct Database<C> {
    connection: C,
    saturation: Saturation,
}

impl<C: ConnectionTrait + Send + Sync + 'static> Check for Database<C> {
    async fn check(&self, context: &CheckContext) -> Verdict {
        let limit = context.budget();
        let full_before = load(&self.connection).is_some_and(Load::is_full);
        let question = Statement::from_string(self.connection.get_database_backend(), "SELECT 1");
        let verdict = match timeout(limit, self.connection.query_one_raw(question)).await {
            Ok(Ok(Some(_))) => {
                self.saturation.answered(Instant::now());
                return Verdict::up();
            }
            Ok(Ok(None)) => Verdict::down("`SELECT 1` gave no row"),
            Ok(Err(error)) => Verdict::failed(&error),
            Err(_) => Verdict::down(format!("no connection or no answer within {limit:?}"))
                .reason(Reason::Timeout),
        };
        if self
            .saturation
            .explains_failure(full_before, Instant::now())
        {
            return Verdict::degraded("every connection of the pool is in use")
                .reason(Reason::Saturated);
        }
        verdict
    }
}
