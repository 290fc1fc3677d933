//! The bounded set of routes, and the series of each.

use std::sync::{Arc, OnceLock};

use metrics::SharedString;

use super::endpoint::Endpoint;
use super::method;
use crate::alert::{AlertKind, Gate, Incident};
use crate::hub::Hub;
use crate::names::{self, OTHER, label};
use crate::outcome::Outcome;
use crate::recorded::{Recorded, Together};
use crate::registry::LabelPair;
use crate::slots::{Slots, Watched};
use crate::stats::{Recent, Side};
use crate::table::{Table, hash_number, hash_text};

/// Requests that no route matched; a raw path never becomes a label.
const UNMATCHED: &str = "unmatched";
/// What an alert of too many routes is about.
const OVERFLOWING: &str = "route";
/// What an alert of a route with too many combinations is about.
const MIXED: &str = "method and status";
/// Combinations of method, status and outcome that one route keeps apart.
const SERIES_PER_ROUTE: usize = 64;
/// Those that are too many are told by outcome and by class of status: more than there are of these.
const OTHERS_PER_ROUTE: usize = 64;

/// Every route of a layer, up to the configured number.
#[derive(Debug)]
pub(super) struct Routes {
    endpoint: Arc<Endpoint>,
    table: Table<Route>,
    unmatched: Arc<Route>,
    other: Arc<Route>,
    overflow: Gate,
}

impl Routes {
    pub(super) fn new(endpoint: Arc<Endpoint>) -> Self {
        Self {
            table: Table::new(endpoint.hub.max_labels),
            unmatched: Arc::new(Route::new(&endpoint, UNMATCHED.into())),
            other: Arc::new(Route::new(&endpoint, OTHER.into())),
            overflow: Gate::default(),
            endpoint,
        }
    }

    pub(super) fn unmatched(&self) -> &Arc<Route> {
        &self.unmatched
    }

    fn all(&self) -> impl Iterator<Item = &Arc<Route>> {
        self.table.iter().chain([&self.unmatched, &self.other])
    }

    /// The route of this pattern, or `other` when there are too many.
    pub(super) fn named(&self, pattern: &str) -> &Arc<Route> {
        // A route of the program's own that is called so would be the same series.
        match pattern {
            OTHER => return &self.other,
            UNMATCHED => return &self.unmatched,
            _ => {}
        }
        let make = || Route::new(&self.endpoint, pattern.to_owned().into());
        self.table
            .find_or_insert(hash_text(pattern), |route| &*route.name == pattern, make)
            .unwrap_or_else(|| {
                self.endpoint.hub.overflowed(OVERFLOWING, &self.overflow);
                &self.other
            })
    }
}

impl Watched for Routes {
    fn look(&self, now: u64) {
        for route in self.all() {
            for elapsed in route.slots.overdue(now, route.threshold_nanos) {
                let incident = Incident {
                    kind: AlertKind::StillRunning,
                    subject: &route.name,
                    duration_nanos: elapsed,
                    threshold_nanos: route.threshold_nanos,
                    outcome: Outcome::Success,
                    trace: None,
                };
                let desk = &self.endpoint.hub.desk;
                desk.raise(&route.running, now, &incident, Vec::new);
            }
        }
    }

    fn gates(&self, visit: &mut dyn FnMut(AlertKind, &str, &Gate)) {
        for route in self.all() {
            visit(AlertKind::SlowRequest, &route.name, &route.slow);
            visit(AlertKind::StillRunning, &route.name, &route.running);
        }
        visit(AlertKind::TooManyLabels, OVERFLOWING, &self.overflow);
        visit(AlertKind::TooManyLabels, MIXED, &self.endpoint.mixed);
    }

    fn each(&self, visit: &mut dyn FnMut(Side, &str, &Recent)) {
        self.all()
            .for_each(|route| visit(Side::Request, &route.name, &route.recent));
    }
}

/// Everything that is kept for one route.
#[derive(Debug)]
pub(super) struct Route {
    pub(super) name: SharedString,
    pub(super) threshold_nanos: u64,
    pub(super) slow: Gate,
    pub(super) slots: Slots,
    pub(super) recent: Recent,
    running: Gate,
    pub(super) endpoint: Arc<Endpoint>,
    heads: Table<(u64, Head)>,
    ends: Table<(Ended, Together)>,
    other_head: Head,
    other_ends: OnceLock<Table<(Ended, Together)>>,
    other_end: Together,
}

/// What is recorded when the head of the response is there.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) first_byte: Recorded,
    pub(super) request_size: Recorded,
}

/// What tells the ends of one route apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ended {
    pub(super) method: u8,
    /// Zero when there was no response.
    pub(super) status: u16,
    pub(super) outcome: Outcome,
}

impl Ended {
    /// The same without the method, the exact status and the kind of error.
    const fn roughly(self) -> Self {
        Self {
            method: u8::MAX,
            status: self.status / 100 * 100,
            outcome: match self.outcome {
                Outcome::Error(_) => Outcome::Error(OTHER),
                outcome => outcome,
            },
        }
    }
}

impl Route {
    fn new(endpoint: &Arc<Endpoint>, name: SharedString) -> Self {
        let hub = &endpoint.hub;
        let other = [
            (label::ROUTE, name.clone()),
            (label::METHOD, OTHER.into()),
            (label::SCHEME, endpoint.scheme.into()),
        ];
        Self {
            threshold_nanos: hub.limits.request_nanos(&name),
            slow: Gate::default(),
            slots: Slots::default(),
            recent: Recent::default(),
            running: Gate::default(),
            heads: Table::new(SERIES_PER_ROUTE),
            ends: Table::new(SERIES_PER_ROUTE),
            other_head: Head::new(hub, &other),
            other_ends: OnceLock::new(),
            other_end: ends(hub, &other, true),
            endpoint: Arc::clone(endpoint),
            name,
        }
    }

    pub(super) fn head(&self, method: u8, status: u16) -> &Head {
        let hub = &self.endpoint.hub;
        let key = u64::from(method) << 16 | u64::from(status);
        let make = || (key, Head::new(hub, &self.labels(method, status)));
        self.heads
            .find_or_insert(hash_number(key), |entry| entry.0 == key, make)
            .map_or(&self.other_head, |entry| &entry.1)
    }

    /// The time, and the size if there was a response: what is recorded when it has ended.
    pub(super) fn end(&self, ended: Ended) -> &Together {
        let hub = &self.endpoint.hub;
        let make = || {
            let mut labels = self.labels(ended.method, ended.status);
            labels.push((label::HTTP_OUTCOME, ended.outcome.label().into()));
            labels.extend(error_label(ended).map(|kind| (label::ERROR, kind)));
            (ended, ends(hub, &labels, ended.status > 0))
        };
        self.ends
            .find_or_insert(hash_ended(ended), |entry| entry.0 == ended, make)
            .map_or_else(|| self.one_too_many(ended), |entry| &entry.1)
    }

    /// A combination beyond those that are kept apart still tells how it ended: an error never hides among successes.
    #[cold]
    fn one_too_many(&self, ended: Ended) -> &Together {
        let hub = &self.endpoint.hub;
        let facts = || {
            let kept = SERIES_PER_ROUTE.to_string();
            vec![("route", self.name.to_string()), ("kept", kept)]
        };
        hub.overflowed_with(MIXED, &self.endpoint.mixed, facts);
        let ended = ended.roughly();
        let make = || {
            (
                ended,
                ends(hub, &self.rough_labels(ended), ended.status > 0),
            )
        };
        self.other_ends
            .get_or_init(|| Table::new(OTHERS_PER_ROUTE))
            .find_or_insert(hash_ended(ended), |entry| entry.0 == ended, make)
            .map_or(&self.other_end, |entry| &entry.1)
    }

    fn rough_labels(&self, ended: Ended) -> Vec<LabelPair> {
        let mut labels = vec![
            (label::ROUTE, self.name.clone()),
            (label::METHOD, OTHER.into()),
            (label::SCHEME, self.endpoint.scheme.into()),
            (label::HTTP_OUTCOME, ended.outcome.label().into()),
        ];
        if ended.status > 0 {
            labels.push((label::STATUS, format!("{}xx", ended.status / 100).into()));
        }
        let kind = ended.outcome.error_type();
        labels.extend(kind.map(|kind| (label::ERROR, kind.into())));
        labels
    }

    fn labels(&self, method: u8, status: u16) -> Vec<LabelPair> {
        let mut labels = vec![
            (label::ROUTE, self.name.clone()),
            (label::METHOD, method::label(method).into()),
            (label::SCHEME, self.endpoint.scheme.into()),
        ];
        if status > 0 {
            labels.push((label::STATUS, status.to_string().into()));
        }
        labels
    }
}

/// OpenTelemetry's rule: a server error is told by its status, everything else by what went wrong.
fn error_label(ended: Ended) -> Option<SharedString> {
    match ended.outcome {
        Outcome::Error(SERVER_ERROR) if ended.status > 0 => Some(ended.status.to_string().into()),
        outcome => outcome.error_type().map(Into::into),
    }
}

/// The error type of a complete response with a status of 500 and above.
pub(super) const SERVER_ERROR: &str = "server_error";

fn hash_ended(ended: Ended) -> u64 {
    let outcome = match ended.outcome {
        Outcome::Success => 1,
        Outcome::Cancelled => 2,
        Outcome::Panicked => 3,
        Outcome::Error(kind) => hash_text(kind),
    };
    hash_number(outcome ^ (u64::from(ended.method) << 16 | u64::from(ended.status)))
}

impl Head {
    fn new(hub: &Hub, labels: &[LabelPair]) -> Self {
        Self {
            first_byte: Recorded::new(&hub.registry, &names::REQUEST_FIRST_BYTE, labels),
            request_size: Recorded::new(&hub.registry, &names::REQUEST_SIZE, labels),
        }
    }
}

fn ends(hub: &Hub, labels: &[LabelPair], with_size: bool) -> Together {
    let both = [&names::REQUEST_DURATION, &names::RESPONSE_SIZE];
    let specs = if with_size { &both[..] } else { &both[..1] };
    Together::new(&hub.registry, specs, labels)
}
