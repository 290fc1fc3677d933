//! Whether a node is in rotation, and when it may come back.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use crate::status::Rotation;

const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// From here on the pause is the longest.
const MOST_STRIKES: u32 = 6;

/// The state of one node. Reading it costs one atomic load.
#[derive(Debug)]
pub(crate) struct Health {
    out: AtomicBool,
    /// What the operator ordered.
    rotation: AtomicU8,
    strikes: AtomicU32,
    ejections: AtomicU64,
    detail: Mutex<Detail>,
}

#[derive(Debug, Default)]
struct Detail {
    reason: Option<String>,
    until: Option<Instant>,
    since: Option<Instant>,
    readmitted: Option<Instant>,
    lasts: bool,
}

impl Health {
    pub(crate) fn new() -> Self {
        Self {
            out: AtomicBool::new(false),
            rotation: AtomicU8::new(Rotation::Auto as u8),
            strikes: AtomicU32::new(0),
            ejections: AtomicU64::new(0),
            detail: Mutex::default(),
        }
    }

    pub(crate) fn is_up(&self) -> bool {
        !self.out.load(Ordering::Relaxed)
    }

    /// What the operator ordered.
    pub(crate) fn rotation(&self) -> Rotation {
        let known = [Rotation::Auto, Rotation::In, Rotation::Out];
        known[usize::from(self.rotation.load(Ordering::Relaxed))]
    }

    /// The order holds until another one, whatever probes and statements find.
    pub(crate) fn order(&self, rotation: Rotation) {
        self.rotation.store(rotation as u8, Ordering::Relaxed);
    }

    /// Whether reads may go there: by order, or else by what is known.
    pub(crate) fn is_in_rotation(&self) -> bool {
        match self.rotation() {
            Rotation::Auto => self.is_up(),
            Rotation::In => true,
            Rotation::Out => false,
        }
    }

    /// Keeps a new node out until its first good probe, which need not wait.
    pub(crate) fn hold(&self, reason: &str) {
        self.detail().reason = Some(reason.to_owned());
        self.out.store(true, Ordering::Relaxed);
    }

    /// Takes the node out of rotation; `true` when it was in it.
    ///
    /// What `lasts` is not mended by waiting a second: the next trial is that of a node long gone.
    pub(crate) fn eject(&self, now: Instant, reason: String, lasts: bool) -> bool {
        let mut detail = self.detail();
        let was_up = self.is_up();
        if was_up
            && detail
                .readmitted
                .is_some_and(|at| now.duration_since(at) > LONGEST_PAUSE)
        {
            self.strikes.store(0, Ordering::Relaxed);
        }
        // Many calls fail at once on the same broken node: that is one strike, not many.
        if was_up || detail.until.is_none_or(|until| now >= until) {
            let strikes = match self.strikes.fetch_add(1, Ordering::Relaxed) {
                _ if lasts => MOST_STRIKES,
                strikes => strikes,
            };
            detail.until = Some(now + pause(strikes, fastrand::f64()));
        }
        detail.reason = Some(reason);
        detail.lasts = lasts;
        self.out.store(true, Ordering::Relaxed);
        if was_up {
            detail.since = Some(now);
            self.ejections.fetch_add(1, Ordering::Relaxed);
        }
        was_up
    }

    /// It should leave, but is needed: notes why it should, and whether that is news.
    pub(crate) fn keep(&self, reason: &str) -> bool {
        let mut detail = self.detail();
        let is_new = detail.reason.is_none();
        detail.reason = Some(reason.to_owned());
        is_new
    }

    /// A node in rotation has nothing against it.
    pub(crate) fn well(&self) {
        if self.is_up() {
            self.detail().reason = None;
        }
    }

    /// Puts the node back after a successful probe; `true` when it was out.
    pub(crate) fn readmit(&self, now: Instant) -> bool {
        let mut detail = self.detail();
        if self.is_up() {
            return false;
        }
        *detail = Detail {
            readmitted: Some(now),
            ..Detail::default()
        };
        self.out.store(false, Ordering::Relaxed);
        true
    }

    /// The node answered something that was asked at `asked`. If that was after its ejection, the next trial is due now;
    /// `true` when it was not before.
    pub(crate) fn answered(&self, asked: Instant) -> bool {
        if self.is_up() {
            return false;
        }
        let mut detail = self.detail();
        let since = detail.since.is_some_and(|since| asked > since);
        since && detail.until.take().is_some()
    }

    /// How long to wait for the next trial; zero when it is due.
    pub(crate) fn pause_left(&self, now: Instant) -> Duration {
        let until = self.detail().until;
        until.map_or(Duration::ZERO, |until| until.saturating_duration_since(now))
    }

    /// Whether it is out for a reason that a second try does not mend, and may count against us.
    pub(crate) fn must_wait(&self) -> bool {
        !self.is_up() && self.detail().lasts
    }

    pub(crate) fn reason(&self) -> Option<String> {
        self.detail().reason.clone()
    }

    pub(crate) fn ejections(&self) -> u64 {
        self.ejections.load(Ordering::Relaxed)
    }

    fn detail(&self) -> MutexGuard<'_, Detail> {
        self.detail.lock().unwrap_or_else(|e| e.into_inner())
    }
}

/// One second doubling to one minute, a fifth more or less by `dice` from 0 to 1.
pub(crate) fn pause(strikes: u32, dice: f64) -> Duration {
    let doubled = FIRST_PAUSE.saturating_mul(1 << strikes.min(MOST_STRIKES));
    doubled.min(LONGEST_PAUSE).mul_f64(0.8 + 0.4 * dice)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pause_doubles_up_to_a_minute() {
        let seconds: Vec<u64> = (0..9)
            .map(|strikes| pause(strikes, 0.5).as_secs())
            .collect();
        assert_eq!(seconds, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
        assert!(pause(0, 0.0) < pause(0, 1.0));
        assert!(pause(u32::MAX, 1.0) <= LONGEST_PAUSE.mul_f64(1.2));
    }

    #[test]
    fn many_failures_at_once_are_one_strike() {
        let health = Health::new();
        let now = Instant::now();
        assert!(health.eject(now, "refused".into(), false));
        for _ in 0..50 {
            assert!(!health.eject(now, "refused".into(), false));
        }
        assert_eq!(health.strikes.load(Ordering::Relaxed), 1);
        assert_eq!(health.ejections(), 1);
        assert!(health.pause_left(now) <= Duration::from_millis(1200));
    }

    #[test]
    fn an_answer_ends_the_pause_if_it_was_asked_after_the_ejection() {
        let health = Health::new();
        let now = Instant::now();
        assert!(!health.answered(now));
        health.eject(now, "silent".into(), false);
        assert!(!health.answered(now), "it was under way already");
        assert!(!health.pause_left(now).is_zero());
        let later = now + Duration::from_millis(1);
        assert!(health.answered(later));
        assert!(health.pause_left(now).is_zero() && !health.is_up());
        assert!(!health.answered(later), "one look is enough");
        assert!(health.readmit(later));
    }

    #[test]
    fn an_order_counts_more_than_what_is_found() {
        let health = Health::new();
        health.order(Rotation::Out);
        assert!(health.is_up() && !health.is_in_rotation());
        health.eject(Instant::now(), "refused".into(), false);
        health.order(Rotation::In);
        assert!(!health.is_up() && health.is_in_rotation());
        health.order(Rotation::Auto);
        assert!(!health.is_in_rotation());
        health.readmit(Instant::now());
        assert!(health.is_in_rotation());
    }

    #[test]
    fn a_new_node_comes_in_with_its_first_good_probe() {
        let health = Health::new();
        health.hold("joins");
        let now = Instant::now();
        assert!(!health.is_in_rotation() && health.ejections() == 0);
        assert!(health.pause_left(now).is_zero() && health.readmit(now));
    }

    #[test]
    fn what_lasts_is_not_tried_every_second() {
        let health = Health::new();
        let now = Instant::now();
        health.eject(now, "wrong password".into(), true);
        assert!(health.pause_left(now) >= LONGEST_PAUSE.mul_f64(0.8));
        assert!(health.must_wait(), "whatever fails elsewhere meanwhile");
        health.readmit(now);
        health.eject(now, "refused".into(), false);
        assert!(!health.must_wait());
    }

    #[test]
    fn a_failed_trial_makes_the_next_pause_longer() {
        let health = Health::new();
        let now = Instant::now();
        health.eject(now, "refused".into(), false);
        let trial = now + Duration::from_secs(2);
        assert_eq!(health.pause_left(trial), Duration::ZERO);
        health.eject(trial, "refused".into(), false);
        assert!(health.pause_left(trial) >= Duration::from_millis(1600));
    }

    #[test]
    fn strikes_are_forgotten_after_a_good_minute() {
        let health = Health::new();
        let now = Instant::now();
        health.eject(now, "a".into(), false);
        assert!(health.readmit(now));
        assert!(health.is_up() && health.reason().is_none());
        health.eject(now + Duration::from_secs(30), "b".into(), false);
        assert_eq!(health.strikes.load(Ordering::Relaxed), 2);
        health.readmit(now + Duration::from_secs(60));
        health.eject(now + Duration::from_secs(121), "c".into(), false);
        assert_eq!(health.strikes.load(Ordering::Relaxed), 1);
        assert_eq!(health.reason().as_deref(), Some("c"));
    }
}
