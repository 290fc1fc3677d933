//! Decides what follows a fault: give it to the caller, or try another node.

use crate::access::Access;
use crate::fault::Trouble;

/// What to do after a fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// The caller gets the error.
    Return,
    /// Another node may answer: nothing of the result has reached the caller.
    Elsewhere,
    /// Another node may answer, unless this one still does: then the statement is slow, and would be slow elsewhere.
    Ask,
    /// The statement hides a write: run it on the primary, now and from now on.
    Learn,
}

/// The step after `trouble` on a replica or on the primary.
///
/// A write is never run again, even when it seems that nothing was sent.
pub(crate) fn step(access: Access, on_replica: bool, trouble: Trouble) -> Step {
    match (access, trouble) {
        (Access::Write, _) | (Access::Read, Trouble::Answer) => Step::Return,
        (Access::Read, Trouble::ReadOnly | Trouble::NotHere) if on_replica => Step::Learn,
        (Access::Read, Trouble::Unanswered) if on_replica => Step::Ask,
        (Access::Read, Trouble::Unreachable | Trouble::Lost | Trouble::Idled) => Step::Elsewhere,
        (Access::Read, Trouble::Slow | Trouble::Silent | Trouble::Busy | Trouble::Conflict)
            if on_replica =>
        {
            Step::Elsewhere
        }
        (Access::Read, _) => Step::Return,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Trouble::{
        Answer, Busy, Conflict, Idled, Lost, NotHere, ReadOnly, Silent, Slow, Unanswered,
        Unreachable,
    };

    #[test]
    fn a_write_is_never_run_again() {
        for trouble in [
            Unreachable,
            Lost,
            Idled,
            Slow,
            Unanswered,
            Silent,
            Busy,
            Conflict,
            ReadOnly,
            NotHere,
            Answer,
        ] {
            assert_eq!(step(Access::Write, false, trouble), Step::Return);
        }
    }

    #[test]
    fn a_read_goes_elsewhere_unless_the_answer_is_for_the_caller() {
        let table = [
            (Unreachable, Step::Elsewhere, Step::Elsewhere),
            (Lost, Step::Elsewhere, Step::Elsewhere),
            (Idled, Step::Elsewhere, Step::Elsewhere),
            (Slow, Step::Elsewhere, Step::Return),
            (Unanswered, Step::Ask, Step::Return),
            (Silent, Step::Elsewhere, Step::Return),
            (Busy, Step::Elsewhere, Step::Return),
            (Conflict, Step::Elsewhere, Step::Return),
            (ReadOnly, Step::Learn, Step::Return),
            (NotHere, Step::Learn, Step::Return),
            (Answer, Step::Return, Step::Return),
        ];
        for (trouble, on_replica, on_primary) in table {
            assert_eq!(step(Access::Read, true, trouble), on_replica, "{trouble:?}");
            assert_eq!(
                step(Access::Read, false, trouble),
                on_primary,
                "{trouble:?}"
            );
        }
    }
}
