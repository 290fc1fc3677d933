//! Tells that changes wait for Redis.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bilten_cache::Ack;

/// A change that has not reached Redis yet is queued and delivered later: no error, and worth one line for each time that Redis is
/// away.
#[derive(Clone, Debug, Default)]
pub(super) struct Deferred(Arc<AtomicBool>);

impl Deferred {
    pub(super) fn note(&self, ack: Ack) {
        if self.is_news(ack) {
            tracing::info!(
                "changes wait for Redis; other processes may serve old values until it is back"
            );
        }
    }

    fn is_news(&self, ack: Ack) -> bool {
        let waits = ack == Ack::Deferred;
        let waited = self.0.swap(waits, Ordering::Relaxed);
        waits && !waited
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outage_is_told_once_however_many_changes_wait() {
        let deferred = Deferred::default();
        let acks = [
            (Ack::Everywhere, false),
            (Ack::Deferred, true),
            (Ack::Deferred, false),
            (Ack::Everywhere, false),
            (Ack::Deferred, true),
            (Ack::Local, false),
        ];
        for (ack, news) in acks {
            assert_eq!(deferred.is_news(ack), news, "{ack:?}");
        }
    }
}
