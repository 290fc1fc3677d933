mod waking;

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
            memory.insert_if(&kept(&n.to_string(), 65_536), |_| true);
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
        assert!(memory.insert_if(&kept("a", 1), |_| true));
        assert!(!memory.insert_if(&kept("a", 2), |_| false));
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
            memory.insert_if(&kept_for(key, life), |_| true);
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

    fn not_taken(&self, _: &[u8]) {}

    fn touch(&self, _: Spot) {}

    fn missed(&self, _: Spot) {}

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
                memory.insert_if(&kept("a", weight), |_| tickets.is_current(ticket));
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
        memory.insert_if(&kept("a", 1), |_| true);
        let others = [
            spawn(&memory, |memory| {
                memory.insert_if(&kept("a", 2), |_| true);
            }),
            spawn(&memory, |memory| {
                memory.insert_if(&kept("a", 3), |_| true);
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
        memory.insert_if(&kept("a", 1), |_| true);
        let reader = spawn(&memory, |memory| {
            [(); 2].map(|()| memory.get("a").map(|kept| kept.weight))
        });
        memory.insert_if(&kept("a", 2), |_| true);
        let seen = reader.join().unwrap();
        let in_order = [[1, 1], [1, 2], [2, 2]].map(|seen| seen.map(Some));
        assert!(in_order.contains(&seen), "{seen:?}");
    });
}

fn putting_off(bytes: u64) -> Memory<Whim> {
    Memory {
        backlog: Some(Backlog::new(bytes)),
        ..Memory::with(Clock::system(), Whim::new)
    }
}

const ROOM: u64 = 1 << 20;

#[test]
fn what_the_policy_has_not_heard_of_is_found_and_removed_like_the_rest() {
    alone(|| {
        let memory = putting_off(ROOM);
        for key in ["a", "b"] {
            assert!(memory.insert_if(&kept(key, 1), |_| true));
            assert!(memory.get(key).is_some());
        }
        assert_eq!(memory.policy.entries(), 0, "it is told later");
        memory.remove("a");
        assert_eq!(memory.entries(), 1);
        assert_eq!((memory.strays(), memory.index.held()), (0, 1));
        memory.insert_if(&kept("c", 1), |_| true);
        memory.clear();
        assert_eq!((memory.entries(), memory.index.held()), (0, 0));
    });
}

#[test]
fn no_more_is_put_off_than_a_part_of_the_memory() {
    alone(|| {
        let memory = putting_off(ROOM);
        let large = u32::try_from(ROOM / 64).unwrap();
        memory.insert_if(&kept("large", large), |_| true);
        assert_eq!(memory.policy.entries(), 1, "it would be too much");
        for (weight, told) in [(large / 8, 16), (1, 256)] {
            let before = memory.entries();
            for n in 1..=told {
                assert_eq!(memory.policy.entries(), before);
                memory.insert_if(&kept(&format!("{weight}:{n}"), weight), |_| true);
            }
            assert_eq!(memory.policy.entries(), before + told);
        }
    });
}

#[test]
fn in_no_order_does_a_policy_that_hears_late_bring_back_what_was_removed() {
    in_many_orders(|| {
        let memory = Arc::new(putting_off(ROOM));
        let others = [
            spawn(&memory, |memory| {
                memory.insert_if(&kept("a", 1), |_| true);
                memory.catch_up();
            }),
            spawn(&memory, |memory| {
                memory.insert_if(&kept("a", 2), |_| true);
                memory.catch_up();
                memory.policy.evict(memory.index.spot(b"a"));
            }),
            spawn(&memory, Memory::clear),
        ];
        memory.catch_up();
        for other in others {
            other.join().unwrap();
        }
        memory.policy.sweep();
        assert_eq!(memory.strays(), 0);
        memory.remove("a");
        assert!(memory.get("a").is_none());
        assert_eq!((memory.strays(), memory.index.held()), (0, 0));
    });
}

/// The policy still owns the entry before, and may give that one up.
#[test]
fn a_key_is_not_called_evicted_that_is_still_there() {
    with_each(|eviction| {
        let told = Arc::new(std::sync::Mutex::new(Vec::new()));
        let tells = Arc::clone(&told);
        let memory = Memory::new(eviction, 1 << 20, Clock::system(), move |key: &[u8]| {
            tells.lock().unwrap().push(key.to_vec());
        });
        let memory = memory.putting_off(1 << 20);
        memory.insert_if(&kept("tea", 100_000), |_| true);
        memory.insert_if(&kept("tea", 100), |_| true);
        for n in 0..40 {
            let key = n.to_string();
            for _ in 0..8 {
                let _ = memory.get(&key);
            }
            memory.insert_if(&kept(&key, 200_000), |_| true);
        }
        let _ = memory.policy.entries();
        assert!(memory.find("tea").is_some());
        let told = told.lock().unwrap();
        assert!(told.len() > 10, "{}", told.len());
        assert!(!told.contains(&b"tea".to_vec()));
    });
}

#[test]
fn one_task_at_a_time_tells_the_policy_of_what_it_has_not_heard_of() {
    alone(|| {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        let runtime = builder.build().unwrap();
        runtime.block_on(async {
            let memory = Memory::new(Eviction::TinyLfu, 1 << 20, Clock::system(), |_| {});
            let memory = Arc::new(memory.putting_off(1 << 20));
            let tasks = || Handle::current().metrics().num_alive_tasks();
            let mut most = 0;
            for round in 0..64 {
                for n in 0..32 {
                    memory.insert_if(&kept(&format!("{round}:{n}"), 1), |_| true);
                    memory.catch_up_soon();
                }
                most = most.max(tasks());
                tokio::task::yield_now().await;
            }
            assert_eq!(most, 1);
            while tasks() > 0 {
                tokio::task::yield_now().await;
            }
            assert_eq!(memory.policy.entries(), 64 * 32);
        });
    });
}
