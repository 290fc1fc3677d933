//! How a load waits for that of another process: how long, and how often it looks meanwhile.

use std::time::Duration;

use tokio::time::Instant;

use crate::job::How;
use crate::options::Options;
use crate::turns::Waiter;

const FIRST_PAUSE: Duration = Duration::from_millis(4);
/// A pause may be as long as this from the first moment on, so that a value is seen that soon; and as the tenth part of what was waited beyond the time
/// of a lease, when what is waited for takes long.
const SHORT_PAUSE: Duration = Duration::from_millis(50);
const PART: u32 = 10;
const LONGEST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_TOGETHER: Duration = Duration::from_secs(2);
/// The keys of one call that wait look so often together.
const APART: Duration = Duration::from_millis(2);

/// One wait, which may be over before it has begun.
pub(crate) struct Waiting<'a> {
    how: &'a How,
    lease: Duration,
    began: Instant,
    until: Instant,
    pause: Duration,
    waiter: Option<Waiter<'a>>,
}

impl<'a> Waiting<'a> {
    /// Until then, and not longer than the region lets its loads wait: what dies gives its lease back long before, and what keeps it alive is a load.
    pub(crate) fn new(options: &Options, how: &'a How, until: Option<Instant>) -> Self {
        let began = Instant::now();
        let longest = began + options.longest_wait();
        Self {
            how,
            lease: options.lease,
            began,
            until: until.map_or(longest, |until| until.min(longest)),
            pause: FIRST_PAUSE,
            waiter: None,
        }
    }

    pub(crate) fn is_over(&self) -> bool {
        Instant::now() >= self.until
    }

    /// Whether it has waited already.
    pub(crate) fn has_begun(&self) -> bool {
        self.waiter.is_some()
    }

    /// Until when its next turn is waited for. `None`: as long as the first one.
    pub(crate) fn turn_until(&self) -> Option<Instant> {
        self.has_begun().then_some(self.until)
    }

    /// Waits until it is time to look again: for some time in any case, and for more where many keys of one call wait, unless one of them has news. Not
    /// beyond the end of the wait: what is left then is for the load.
    pub(crate) async fn pause(&mut self) {
        let waited = self.began.elapsed();
        let alone = alone(self.pause, waited, self.lease);
        self.pause = self.pause.saturating_mul(2).min(LONGEST_PAUSE);
        let turns = self.how.asked.as_ref().map(|asked| &*asked.turns);
        let waiter = self.waiter.get_or_insert_with(|| Waiter::new(turns));
        let together = together(waiter.others(), waited, self.lease);
        let alone_until = Instant::now() + alone.mul_f64(0.5 + fastrand::f64() / 2.0);
        tokio::time::sleep_until(alone_until.min(self.until)).await;
        let more = together.saturating_sub(alone);
        if !more.is_zero() {
            let until = Instant::now() + more.mul_f64(fastrand::f64());
            let _ = tokio::time::timeout_at(until.min(self.until), waiter.news()).await;
        }
        waiter.has_heard();
    }
}

/// The pause of one key. Who waits long looks seldom: what it waits for takes long.
fn alone(pause: Duration, waited: Duration, lease: Duration) -> Duration {
    let longest = LONGEST_PAUSE.min(lease / 4).max(FIRST_PAUSE);
    let beyond = waited.saturating_sub(lease);
    pause.min(SHORT_PAUSE.max(beyond / PART)).min(longest)
}

/// The pause of each of so many keys. Not longer than it takes until a lease ends whose holder has died, if nothing else is set.
fn together(keys: usize, waited: Duration, lease: Duration) -> Duration {
    let keys = u32::try_from(keys).unwrap_or(u32::MAX);
    APART
        .saturating_mul(keys)
        .min(waited / 2)
        .min(lease)
        .min(LONGEST_TOGETHER)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How often somebody looks in so long, where each pause is as long as it may be.
    fn looks(keys: usize, time: Duration) -> u32 {
        let lease = Duration::from_secs(2);
        let (mut pause, mut waited, mut looks) = (FIRST_PAUSE, Duration::ZERO, 0);
        while waited < time {
            waited += alone(pause, waited, lease).max(together(keys, waited, lease));
            pause = (pause * 2).min(LONGEST_PAUSE);
            looks += 1;
        }
        looks
    }

    #[test]
    fn who_waits_long_looks_seldom_and_the_more_so_the_more_there_are() {
        assert_eq!(looks(1, SHORT_PAUSE), 4);
        assert!((20..25).contains(&looks(1, Duration::from_secs(1))));
        let half_a_minute = looks(1, Duration::from_secs(30));
        assert!((100..150).contains(&half_a_minute), "{half_a_minute}");
        let many = looks(1_000, Duration::from_secs(30));
        assert!((20..40).contains(&many), "{many}");
        assert_eq!(looks(1_000, SHORT_PAUSE), 4, "a quick load is seen soon");
    }

    #[test]
    fn a_pause_is_short_where_leases_are() {
        let long = Duration::from_secs(60);
        for (lease, longest) in [(10, 4), (300, 75), (2_000, 500), (3_600_000, 50)] {
            let lease = Duration::from_millis(lease);
            assert_eq!(
                alone(LONGEST_PAUSE, long, lease),
                Duration::from_millis(longest)
            );
            assert!(together(usize::MAX, long, lease) <= lease.min(LONGEST_TOGETHER));
        }
    }
}
