//! Telling a full pool from a server that does not answer.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// The connections of a pool.
#[derive(Clone, Copy, Debug)]
pub(super) struct Load {
    pub(super) size: u32,
    pub(super) idle: u32,
    pub(super) max: u32,
}

impl Load {
    pub(super) const fn is_full(self) -> bool {
        self.max > 0 && self.size >= self.max && self.idle == 0
    }
}

/// How long after its last answer a server whose pool is full is still believed to be alive.
const BELIEVED_FOR: Duration = Duration::from_secs(30);

/// What is remembered between questions: when the server answered the last one that got a connection.
#[derive(Debug, Default)]
pub(super) struct Saturation {
    answered: Mutex<Option<Instant>>,
}

impl Saturation {
    pub(super) fn answered(&self, now: Instant) {
        *self.last() = Some(now);
    }

    /// Whether a question failed only because the pool was full when it was asked.
    ///
    /// Once a question that could get a connection has failed, the server is not believed until it answers again: connections
    /// that wait for a dead server fill a pool, too. For the same reason nothing is believed for ever.
    pub(super) fn explains_failure(&self, full_before: bool, now: Instant) -> bool {
        let mut last = self.last();
        if !full_before {
            *last = None;
        }
        last.is_some_and(|at| now.duration_since(at) < BELIEVED_FOR)
    }

    fn last(&self) -> MutexGuard<'_, Option<Instant>> {
        self.answered.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::{Load, Saturation};
    use std::time::Duration;
    use tokio::time::Instant;

    #[test]
    fn only_a_pool_at_its_limit_without_an_idle_connection_is_full() {
        for (size, idle, max, full) in [
            (2, 0, 2, true),
            (2, 1, 2, false),
            (1, 0, 2, false),
            (0, 0, 0, false),
        ] {
            assert_eq!(Load { size, idle, max }.is_full(), full);
        }
    }

    #[test]
    fn a_full_pool_excuses_a_server_only_for_a_while_after_its_answer() {
        let saturation = Saturation::default();
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        assert!(
            !saturation.explains_failure(true, at(0)),
            "it never answered"
        );
        saturation.answered(at(0));
        assert!(saturation.explains_failure(true, at(29)));
        assert!(
            !saturation.explains_failure(true, at(30)),
            "a dead server fills a pool as well"
        );
        saturation.answered(at(31));
        assert!(
            !saturation.explains_failure(false, at(32)),
            "it had a connection and got no answer"
        );
        assert!(
            !saturation.explains_failure(true, at(33)),
            "so what fills the pool now may be waiting for a dead server"
        );
        saturation.answered(at(34));
        assert!(saturation.explains_failure(true, at(35)));
    }
}
