//! The trait of a check, and its twin for lists.

use super::context::CheckContext;
use super::verdict::{IntoVerdict, Verdict};
use std::future::Future;
use std::pin::Pin;

/// Finds out whether one thing works.
///
/// Closures that return a future are checks already; implement it when a check has a state or a name of its own.
/// The runner gives each run its own task and its own time limit, catches panics, and never starts a second run before the
/// first has ended.
///
/// ```
/// use bilten_health::{Check, CheckContext, Health, Verdict, check};
///
/// struct QueueLength(tokio::sync::mpsc::Sender<()>);
///
/// impl Check for QueueLength {
///     async fn check(&self, _: &CheckContext) -> Verdict {
///         match self.0.capacity() {
///             0 => Verdict::degraded("queue is full"),
///             free => Verdict::up().detail("free", free),
///         }
///     }
///     fn is_local(&self) -> bool {
///         true // asks nothing outside this process: fit for liveness
///     }
/// }
///
/// let (sender, _receiver) = tokio::sync::mpsc::channel(8);
/// let health = Health::builder().check(check("queue", QueueLength(sender)).in_liveness()).build();
/// assert!(health.is_ok());
/// ```
pub trait Check: Send + Sync + 'static {
    /// Runs the check once. It is dropped when its time is up.
    fn check(&self, context: &CheckContext) -> impl Future<Output = Verdict> + Send;

    /// Whether it stays inside this process and is therefore fit for liveness. Defaults to `false`.
    fn is_local(&self) -> bool {
        false
    }
}

impl<F, Fut> Check for F
where
    F: Fn() -> Fut + Send + Sync + 'static,
    Fut: Future + Send,
    Fut::Output: IntoVerdict,
{
    async fn check(&self, _: &CheckContext) -> Verdict {
        self().await.into_verdict()
    }
}

/// The boxed twin of [`Check`], so that checks of different types can be kept in one list.
pub(crate) trait DynCheck: Send + Sync {
    fn check<'a>(
        &'a self,
        context: &'a CheckContext,
    ) -> Pin<Box<dyn Future<Output = Verdict> + Send + 'a>>;
    fn is_local(&self) -> bool;
}

impl<C: Check> DynCheck for C {
    fn check<'a>(
        &'a self,
        context: &'a CheckContext,
    ) -> Pin<Box<dyn Future<Output = Verdict> + Send + 'a>> {
        Box::pin(Check::check(self, context))
    }

    fn is_local(&self) -> bool {
        Check::is_local(self)
    }
}
