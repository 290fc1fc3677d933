//! What is wrong with calls for as long as a test says so.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fastrand::Rng;

use super::trap::Call;
use crate::remote::RemoteError;

#[derive(Debug, Default)]
pub(super) struct Faults {
    said: Mutex<Said>,
}

#[derive(Debug, Default)]
struct Said {
    takes: HashMap<Call, Duration>,
    fail: HashMap<Call, RemoteError>,
    /// The share of all calls that fails, and what decides which.
    some: Option<(f64, Rng)>,
}

impl Faults {
    pub(super) fn takes(&self, call: Call, time: Duration) {
        self.said().takes.insert(call, time);
    }

    pub(super) fn fails(&self, call: Call, error: Option<RemoteError>) {
        let fail = &mut self.said().fail;
        match error {
            Some(error) => fail.insert(call, error),
            None => fail.remove(&call),
        };
    }

    pub(super) fn fail_some(&self, share: f64, seed: u64) {
        self.said().some = (share > 0.0).then(|| (share, Rng::with_seed(seed)));
    }

    /// The time that a call takes until it gets there.
    pub(super) async fn delay(&self, call: Call) {
        let takes = self.said().takes.get(&call).copied();
        if let Some(takes) = takes.filter(|takes| !takes.is_zero()) {
            tokio::time::sleep(takes).await;
        }
    }

    /// Whether it gets there at all.
    pub(super) fn arrives(&self, call: Call) -> Result<(), RemoteError> {
        let mut said = self.said();
        let unlucky = said
            .some
            .as_mut()
            .is_some_and(|(share, rng)| rng.f64() < *share);
        if unlucky {
            return Err(made_to_fail(call));
        }
        said.fail.get(&call).cloned().map_or(Ok(()), Err)
    }

    fn said(&self) -> MutexGuard<'_, Said> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(super) fn made_to_fail(call: Call) -> RemoteError {
    RemoteError::Unavailable(format!("made to fail in {call:?}"))
}
