//! A policy that sleeps while there is room, and wakes.

use super::*;

fn sleeping(bytes: u64) -> Memory<Whim> {
    Memory::with(Clock::system(), Whim::new).put_to_sleep(bytes)
}

#[test]
fn the_policy_hears_of_nothing_while_there_is_room_and_knows_all_before_there_is_none() {
    alone(|| {
        let memory = sleeping(1_000);
        for n in 0..74 {
            memory.insert_if(&kept(&n.to_string(), 10), |_| true);
        }
        memory.insert_if(&kept("0", 10), |_| true);
        memory.remove("1");
        assert_eq!((memory.entries(), memory.bytes()), (73, 730));
        assert_eq!(memory.policy.entries(), 0);
        for n in 100..114 {
            memory.insert_if(&kept(&n.to_string(), 10), |_| true);
        }
        assert_eq!((memory.policy.entries(), memory.entries()), (87, 87));
        assert!(!memory.is_asleep());
        memory.insert_if(&kept("late", 10), |_| true);
        assert_eq!((memory.policy.entries(), memory.strays()), (88, 0));
    });
}

#[test]
fn one_fill_that_leaves_no_room_wakes_the_policy_for_all() {
    alone(|| {
        let memory = sleeping(1_000);
        for n in 0..60 {
            memory.insert_if(&kept(&n.to_string(), 10), |_| true);
        }
        memory.insert_if(&kept("large", 900), |_| true);
        assert_eq!(memory.policy.entries(), 61, "it decides what goes");
    });
}

#[test]
fn in_no_order_of_fills_and_removals_does_a_policy_that_wakes_miss_an_entry_or_hear_of_it_twice() {
    let test = || {
        let memory = Arc::new(sleeping(3));
        memory.insert_if(&kept("a", 1), |_| true);
        let other = spawn(&memory, |memory| {
            memory.insert_if(&kept("b", 1), |_| true);
            memory.remove("a");
        });
        memory.insert_if(&kept("c", 1), |_| true);
        other.join().unwrap();
        assert_eq!((memory.strays(), memory.index.held()), (0, 2));
        for key in ["b", "c"] {
            assert!(memory.get(key).is_some(), "{key}");
            memory.remove(key);
        }
        assert_eq!((memory.strays(), memory.index.held()), (0, 0));
        assert_eq!(memory.index.bytes(), 0);
    };
    shuttle::check_random(test, ORDERS / 3);
}

#[test]
fn what_is_cleared_while_the_policy_sleeps_is_gone_and_weighs_nothing() {
    alone(|| {
        let memory = sleeping(1_000);
        memory.insert_if(&kept("a", 700), |_| true);
        memory.clear();
        assert_eq!((memory.entries(), memory.bytes()), (0, 0));
        memory.insert_if(&kept("b", 100), |_| true);
        assert_eq!((memory.policy.entries(), memory.entries()), (0, 1));
    });
}

#[test]
fn fills_that_are_larger_than_what_was_there_wake_the_policy_each_for_its_share() {
    alone(|| {
        let memory = sleeping(10_000);
        for n in 0..740 {
            memory.insert_if(&kept(&n.to_string(), 10), |_| true);
        }
        let mut told = memory.policy.entries();
        assert_eq!(told, 0);
        let mut fills = 0;
        while memory.is_asleep() {
            fills += 1;
            memory.insert_if(&kept(&format!("large{fills}"), 100), |_| true);
            let all = memory.policy.entries();
            // An eighth of the memory wakes all: one fill of a hundredth its part of that, beside itself.
            assert!(all - told <= 62, "{} by one fill", all - told);
            told = all;
        }
        assert!(memory.weight() < 9_200, "{}", memory.weight());
        assert_eq!(told, memory.entries());
    });
}

/// The room for many is gone at once: whoever filled does not wait until all of them are told.
#[test]
fn what_one_large_fill_leaves_untold_a_task_tells_bit_by_bit() {
    alone(|| {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        let runtime = builder.build().unwrap();
        runtime.block_on(async {
            let memory = Memory::new(Eviction::TinyLfu, 1 << 20, Clock::system(), |_| {});
            let memory = Arc::new(memory.put_to_sleep(1 << 20));
            let fill = |key: &str, weight: u32| {
                memory.insert_if(&kept(key, weight), |_| true);
                memory.catch_up_soon();
            };
            let tasks = || Handle::current().metrics().num_alive_tasks();
            for n in 0..3_500 {
                fill(&n.to_string(), 1);
            }
            assert_eq!((memory.policy.entries(), tasks()), (0, 0));
            fill("large", 500_000);
            let told = memory.policy.entries();
            // Beside those that went because there was no room.
            assert!((1..1_025 + 16).contains(&told), "{told} by one fill");
            fill("small", 1);
            assert_eq!(tasks(), 1, "one task for all of it");
            let mut turns = 0;
            while tasks() > 0 {
                turns += 1;
                tokio::task::yield_now().await;
            }
            assert!(turns > 30, "{turns}: in small parts");
            assert!(!memory.is_asleep());
            assert!(memory.bytes() <= 1 << 20);
            assert_eq!(memory.strays(), 0);
        });
    });
}

#[test]
fn memory_holds_its_bytes_also_while_the_policy_hears_of_a_multitude() {
    with_each(|eviction| {
        const BYTES: u64 = 8 << 20;
        const LARGE: u32 = 1 << 19;
        let gone = Arc::new(AtomicU64::new(0));
        let counts = Arc::clone(&gone);
        let memory = Memory::new(eviction, BYTES, Clock::system(), move |_| {
            counts.fetch_add(1, Ordering::Relaxed);
        });
        let memory = memory.put_to_sleep(BYTES);
        let mut small = 0;
        while memory.weight() < BYTES / 100 * 74 {
            memory.insert_if(&kept(&small.to_string(), 100), |_| true);
            small += 1;
        }
        assert!(small > 15_000 && memory.is_asleep());
        for n in 0..40 {
            memory.insert_if(&kept(&format!("large{n}"), LARGE), |_| true);
            if !memory.is_asleep() {
                break;
            }
            let weight = memory.weight();
            assert!(weight <= BYTES, "{weight} after {n}");
        }
        assert!(!memory.is_asleep(), "it knows all that are left");
        assert!(gone.load(Ordering::Relaxed) > 1_000, "each is told of");
        assert_eq!(memory.strays(), 0);
    });
}

#[test]
fn in_no_order_of_fills_and_removals_is_anything_left_of_what_goes_untold() {
    let test = || {
        let mut memory = sleeping(1_000);
        for key in ["a", "b", "d"] {
            memory.insert_if(&kept(key, 1), |_| true);
        }
        memory.bytes = 1;
        let memory = Arc::new(memory);
        let other = spawn(&memory, |memory| {
            memory.insert_if(&kept("b", 1), |_| true);
            memory.remove("a");
        });
        memory.make_room(memory.sleep.as_ref().unwrap(), &kept("c", 2));
        other.join().unwrap();
        assert_eq!(memory.strays(), 0);
        for key in ["a", "b", "d"] {
            memory.remove(key);
        }
        assert_eq!((memory.strays(), memory.index.held()), (0, 0));
        assert_eq!(memory.index.bytes(), 0);
    };
    shuttle::check_random(test, ORDERS / 3);
}

#[test]
fn what_is_cleared_while_the_policy_wakes_is_kept_by_nobody() {
    alone(|| {
        let memory = sleeping(1_000);
        for n in 0..76 {
            memory.insert_if(&kept(&n.to_string(), 10), |_| true);
        }
        assert!((1..70).contains(&memory.policy.entries()), "it wakes");
        memory.clear();
        let rest = memory.sleep.as_ref().unwrap().forget();
        assert!(rest.is_empty(), "{} of them", rest.len());
    });
}
