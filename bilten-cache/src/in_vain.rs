//! A note for those who wait for a load of another process: it came to nothing.
//!
//! Without it they would hear of nothing but a lease that is free and, a moment later, that of the next one who waited: the loads of all processes
//! would run one after the other. It is a lease as well, of a key that nobody loads, so each store knows how to keep one.

use std::time::Duration;

use crate::remote::{Gate, Turn};
use crate::spans::Ask;

/// Everybody's, so that everybody can ask whether it stands.
const TOKEN: u64 = 1;

/// No region's name begins so.
fn note(key: &str) -> String {
    ["!", key].concat()
}

/// Longer than anybody who waits goes without a look.
const HOLD: Duration = Duration::from_secs(3);

/// Leaves the note for a while, before the lease of the key is given back.
pub(crate) async fn tell(gate: &Gate, turn: &Turn<'_>, key: &str) {
    let note = note(key);
    // One that stands is the same note: its time begins anew.
    let stands = gate.call_in(turn, Ask::Renew, |remote| remote.renew(&note, TOKEN, HOLD));
    if let Ok(false) = stands.await {
        // What fails now would have told others to go on; they wait a little longer.
        let _ = gate
            .call_in(turn, Ask::Lease, |remote| {
                remote.lease(&note, TOKEN, HOLD, None)
            })
            .await;
    }
}

/// Whether a load of the key has come to nothing lately. Then it is told for another while: whoever waits besides hears of it too.
pub(crate) async fn is_told(gate: &Gate, key: &str) -> bool {
    let note = note(key);
    let stands = gate.call(Ask::Renew, |remote| remote.renew(&note, TOKEN, HOLD));
    stands.await.is_ok_and(|stands| stands)
}
