//! One request and its response: the guard that makes exactly one observation of it.

use std::mem;
use std::sync::Arc;

use http::header::CONTENT_LENGTH;
use http::{HeaderMap, HeaderName, Method, Request, StatusCode};

use super::method;
use super::route::{Ended, Head, Route, SERVER_ERROR};
use super::shared::Shared;
use crate::alert::{AlertKind, Incident, TraceId};
use crate::context::{Entered, Frame};
use crate::nanos::seconds;
use crate::outcome::Outcome;
use crate::scope::report;
use crate::slots::Place;

/// No request is so large.
const UNDECLARED: u64 = u64::MAX;

/// A request under way. Dropping it counts the request as cancelled.
///
/// It moves from the service to the future to the body, so each byte of it costs.
#[derive(Debug)]
pub(super) struct Exchange {
    route: Arc<Route>,
    started: u64,
    /// What the request declares of itself until the head is there, and what was sent from then on.
    bytes: u64,
    frame: Frame,
    status: u16,
    method: u8,
    place: Place,
    open: bool,
}

impl Exchange {
    #[inline]
    pub(super) fn begin<B>(shared: &Shared, request: &Request<B>) -> Self {
        let route = Arc::clone(shared.route(request.uri(), request.extensions()));
        let method = method::index(request.method());
        let started = route.endpoint.hub.time.now();
        route.endpoint.active(method).enter();
        route.recent.begin();
        let is_watched = route.threshold_nanos < u64::MAX;
        Self {
            place: if is_watched {
                route.slots.claim(started)
            } else {
                None
            },
            route,
            method,
            started,
            status: 0,
            open: true,
            frame: Frame::traced(trace_of(request.headers())),
            bytes: declared_length(request.headers())
                .map_or(UNDECLARED, |length| length.min(UNDECLARED - 1)),
        }
    }

    /// Runs what is watched, with this as the task's current request. Should it unwind, that is how the request ended.
    #[inline]
    pub(super) fn watch<T>(exchange: &mut Option<Self>, run: impl FnOnce() -> T) -> T {
        let unwinding = Unwinding(exchange);
        let output = Self::within(unwinding.0, run);
        mem::forget(unwinding);
        output
    }

    /// Drops what is left of the request as a part of it: its queries are cut off, and their alerts tell whose they were.
    #[inline]
    pub(super) fn cut_off(exchange: &mut Option<Self>, drop_inner: impl FnOnce()) {
        Self::within(exchange, drop_inner);
    }

    #[inline]
    fn within<T>(exchange: &mut Option<Self>, run: impl FnOnce() -> T) -> T {
        let entered = Self::enter(exchange);
        let output = run();
        Self::leave(entered);
        output
    }

    /// Makes this the task's current request until what is returned is left.
    #[inline]
    pub(super) fn enter(exchange: &mut Option<Self>) -> Option<Entered<'_>> {
        exchange.as_mut().map(|open| {
            let monitor = open.route.endpoint.hub.mark();
            open.frame.enter_of(monitor)
        })
    }

    #[inline]
    pub(super) fn leave(entered: Option<Entered<'_>>) {
        if let Some(entered) = entered {
            entered.leave();
        }
    }

    /// The head of the response is there, at the time that is returned.
    pub(super) fn head(&mut self, status: StatusCode) -> u64 {
        let hub = &*self.route.endpoint.hub;
        let now = hub.time.now();
        self.status = status.as_u16();
        let head = self.route.head(self.method, self.status);
        head.first_byte
            .record(hub, now, seconds(now.saturating_sub(self.started)));
        let declared = mem::take(&mut self.bytes);
        // What is refused for its size is not taken.
        if declared != UNDECLARED && status != StatusCode::PAYLOAD_TOO_LARGE {
            self.declared(declared, head, now);
        }
        now
    }

    /// There will be no head. What the request declares is a size all the same: an upload that broke off, above all.
    fn headless(&mut self, now: u64) {
        let declared = mem::take(&mut self.bytes);
        if declared != UNDECLARED {
            self.declared(declared, self.route.head(self.method, 0), now);
        }
    }

    /// Takes what the request declares for its size, if that much can have come by now: anybody may declare anything, so
    /// what cannot is left out without a word. So is the size of an upload that is answered before it came.
    fn declared(&self, declared: u64, head: &Head, now: u64) {
        let hub = &*self.route.endpoint.hub;
        if can_have_come(declared, now.saturating_sub(self.started)) {
            head.request_size.record(hub, now, bytes(declared));
        }
    }

    pub(super) const fn sent(&mut self, bytes: u64) {
        self.bytes = self.bytes.saturating_add(bytes);
    }

    /// Whether a response of this status to this request has no body that anybody would read.
    pub(super) fn is_bodiless(&self) -> bool {
        let connected =
            self.method == method::index(&Method::CONNECT) && (200..300).contains(&self.status);
        self.method == method::index(&Method::HEAD)
            || matches!(self.status, 100..200 | 204 | 304)
            || connected
    }

    /// The response is whole.
    pub(super) fn complete(&mut self) {
        let now = self.route.endpoint.hub.time.now();
        self.complete_at(now);
    }

    /// The response has been whole since this reading of the clock.
    pub(super) fn complete_at(&mut self, now: u64) {
        let outcome = if self.status >= 500 {
            Outcome::Error(SERVER_ERROR)
        } else {
            Outcome::Success
        };
        self.close(now, outcome);
    }

    /// The response wants no trace: nothing is recorded, and the numbers in flight go back.
    pub(super) fn forget(&mut self) {
        self.open = false;
        self.route.slots.release(self.place);
        self.route.recent.forget();
        self.route.endpoint.active(self.method).leave();
    }

    pub(super) fn end(&mut self, outcome: Outcome) {
        self.close_now(outcome);
    }

    /// It has ended like this at this reading of the clock.
    pub(super) fn end_at(&mut self, now: u64, outcome: Outcome) {
        self.close(now, outcome);
    }

    fn close_now(&mut self, outcome: Outcome) {
        let now = self.route.endpoint.hub.time.now();
        self.close(now, outcome);
    }

    fn close(&mut self, now: u64, outcome: Outcome) {
        self.open = false;
        if self.status == 0 {
            self.headless(now);
        }
        let hub = &*self.route.endpoint.hub;
        let took = now.saturating_sub(self.started);
        self.route.slots.release(self.place);
        self.route.recent.end(now, took, outcome);
        self.route.endpoint.active(self.method).leave();
        report(hub, &self.frame, &self.route.name);
        if let Some(budget) = &hub.budget {
            budget.ended(outcome);
        }
        let ended = Ended {
            method: self.method,
            status: self.status,
            outcome,
        };
        let values = [seconds(took), bytes(self.bytes)];
        self.route.end(ended).record(hub, now, &values);
        if took > self.route.threshold_nanos {
            self.alert(now, took, outcome);
        }
    }

    #[cold]
    fn alert(&self, now: u64, took: u64, outcome: Outcome) {
        let incident = Incident {
            kind: AlertKind::SlowRequest,
            subject: &self.route.name,
            duration_nanos: took,
            threshold_nanos: self.route.threshold_nanos,
            outcome,
            trace: self.frame.trace(),
        };
        let facts = || {
            let mut facts = vec![("method", method::label(self.method).to_owned())];
            if self.status > 0 {
                facts.push(("status", self.status.to_string()));
            }
            facts.extend(self.frame.facts());
            facts
        };
        let desk = &self.route.endpoint.hub.desk;
        desk.raise(&self.route.slow, now, &incident, facts);
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        if self.open {
            self.close_now(Outcome::Cancelled);
        }
    }
}

/// Ends an exchange as panicked when it is dropped, which happens only when what it watches unwinds.
pub(super) struct Unwinding<'a>(pub(super) &'a mut Option<Exchange>);

impl Drop for Unwinding<'_> {
    fn drop(&mut self) {
        if let Some(mut exchange) = self.0.take() {
            exchange.end(Outcome::Panicked);
        }
    }
}

/// The length that the headers declare, if they do and it is a number.
pub(super) fn declared_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// What may lie in the buffers of a connection when the request begins.
const AT_ONCE: u64 = 16 << 20;
/// What a network brings at most, in bytes each nanosecond: 128 gigabits a second.
const BYTES_PER_NANO: u64 = 16;

/// Whether a connection can have brought so many bytes in this time.
const fn can_have_come(bytes: u64, nanos: u64) -> bool {
    bytes <= nanos.saturating_mul(BYTES_PER_NANO).saturating_add(AT_ONCE)
}

fn trace_of(headers: &HeaderMap) -> Option<TraceId> {
    const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
    if headers.is_empty() {
        return None;
    }
    TraceId::from_traceparent(headers.get(TRACEPARENT)?.to_str().ok()?)
}

#[expect(clippy::cast_precision_loss, reason = "exact up to 8 PiB")]
fn bytes(count: u64) -> f64 {
    count as f64
}
