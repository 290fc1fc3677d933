//! Telling a full pool from a server that does not answer.

use std::sync::atomic::{AtomicBool, Ordering};

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

/// What is remembered between questions: whether the server answered the last one that got a connection.
#[derive(Debug, Default)]
pub(super) struct Saturation {
    answered: AtomicBool,
}

impl Saturation {
    pub(super) fn answered(&self) {
        self.answered.store(true, Ordering::Relaxed);
    }

    /// Whether a question failed only because the pool was full when it was asked.
    ///
    /// Once a question that could get a connection has failed, the server is not believed until it answers again: connections
    /// that wait for a dead server fill a pool, too.
    pub(super) fn explains_failure(&self, full_before: bool) -> bool {
        if !full_before {
            self.answered.store(false, Ordering::Relaxed);
        }
        full_before && self.answered.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::{Load, Saturation};

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
    fn a_full_pool_excuses_a_server_only_as_long_as_it_answered() {
        let saturation = Saturation::default();
        assert!(!saturation.explains_failure(true), "never answered");
        saturation.answered();
        assert!(saturation.explains_failure(true));
        assert!(
            !saturation.explains_failure(false),
            "it had a connection and got no answer"
        );
        assert!(
            !saturation.explains_failure(true),
            "so what fills the pool now may be waiting for a dead server"
        );
        saturation.answered();
        assert!(saturation.explains_failure(true));
    }
}
