//! Handing over what waited for the second level.

use std::time::Duration;

use futures_util::future::join_all;

use super::interruption::Interruption;
use super::patience::{PATIENCE, within};
use crate::engine::Engine;
use crate::recovery::Pending;
use crate::remote::{Gate, Noticed, RemoteError};

/// Invalidations that waited are handed over so many at once, and no longer than this before the log is read again: it must not be
/// silence that makes a process distrust itself.
const AT_ONCE: usize = 64;
pub(super) const DELIVERS: Duration = Duration::from_millis(200);
/// Until what failed altogether is tried again.
const PAUSE: Duration = Duration::from_millis(25);

/// Hands everything that waits to L2, however often that takes, and to whichever log there is.
pub(crate) async fn deliver_all(engine: &Engine, gate: &Gate) {
    while !matches!(deliver(engine, gate, || true).await, Ok(None)) {
        tokio::time::sleep(PAUSE).await;
    }
}

/// Hands the invalidations that waited to L2, the oldest first, until one fails or it is not to go on. The first one alone, in case it is
/// refused, then several at once: which of them comes first makes no difference. So those that were refused wait behind all others
/// from then on, and while nothing else waits one of them is tried at a time. With the last refusal.
pub(super) async fn deliver(
    engine: &Engine,
    gate: &Gate,
    goes_on: impl Fn() -> bool,
) -> Result<Option<RemoteError>, Interruption> {
    let mut count = 1;
    let (mut delivered, mut refusal) = (false, None);
    loop {
        let batch = engine.recovery.oldest(count);
        if batch.is_empty() {
            refusal = None;
            break;
        }
        let calls = batch.iter().map(|pending| hand_over(engine, gate, pending));
        let handed = join_all(calls).await;
        let some = handed.iter().any(Result::is_ok);
        for (pending, handed) in batch.iter().zip(handed) {
            match handed {
                Ok(()) => {}
                Err(error @ RemoteError::Refused(_)) => {
                    engine.recovery.postpone(pending);
                    refusal = Some(error);
                }
                Err(error) => return Err(Interruption::Undelivered(error)),
            }
        }
        delivered |= some;
        if !some || !goes_on() {
            break;
        }
        count = AT_ONCE;
    }
    if refusal.is_none() && delivered {
        gate.outage().works(Noticed::Delivering);
    }
    Ok(refusal)
}

async fn hand_over(engine: &Engine, gate: &Gate, pending: &Pending) -> Result<(), RemoteError> {
    let Pending { scope, after, .. } = pending;
    if let Some(after) = after {
        let wanted = engine.coherence.demand(scope, after);
        let author = engine.coherence.author();
        let told = || gate.remote().demand(&wanted, author);
        if let Some(position) = within(PATIENCE, told).await? {
            engine.acknowledge_demand(position);
        }
    }
    let author = engine.coherence.author();
    let position = within(PATIENCE, || gate.remote().invalidate(scope, author)).await?;
    engine.acknowledge(scope, position);
    engine.recovery.done(pending);
    Ok(())
}
