//! Facts about the request under way, for alerts only.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::mem::{self, ManuallyDrop};
use std::sync::{Arc, Mutex, PoisonError};

use crate::alert::{Fact, TraceId};
use crate::repeats::{Repeatable, Repeated, Repeats, Rule};

thread_local! {
    /// The request whose future is being polled on this thread. What another thread-local holds may be dropped while the
    /// thread ends: nothing here may panic for it.
    static CURRENT: Current = const { Current::nothing() };
    /// Monitors that time the request further out than the innermost; almost always none. It keeps its room, so nothing
    /// is allocated twice.
    static OUTER_MONITORS: RefCell<Vec<usize>> = const { RefCell::new(Vec::new()) };
}

/// One cell for each part: a part is moved in a register, and all of them together through memory.
///
/// Nothing of it is dropped with its thread, so that reaching it is an address and no question whether it is still there:
/// whoever enters a request leaves it again on the same stack, and then nothing is in it.
struct Current {
    is_serving: Cell<bool>,
    /// The monitor that times the request; zero for none.
    monitor: Cell<usize>,
    known: ManuallyDrop<Cell<Option<Arc<Known>>>>,
    trace: Cell<Words>,
}

/// A trace in two words, zeros for none: a number of 16 bytes would make everything that holds it longer.
#[derive(Clone, Copy, Default)]
struct Words([u64; 2]);

impl Words {
    #[expect(clippy::cast_possible_truncation, reason = "the halves of the number")]
    const fn of(trace: Option<TraceId>) -> Self {
        match trace {
            Some(trace) => {
                let number = trace.number();
                Self([(number >> 64) as u64, number as u64])
            }
            None => Self([0, 0]),
        }
    }

    const fn trace(self) -> Option<TraceId> {
        let [high, low] = self.0;
        TraceId::new((high as u128) << 64 | low as u128)
    }
}

impl Current {
    const fn nothing() -> Self {
        Self {
            is_serving: Cell::new(false),
            monitor: Cell::new(0),
            known: ManuallyDrop::new(Cell::new(None)),
            trace: Cell::new(Words([0, 0])),
        }
    }

    /// Makes this monitor the one that times the request, and returns the one that did until now.
    #[inline]
    fn replace_monitor(&self, monitor: usize) -> usize {
        let outer = self.monitor.replace(monitor);
        if outer != 0 && outer != monitor {
            remember(outer);
        }
        outer
    }

    /// Undoes that.
    #[inline]
    fn restore_monitor(&self, outer: usize) {
        let monitor = self.monitor.replace(outer);
        if outer != 0 && outer != monitor {
            forget_last();
        }
    }

    #[inline]
    fn is_timed_by(&self, monitor: usize) -> bool {
        let innermost = self.monitor.get();
        innermost == monitor || innermost != 0 && is_remembered(monitor)
    }

    /// Shows what is known of the request.
    fn look<T>(&self, at: impl FnOnce(Option<&Arc<Known>>) -> T) -> T {
        let known = self.known.take();
        let seen = at(known.as_ref());
        self.known.set(known);
        seen
    }
}

#[cold]
fn remember(outer: usize) {
    let _ = OUTER_MONITORS.try_with(|monitors| monitors.borrow_mut().push(outer));
}

#[cold]
fn forget_last() {
    let _ = OUTER_MONITORS.try_with(|monitors| monitors.borrow_mut().pop());
}

#[cold]
fn is_remembered(monitor: usize) -> bool {
    OUTER_MONITORS
        .try_with(|monitors| monitors.borrow().contains(&monitor))
        .unwrap_or(false)
}

/// At most so many facts are kept for one request.
const MAX_FACTS: usize = 16;
/// A fact's value is cut to so many bytes.
const MAX_FACT_BYTES: usize = 256;

/// What is known of the request under way: who sent it, which tenant it is for.
///
/// Facts reach alerts only. No label can be made of them, so a user id cannot become a time series.
/// Inside a service wrapped by the HTTP layer, [`RequestContext::current`] finds the request from anywhere in
/// the same task, also from a middleware further in. It does not cross `tokio::spawn` by itself.
///
/// Nothing is allocated for a request until its first fact is set.
///
/// ```
/// use bilten_monitor::RequestContext;
///
/// // In an authentication middleware; outside a monitored request this does nothing.
/// if let Some(context) = RequestContext::current() {
///     context.set("userId", "42");
/// }
/// ```
#[derive(Clone)]
pub struct RequestContext(Arc<Known>);

/// What was set and what was run.
#[derive(Default)]
struct Known {
    facts: Mutex<Vec<Fact>>,
    repeats: Mutex<Repeats>,
    trace: Option<TraceId>,
    /// The request in which this is a unit of work of its own.
    outer: Option<Arc<Self>>,
}

impl RequestContext {
    /// The request that this task is serving, or `None` outside the HTTP layer.
    #[must_use]
    pub fn current() -> Option<Self> {
        let current = CURRENT.try_with(|current| {
            if !current.is_serving.get() {
                return None;
            }
            let make = || {
                Arc::new(Known {
                    trace: current.trace.get().trace(),
                    ..Known::default()
                })
            };
            let known = current.known.take().unwrap_or_else(make);
            current.known.set(Some(Arc::clone(&known)));
            Some(Self(known))
        });
        current.ok().flatten()
    }

    /// The trace that the request's `traceparent` header names.
    #[must_use]
    pub fn trace_id(&self) -> Option<TraceId> {
        self.0.trace
    }

    /// Sets a fact; a second value of the same name replaces the first.
    ///
    /// At most 16 facts are kept, and 256 bytes of each value; what is over is left out.
    pub fn set(&self, name: &'static str, value: impl Into<String>) {
        let value = shortened(value.into());
        let mut facts = self.0.facts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(fact) = facts.iter_mut().find(|fact| fact.0 == name) {
            fact.1 = value;
        } else if facts.len() < MAX_FACTS {
            facts.push((name, value));
        }
    }
}

impl fmt::Debug for RequestContext {
    /// Names only: values are the users' own.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let facts = self.0.facts.lock().unwrap_or_else(PoisonError::into_inner);
        f.debug_set()
            .entries(facts.iter().map(|fact| fact.0))
            .finish()
    }
}

/// The place of one request's facts, empty until something is set.
#[derive(Clone, Default)]
pub(crate) struct Frame {
    known: Option<Arc<Known>>,
    trace: Words,
}

impl Frame {
    /// A place that shares somebody else's context.
    pub(crate) fn of(context: RequestContext) -> Self {
        Self {
            trace: Words::of(context.0.trace),
            known: Some(context.0),
        }
    }

    /// A place for a request of this trace.
    #[cfg_attr(
        not(feature = "http"),
        expect(dead_code, reason = "only a request brings a trace along")
    )]
    pub(crate) const fn traced(trace: Option<TraceId>) -> Self {
        Self {
            known: None,
            trace: Words::of(trace),
        }
    }

    pub(crate) const fn trace(&self) -> Option<TraceId> {
        self.trace.trace()
    }

    /// Makes this the current request until the guard is dropped; also when a poll panics.
    #[inline]
    pub(crate) fn enter(&mut self) -> Entered<'_> {
        let monitor = CURRENT.try_with(|current| current.monitor.get());
        self.enter_of(monitor.unwrap_or(0))
    }

    /// The same for a request that this monitor times.
    #[inline]
    pub(crate) fn enter_of(&mut self, monitor: usize) -> Entered<'_> {
        let outer = CURRENT.try_with(|current| Outer {
            was_serving: current.is_serving.replace(true),
            monitor: current.replace_monitor(monitor),
            known: current.known.replace(self.known.take()),
            trace: current.trace.replace(self.trace),
        });
        Entered {
            outer: outer.ok(),
            frame: self,
        }
    }

    /// Takes over whose request this is a part of, once that is known; what it repeats stays its own.
    pub(crate) fn take_over(&mut self) {
        if self.known.is_some() {
            return;
        }
        let _ = CURRENT.try_with(|current| {
            self.trace = current.trace.get();
            if let Some(outer) = current.look(|known| known.cloned()) {
                self.known = Some(Arc::new(Known {
                    trace: self.trace.trace(),
                    outer: Some(outer),
                    ..Known::default()
                }));
            }
        });
    }

    /// Does this as part of the request: what is dropped in it, above all, still knows whose it was.
    pub(crate) fn within(&mut self, work: impl FnOnce()) {
        let entered = self.enter();
        work();
        entered.leave();
    }

    /// What was set so far.
    pub(crate) fn facts(&self) -> Vec<Fact> {
        facts_of(self.known.as_ref())
    }

    /// The queries that were repeated more than the rule allows.
    pub(crate) fn repeated(&self, rule: Rule) -> Vec<Repeated> {
        self.known.as_ref().map_or_else(Vec::new, |known| {
            known
                .repeats
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .over(rule)
        })
    }
}

impl fmt::Debug for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Frame").finish_non_exhaustive()
    }
}

/// Puts the outer request back, and the facts into their frame.
pub(crate) struct Entered<'a> {
    frame: &'a mut Frame,
    /// None where there is no thread-local any more.
    outer: Option<Outer>,
}

/// What was current before.
struct Outer {
    was_serving: bool,
    monitor: usize,
    known: Option<Arc<Known>>,
    trace: Words,
}

impl Entered<'_> {
    /// What dropping it does as well; where nothing unwinds this is a few moves and no call.
    #[inline]
    pub(crate) fn leave(mut self) {
        self.put_back();
        mem::forget(self);
    }

    #[inline]
    fn put_back(&mut self) {
        let Some(outer) = self.outer.take() else {
            return;
        };
        let _ = CURRENT.try_with(|current| {
            let known = current.known.replace(outer.known);
            // The frame's own was taken when it was entered: there is nothing to drop.
            mem::forget(mem::replace(&mut self.frame.known, known));
            current.trace.set(outer.trace);
            current.is_serving.set(outer.was_serving);
            current.restore_monitor(outer.monitor);
        });
    }
}

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        self.put_back();
    }
}

/// Whether this monitor times the request that is being served on this thread.
#[cfg_attr(
    not(feature = "http"),
    expect(dead_code, reason = "only a request can pass one monitor twice")
)]
#[inline]
pub(crate) fn is_timed_by(monitor: usize) -> bool {
    CURRENT
        .try_with(|current| current.is_timed_by(monitor))
        .unwrap_or(false)
}

/// The facts of the current request, if there is one and it has any.
pub(crate) fn current_facts() -> Vec<Fact> {
    CURRENT
        .try_with(|current| current.look(facts_of))
        .unwrap_or_default()
}

fn facts_of(known: Option<&Arc<Known>>) -> Vec<Fact> {
    let Some(known) = known else {
        return Vec::new();
    };
    let own = known.facts.lock().unwrap_or_else(PoisonError::into_inner);
    let mut facts = own.clone();
    drop(own);
    let outer = facts_of(known.outer.as_ref());
    let is_new = |fact: &Fact| facts.iter().all(|own| own.0 != fact.0);
    let further: Vec<_> = outer.into_iter().filter(is_new).collect();
    facts.extend(further);
    facts
}

/// The trace of the current request, if there is one and it has any.
pub(crate) fn current_trace() -> Option<TraceId> {
    CURRENT
        .try_with(|current| current.trace.get().trace())
        .ok()
        .flatten()
}

/// Notes a query of the current request; without one nothing is noted.
pub(crate) fn note(query: &Arc<Repeatable>, started: u64, ended: u64) {
    if let Some(context) = RequestContext::current() {
        context
            .0
            .repeats
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .note(query, started, ended);
    }
}

fn shortened(mut value: String) -> String {
    if value.len() > MAX_FACT_BYTES {
        let cut = (0..=MAX_FACT_BYTES)
            .rev()
            .find(|&at| value.is_char_boundary(at))
            .unwrap_or(0);
        value.truncate(cut);
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_no_request_outside_a_frame() {
        assert!(RequestContext::current().is_none());
        assert!(current_facts().is_empty());
    }

    #[test]
    fn facts_stay_with_their_own_request() {
        let (mut outer, mut inner) = (Frame::default(), Frame::default());
        {
            let _outer = outer.enter();
            RequestContext::current()
                .expect("a request")
                .set("userId", "1");
            {
                let _inner = inner.enter();
                RequestContext::current()
                    .expect("a request")
                    .set("userId", "2");
            }
            assert_eq!(current_facts(), [("userId", "1".to_owned())]);
        }
        assert_eq!(outer.facts(), [("userId", "1".to_owned())]);
        assert_eq!(inner.facts(), [("userId", "2".to_owned())]);
        assert!(RequestContext::current().is_none());
    }

    #[test]
    fn facts_are_bounded_in_number_and_size() {
        const NAMES: [&str; 20] = [
            "a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l", "m", "n", "o", "p", "q",
            "r", "s", "t",
        ];
        let mut frame = Frame::default();
        {
            let _entered = frame.enter();
            let context = RequestContext::current().expect("a request");
            NAMES
                .iter()
                .for_each(|name| context.set(name, "é".repeat(1 << 20)));
            context.set("a", "replaced");
            assert!(!format!("{context:?}").contains("replaced"));
        }
        let facts = frame.facts();
        assert_eq!(facts.len(), MAX_FACTS);
        assert_eq!(facts[0], ("a", "replaced".to_owned()));
        assert_eq!(facts[1].1.len(), MAX_FACT_BYTES);
    }
}
