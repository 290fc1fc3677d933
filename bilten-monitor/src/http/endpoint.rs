//! What all routes of one layer have in common: the monitor, the scheme, and the numbers in flight.

use std::sync::Arc;

use super::method;
use crate::alert::Gate;
use crate::hub::Hub;
use crate::in_flight::InFlight;
use crate::names::{REQUESTS_ACTIVE, label};

#[derive(Debug)]
pub(super) struct Endpoint {
    pub(super) hub: Arc<Hub>,
    pub(super) scheme: &'static str,
    /// Alerts of routes with too many combinations of method, status and outcome.
    pub(super) mixed: Gate,
    /// By method, in the order of [`method::LABELS`].
    active: Vec<Arc<InFlight>>,
}

impl Endpoint {
    pub(super) fn new(hub: &Arc<Hub>, scheme: &'static str) -> Self {
        let active = method::LABELS.iter().map(|method| {
            let labels = [
                (label::METHOD, (*method).into()),
                (label::SCHEME, scheme.into()),
            ];
            let make = || InFlight::new(&hub.registry, &REQUESTS_ACTIVE, &labels);
            hub.shared_in_flight(&format!("{scheme} {method}"), make)
        });
        Self {
            active: active.collect(),
            scheme,
            mixed: Gate::default(),
            hub: Arc::clone(hub),
        }
    }

    pub(super) fn active(&self, method: u8) -> &InFlight {
        let last = self.active.len() - 1;
        &self.active[usize::from(method).min(last)]
    }
}
