//! Logs that must not go on: older copies of the one that was followed, and those that were left.

use std::sync::atomic::Ordering;

use super::{Coherence, View};
use crate::remote::{Author, Position};

/// Incarnations that are remembered after they were left.
const MAX_LEFT: usize = 64;

impl Coherence {
    /// Whether the log that stands here is none to follow: it lacks what was `seen` before it was asked, or has another record under the
    /// number that was applied last, or was followed and left before.
    pub(crate) fn is_older(&self, position: Position, seen: u64, stamp: Option<u64>) -> bool {
        let Position {
            incarnation,
            number,
        } = position;
        if incarnation == self.incarnation() {
            return number < seen
                || incarnation == self.owed.load(Ordering::Acquire)
                || !self.recognises(stamp);
        }
        self.read().left.contains(&incarnation)
    }

    /// Nothing of this incarnation counts any more, until a new one has begun.
    pub(crate) fn owe(&self, incarnation: u64) {
        self.owed.store(incarnation, Ordering::Release);
    }

    /// Who begins that new one, if it has still to be done and somebody else has not done it already.
    pub(crate) fn renewer(&self) -> Option<Author> {
        let incarnation = self.owed.load(Ordering::Acquire);
        (incarnation != 0).then(|| Author {
            incarnation,
            // The largest number that Lua keeps exactly.
            seen: 1 << 53,
            ..self.author()
        })
    }

    /// Whether a new one has to be begun where the log stands like this. Not where somebody else has begun one meanwhile; and not where it is the
    /// log itself, with all that is known of it: then the address led to a server for a moment that had fallen behind.
    pub(crate) fn is_due(&self, position: Option<Position>, stamp: Option<u64>) -> bool {
        let Some(position) = position else {
            return true;
        };
        if position.incarnation != self.owed.load(Ordering::Acquire) {
            return false;
        }
        let view = self.read();
        let known = view.stamp.filter(|known| *known != 0);
        let is_itself = position.incarnation == self.incarnation()
            && view.applied == self.seen()
            && position.number >= view.applied
            && known.is_some()
            && known == stamp;
        if is_itself {
            self.renewed();
        }
        !is_itself
    }

    /// Somebody has begun a new one.
    pub(crate) fn renewed(&self) {
        self.owe(0);
    }

    pub(super) fn leave(&self, view: &mut View) {
        let incarnation = self.incarnation();
        if incarnation == 0 {
            return;
        }
        view.left.retain(|left| *left != incarnation);
        view.left.push_back(incarnation);
        if view.left.len() > MAX_LEFT {
            view.left.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::NEVER;
    use crate::remote::Snapshot;

    #[test]
    fn a_log_that_was_left_or_lacks_what_was_seen_is_none_to_follow() {
        let coherence = Coherence::new(1, Some(NEVER));
        let mut snapshot = Snapshot::new(Position::new(7, 10), 0, vec![]);
        snapshot.stamp = Some(5);
        coherence.adopt(&snapshot, 0);
        for (number, stamp, due) in [
            (10, Some(5), false),
            (11, Some(5), false),
            (12, None, false),
            (9, None, true),
            (11, Some(6), true),
        ] {
            let older = coherence.is_older(Position::new(7, number), 10, stamp);
            assert_eq!(older, due, "{number} {stamp:?}");
        }
        assert!(coherence.renewer().is_none());
        coherence.owe(7);
        for (incarnation, number, stamp, due) in [
            (7, 9, None, true),
            (7, 11, None, true),
            (7, 11, Some(6), true),
            (8, 1, None, false),
            (7, 11, Some(5), false),
        ] {
            assert!(coherence.renewer().is_some());
            let at = Some(Position::new(incarnation, number));
            assert_eq!(coherence.is_due(at, stamp), due, "{at:?} {stamp:?}");
        }
        assert!(coherence.renewer().is_none(), "it was the log itself");
        coherence.adopt(&Snapshot::new(Position::new(8, 1), 0, vec![]), 0);
        assert!(coherence.is_older(Position::new(7, 99), 1, None));
        assert!(!coherence.is_older(Position::new(9, 1), 1, None));
        coherence.owe(8);
        assert!(coherence.is_older(Position::new(8, 99), 1, None));
        assert_eq!(coherence.renewer().unwrap().incarnation, 8);
        coherence.adopt(&Snapshot::new(Position::new(9, 1), 0, vec![]), 0);
        assert!(coherence.renewer().is_none(), "somebody has done it");
        for incarnation in 10..99 {
            coherence.adopt(&Snapshot::new(Position::new(incarnation, 1), 0, vec![]), 0);
        }
        assert_eq!(coherence.read().left.len(), MAX_LEFT);
    }
}
