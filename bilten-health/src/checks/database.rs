//! Whether a database answers.

use crate::check::{Check, CheckBuilder, CheckContext, Verdict, check};
use crate::report::Reason;
use sea_orm::{ConnectionTrait, Statement};
use tokio::time::timeout;

/// Sends `SELECT 1` over any SeaORM connection, with a time limit of its own just below the check's.
///
/// It uses the connection's pool and never opens a connection beside it.
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
    check(name, Database(connection.clone()))
}

struct Database<C>(C);

impl<C: ConnectionTrait + Send + Sync + 'static> Check for Database<C> {
    async fn check(&self, context: &CheckContext) -> Verdict {
        let limit = context.budget();
        let question = Statement::from_string(self.0.get_database_backend(), "SELECT 1");
        match timeout(limit, self.0.query_one_raw(question)).await {
            Ok(Ok(Some(_))) => Verdict::up(),
            Ok(Ok(None)) => Verdict::down("`SELECT 1` gave no row"),
            Ok(Err(error)) => Verdict::failed(&error),
            Err(_) => Verdict::down(format!("no connection or no answer within {limit:?}"))
                .reason(Reason::Timeout),
        }
    }
}
