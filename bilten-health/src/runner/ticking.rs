//! What goes on between questions, in the runtime of somebody who asked: the runs of a background check, and the end of what the
//! last question to another check has found.

use super::hub::Hub;
use super::run::{run_for_a_question, tick_once};
use crate::slot::{Slot, Ticker};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, Weak};
use std::time::Duration;
use tokio::runtime::{Handle, Id};
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
    let ticks = tick(Arc::downgrade(hub), Arc::downgrade(slot), interval);
    *ticker = Some(begin(hub, here, ticks));
}

/// Makes sure that the level of a check that is run on demand is taken back once nobody has asked for too long. Does nothing outside a
/// Tokio runtime.
pub(super) fn keep_fading(hub: &Arc<Hub>, slot: &Arc<Slot>) {
    let is_shown = cfg!(feature = "metrics") && slot.settings.background.is_none();
    let Some(here) = Handle::try_current().ok().filter(|_| is_shown) else {
        return;
    };
    let mut ticker = slot.ticker.lock().unwrap_or_else(PoisonError::into_inner);
    let suffices = |ticker: &Ticker| ticker.suffices(here.id(), || true);
    if !ticker.as_ref().is_some_and(suffices) {
        let fades = fade(Arc::downgrade(hub), Arc::downgrade(slot));
        *ticker = Some(begin(hub, here.id(), fades));
    }
}

/// Weak: neither the set nor the check is kept alive by its own ticker.
fn begin(hub: &Arc<Hub>, here: Id, work: impl Future<Output = ()> + Send + 'static) -> Ticker {
    let end = End {
        hub: Arc::downgrade(hub),
        gone: Arc::default(),
    };
    let gone = Arc::clone(&end.gone);
    let task = tokio::spawn(async move {
        let _end = end;
        work.await;
    });
    Ticker::new(task, here, gone)
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

async fn fade(hub_of: Weak<Hub>, slot_of: Weak<Slot>) {
    while let Some(at) = next_fading(&slot_of) {
        sleep_until(at).await;
        let (Some(hub), Some(slot)) = (hub_of.upgrade(), slot_of.upgrade()) else {
            return;
        };
        if slot.fade(Instant::now()) {
            hub.publish(&slot);
        }
    }
}

/// When to look next. When there is nothing to look for, the place is free for the task that the next result brings.
fn next_fading(slot: &Weak<Slot>) -> Option<Instant> {
    let slot = slot.upgrade()?;
    // Under the lock: a result that comes now finds either the place taken by somebody who has seen it, or the place free.
    let mut ticker = slot.ticker.lock().unwrap_or_else(PoisonError::into_inner);
    let at = slot.fades_at();
    if at.is_none() {
        *ticker = None;
    }
    at
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
    use crate::registry::Registry;
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
        let registry = Arc::new(Registry::new(Vec::new(), Vec::new()));
        let hub = Arc::new(Hub::new(Listeners::new(Vec::new()), registry));
        let slot = slot(counted);
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
