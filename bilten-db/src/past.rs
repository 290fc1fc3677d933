//! What a node was before: when its server was started, and which parts it played.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, AtomicU64, Ordering};
use std::time::Instant;

use crate::driver::Sample;

/// The last question about the start of a server.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Question {
    /// When it began.
    pub(crate) at: Instant,
    pub(crate) was_answered: bool,
}

/// What there was when the start of a server was asked for: connections opened so far, and doubts whether it was started
/// again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mark {
    opened: u64,
    doubts: u64,
}

/// Kept while nobody reaches the node.
#[derive(Debug, Default)]
pub(crate) struct Past {
    /// 0 until the node said it.
    started: AtomicI64,
    moves: AtomicU64,
    /// How many connections had been opened when the last question about the start was asked, and when the last one that
    /// was answered.
    asked_after: AtomicU64,
    told_after: AtomicU64,
    /// The same of the doubts, and how many there were so far.
    asked_in_doubt: AtomicU64,
    told_in_doubt: AtomicU64,
    doubts: AtomicU64,
    /// Several servers may answer under its name, now one and now the other.
    many: AtomicBool,
    /// Seen as a standby since it was the primary, if it ever was.
    stood_by: AtomicBool,
    /// Was the primary of this cluster before another one took its place.
    led: AtomicBool,
    /// Takes writes without having been made the primary from a standby: nobody meant it to be the primary.
    rival: AtomicBool,
    /// The timeline of the writes that it took when it was last seen; 0 for a standby, and where there are no timelines.
    wrote_on: AtomicU32,
}

impl Past {
    /// Which part it plays now.
    pub(crate) fn told(&self, sample: &Sample) {
        match sample.in_recovery {
            Some(true) => {
                self.stood_by.store(true, Ordering::Relaxed);
                self.rival.store(false, Ordering::Relaxed);
                self.wrote_on.store(0, Ordering::Relaxed);
            }
            Some(false) => {
                let timeline = sample.timeline.unwrap_or(0);
                self.wrote_on.store(timeline, Ordering::Relaxed);
            }
            None => {}
        }
    }

    pub(crate) fn became_primary(&self) {
        self.stood_by.store(false, Ordering::Relaxed);
        self.rival.store(false, Ordering::Relaxed);
    }

    /// It was the primary so far.
    pub(crate) fn led_so_far(&self) {
        self.led.store(true, Ordering::Relaxed);
    }

    pub(crate) fn has_led(&self) -> bool {
        self.led.load(Ordering::Relaxed)
    }

    /// Another node is the primary. A standby that is made writable is on its way to be the primary; what never was one
    /// is set up wrongly, or is an old primary with a history of its own, also when it is away now.
    pub(crate) fn is_beside_the_primary(&self) {
        if !self.stood_by.load(Ordering::Relaxed) {
            self.rival.store(true, Ordering::Relaxed);
        }
    }

    /// It is the primary itself, under another name.
    pub(crate) fn is_the_primary(&self) {
        self.rival.store(false, Ordering::Relaxed);
    }

    pub(crate) fn is_rival(&self) -> bool {
        self.rival.load(Ordering::Relaxed)
    }

    pub(crate) fn wrote_on(&self) -> u32 {
        self.wrote_on.load(Ordering::Relaxed)
    }

    /// Something happened that a server does when it is started again.
    pub(crate) fn doubt(&self) {
        self.doubts.fetch_add(1, Ordering::Release);
    }

    /// Of a question that begins now, after so many connections were opened.
    pub(crate) fn mark(&self, opened: u64) -> Mark {
        let doubts = self.doubts.load(Ordering::Acquire);
        Mark { opened, doubts }
    }

    /// It is asked now, after so many connections were opened.
    pub(crate) fn asks(&self, opened: u64) {
        let mark = self.mark(opened);
        self.asked_after.store(mark.opened, Ordering::Relaxed);
        self.asked_in_doubt.store(mark.doubts, Ordering::Relaxed);
    }

    /// What was asked last was answered.
    pub(crate) fn told_as_asked(&self) {
        self.told_after(Mark {
            opened: self.asked_after.load(Ordering::Relaxed),
            doubts: self.asked_in_doubt.load(Ordering::Relaxed),
        });
    }

    /// The question that began with this mark was answered.
    pub(crate) fn told_after(&self, mark: Mark) {
        // Behind the start itself: whoever finds that it was told finds which one.
        self.told_after.fetch_max(mark.opened, Ordering::Release);
        self.told_in_doubt.fetch_max(mark.doubts, Ordering::Release);
    }

    /// Whether the start was told since the last of so many connections was opened, and since the last doubt: one that was
    /// opened later may lead to a server that was started meanwhile.
    pub(crate) fn knows(&self, opened: u64) -> bool {
        opened <= self.told_after.load(Ordering::Acquire)
            && self.doubts.load(Ordering::Acquire) <= self.told_in_doubt.load(Ordering::Acquire)
    }

    /// From now on a start that is not later than the last one tells of another server under the same name.
    pub(crate) fn may_be_many(&self) {
        self.many.store(true, Ordering::Relaxed);
    }

    /// How many of so many connections were opened since it was last told.
    pub(crate) fn opened_since(&self, opened: u64) -> u64 {
        opened.saturating_sub(self.told_after.load(Ordering::Relaxed))
    }

    /// Whether the server was started again since it was last seen. One that is asked for the first time under this address
    /// was not: `moves` counts how often another may have taken it. Of several servers under one name the last start counts:
    /// they would seem to be started again whenever another one answers.
    pub(crate) fn restarted(&self, started: Option<i64>, moves: u64) -> bool {
        started.is_some_and(|started| {
            let is_many = self.many.load(Ordering::Relaxed);
            let before = match is_many {
                true => self.started.fetch_max(started, Ordering::AcqRel),
                false => self.started.swap(started, Ordering::AcqRel),
            };
            let at_the_same_place = self.moves.swap(moves, Ordering::Relaxed) == moves;
            let is_new = before != started && (before < started || !is_many);
            is_new && at_the_same_place && before != 0
        })
    }

    /// The start of the server that was last seen; 0 when it never told one.
    pub(crate) fn started(&self) -> i64 {
        self.started.load(Ordering::Acquire)
    }

    /// Whether the server that told this start is the one that was last seen; of several under one name each may be.
    pub(crate) fn is_of_now(&self, started: Option<i64>) -> bool {
        let is_now = |started| started == self.started() || self.many.load(Ordering::Relaxed);
        started.is_none_or(is_now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_move_to_the_same_server_hides_no_later_restart() {
        let past = Past::default();
        assert!(!past.restarted(Some(10), 0), "asked for the first time");
        assert!(!past.restarted(Some(10), 1), "it refused a write");
        assert!(past.restarted(Some(20), 1));
        assert!(!past.restarted(Some(30), 2), "another server, perhaps");
    }

    #[test]
    fn a_connection_that_was_opened_since_makes_the_start_unknown() {
        let past = Past::default();
        assert!(past.knows(0));
        past.asks(2);
        assert!(!past.knows(2), "not told yet");
        past.told_as_asked();
        assert!(past.knows(2) && !past.knows(3));
    }

    #[test]
    fn a_doubt_makes_the_start_unknown_until_a_question_that_began_after_it_is_answered() {
        let past = Past::default();
        past.asks(0);
        past.doubt();
        past.told_as_asked();
        assert!(!past.knows(0), "asked before the doubt");
        past.told_after(past.mark(0));
        assert!(past.knows(0));
    }

    #[test]
    fn two_servers_under_one_name_are_not_started_again_by_turns() {
        let past = Past::default();
        past.may_be_many();
        let seen = [10, 20, 10, 20, 10, 30, 20].map(|start| past.restarted(Some(start), 0));
        assert_eq!(seen, [false, true, false, false, false, true, false]);
    }
}
