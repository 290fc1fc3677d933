use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Nanoseconds on the cache's own monotonic clock, which starts when the cache is built.
pub(crate) type Nanos = u64;

/// Far enough to mean never, near enough that sums do not overflow.
pub(crate) const NEVER: Nanos = u64::MAX / 2;

/// The one source of time. Wall clocks play no part, so stepping them changes nothing.
#[derive(Debug, Clone)]
pub(crate) struct Clock {
    origin: Nanos,
    slack: Nanos,
    moved: Option<Arc<AtomicU64>>,
}

impl Clock {
    pub(crate) fn system() -> Self {
        Self {
            origin: system::exact(),
            slack: system::slack(),
            moved: None,
        }
    }

    #[cfg(any(test, feature = "test-util"))]
    pub(crate) fn moved_by(moved: Arc<AtomicU64>) -> Self {
        Self {
            moved: Some(moved),
            ..Self::system()
        }
    }

    pub(crate) fn now(&self) -> Nanos {
        match &self.moved {
            None => system::exact().saturating_sub(self.origin),
            Some(moved) => moved.load(Ordering::Relaxed),
        }
    }

    /// A time that it is not yet, but soon will be, in a fraction of what [`now`](Self::now) costs: what has not run out by then has
    /// not run out.
    pub(crate) fn latest(&self) -> Nanos {
        match &self.moved {
            None => (system::coarse() + self.slack).saturating_sub(self.origin),
            Some(moved) => moved.load(Ordering::Relaxed),
        }
    }
}

/// The kernel keeps the time of its last tick, which is read without asking the hardware.
#[cfg(target_os = "linux")]
mod system {
    use rustix::time::{ClockId, Timespec, clock_getres, clock_gettime};

    use super::Nanos;

    pub(super) fn exact() -> Nanos {
        nanos(clock_gettime(ClockId::Monotonic))
    }

    pub(super) fn coarse() -> Nanos {
        nanos(clock_gettime(ClockId::MonotonicCoarse))
    }

    /// How far `coarse` can be behind: a tick, and another one that comes late.
    pub(super) fn slack() -> Nanos {
        2 * nanos(clock_getres(ClockId::MonotonicCoarse))
    }

    fn nanos(time: Timespec) -> Nanos {
        let [seconds, rest] = [time.tv_sec, time.tv_nsec].map(|n| u64::try_from(n).unwrap_or(0));
        seconds * 1_000_000_000 + rest
    }
}

#[cfg(not(target_os = "linux"))]
mod system {
    use std::sync::LazyLock;
    use std::time::Instant;

    use super::Nanos;

    static START: LazyLock<Instant> = LazyLock::new(Instant::now);

    pub(super) fn exact() -> Nanos {
        super::nanos(START.elapsed())
    }

    pub(super) fn coarse() -> Nanos {
        exact()
    }

    pub(super) fn slack() -> Nanos {
        0
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

    #[test]
    fn the_quick_time_is_later_by_a_few_ticks_at_most() {
        let clock = Clock::system();
        assert!(clock.slack <= 20_000_000, "{}", clock.slack);
        let looks = (0..1_000).map(|_| (clock.now(), clock.latest(), clock.now()));
        let looks: Vec<_> = looks.collect();
        assert!(
            looks
                .iter()
                .all(|(_, latest, after)| *latest <= after + clock.slack)
        );
        // A machine that was held up may be late with its ticks.
        let later = looks.iter().filter(|(before, latest, _)| latest >= before);
        assert!(later.count() >= 900);
    }
}
