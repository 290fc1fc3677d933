//! What a load must reflect beyond what this process knows by itself: source tokens, and which of them a load has seen.

use std::sync::atomic::Ordering;

use super::{Coherence, Demands, View};
use crate::entry::Began;
use crate::remote::{Demand, Position, Scope, Wanted};

/// Records of our own that are remembered beyond the one that was applied last. Without room for one, loads count as older.
const MAX_AHEAD: usize = 4_096;

impl Coherence {
    pub(crate) fn minding(mut self, demands: Demands) -> Self {
        let view = self.view.get_mut();
        view.unwrap_or_else(std::sync::PoisonError::into_inner)
            .demands = demands;
        self
    }

    /// To be taken before a load begins: what it must reflect, and of which part of the log it knows that.
    ///
    /// A record that is known to be there and has not been read may carry a demand. So the load counts as older than the first of those,
    /// unless something of our own that is newer concerns the key: then only the newest state of the source is sure to do.
    pub(crate) fn begin_load(&self, key: &str) -> (Began, Option<Demand>) {
        let generation = self.generation.load(Ordering::Acquire);
        let incarnation = self.incarnation();
        let view = self.read();
        let (seen, known) = (self.seen(), view.known());
        let newest = |view: &View| {
            let changed = view.changes.of(key).newest();
            view.markers.newest_for_load(key).max(changed)
        };
        let (position, demand) = if known >= seen {
            (seen, view.demands.of(key))
        } else if newest(&view) <= known {
            (known, view.demands.of(key))
        } else {
            (seen, Some(Demand::Newest))
        };
        let began = Began {
            position,
            generation,
            incarnation,
        };
        (began, demand)
    }

    /// Notes what loads of a scope must reflect, and what to tell the second level of it.
    pub(crate) fn demand(&self, scope: &Scope, demand: &Demand) -> Wanted {
        // Older versions can read no set of tags. It asks the same of every load as one on everything, and that they can read.
        let scope = match scope {
            Scope::Tags(_) => &Scope::All,
            scope => scope,
        };
        let mut view = self.write();
        view.demands.add(scope, demand);
        let here = match scope {
            Scope::Key(key) | Scope::Expired(key) => view.demands.of(key),
            Scope::All => view.demands.total(),
            Scope::Tag(_) | Scope::Tags(_) | Scope::Pattern(_) => None,
        };
        let here = here.unwrap_or_else(|| demand.clone());
        let everywhere = view.demands.total().unwrap_or_else(|| demand.clone());
        Wanted::new(scope.clone(), here, everywhere)
            .knowing(view.applied)
            .kept_for(view.demands.keep())
    }

    /// One demand that takes in all of these.
    pub(crate) fn join(&self, demands: impl IntoIterator<Item = Demand>) -> Option<Demand> {
        self.read().demands.join(demands)
    }

    /// Takes note of a record of our own that invalidates nothing. `false` as for [`acknowledge`](Self::acknowledge).
    pub(crate) fn acknowledge_demand(&self, position: Position) -> bool {
        let mut view = self.write();
        if position.incarnation != self.incarnation() {
            self.doubt_in(&view);
            return false;
        }
        self.note_own(&mut view, position.number);
        true
    }

    pub(super) fn note_own(&self, view: &mut View, number: u64) {
        if number > view.applied && view.ahead.len() < MAX_AHEAD {
            view.ahead.insert(number);
        }
        self.seen.fetch_max(number, Ordering::AcqRel);
    }
}

impl View {
    /// The record up to which nothing is unknown.
    fn known(&self) -> u64 {
        let next = self.ahead.iter().zip(self.applied + 1..);
        let own = next.take_while(|(number, next)| *number == next);
        self.applied + u64::try_from(own.count()).unwrap_or(0)
    }

    pub(super) fn advance(&mut self, applied: u64) {
        self.applied = applied;
        self.ahead.retain(|number| *number > applied);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::Pattern;
    use crate::clock::{Clock, NEVER};
    use crate::remote::{Record, Snapshot};

    fn lists() -> Scope {
        Scope::Pattern(Pattern::prefix("list:"))
    }

    fn coherence() -> Coherence {
        let order = Arc::new(|a: &[u8], b: &[u8]| Some(a.cmp(b)));
        let demands = Demands::new(order, std::time::Duration::from_secs(60), Clock::system());
        let coherence = Coherence::new(1, Some(NEVER)).minding(demands);
        coherence.adopt(&Snapshot::new(Position::new(9, 10), 0, vec![]), 0);
        coherence
    }

    fn told(number: u64, token: &str) -> Record {
        Record::new(number, 2, Some(lists())).demanding(Demand::of(token))
    }

    #[test]
    fn a_load_counts_as_older_than_the_first_record_that_it_does_not_know() {
        let coherence = coherence();
        coherence.acknowledge(&Scope::Key("other".into()), Position::new(9, 13));
        let (began, demand) = coherence.begin_load("list:1");
        assert_eq!(
            (began.position, demand),
            (10, None),
            "11 and 12 may say anything"
        );
        coherence.apply(&told(11, "7"));
        coherence.apply(&Record::new(12, 2, Some(lists())));
        assert!(
            !coherence.is_valid("list:1", [], began),
            "it did not know of the token"
        );
        let (began, demand) = coherence.begin_load("list:1");
        assert_eq!((began.position, demand), (13, Some(Demand::of("7"))));
        assert_eq!(coherence.begin_load("other").1, None);
    }

    #[test]
    fn between_a_change_of_our_own_and_unknown_records_only_the_newest_state_will_do() {
        let coherence = coherence();
        coherence.acknowledge(&lists(), Position::new(9, 12));
        let (began, demand) = coherence.begin_load("list:1");
        assert_eq!((began.position, demand), (12, Some(Demand::Newest)));
        assert_eq!(coherence.begin_load("other").0.position, 10);
        coherence.acknowledge_demand(Position::new(9, 11));
        let (began, demand) = coherence.begin_load("list:1");
        assert_eq!((began.position, demand), (12, None), "all of it was ours");
    }

    #[test]
    fn a_demand_tells_the_store_what_this_node_knows() {
        let coherence = coherence();
        coherence.apply(&told(11, "7"));
        let wanted = coherence.demand(&Scope::Key("list:1".into()), &Demand::of("5"));
        assert_eq!(
            (wanted.here, wanted.everywhere),
            (Demand::of("7"), Demand::of("7"))
        );
        assert_eq!(wanted.known, 11);
    }

    #[test]
    fn demands_outlive_their_log_and_come_with_a_snapshot() {
        let coherence = coherence();
        coherence.apply(&told(11, "7"));
        let mut snapshot = Snapshot::new(Position::new(8, 1), 0, vec![]);
        coherence.adopt(&snapshot, 0);
        assert_eq!(coherence.begin_load("list:1").1, Some(Demand::of("7")));
        assert_eq!(coherence.begin_load("other").1, None);
        snapshot.demands.push(Demand::of("8"));
        coherence.adopt(&snapshot, 0);
        assert_eq!(coherence.begin_load("other").1, Some(Demand::of("8")));
    }
}
