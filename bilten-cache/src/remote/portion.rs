//! How much is asked for at once of what comes in pages.

use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

/// A page in time that leaves so many times as long is one that could have been larger.
const SPARE: u32 = 4;
/// What is left of a page that did not come in time: less than half, as each try costs all of its time.
const LESS: u16 = 4;

/// A page that does not come in time is lost whole, and would not come the next time either: who asked for the same amount again would
/// never get any further behind a link that is too slow for it. So less is asked for after it, down to one, and more again
/// while pages come quickly.
#[derive(Debug)]
pub(crate) struct Portion {
    most: u16,
    asked: AtomicU16,
}

impl Portion {
    pub(crate) const fn of(most: u16) -> Self {
        Self {
            most,
            asked: AtomicU16::new(most),
        }
    }

    pub(crate) fn asked(&self) -> u16 {
        self.asked.load(Ordering::Relaxed)
    }

    /// A full page came after so long and would have been given up after `limit`. `way` of both is what the smallest answer takes, which a
    /// smaller page would not spare.
    pub(crate) fn came(&self, took: Duration, limit: Duration, way: Duration) {
        let (took, limit) = (took.saturating_sub(way), limit.saturating_sub(way));
        if took.saturating_mul(SPARE) <= limit {
            let more = self.asked().saturating_mul(2).min(self.most);
            self.asked.store(more, Ordering::Relaxed);
        }
    }

    /// No page came, and that was known after so long. What fails long before `limit` failed for another reason than its size.
    pub(crate) fn failed(&self, took: Duration, limit: Duration) {
        if took >= limit / 2 {
            let less = (self.asked() / LESS).max(1);
            self.asked.store(less, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_millis(250);

    /// How many pages it takes to bring so many records over a link, and how many tries were in vain.
    fn brings(records: u32, a_second: u32, way: Duration) -> (u32, u32) {
        let portion = Portion::of(1_000);
        let (mut left, mut pages, mut in_vain) = (records, 0, 0);
        while left > 0 {
            assert!(pages + in_vain < 100_000, "{left} records never come");
            let asked = u32::from(portion.asked()).min(left);
            let took = way + Duration::from_secs(1) * asked / a_second;
            if took > LIMIT {
                portion.failed(LIMIT, LIMIT);
                in_vain += 1;
                continue;
            }
            if asked == u32::from(portion.asked()) {
                portion.came(took, LIMIT, way);
            }
            (left, pages) = (left - asked, pages + 1);
        }
        (pages, in_vain)
    }

    #[test]
    fn whatever_a_link_carries_everything_comes_with_few_tries_in_vain() {
        for millis in [0, 1, 100, 160, 200] {
            for a_second in [100, 300, 1_000, 5_000, 100_000] {
                let (pages, in_vain) = brings(10_000, a_second, Duration::from_millis(millis));
                assert!(in_vain <= 5, "{a_second}/s, {millis} ms: {in_vain} in vain");
                // A page takes a sixteenth of what is left beside the way, at least, where more fits into the time at all.
                let fits = (250 - millis) * u64::from(a_second) / 1_000 / 16;
                let most = 30 + 10_000 / u32::try_from(fits.clamp(1, 1_000)).unwrap();
                assert!(pages <= most, "{a_second}/s, {millis} ms: {pages} pages");
            }
        }
    }

    #[test]
    fn what_fails_at_once_says_nothing_about_its_size() {
        let portion = Portion::of(1_000);
        portion.failed(LIMIT / 10, LIMIT);
        assert_eq!(portion.asked(), 1_000);
        for asked in [250, 62, 15, 3, 1, 1] {
            portion.failed(LIMIT, LIMIT);
            assert_eq!(portion.asked(), asked);
        }
    }

    #[test]
    fn a_page_that_took_most_of_its_time_is_not_asked_for_twice_as_large() {
        let portion = Portion::of(1_000);
        portion.failed(LIMIT, LIMIT);
        portion.came(LIMIT / 2, LIMIT, Duration::ZERO);
        assert_eq!(portion.asked(), 250);
        // Nearly all of it was the way.
        portion.came(LIMIT / 2, LIMIT, LIMIT * 9 / 20);
        assert_eq!(portion.asked(), 500);
        portion.came(LIMIT / 50, LIMIT, Duration::ZERO);
        portion.came(LIMIT / 50, LIMIT, Duration::ZERO);
        assert_eq!(portion.asked(), 1_000);
    }
}
