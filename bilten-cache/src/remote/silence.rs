//! Since when one connection gives no answer, whoever asks on it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Counts from the first question that nothing answered. Any answer of the server ends it, a refusal too; errors that the client
/// makes up itself do not, however fast they come: a client that fails at once for ever must be noticed as well.
#[derive(Debug)]
pub(super) struct Silence {
    started: Instant,
    /// Nanoseconds after the start, plus one; zero while nothing is unanswered.
    since: AtomicU64,
}

impl Silence {
    pub(super) fn new() -> Self {
        Self {
            started: Instant::now(),
            since: AtomicU64::new(0),
        }
    }

    /// Something that has to be answered soon is sent, or would be if there were a connection.
    pub(super) fn asked(&self) {
        let _ = self
            .since
            .compare_exchange(0, self.now(), Ordering::AcqRel, Ordering::Relaxed);
    }

    /// The server said something.
    pub(super) fn heard(&self) {
        self.since.store(0, Ordering::Release);
    }

    /// How long the oldest question waits since the last answer; zero where none does.
    pub(super) fn lasts(&self) -> Duration {
        match self.since.load(Ordering::Acquire) {
            0 => Duration::ZERO,
            since => Duration::from_nanos(self.now().saturating_sub(since)),
        }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_nanos())
            .unwrap_or(u64::MAX)
            .saturating_add(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_lasts_from_the_first_question_without_an_answer() {
        let silence = Silence::new();
        assert_eq!(silence.lasts(), Duration::ZERO, "nobody asked");
        silence.asked();
        let first = silence.since.load(Ordering::Relaxed);
        std::thread::sleep(Duration::from_millis(2));
        silence.asked();
        assert_eq!(silence.since.load(Ordering::Relaxed), first);
        assert!(silence.lasts() >= Duration::from_millis(2));
    }

    #[test]
    fn an_answer_ends_it_for_all_questions() {
        let silence = Silence::new();
        silence.asked();
        silence.asked();
        silence.heard();
        assert_eq!(silence.lasts(), Duration::ZERO);
    }
}
