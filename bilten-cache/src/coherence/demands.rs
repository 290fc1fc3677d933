use std::cmp::Ordering;
use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use crate::clock::{Clock, Nanos, nanos};
use crate::pattern::Pattern;
use crate::remote::{Demand, Scope};

/// Keys whose demands are remembered one by one; the oldest ones above this become one demand on everything.
const MAX_KEYS: usize = 16_384;
/// The same for patterns, which are tried one by one.
const MAX_PATTERNS: usize = 256;

/// How two tokens of a source compare; `None` when neither takes in the other.
pub(crate) type Order = Arc<dyn Fn(&[u8], &[u8]) -> Option<Ordering> + Send + Sync>;

/// What loads must reflect, by what they load. Bounded: what there is no room for asks too much of other loads, never too
/// little of its own.
pub(crate) struct Demands {
    order: Order,
    keep: Duration,
    clock: Clock,
    everything: Option<Due>,
    patterns: VecDeque<(Pattern, Due)>,
    keys: HashMap<Arc<str>, Due>,
    /// Keys in the order in which they were said last; a key that was said again stands here twice.
    said: VecDeque<(Arc<str>, Nanos)>,
    /// What would do for every load.
    total: Option<Due>,
}

#[derive(Debug, Clone)]
struct Due {
    demand: Demand,
    until: Nanos,
}

impl Demands {
    pub(crate) fn new(order: Order, keep: Duration, clock: Clock) -> Self {
        Self {
            order,
            keep,
            clock,
            everything: None,
            patterns: VecDeque::new(),
            keys: HashMap::new(),
            said: VecDeque::new(),
            total: None,
        }
    }

    pub(crate) fn keep(&self) -> Duration {
        self.keep
    }

    /// From now on loads of this scope must reflect this.
    pub(crate) fn add(&mut self, scope: &Scope, demand: &Demand) {
        let now = self.clock.now();
        let due = Due {
            demand: demand.clone(),
            until: now.saturating_add(nanos(self.keep)),
        };
        raise(&self.order, &mut self.total, due.clone(), now);
        match scope {
            Scope::Key(key) | Scope::Expired(key) => self.add_key(key, due, now),
            Scope::Pattern(pattern) => self.add_pattern(pattern, due, now),
            // The tags of a value are not known before it is loaded.
            Scope::Tag(_) | Scope::Tags(_) | Scope::All => {
                raise(&self.order, &mut self.everything, due, now)
            }
        }
    }

    fn add_key(&mut self, key: &Arc<str>, due: Due, now: Nanos) {
        self.said.push_back((Arc::clone(key), due.until));
        let mut known = self.keys.remove(key);
        raise(&self.order, &mut known, due, now);
        if let Some(known) = known {
            self.keys.insert(Arc::clone(key), known);
        }
        while let Some((key, until)) = self.said.front()
            && (*until <= now || self.said.len() > MAX_KEYS)
        {
            let last = self.keys.get(key).is_some_and(|due| due.until == *until);
            let forgotten = if last { self.keys.remove(key) } else { None };
            if let Some(due) = forgotten.filter(|due| due.until > now) {
                raise(&self.order, &mut self.everything, due, now);
            }
            self.said.pop_front();
        }
    }

    fn add_pattern(&mut self, pattern: &Pattern, due: Due, now: Nanos) {
        let at = self.patterns.iter().position(|(known, _)| known == pattern);
        let mut known = at
            .and_then(|at| self.patterns.remove(at))
            .map(|(_, due)| due);
        raise(&self.order, &mut known, due, now);
        self.patterns
            .extend(known.map(|due| (pattern.clone(), due)));
        while let Some((_, due)) = self.patterns.front()
            && (due.until <= now || self.patterns.len() > MAX_PATTERNS)
        {
            let due = due.clone();
            if due.until > now {
                raise(&self.order, &mut self.everything, due, now);
            }
            self.patterns.pop_front();
        }
    }

    /// What a load of this key must reflect.
    pub(crate) fn of(&self, key: &str) -> Option<Demand> {
        self.total.as_ref()?;
        let now = self.clock.now();
        let patterns = self
            .patterns
            .iter()
            .filter(|(pattern, _)| pattern.matches(key));
        let patterns = patterns.map(|(_, due)| due);
        let dues = self
            .everything
            .iter()
            .chain(self.keys.get(key))
            .chain(patterns);
        let alive = dues.filter(|due| due.until > now);
        self.join(alive.map(|due| due.demand.clone()))
    }

    /// What would do for every load.
    pub(crate) fn total(&self) -> Option<Demand> {
        let now = self.clock.now();
        let alive = self.total.as_ref().filter(|due| due.until > now);
        alive.map(|due| due.demand.clone())
    }

    /// One demand that takes in all of these.
    pub(crate) fn join(&self, demands: impl IntoIterator<Item = Demand>) -> Option<Demand> {
        demands
            .into_iter()
            .reduce(|one, other| join(&self.order, one, other))
    }
}

fn raise(order: &Order, there: &mut Option<Due>, due: Due, now: Nanos) {
    let old = there.take().filter(|old| old.until > now);
    *there = Some(match old {
        None => due,
        Some(old) => Due {
            until: old.until.max(due.until),
            demand: join(order, old.demand, due.demand),
        },
    });
}

fn join(order: &Order, one: Demand, other: Demand) -> Demand {
    let (Demand::Token(a), Demand::Token(b)) = (&one, &other) else {
        return Demand::Newest;
    };
    if a == b {
        return one;
    }
    // A comparison that panics does not know either.
    match catch_unwind(AssertUnwindSafe(|| order(a, b))).unwrap_or_default() {
        Some(Ordering::Less) => other,
        Some(_) => one,
        None => Demand::Newest,
    }
}

impl Default for Demands {
    fn default() -> Self {
        // Nobody has said how tokens compare: two different ones ask for the newest state.
        Self::new(
            Arc::new(|_, _| None),
            Duration::from_secs(600),
            Clock::system(),
        )
    }
}

impl fmt::Debug for Demands {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Demands")
            .field("everything", &self.everything)
            .field("patterns", &self.patterns.len())
            .field("keys", &self.keys.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering as Atomic};

    use super::*;

    const KEEP: Duration = Duration::from_secs(60);

    /// Tokens of one letter for their history and a number; in two histories they do not compare.
    fn letters(a: &[u8], b: &[u8]) -> Option<Ordering> {
        assert_ne!(a, b"bad", "a comparison with a flaw");
        (a[0] == b[0]).then(|| a[1..].cmp(&b[1..]))
    }

    fn demands() -> (Demands, Arc<AtomicU64>) {
        let now = Arc::new(AtomicU64::new(1));
        let clock = Clock::moved_by(Arc::clone(&now));
        (Demands::new(Arc::new(letters), KEEP, clock), now)
    }

    fn key(name: &str) -> Scope {
        Scope::Key(name.into())
    }

    fn of(demands: &Demands, key: &str) -> Option<String> {
        let demand = demands.of(key)?;
        Some(String::from_utf8(demand.as_bytes().to_vec()).unwrap())
    }

    #[test]
    fn a_load_must_reflect_the_furthest_of_what_takes_its_key() {
        let (mut demands, _) = demands();
        assert_eq!(demands.of("list:1"), None);
        demands.add(&Scope::Pattern(Pattern::prefix("list:")), &Demand::of("a2"));
        demands.add(&key("list:1"), &Demand::of("a3"));
        demands.add(&key("list:1"), &Demand::of("a1"));
        for (key, due) in [
            ("list:1", Some("a3")),
            ("list:2", Some("a2")),
            ("other", None),
        ] {
            assert_eq!(of(&demands, key).as_deref(), due, "{key}");
        }
        demands.add(&Scope::Tag("berlin".into()), &Demand::of("a5"));
        assert_eq!(
            of(&demands, "other").as_deref(),
            Some("a5"),
            "its tags are not known"
        );
        assert_eq!(demands.total(), Some(Demand::of("a5")));
    }

    #[test]
    fn tokens_that_do_not_compare_ask_for_the_newest_state() {
        let (mut demands, _) = demands();
        demands.add(&key("a"), &Demand::of("a1"));
        demands.add(&key("a"), &Demand::of("b1"));
        assert_eq!(demands.of("a"), Some(Demand::Newest));
        demands.add(&key("b"), &Demand::of("bad"));
        demands.add(&key("b"), &Demand::of("b2"));
        assert_eq!(
            demands.of("b"),
            Some(Demand::Newest),
            "the comparison panicked"
        );
        let unknown = Demands::default();
        let both = unknown.join([Demand::of("1"), Demand::of("2")]);
        assert_eq!(both, Some(Demand::Newest));
    }

    #[test]
    fn what_no_replica_can_lag_any_more_is_forgotten() {
        let (mut demands, now) = demands();
        demands.add(&key("a"), &Demand::of("a1"));
        demands.add(&Scope::All, &Demand::of("a1"));
        now.fetch_add(nanos(KEEP), Atomic::Relaxed);
        assert_eq!((demands.of("a"), demands.total()), (None, None));
        demands.add(&key("b"), &Demand::of("a2"));
        assert_eq!(demands.keys.len(), 1, "and its memory is given back");
    }

    #[test]
    fn what_there_is_no_room_for_is_asked_of_everything() {
        let (mut demands, _) = demands();
        demands.add(&key("first"), &Demand::of("a9"));
        for n in 0..MAX_KEYS {
            demands.add(&key("again"), &Demand::of("a1"));
            demands.add(&key(&n.to_string()), &Demand::of("a1"));
        }
        assert!(demands.keys.len() <= MAX_KEYS && demands.said.len() <= MAX_KEYS);
        assert_eq!(of(&demands, "first").as_deref(), Some("a9"));
        assert_eq!(
            of(&demands, "another").as_deref(),
            Some("a9"),
            "more than was asked"
        );
        for n in 0..=MAX_PATTERNS {
            let pattern = Scope::Pattern(Pattern::prefix(&format!("p{n}:")));
            demands.add(&pattern, &Demand::of("a9"));
        }
        assert_eq!(demands.patterns.len(), MAX_PATTERNS);
    }
}
