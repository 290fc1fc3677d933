#[cfg(feature = "quick-cache")]
mod clock_pro;
mod eras;
mod eviction;
mod index;
mod policy;
mod tiny_lfu;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use self::eras::Eras;
use self::eviction::Chosen;
pub(crate) use self::eviction::Eviction;
use self::index::{Index, Spot};
use self::policy::{Change, Policy};
use crate::clock::{Clock, Nanos};
use crate::entry::Entry;
use crate::kept::Kept;

/// L1: the entries of all regions in one budget of bytes.
///
/// Reads look into the index. The policy, moka's if nothing else is asked for, owns the entries, evicts them, and hears of a part of the
/// reads. Whether an entry may be served is decided by [`Entry`] and the log. What nobody has a use for any more is taken out
/// shard by shard, as others come in and when somebody asks how many there are.
///
/// The two agree because every change of a key happens under the policy's lock for it, in the index first and then in
/// the policy, and because the policy takes out of the index what it gives up.
#[derive(Debug)]
pub(crate) struct Memory<P = Chosen> {
    index: Arc<Index>,
    policy: P,
    eras: Eras,
    clock: Clock,
    /// The fill that was counted last, and the shard that was swept last.
    fills: AtomicUsize,
    swept: AtomicUsize,
}

/// Of so many entries one is looked at for each that is put in: all of them while an eighth of the memory is filled anew.
const SWEEP: usize = 2_048;
const LEAST_SWEEP: usize = 64;

/// Entries that are looked at each time when somebody asks how many there are.
const LOOK: usize = 4_096;

/// What one look found.
pub(crate) enum Glance<R> {
    Hit(R),
    /// An entry that needs a closer look.
    Look(Kept),
    Nothing,
}

impl Memory {
    /// `no_room` hears of each key that was given up, or not taken, because memory is full.
    pub(crate) fn new(
        eviction: Eviction,
        bytes: u64,
        clock: Clock,
        no_room: impl Fn(&[u8]) + Send + Sync + 'static,
    ) -> Self {
        Self::with(clock, |index| Chosen::new(eviction, bytes, index, no_room))
    }
}

impl<P: Policy> Memory<P> {
    fn with(clock: Clock, policy: impl FnOnce(Arc<Index>) -> P) -> Self {
        let index = Arc::new(Index::new());
        Self {
            policy: policy(Arc::clone(&index)),
            index,
            eras: Eras::default(),
            clock,
            fills: AtomicUsize::new(0),
            swept: AtomicUsize::new(0),
        }
    }

    /// Lets `take` have a look at the key's entry where it lies. It must neither wait nor come back here.
    pub(crate) fn glance<R>(&self, key: &str, take: impl FnOnce(&Entry) -> Option<R>) -> Glance<R> {
        let spot = self.index.spot(key.as_bytes());
        let found = self.index.read(spot, key, |kept| {
            let glance = match take(kept) {
                Some(taken) => Glance::Hit(taken),
                None => Glance::Look(kept.clone()),
            };
            (glance, self.eras.is_first_read(kept))
        });
        let (glance, told) = found.unwrap_or((Glance::Nothing, true));
        if told {
            self.policy.touch(spot);
        }
        glance
    }

    pub(crate) fn get(&self, key: &str) -> Option<Kept> {
        match self.glance(key, |_| None::<()>) {
            Glance::Look(kept) => Some(kept),
            Glance::Hit(()) | Glance::Nothing => None,
        }
    }

    /// The entry, for somebody of whose interest in it the policy has heard.
    pub(crate) fn find(&self, key: &str) -> Option<Kept> {
        let spot = self.index.spot(key.as_bytes());
        self.index.read(spot, key, Kept::clone)
    }

    /// Puts an entry in if `allowed` still says so while nobody else touches its key.
    pub(crate) fn insert_if(&self, kept: &Kept, allowed: impl FnOnce() -> bool) -> bool {
        let spot = self.index.spot(kept.key());
        let mut inserted = false;
        if !self.policy.has_room_for(kept) {
            self.policy.change(spot, || {
                inserted = allowed();
                match inserted {
                    true => self.taken_out(spot, kept.key()),
                    false => Change::Nothing,
                }
            });
            return inserted;
        }
        self.eras.begins(kept);
        self.policy.change(spot, || {
            inserted = self.index.insert_if(spot, kept, allowed);
            match inserted {
                true => Change::Put(kept.clone()),
                false => Change::Nothing,
            }
        });
        if inserted {
            let held = self.index.held();
            self.eras.filled(held);
            self.settle(spot, kept);
            let fill = self.fills.fetch_add(1, Ordering::Relaxed);
            if fill.is_multiple_of((held / SWEEP).max(LEAST_SWEEP)) {
                self.sweep(1);
            }
        }
        inserted
    }

    fn taken_out(&self, spot: Spot, key: &[u8]) -> Change {
        self.index.remove(spot, key);
        Change::Remove
    }

    /// A `clear` that came between the two may have left an entry behind that the index does not know.
    fn settle(&self, spot: Spot, kept: &Kept) {
        if self.index.holds(spot, kept) {
            return;
        }
        self.policy
            .drop_if(spot, |stray| !self.index.holds(spot, stray));
    }

    /// Gives the memory of dead entries back, of so many looked at.
    fn sweep(&self, mut looks: usize) {
        let now = self.clock.now();
        for _ in 0..Index::SHARDS {
            let shard = self.swept.fetch_add(1, Ordering::Relaxed);
            let (looked, dead) = self.index.select(shard, |kept| is_dead(kept, now));
            for kept in &dead {
                self.bury(kept);
            }
            looks = looks.saturating_sub(looked);
            if looks == 0 {
                return;
            }
        }
    }

    /// Unless a newer one has come.
    fn bury(&self, dead: &Kept) {
        let spot = self.index.spot(dead.key());
        self.policy
            .change(spot, || match self.index.holds(spot, dead) {
                true => self.taken_out(spot, dead.key()),
                false => Change::Nothing,
            });
    }

    /// Removes a key under the same lock under which it is put in.
    pub(crate) fn remove(&self, key: &str) {
        let spot = self.index.spot(key.as_bytes());
        self.policy
            .change(spot, || self.taken_out(spot, key.as_bytes()));
    }

    /// Makes a key stale under the same lock, so that no fill slips in between.
    pub(crate) fn expire(&self, key: &str) {
        let spot = self.index.spot(key.as_bytes());
        self.policy.change(spot, || {
            self.index.read(spot, key, |kept| kept.expire());
            Change::Nothing
        });
    }

    /// Gives the memory back; that nothing is served any more is the log's business.
    pub(crate) fn clear(&self) {
        // In this order, for `settle`.
        self.index.clear();
        self.policy.clear();
    }

    /// How many there are that somebody may have a use for, as far as that is known.
    pub(crate) fn entries(&self) -> u64 {
        self.sweep(LOOK.max(self.index.held() / LEAST_SWEEP));
        self.policy.entries()
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.policy.bytes()
    }

    /// Entries that only one of the two knows of. While nobody changes anything there are none.
    #[cfg(any(test, feature = "test-util"))]
    pub(crate) fn strays(&self) -> usize {
        let (mut both, mut strays) = (0, 0);
        self.policy
            .each(|spot, kept| match self.index.holds(spot, kept) {
                true => both += 1,
                false => strays += 1,
            });
        strays + self.index.held().abs_diff(both)
    }
}

fn is_dead(entry: &Entry, now: Nanos) -> bool {
    entry.kept_until() <= now
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::sync::atomic::AtomicU64;

    use shuttle::sync::Mutex;
    use shuttle::thread;

    use super::*;
    use crate::clock::NEVER;
    use crate::entry::{Began, Extras, Life};
    use crate::ticket::Tickets;

    const SECOND: Nanos = 1_000_000_000;

    fn kept(key: &str, weight: u32) -> Kept {
        kept_for(key, life(NEVER, weight))
    }

    fn life(kept_until: Nanos, weight: u32) -> Life {
        Life {
            known_at: 0,
            fresh_until: kept_until,
            due_from: NEVER,
            ends: i64::MAX,
            kept_until,
            load_time: 0,
            created_millis: 0,
            weight,
        }
    }

    fn kept_for(key: &str, life: Life) -> Kept {
        let began = Began {
            position: 0,
            generation: 0,
            incarnation: 0,
        };
        let entry = Entry::new(Arc::new(1_u8), Extras::default(), began, life);
        Kept::new(key, entry)
    }

    /// One thread, on which the index's locks work as they do outside.
    fn alone(test: impl Fn() + Send + Sync + 'static) {
        shuttle::check_random(test, 1);
    }

    const EVICTIONS: &[Eviction] = &[
        Eviction::TinyLfu,
        #[cfg(feature = "quick-cache")]
        Eviction::ClockPro,
    ];

    fn with_each(test: impl Fn(Eviction) + Send + Sync + Copy + 'static) {
        for eviction in EVICTIONS {
            alone(move || test(*eviction));
        }
    }

    #[test]
    fn a_gigabyte_of_inserts_stays_within_the_budget() {
        with_each(|eviction| {
            let memory = Memory::new(eviction, 1 << 20, Clock::system(), |_| {});
            for n in 0..16_384_u32 {
                memory.insert_if(&kept(&n.to_string(), 65_536), || true);
            }
            assert!(memory.entries() <= 16);
            assert!(memory.bytes() <= 1 << 20);
            assert_eq!(memory.index.held() as u64, memory.entries());
        });
    }

    #[test]
    fn a_refused_insert_leaves_what_was_there() {
        with_each(|eviction| {
            let memory = Memory::new(eviction, 1 << 20, Clock::system(), |_| {});
            assert!(memory.insert_if(&kept("a", 1), || true));
            assert!(!memory.insert_if(&kept("a", 2), || false));
            assert_eq!(memory.get("a").unwrap().weight, 1);
            memory.remove("a");
            assert!(memory.get("a").is_none());
        });
    }

    #[test]
    fn what_nobody_has_a_use_for_is_given_back_without_being_asked_for() {
        with_each(|eviction| {
            let now = Arc::new(AtomicU64::new(0));
            let pass = |seconds| now.fetch_add(seconds * SECOND, Ordering::Relaxed);
            let clock = Clock::moved_by(Arc::clone(&now));
            let memory = Memory::new(eviction, 1 << 20, clock, |_| panic!("there is room"));
            let dies = |key: &str, seconds: u64| {
                let life = life(seconds * SECOND, 1_000);
                memory.insert_if(&kept_for(key, life), || true);
            };
            for n in 0..100 {
                dies(&n.to_string(), 10 + n % 2 * 10);
            }
            assert_eq!(memory.entries(), 100);
            let full = memory.bytes();
            pass(15);
            assert_eq!((memory.entries(), memory.bytes()), (50, full / 2));
            assert_eq!(memory.strays(), 0);
            pass(15);
            for n in 0..u64::try_from(4 * LEAST_SWEEP).unwrap() {
                dies(&format!("new{n}"), 3_600);
            }
            memory.policy.each(|_, _| {}); // what it put off
            assert_eq!(memory.policy.entries(), 256, "filling gives back too");
        });
    }

    /// A policy that gives things up when it is told to, and takes its time with it.
    #[derive(Debug)]
    struct Whim {
        index: Arc<Index>,
        /// Held by whoever changes a spot. Neither an eviction nor a clear waits for it.
        change: Mutex<()>,
        kept: Mutex<Kepts>,
    }

    #[derive(Debug, Default)]
    struct Kepts {
        valid: HashMap<Spot, Kept>,
        /// Cleared, and still to be taken out of the index.
        void: Vec<(Spot, Kept)>,
    }

    impl Whim {
        fn new(index: Arc<Index>) -> Self {
            Self {
                index,
                change: Mutex::default(),
                kept: Mutex::default(),
            }
        }

        fn evict(&self, spot: Spot) {
            let mut kept = self.kept.lock().unwrap();
            if let Some(gone) = kept.valid.remove(&spot) {
                self.index.remove_exactly(spot, &gone);
            }
        }

        fn sweep(&self) {
            for (spot, gone) in self.kept.lock().unwrap().void.drain(..) {
                self.index.remove_exactly(spot, &gone);
            }
        }
    }

    impl Policy for Whim {
        fn change(&self, spot: Spot, change: impl FnOnce() -> Change) {
            let _alone = self.change.lock().unwrap();
            let change = change();
            let mut kept = self.kept.lock().unwrap();
            let gone = match change {
                Change::Nothing => None,
                Change::Put(new) => kept.valid.insert(spot, new),
                Change::Remove => kept.valid.remove(&spot),
            };
            if let Some(gone) = gone {
                self.index.remove_exactly(spot, &gone);
            }
        }

        fn drop_if(&self, spot: Spot, is_stray: impl FnOnce(&Kept) -> bool) {
            let _alone = self.change.lock().unwrap();
            let there = self.kept.lock().unwrap().valid.get(&spot).cloned();
            if there.is_some_and(|there| is_stray(&there)) {
                self.kept.lock().unwrap().valid.remove(&spot);
            }
        }

        fn has_room_for(&self, _: &Kept) -> bool {
            true
        }

        fn touch(&self, _: Spot) {}

        fn clear(&self) {
            let mut kept = self.kept.lock().unwrap();
            let void: Vec<_> = kept.valid.drain().collect();
            kept.void.extend(void);
        }

        fn entries(&self) -> u64 {
            self.kept.lock().unwrap().valid.len() as u64
        }

        fn bytes(&self) -> u64 {
            0
        }

        fn each(&self, mut f: impl FnMut(Spot, &Kept)) {
            for (spot, kept) in &self.kept.lock().unwrap().valid {
                f(*spot, kept);
            }
        }
    }

    /// How often each race is run, each time in another order.
    const ORDERS: usize = 3_000;

    fn in_many_orders(test: fn()) {
        shuttle::check_random(test, ORDERS);
        shuttle::check_pct(test, ORDERS, 3);
    }

    fn spawn<R: Send + 'static>(
        memory: &Arc<Memory<Whim>>,
        work: impl FnOnce(&Memory<Whim>) -> R + Send + 'static,
    ) -> thread::JoinHandle<R> {
        let memory = Arc::clone(memory);
        thread::spawn(move || work(&memory))
    }

    #[test]
    fn in_no_order_of_fills_and_evictions_does_a_removed_value_come_back() {
        in_many_orders(|| {
            let memory = Arc::new(Memory::with(Clock::system(), Whim::new));
            let tickets = Arc::new(Tickets::new());
            let fills = [1, 2].map(|weight| {
                let tickets = Arc::clone(&tickets);
                let ticket = tickets.take("a");
                spawn(&memory, move |memory| {
                    memory.insert_if(&kept("a", weight), || tickets.is_current(ticket));
                })
            });
            let eviction = spawn(&memory, |memory| {
                memory.policy.evict(memory.index.spot(b"a"));
            });
            tickets.bump("a", None);
            memory.remove("a");
            assert!(memory.get("a").is_none());
            for other in fills.into_iter().chain([eviction]) {
                other.join().unwrap();
            }
            assert!(memory.get("a").is_none());
            assert_eq!((memory.strays(), memory.index.held()), (0, 0));
        });
    }

    #[test]
    fn in_no_order_of_fills_evictions_and_a_clear_do_the_index_and_the_policy_part() {
        in_many_orders(|| {
            let memory = Arc::new(Memory::with(Clock::system(), Whim::new));
            memory.insert_if(&kept("a", 1), || true);
            let others = [
                spawn(&memory, |memory| {
                    memory.insert_if(&kept("a", 2), || true);
                }),
                spawn(&memory, |memory| {
                    memory.insert_if(&kept("a", 3), || true);
                    memory.policy.evict(memory.index.spot(b"a"));
                }),
            ];
            memory.clear();
            for other in others {
                other.join().unwrap();
            }
            memory.policy.sweep();
            assert_eq!(memory.strays(), 0);
            assert!(memory.index.held() <= 1);
        });
    }

    #[test]
    fn a_reader_sees_the_old_entry_or_the_new_one_while_it_is_replaced() {
        in_many_orders(|| {
            let memory = Arc::new(Memory::with(Clock::system(), Whim::new));
            memory.insert_if(&kept("a", 1), || true);
            let reader = spawn(&memory, |memory| {
                [(); 2].map(|()| memory.get("a").map(|kept| kept.weight))
            });
            memory.insert_if(&kept("a", 2), || true);
            let seen = reader.join().unwrap();
            let in_order = [[1, 1], [1, 2], [2, 2]].map(|seen| seen.map(Some));
            assert!(in_order.contains(&seen), "{seen:?}");
        });
    }
}
