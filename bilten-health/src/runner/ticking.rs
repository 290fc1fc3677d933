//! Runs a background check again and again, in the runtime of somebody who asked.

use super::hub::Hub;
use super::run::{run_for_a_question, tick_once};
use crate::slot::{Slot, Ticker};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, Weak};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

/// Makes sure that a question gets a result: gives what to wait for, or nothing when there is nothing to wait for.
pub(crate) fn ensure(
    hub: &Arc<Hub>,
    slot: &Arc<Slot>,
    now: Instant,
) -> Option<watch::Receiver<()>> {
    keep_ticking(hub, slot);
    run_for_a_question(hub, slot, now)
}

/// Starts the ticker of a background check, again when its runtime has gone or nobody drives it. Within a Tokio runtime only.
pub(crate) fn keep_ticking(hub: &Arc<Hub>, slot: &Arc<Slot>) {
    let Some(interval) = slot.settings.background else {
        return;
    };
    let here = Handle::current().id();
    let too_old = || slot.is_too_old(Instant::now());
    let mut ticker = slot.ticker.lock().unwrap_or_else(PoisonError::into_inner);
    if ticker
        .as_ref()
        .is_some_and(|ticker| ticker.suffices(here, too_old))
    {
        return;
    }
    let end = End {
        hub: Arc::downgrade(hub),
        gone: Arc::default(),
    };
    let gone = Arc::clone(&end.gone);
    // Weak: neither the set nor the check is kept alive by its own ticker.
    let (hub, slot) = (Arc::downgrade(hub), Arc::downgrade(slot));
    let task = tokio::spawn(async move {
        let _end = end;
        tick(hub, slot, interval).await;
    });
    *ticker = Some(Ticker::new(task, here, gone));
}

/// The end of a ticker, also of one whose runtime ends.
struct End {
    hub: Weak<Hub>,
    gone: Arc<AtomicBool>,
}

impl Drop for End {
    fn drop(&mut self) {
        self.gone.store(true, Ordering::SeqCst);
        // An answer that was kept would hide from the next question that it has to start another one.
        if let Some(hub) = self.hub.upgrade() {
            hub.board.raise();
        }
    }
}

async fn tick(hub_of: Weak<Hub>, slot_of: Weak<Slot>, interval: Duration) {
    let Some(begin) = slot_of.upgrade().map(|slot| slot.delayed_until()) else {
        return;
    };
    sleep_until(begin).await;
    while let (Some(hub), Some(slot)) = (hub_of.upgrade(), slot_of.upgrade()) {
        tick_once(&hub, &slot);
        drop((hub, slot));
        let next = Instant::now() + jittered(interval, fastrand::f64());
        until(next, &hub_of, &slot_of).await;
    }
}

/// Waits until `next`, and notices when the last result becomes too old meanwhile.
async fn until(next: Instant, hub: &Weak<Hub>, slot: &Weak<Slot>) {
    loop {
        let stale = slot.upgrade().and_then(|slot| slot.goes_stale());
        let wake = stale.map_or(next, |at| at.min(next));
        sleep_until(wake).await;
        if let (Some(hub), Some(slot)) = (hub.upgrade(), slot.upgrade())
            && slot.expire(Instant::now())
        {
            hub.publish(&slot);
        }
        if wake == next {
            return;
        }
    }
}

/// `interval` with up to 10 % less or more; `random` is in 0..1.
fn jittered(interval: Duration, random: f64) -> Duration {
    interval.mul_f64(0.9 + 0.2 * random)
}

#[cfg(test)]
mod tests {
    use super::{ensure, jittered, keep_ticking};
    use crate::change::Listeners;
    use crate::check::{Verdict, check};
    use crate::health::Defaults;
    use crate::runner::hub::Hub;
    use crate::slot::Slot;
    use std::sync::Arc;
    use std::time::Duration;
    use tokio::runtime::{Builder, Runtime};
    use tokio::sync::mpsc;
    use tokio::time::{Instant, timeout};

    #[test]
    fn jitter_stays_within_a_tenth() {
        let interval = Duration::from_secs(10);
        assert_eq!(jittered(interval, 0.0), Duration::from_secs(9));
        assert_eq!(jittered(interval, 0.5), interval);
        assert_eq!(jittered(interval, 1.0), Duration::from_secs(11));
    }

    fn runtime() -> Runtime {
        let mut runtime = Builder::new_current_thread();
        runtime.enable_all().build().unwrap()
    }

    // The first runtime is alive, but nobody drives it: what was begun there goes on only when somebody does.
    #[test]
    fn a_ticker_that_nobody_drives_is_replaced_once_its_result_is_too_old() {
        let (told, mut ran) = mpsc::unbounded_channel();
        let counted = check("a", move || std::future::ready(told.send(())))
            .background(Duration::from_millis(1))
            .timeout(Duration::from_millis(1));
        let (hub, slot) = (
            Arc::new(Hub::new(Listeners::new(Vec::new()))),
            slot(counted),
        );
        let undriven = runtime();
        undriven.block_on(async { keep_ticking(&hub, &slot) });
        slot.record(Verdict::up(), Duration::ZERO);
        while !slot.is_too_old(Instant::now()) {
            std::thread::yield_now();
        }
        runtime().block_on(async {
            ensure(&hub, &slot, Instant::now());
            let runs = timeout(Duration::from_secs(20), ran.recv()).await;
            assert_eq!(runs, Ok(Some(())));
        });
    }

    fn slot(check: crate::check::CheckBuilder) -> Arc<Slot> {
        let defaults = Defaults {
            timeout: Duration::from_millis(500),
            cache: Duration::ZERO,
            deadline: Duration::from_millis(900),
        };
        Arc::new(defaults.slot(check).unwrap())
    }
}
