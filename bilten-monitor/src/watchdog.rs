//! Looks after operations that are still running.

use std::sync::{Arc, Weak};
use std::time::Duration;

use crate::error::Error;
use crate::hub::Hub;

const THREAD: &str = "bilten-watchdog";

/// Starts the thread that looks every `period`; it ends after the monitor is gone.
pub(crate) fn start(hub: &Arc<Hub>, period: Duration) -> Result<(), Error> {
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

fn watch(hub: &Weak<Hub>, period: Duration) {
    loop {
        std::thread::sleep(period);
        let Some(hub) = hub.upgrade() else { return };
        let now = hub.time.now();
        hub.watched().iter().for_each(|watched| watched.look(now));
    }
}
