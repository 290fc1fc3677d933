//! Threads of our own for work that blocks.
//!
//! Tokio's own are shared with the whole process and may all be taken: by work of the service, or by checks that hang. A check has
//! at most one live run and a set of checks at most one delivery, so the number of these threads is bounded.

use crate::caught::discard;
use std::any::Any;
use std::io::Error;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::thread::Builder;
use tokio::runtime::Handle;
use tokio::sync::oneshot;

/// Starts `work` on a thread of its own, with the Tokio runtime of the caller at hand, if there is one.
///
/// # Errors
///
/// When the system gives no thread; `work` is dropped then.
pub(crate) fn start(work: impl FnOnce() + Send + 'static) -> Result<(), Error> {
    let runtime = Handle::try_current().ok();
    let thread = Builder::new().name("bilten-health".to_owned());
    let started = thread.spawn(move || {
        let _runtime = runtime.as_ref().map(Handle::enter);
        work();
    });
    started.map(drop)
}

/// Waits for `work`, which goes on when the waiting is given up. A panic in it goes on here.
pub(crate) async fn wait_for<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Error> {
    let (answer, answered) = oneshot::channel::<Result<T, Box<dyn Any + Send>>>();
    start(move || {
        let result = catch_unwind(AssertUnwindSafe(work));
        // Nobody may wait any more.
        if let Err(Err(panic)) = answer.send(result) {
            discard(panic);
        }
    })?;
    match answered.await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(panic)) => resume_unwind(panic),
        Err(_) => Err(Error::other("the thread ended without a result")),
    }
}
