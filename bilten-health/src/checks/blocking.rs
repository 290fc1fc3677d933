//! A check whose work blocks its thread.

use crate::check::{Check, CheckBuilder, CheckContext, IntoVerdict, Verdict, check};
use std::sync::Arc;

/// Runs a closure that blocks, on Tokio's threads for blocking work.
///
/// When it takes longer than its timeout it is given up, but it still occupies its thread: so no second run is started before
/// it has returned, and the report says `still_running`.
///
/// Dropping a Tokio runtime waits for such a thread, however long it takes, and so does `#[tokio::main]` at its end. Where the work
/// may never return, end the runtime with `shutdown_timeout` or `shutdown_background`, or give the work a limit of its own.
///
/// ```
/// use bilten_health::{Health, checks};
///
/// # async fn run() -> Result<(), bilten_health::BuildError> {
/// let licence = checks::blocking("licence", || std::fs::metadata("/").map(|_| ()));
/// let health = Health::builder().check(licence).build()?;
/// assert_eq!(&*health.check().await.checks[0].name, "licence");
/// # Ok(())
/// # }
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(run()).unwrap();
/// ```
pub fn blocking<F, T>(name: impl Into<String>, work: F) -> CheckBuilder
where
    F: Fn() -> T + Send + Sync + 'static,
    T: IntoVerdict + 'static,
{
    check(name, Blocking(Arc::new(work)))
}

struct Blocking<F>(Arc<F>);

impl<F, T> Check for Blocking<F>
where
    F: Fn() -> T + Send + Sync + 'static,
    T: IntoVerdict + 'static,
{
    async fn check(&self, context: &CheckContext) -> Verdict {
        let work = Arc::clone(&self.0);
        let alive = context.clone();
        let thread = tokio::task::spawn_blocking(move || {
            // The run counts as alive until the thread is free again.
            let _alive = alive;
            work().into_verdict()
        });
        match thread.await {
            Ok(verdict) => verdict,
            Err(error) => match error.try_into_panic() {
                // Goes on in the check's own task, where the runner expects a panic.
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(error) => Verdict::failed(&error),
            },
        }
    }
}
