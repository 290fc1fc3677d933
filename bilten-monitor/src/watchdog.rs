//! Looks after operations that are still running, alerts that are over, and the error budget.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use crate::clock::Time;
use crate::counter::Comparison;
use crate::error::Error;
use crate::hub::Hub;
use crate::tally::Loss;

const THREAD: &str = "bilten-watchdog";
/// How often it brings the numbers up to date; operations that are still running may be its business less often.
const USUAL: Duration = Duration::from_secs(1);

/// Starts the thread that looks every `period`; it ends after the monitor is gone.
pub(crate) fn start(hub: &Arc<Hub>, period: Option<Duration>) -> Result<(), Error> {
    let hub = Arc::downgrade(hub);
    std::thread::Builder::new()
        .name(THREAD.to_owned())
        .spawn(move || watch(&hub, period))
        .map(drop)
        .map_err(|source| Error::Thread {
            name: THREAD,
            source,
        })
}

fn watch(hub: &Weak<Hub>, period: Option<Duration>) {
    let pause = period.map_or(USUAL, |period| period.min(USUAL));
    let mut looked = Instant::now();
    // A clock of the program's own is nobody's to compare.
    let mut comparison = match hub.upgrade().map(|hub| Arc::clone(&hub.time)) {
        Some(time) if matches!(*time, Time::System(_)) => Comparison::new(),
        _ => None,
    };
    if let Some(hub) = hub.upgrade() {
        // Early, for what is recorded within the first second; should it panic, the first look tells.
        let _ = catch_unwind(AssertUnwindSafe(|| hub.registry.meet_process()));
    }
    let mut troubled = false;
    loop {
        std::thread::sleep(pause);
        let Some(hub) = hub.upgrade() else { return };
        let panics = look(&hub, period, &mut looked, comparison.as_mut());
        // Told once, however long it goes on.
        if panics > 0 && !troubled {
            tracing::error!(
                target: "bilten_monitor",
                "a recorder or clock panicked while the watchdog looked: the rest of the look was made",
            );
        }
        troubled = panics > 0;
    }
}

/// One look, each part for itself: a recorder or a clock of the program's that panics must not keep alerts from being told. How many did.
fn look(
    hub: &Hub,
    period: Option<Duration>,
    looked: &mut Instant,
    comparison: Option<&mut Comparison>,
) -> u32 {
    let mut panics = 0;
    let mut part = |work: &mut dyn FnMut()| {
        if catch_unwind(AssertUnwindSafe(work)).is_err() {
            panics += 1;
            // One for each look. The clock may be what failed, and it is asked for this too.
            let count = || panics == 1 && hub.tallies.count(Loss::SinkFailure);
            drop(catch_unwind(AssertUnwindSafe(count)));
        }
    };
    part(&mut || hub.registry.meet_process());
    if let (Some(comparison), Time::System(system)) = (comparison, &*hub.time) {
        comparison.look(system);
    }
    let mut now = None;
    part(&mut || now = Some(hub.time.now()));
    if let Some(now) = now {
        part(&mut || hub.publish(now));
        let watched = hub.watched();
        if period.is_some_and(|period| looked.elapsed() >= period) {
            *looked = Instant::now();
            watched
                .iter()
                .for_each(|watched| part(&mut || watched.look(now)));
        }
        watched
            .iter()
            .for_each(|watched| part(&mut || hub.settle(now, &**watched)));
        part(&mut || hub.sum_up(now, &watched, false));
        if let Some(budget) = &hub.budget {
            part(&mut || budget.look(&hub.desk, now));
        }
    }
    panics
}
