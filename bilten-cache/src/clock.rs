use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Nanoseconds on the cache's own monotonic clock, which starts when the cache is built.
pub(crate) type Nanos = u64;

/// Far enough to mean never, near enough that sums do not overflow.
pub(crate) const NEVER: Nanos = u64::MAX / 2;

/// The one source of time. Wall clocks play no part, so stepping them changes nothing.
#[derive(Debug, Clone)]
pub(crate) struct Clock {
    origin: Instant,
    moved: Option<Arc<AtomicU64>>,
}

impl Clock {
    pub(crate) fn system() -> Self {
        Self {
            origin: Instant::now(),
            moved: None,
        }
    }

    #[cfg(any(test, feature = "test-util"))]
    pub(crate) fn moved_by(moved: Arc<AtomicU64>) -> Self {
        Self {
            origin: Instant::now(),
            moved: Some(moved),
        }
    }

    pub(crate) fn now(&self) -> Nanos {
        match &self.moved {
            None => nanos(self.origin.elapsed()),
            Some(moved) => moved.load(Ordering::Relaxed),
        }
    }
}

/// A duration in nanoseconds, at most [`NEVER`].
pub(crate) fn nanos(duration: Duration) -> Nanos {
    u64::try_from(duration.as_nanos())
        .unwrap_or(NEVER)
        .min(NEVER)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_duration_does_not_overflow() {
        assert_eq!(nanos(Duration::MAX), NEVER);
        assert!(
            nanos(Duration::MAX)
                .checked_add(nanos(Duration::MAX))
                .is_some()
        );
    }
}
