//! A note for those who wait for a load of another process: it came to nothing.
//!
//! Without it they would hear of nothing but a lease that is free and, a moment later, that of the next one who waited: the loads of all processes
//! would run one after the other. It is a value of a key that no region has, and another one each time: what was there when a wait began is about
//! an earlier load, and no reason to end it.

use std::time::Duration;

use bytes::Bytes;

use crate::remote::{Gate, Lease, Turn};
use crate::spans::Ask;

/// No region's name begins so.
fn note(key: &str) -> String {
    ["!", key].concat()
}

/// Longer than anybody who waits goes without a look.
const KEEP: Duration = Duration::from_secs(10);
/// For two calls, one after the other.
const HOLD: Duration = Duration::from_secs(1);
/// Over whatever was told before.
const ANYTHING: Option<&[u8]> = Some(&[]);

/// Leaves the note for a while, before the lease of the key is given back.
pub(crate) async fn tell(gate: &Gate, turn: &Turn<'_>, key: &str) {
    let (note, token) = (note(key), fastrand::u64(1..));
    let lease = gate.call_in(turn, Ask::Lease, |remote| {
        remote.lease(&note, token, HOLD, ANYTHING)
    });
    // Another process tells the same at this very moment, or nobody can be told: what fails now makes others wait a little longer.
    let Ok(Lease::Owned | Lease::OwnedAfter(_)) = lease.await else {
        return;
    };
    let text = Bytes::copy_from_slice(&token.to_be_bytes());
    let told = gate.call_in(turn, Ask::Store, |remote| {
        remote.store(&note, token, text, KEEP)
    });
    let _ = told.await;
}

/// What somebody who waits has heard so far.
#[derive(Debug, Default)]
pub(crate) struct Heard {
    /// The note that stood when it first asked, if any did.
    first: Option<Option<Bytes>>,
}

impl Heard {
    /// Whether a load of the key has come to nothing since this was asked for the first time.
    pub(crate) async fn has_news(&mut self, gate: &Gate, key: &str) -> bool {
        let note = note(key);
        let stands = gate.call(Ask::Read, |remote| remote.read(&note)).await;
        stands.is_ok_and(|stands| self.is_news(stands))
    }

    fn is_news(&mut self, stands: Option<Bytes>) -> bool {
        match &self.first {
            None => {
                self.first = Some(stands);
                false
            }
            Some(first) => stands.is_some() && stands != *first,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_note_that_came_during_the_wait_is_news() {
        let [old, new] = ["old", "new"].map(|text| Some(Bytes::from(text)));
        let mut heard = Heard::default();
        assert!(!heard.is_news(old.clone()), "it was there before");
        assert!(!heard.is_news(old));
        assert!(!heard.is_news(None), "its time is over");
        assert!(heard.is_news(new.clone()));
        let mut heard = Heard::default();
        assert!(!heard.is_news(None));
        assert!(!heard.is_news(None));
        assert!(heard.is_news(new));
    }
}
