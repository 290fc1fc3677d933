//! Looks after operations that are still running, alerts that are over, and the error budget.

use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use crate::clock::Time;
use crate::counter::Comparison;
use crate::error::Error;
use crate::hub::Hub;

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
        hub.registry.meet_process();
    }
    loop {
        std::thread::sleep(pause);
        let Some(hub) = hub.upgrade() else { return };
        hub.registry.meet_process();
        if let (Some(comparison), Time::System(system)) = (&mut comparison, &*hub.time) {
            comparison.look(system);
        }
        let now = hub.time.now();
        hub.publish(now);
        let watched = hub.watched();
        if period.is_some_and(|period| looked.elapsed() >= period) {
            looked = Instant::now();
            watched.iter().for_each(|watched| watched.look(now));
        }
        hub.settle(now, &watched);
        if let Some(budget) = &hub.budget {
            budget.look(&hub.desk, now);
        }
    }
}
