//! Tells once when the second level stops working and once when it works again, whoever notices and however often.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Cause, RemoteError};
use crate::clock::{Clock, Nanos};

/// How long a server that is there must refuse nothing before it counts as well again.
const QUIET: Nanos = 60_000_000_000;

/// Who found out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Noticed {
    /// The task that follows the log.
    Following,
    /// The same task, when an invalidation that waits is refused.
    Delivering,
    /// The circuit breaker of the calls.
    Calling,
    /// A call that the server refused, although it is there.
    Refusal,
}

/// What is wrong with the second level, and what of it was said.
#[derive(Debug)]
pub(crate) struct Outage {
    cache: Arc<str>,
    /// Where the second level is, without credentials.
    address: String,
    clock: Clock,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    following: bool,
    delivering: bool,
    calling: bool,
    refused_until: Option<Nanos>,
    /// Why it does not work, in words without credentials.
    why: Option<(Cause, Arc<str>)>,
    /// One bit for each cause that was told since all was well.
    told: u16,
    /// The cause that was told last, and until when it is no news again. A server that is full now and then would tell it each time.
    stale: Option<(Cause, Nanos)>,
}

impl Outage {
    pub(crate) fn new(cache: Arc<str>, address: String, clock: Clock) -> Self {
        Self {
            cache,
            address,
            clock,
            state: Mutex::default(),
        }
    }

    /// Something failed. Said once per outage, and again for another cause that does not pass by itself.
    pub(crate) fn failed(&self, noticed: Noticed, error: &RemoteError) {
        let news = {
            let mut state = self.state();
            state.explain(error);
            state.failed(noticed, error.cause(), self.clock.now())
        };
        if news {
            tracing::warn!(
                cache = %self.cache,
                address = %self.address,
                cause = %error,
                remedy = error.cause().remedy(),
                "second cache level does not work: serving from memory and loaders, trying again in the background"
            );
        }
    }

    /// Something works. Said once, when nothing else is wrong.
    pub(crate) fn works(&self, noticed: Noticed) {
        let news = self.state().works(noticed, self.clock.now());
        if news {
            tracing::info!(cache = %self.cache, address = %self.address, "second cache level works again");
        }
    }

    /// The log is there and not the one that was followed so far.
    pub(crate) fn lost(&self, why: &dyn fmt::Display) {
        let (cache, address) = (&self.cache, &self.address);
        // After an outage this is no news: a server that comes back empty, for example.
        if self.is_down() {
            tracing::debug!(%cache, %address, %why, "memory of this process emptied");
        } else {
            tracing::warn!(
                %cache, %address, %why,
                "memory of this process emptied, because invalidations may have been missed; it fills again by itself"
            );
        }
    }

    /// Whether the log cannot be followed now.
    pub(crate) fn is_down(&self) -> bool {
        self.state().following
    }

    /// Why the second level does not work, in words without credentials; `None` while it works.
    pub(crate) fn why(&self) -> Option<Arc<str>> {
        self.state().why.as_ref().map(|(_, why)| Arc::clone(why))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Keeps the cause that somebody has to do something about: without a connection, calls only say that there is none.
    fn explain(&mut self, error: &RemoteError) {
        let new = error.cause();
        let is_better = self
            .why
            .as_ref()
            .is_none_or(|(old, _)| *old != new && (new.needs_a_person() || !old.needs_a_person()));
        if is_better {
            self.why = Some((new, error.to_string().into()));
        }
    }

    fn failed(&mut self, noticed: Noticed, cause: Cause, now: Nanos) -> bool {
        match noticed {
            Noticed::Following => self.following = true,
            Noticed::Delivering => self.delivering = true,
            Noticed::Calling => self.calling = true,
            Noticed::Refusal => self.refused_until = Some(now.saturating_add(QUIET)),
        }
        let bit = 1 << cause as u16;
        // Where the log cannot be followed any more, `works again` must not be the last that was said.
        let is_there = matches!(noticed, Noticed::Refusal | Noticed::Delivering);
        let stale = self
            .stale
            .is_some_and(|(told, until)| told == cause && now < until && is_there);
        let news = self.told == 0 || cause.needs_a_person() && self.told & bit == 0;
        if !news || stale {
            return false;
        }
        self.told |= bit;
        self.stale = cause
            .needs_a_person()
            .then(|| (cause, now.saturating_add(QUIET)));
        true
    }

    fn works(&mut self, noticed: Noticed, now: Nanos) -> bool {
        match noticed {
            Noticed::Calling => self.calling = false,
            // It only reads: that says nothing about a server that refuses writes.
            Noticed::Following => self.following = false,
            // What could not be done before was done: a server that was full, for example, is not so any more.
            Noticed::Delivering => (self.delivering, self.refused_until) = (false, None),
            Noticed::Refusal => self.refused_until = None,
        }
        let refused = self.refused_until.is_some_and(|until| now < until);
        let fails = self.following || self.delivering || self.calling || refused;
        if !fails {
            self.why = None;
        }
        if self.told == 0 || fails {
            return false;
        }
        self.told = 0;
        self.refused_until = None;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::Noticed::{Calling, Delivering, Following, Refusal};
    use super::*;

    #[test]
    fn an_outage_is_told_once_and_its_end_once() {
        let mut state = State::default();
        assert!(!state.works(Following, 0), "it was never down");
        assert!(state.failed(Following, Cause::Gone, 1));
        assert!(!state.failed(Following, Cause::Refused, 2));
        assert!(!state.failed(Calling, Cause::Gone, 3));
        assert!(!state.works(Following, 4), "calls still fail");
        assert!(state.works(Calling, 5));
        assert!(!state.works(Following, 6));
        assert!(state.failed(Following, Cause::Gone, 7));
    }

    #[test]
    fn a_cause_that_needs_a_person_is_told_once_beside_another() {
        let mut state = State::default();
        assert!(state.failed(Following, Cause::Refused, 0));
        assert!(state.failed(Following, Cause::Password, 1));
        assert!(!state.failed(Following, Cause::Password, 2));
        assert!(!state.failed(Following, Cause::Gone, 3));
        assert!(state.works(Following, 4));
    }

    #[test]
    fn the_cause_that_needs_a_person_is_the_reason_until_all_is_well() {
        let outage = Outage::new("shop".into(), "redis://h".into(), Clock::system());
        assert_eq!(outage.why(), None);
        outage.failed(Calling, &RemoteError::ConnectionRefused);
        assert_eq!(outage.why().as_deref(), Some("the connection is refused"));
        outage.failed(Following, &RemoteError::Authentication("WRONGPASS".into()));
        outage.failed(Calling, &RemoteError::BreakerOpen);
        let why = outage.why().unwrap();
        assert!(why.ends_with("user name and password (WRONGPASS)"), "{why}");
        outage.works(Following);
        assert!(outage.why().is_some(), "calls still fail");
        outage.works(Calling);
        assert_eq!(outage.why(), None);
    }

    #[test]
    fn refusals_end_when_none_came_for_a_while_or_when_one_is_made_good() {
        let mut state = State::default();
        assert!(state.failed(Refusal, Cause::Full, 0));
        assert!(!state.failed(Refusal, Cause::Full, 10));
        assert!(!state.works(Following, QUIET));
        assert!(state.works(Following, QUIET + 10));
        let mut state = State::default();
        assert!(state.failed(Refusal, Cause::Full, 0));
        assert!(!state.failed(Delivering, Cause::Full, 1));
        assert!(!state.works(Following, 2));
        assert!(state.works(Delivering, 3));
    }

    // fred makes its connection anew when a server says that it is read-only, so the log is not followed for a moment.
    #[test]
    fn a_server_that_refuses_writes_is_not_well_again_because_its_log_can_be_read() {
        let mut state = State::default();
        assert!(state.failed(Refusal, Cause::ReadOnly, 0));
        assert!(!state.failed(Following, Cause::Gone, 1));
        assert!(!state.works(Following, 2));
        assert!(state.works(Delivering, 3));
    }

    #[test]
    fn a_server_that_is_full_now_and_then_is_told_once_a_minute() {
        let mut state = State::default();
        assert!(state.failed(Refusal, Cause::Full, 0));
        assert!(state.works(Delivering, 1));
        assert!(!state.failed(Refusal, Cause::Full, 2));
        assert!(!state.works(Delivering, 3));
        assert!(state.failed(Refusal, Cause::Full, QUIET));
        assert!(!state.failed(Refusal, Cause::Full, QUIET + 1));
    }

    #[test]
    fn a_second_outage_within_a_minute_is_told_where_nothing_works_any_more() {
        for noticed in [Following, Calling] {
            let mut state = State::default();
            assert!(state.failed(noticed, Cause::Rights, 0));
            assert!(state.works(noticed, 1));
            assert!(state.failed(noticed, Cause::Rights, 2));
            assert!(!state.failed(Delivering, Cause::Rights, 3), "the same one");
            assert!(state.works(Delivering, 4) || state.works(noticed, 4));
        }
    }
}
