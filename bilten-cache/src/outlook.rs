use std::sync::atomic::{AtomicU8, Ordering};

/// So many reads of the second level without a hit make it likely that the next one finds nothing either.
const MISSES: u8 = 8;

/// Whether the second level is likely to have what a region asks it for.
///
/// If so, a plain read is the cheapest question. If not, the one for the lease is: it is answered with the value as well, and a
/// load has to wait for one round trip and not for two.
#[derive(Debug, Default)]
pub(crate) struct Outlook {
    /// Since the last hit.
    misses: AtomicU8,
}

impl Outlook {
    pub(crate) fn is_good(&self) -> bool {
        self.misses.load(Ordering::Relaxed) < MISSES
    }

    pub(crate) fn hit(&self) {
        // Not at each one, so that readers do not fight for it.
        if self.misses.load(Ordering::Relaxed) > 0 {
            self.misses.store(0, Ordering::Relaxed);
        }
    }

    pub(crate) fn missed(&self) {
        let misses = self.misses.load(Ordering::Relaxed);
        // One that is lost because two came at once does no harm.
        self.misses
            .store(misses.saturating_add(1).min(MISSES), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_bad_after_many_misses_in_a_row_and_good_after_one_hit() {
        let outlook = Outlook::default();
        for _ in 0..MISSES {
            assert!(outlook.is_good());
            outlook.missed();
        }
        assert!(!outlook.is_good());
        outlook.missed();
        outlook.hit();
        assert!(outlook.is_good());
    }
}
