use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

/// A method of [`Remote`](crate::remote::Remote).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Call {
    /// `read`
    Read,
    /// `lease`
    Lease,
    /// `store`
    Store,
    /// `renew`
    Renew,
    /// `release`
    Release,
    /// `claim`
    Claim,
    /// The second half of `claim` and of `invalidate` on a way made by
    /// [`in_slots`](crate::test_util::FaultyRemote::in_slots).
    Append,
    /// `invalidate`
    Invalidate,
    /// `demand`
    Demand,
    /// `begin_write`
    BeginWrite,
    /// `end_write`
    EndWrite,
    /// `snapshot`
    Snapshot,
    /// `pulse`
    Pulse,
    /// `tail`
    Tail,
    /// `scan`
    Scan,
    /// `discard`
    Discard,
}

/// When a trap stops a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Moment {
    /// Before the store has done anything: the request is on its way.
    Before,
    /// After the store has done its part: the answer is on its way.
    After,
}

/// Stops one call until it is let go. Dropped, it lets go.
#[derive(Debug)]
#[must_use = "dropped at once, it stops nothing"]
pub struct Trap {
    gate: Arc<Gate>,
}

#[derive(Debug, Default)]
struct Gate {
    caught: Mark,
    free: Mark,
}

impl Trap {
    /// Waits until the call has run into the trap.
    pub async fn caught(&self) {
        self.gate.caught.wait().await;
    }

    /// Lets the call go on.
    pub fn release(self) {
        drop(self);
    }
}

impl Drop for Trap {
    fn drop(&mut self) {
        self.gate.free.set();
    }
}

/// The traps that are set.
#[derive(Debug, Default)]
pub(super) struct Traps {
    set: Mutex<Vec<(Call, Moment, Arc<Gate>)>>,
}

impl Traps {
    pub(super) fn set(&self, call: Call, moment: Moment) -> Trap {
        let gate = Arc::new(Gate::default());
        self.lock().push((call, moment, Arc::clone(&gate)));
        Trap { gate }
    }

    /// Stops here if a trap is set; each trap catches one call.
    pub(super) async fn pass(&self, call: Call, moment: Moment) {
        let gate = {
            let mut set = self.lock();
            let found = set.iter().position(|(c, m, _)| (*c, *m) == (call, moment));
            found.map(|at| set.remove(at).2)
        };
        if let Some(gate) = gate {
            gate.caught.set();
            gate.free.wait().await;
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<(Call, Moment, Arc<Gate>)>> {
        self.set.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Something that happens once and that many may wait for.
#[derive(Debug, Default)]
struct Mark {
    happened: std::sync::atomic::AtomicBool,
    notify: Notify,
}

impl Mark {
    fn set(&self) {
        self.happened
            .store(true, std::sync::atomic::Ordering::Release);
        self.notify.notify_waiters();
    }

    async fn wait(&self) {
        // Registered before the look, so that a `set` in between is not missed.
        let notified = self.notify.notified();
        if !self.happened.load(std::sync::atomic::Ordering::Acquire) {
            notified.await;
        }
    }
}
