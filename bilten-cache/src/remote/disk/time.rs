use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// By how much the machine's clock may be behind the time that a store has noted, in milliseconds: it is set right now and then.
const TOLERANCE: u64 = 5_000;

/// The store's own clock: that of the machine when it was opened, and from then on whatever time passes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Time {
    began: Instant,
    began_millis: u64,
}

impl Time {
    /// Goes on from `noted`, the last time that the store has noted. `None`: the machine's clock went back, so that nobody
    /// knows how long the store was closed.
    pub(super) fn after(noted: u64) -> Option<Self> {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        Self::at(u64::try_from(now.as_millis()).unwrap_or(0), noted)
    }

    fn at(now: u64, noted: u64) -> Option<Self> {
        (now.saturating_add(TOLERANCE) >= noted).then(|| Self {
            began: Instant::now(),
            began_millis: now.max(noted),
        })
    }

    pub(super) fn millis(&self) -> u64 {
        let passed = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.began_millis.saturating_add(passed)
    }

    pub(super) fn until(&self, keep: Duration) -> u64 {
        let keep = u64::try_from(keep.as_millis()).unwrap_or(u64::MAX);
        self.millis().saturating_add(keep.max(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_never_goes_back_and_a_clock_that_does_is_noticed() {
        assert!(Time::at(1_000_000, 900_000).unwrap().millis() >= 1_000_000);
        assert!(Time::at(999_000, 1_000_000).unwrap().millis() >= 1_000_000);
        assert!(Time::at(900_000, 1_000_000).is_none());
        let time = Time::at(5, 0).unwrap();
        assert_eq!(time.until(Duration::MAX), u64::MAX);
        assert!(time.until(Duration::ZERO) > time.began_millis);
    }
}
