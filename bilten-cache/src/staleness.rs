//! What may be done with a value whose time is over, and when a fresh one is loaded anew ahead of time. Pure.

use std::time::Duration;

use crate::clock::{NEVER, Nanos, nanos};

/// How a region treats values whose time to live is over. All zero: they are gone.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Windows {
    pub(crate) while_revalidate: Duration,
    pub(crate) if_error: Duration,
    /// Kept for a loader that asks its source whether the value is still good.
    pub(crate) for_loader: Duration,
}

impl Windows {
    /// How long a value is kept after its time to live.
    pub(crate) fn longest(&self) -> Duration {
        self.while_revalidate
            .max(self.if_error)
            .max(self.for_loader)
    }

    pub(crate) fn keep(&self) -> bool {
        !self.longest().is_zero()
    }
}

/// The times of one entry, by the cache's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Age {
    /// When its time to live ends. May lie before the clock began.
    pub(crate) ends: i64,
    /// Whether `expire` ended it early.
    pub(crate) expired: bool,
    /// Until when its load is not tried again, because it has just failed.
    pub(crate) retry_at: Nanos,
}

/// What a read does that finds no fresh value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Course {
    /// The stale value, and nothing else: the load has failed a moment ago.
    Serve,
    /// The stale value at once, while a load runs behind it.
    ServeAndRefresh,
    /// A load, whose caller waits.
    Load,
}

impl Age {
    /// What a read does at `now`. The windows are those of RFC 5861, both counted from the end of the time to live.
    pub(crate) fn course(self, windows: &Windows, now: Nanos) -> Course {
        let revalidates = self.is_over(now) && self.within(windows.while_revalidate, now);
        if now < self.retry_at && (revalidates || self.serves_after_error(windows, now)) {
            return Course::Serve;
        }
        if revalidates {
            Course::ServeAndRefresh
        } else {
            Course::Load
        }
    }

    /// Whether the value may stand in for a load that failed or takes too long.
    pub(crate) fn serves_after_error(self, windows: &Windows, now: Nanos) -> bool {
        self.within(windows.if_error, now)
    }

    /// Memory may give a value up before its time is over; then the second level still has it fresh.
    fn is_over(self, now: Nanos) -> bool {
        self.expired || self.ends <= signed(now)
    }

    fn within(self, window: Duration, now: Nanos) -> bool {
        !window.is_zero() && signed(now) < self.ends.saturating_add(signed(nanos(window)))
    }
}

/// When a value that is still fresh is loaded anew, so that nobody waits when its time is over.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) enum RefreshAhead {
    #[default]
    Off,
    /// At the first read after this fraction of its time to live.
    Fraction(f64),
    /// With a chance that grows towards the end, sooner the longer the load takes (XFetch).
    Early { beta: f64 },
}

/// A draw beyond this many means is rarer than one in a hundred million.
const FARTHEST_DRAW: f64 = 20.0;

impl RefreshAhead {
    /// From when on reads have to ask [`is_due`](Self::is_due).
    pub(crate) fn due_from(self, ends: i64, time_to_live: Duration, load_time: Duration) -> Nanos {
        let ahead = match self {
            Self::Off => return NEVER,
            Self::Fraction(fraction) => time_to_live.as_secs_f64() * (1.0 - fraction),
            Self::Early { beta } => load_time.as_secs_f64() * beta * FARTHEST_DRAW,
        };
        let ahead = nanos(Duration::try_from_secs_f64(ahead).unwrap_or(Duration::MAX));
        u64::try_from(ends.saturating_sub(signed(ahead))).unwrap_or(0)
    }

    /// Whether a read at `now` loads anew; `random` is in `0.0..1.0`.
    ///
    /// `Early` is the rule of Vattani, Chierichetti and Lowenstein, "Optimal Probabilistic Cache Stampede Prevention"
    /// (VLDB 2015): reload when `now - load_time * beta * ln(random)` has reached the end.
    #[allow(clippy::cast_precision_loss)]
    pub(crate) fn is_due(self, now: Nanos, ends: i64, load_time: Nanos, random: f64) -> bool {
        match self {
            Self::Off => false,
            Self::Fraction(_) => true,
            Self::Early { beta } => {
                let left = ends.saturating_sub(signed(now)) as f64;
                // `1 - random` is never zero, whose logarithm is infinite.
                load_time as f64 * beta * -(1.0 - random).ln() >= left
            }
        }
    }
}

/// The end of a time to live by our clock, from what the store's clock says about the entry.
pub(crate) fn end_of(
    now: Nanos,
    created_millis: u64,
    fresh_millis: u64,
    server_millis: u64,
) -> i64 {
    // An entry from the store's future (it failed over to a slower clock) has all its time left, not more.
    let age = server_millis.saturating_sub(created_millis);
    let millis = |n: u64| signed(nanos(Duration::from_millis(n)));
    signed(now)
        .saturating_add(millis(fresh_millis))
        .saturating_sub(millis(age))
}

/// Nanoseconds that can lie before the clock's beginning.
pub(crate) fn signed(nanos: Nanos) -> i64 {
    i64::try_from(nanos).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn windows(while_revalidate: u64, if_error: u64) -> Windows {
        Windows {
            while_revalidate: Duration::from_secs(while_revalidate),
            if_error: Duration::from_secs(if_error),
            for_loader: Duration::ZERO,
        }
    }

    #[test]
    fn the_two_windows_are_separate() {
        let age = |expired, retry| Age {
            ends: signed(100 * SECOND),
            expired,
            retry_at: retry * SECOND,
        };
        use Course::{Load, Serve, ServeAndRefresh};
        for (windows, expired, retry, at, course) in [
            (windows(0, 0), false, 0, 101, Load),
            (windows(10, 0), false, 0, 100, ServeAndRefresh),
            (windows(10, 0), false, 0, 109, ServeAndRefresh),
            (windows(10, 0), false, 0, 110, Load),
            (windows(10, 0), false, 105, 104, Serve),
            (windows(10, 60), false, 0, 111, Load),
            (windows(10, 60), false, 120, 111, Serve),
            (windows(0, 60), false, 200, 161, Load),
            // Memory gave it up, the second level has it fresh: that is where to ask.
            (windows(10, 60), false, 0, 90, Load),
            (windows(10, 0), true, 0, 90, ServeAndRefresh),
            (windows(0, 0), true, 0, 90, Load),
        ] {
            let found = age(expired, retry).course(&windows, at * SECOND);
            assert_eq!(found, course, "{windows:?} at {at}, retry at {retry}");
        }
        assert!(age(false, 0).serves_after_error(&windows(0, 60), 159 * SECOND));
        assert!(!age(false, 0).serves_after_error(&windows(0, 60), 160 * SECOND));
        assert!(!age(false, 0).serves_after_error(&windows(60, 0), 90 * SECOND));
    }

    #[test]
    fn the_end_follows_the_stores_clock_even_before_our_own_began() {
        let second = signed(SECOND);
        for (created, fresh, server, end) in [
            (1_000, 500, 1_000, second + second / 2),
            (1_000, 500, 1_500, second),
            (1_000, 500, 9_000, second - second * 15 / 2),
            (1_000, 500, 0, second + second / 2),
        ] {
            assert_eq!(end_of(SECOND, created, fresh, server), end);
        }
        assert!(end_of(SECOND, 0, u64::MAX, 1) > signed(NEVER / 2));
    }

    #[test]
    fn a_fraction_is_due_from_its_share_of_the_time_to_live() {
        let ends = signed(100 * SECOND);
        let from = RefreshAhead::Fraction(0.8).due_from(
            ends,
            Duration::from_secs(50),
            Duration::from_secs(1),
        );
        assert_eq!(from, 90 * SECOND);
        let off = RefreshAhead::Off.due_from(ends, Duration::from_secs(50), Duration::ZERO);
        assert_eq!(off, NEVER);
    }

    /// At a distance of `beta` times the load time, one draw in e reloads.
    #[test]
    #[allow(clippy::cast_precision_loss)]
    fn early_expiry_draws_at_the_rate_of_its_paper() {
        let rule = RefreshAhead::Early { beta: 2.0 };
        let (now, ends) = (10 * SECOND, signed(12 * SECOND));
        let mut random = fastrand::Rng::with_seed(7);
        let draws = 100_000;
        let due = (0..draws)
            .filter(|_| rule.is_due(now, ends, SECOND, random.f64()))
            .count();
        let rate = due as f64 / f64::from(draws);
        assert!((rate - (-1.0_f64).exp()).abs() < 0.01, "{rate}");
        assert!(rule.is_due(12 * SECOND, ends, SECOND, 0.0));
        assert!(rule.due_from(ends, Duration::from_secs(60), Duration::from_millis(100)) < now);
    }
}
