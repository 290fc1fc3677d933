//! When the log was heard of last, how far it is known to go, and what time it is there.

use std::sync::atomic::Ordering;

use super::Coherence;
use crate::clock::{NEVER, Nanos};

impl Coherence {
    /// The log was found to stand here.
    pub(crate) fn announce(&self, number: u64) {
        self.announced.store(number, Ordering::Relaxed);
    }

    /// Records that are known of and not applied.
    pub(crate) fn lag(&self) -> u64 {
        let known = self.announced.load(Ordering::Relaxed).max(self.seen());
        known.saturating_sub(self.applied())
    }

    /// The log was read to its end by a question asked at `asked`.
    pub(crate) fn contact(&self, asked: Nanos) {
        self.last_contact.fetch_max(asked, Ordering::AcqRel);
    }

    /// How long ago the log was read to its end.
    pub(crate) fn silence(&self, now: Nanos) -> Option<Nanos> {
        let last = self.last_contact.load(Ordering::Relaxed);
        (1..NEVER).contains(&last).then(|| now.saturating_sub(last))
    }

    /// How long L1 is trusted without contact to the log.
    pub(crate) fn isolated_after(&self) -> Nanos {
        self.isolated_after
    }

    pub(crate) fn is_isolated(&self, now: Nanos) -> bool {
        now.saturating_sub(self.last_contact.load(Ordering::Relaxed)) >= self.isolated_after
    }

    pub(crate) fn set_server_time(&self, server_millis: u64, now: Nanos) {
        let offset =
            i64::try_from(server_millis).unwrap_or(0) - i64::try_from(now / 1_000_000).unwrap_or(0);
        self.server_offset.store(offset, Ordering::Release);
    }

    pub(crate) fn server_millis(&self, now: Nanos) -> u64 {
        let ours = i64::try_from(now / 1_000_000).unwrap_or(0);
        u64::try_from(ours + self.server_offset.load(Ordering::Acquire)).unwrap_or(0)
    }
}
