//! A check: its trait, its settings, its verdict.

mod context;
mod contract;
mod options;
mod rules;
mod verdict;

pub(crate) use context::Alive;
pub use context::CheckContext;
pub use contract::Check;
pub(crate) use contract::DynCheck;
pub use options::CheckBuilder;
pub(crate) use options::Options;
pub(crate) use rules::{LONGEST, not_too_long, not_too_short, presentable, valid_group};
pub use verdict::{IntoVerdict, Verdict};

use std::sync::Arc;

/// Names a check: a closure that returns a future, or anything that implements [`Check`].
///
/// It is critical, has 500 ms, and is part of [`Group::All`](crate::Group::All) only, until the builder says otherwise.
///
/// ```
/// use bilten_health::check;
/// use std::time::Duration;
///
/// let payments = check("payments", || async { Err::<(), _>("not reachable") })
///     .timeout(Duration::from_millis(300))
///     .in_readiness();
/// # let _ = payments;
/// ```
pub fn check(name: impl Into<String>, check: impl Check) -> CheckBuilder {
    CheckBuilder::new(name.into(), Arc::new(check))
}
