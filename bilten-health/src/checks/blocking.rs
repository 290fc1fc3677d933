//! A check whose work blocks its thread.

use crate::check::{Check, CheckBuilder, CheckContext, IntoVerdict, Verdict, check};
use crate::thread::wait_for;
use std::sync::Arc;

/// Runs a closure that blocks, on a thread of its own: neither other checks nor other blocking work of the process can keep it from
/// running. A system that gives no thread is an error of the check.
///
/// When it takes longer than its timeout it is given up, but it still occupies its thread: so no second run is started before
/// it has returned, and the report says `still_running`.
///
/// Dropping a Tokio runtime does not wait for such a thread, and neither does `#[tokio::main]` at its end: work under way ends with the
/// process. A paused clock of Tokio does not wait for it either: test such a check in real time.
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
        let done = wait_for(move || {
            // The run counts as alive until the thread is free again.
            let _alive = alive;
            work().into_verdict()
        });
        done.await.unwrap_or_else(|error| Verdict::failed(&error))
    }
}
