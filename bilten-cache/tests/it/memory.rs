//! L1 under pressure: what reads look into and what decides who stays never part, whatever happens at once.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use bilten_cache::events::Event;
use bilten_cache::test_util::ManualClock;
use bilten_cache::{Cache, CacheBuilder, Region};
use proptest::prelude::*;

use crate::harness::DEADLINE;

/// What one entry of these tests weighs at most.
const HEAVY: u64 = 2_048;

fn runtime() -> tokio::runtime::Runtime {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_all().build().unwrap()
}

async fn region<V>(cache: &Cache) -> Region<u8, V>
where
    V: serde::Serialize + serde::de::DeserializeOwned + Send + Sync + 'static,
{
    let region = cache.region("thing").weigher(|_: &V| 1_500);
    region.build().unwrap()
}

pub(crate) type Policy = fn(CacheBuilder) -> CacheBuilder;

/// What may decide what stays in memory.
pub(crate) const POLICIES: &[(&str, Policy)] = &[
    ("TinyLFU", |builder| builder),
    #[cfg(feature = "quick-cache")]
    ("CLOCK-Pro", CacheBuilder::clock_pro),
];

/// Bytes that stay allocated when `work` is done, in this thread, which does all of it.
fn left_behind<T>(work: impl FnOnce() -> T) -> (T, i64) {
    let mut result = None;
    let counted = allocation_counter::measure(|| result = Some(work()));
    (result.unwrap(), counted.bytes_current)
}

#[derive(Clone, serde::Serialize, serde::Deserialize)]
struct Row([u64; 16]);

/// As a user of moka would keep them, with the time to live that ours have too.
fn in_moka(keys: &[String]) -> moka::sync::Cache<String, Arc<Row>> {
    let cache = moka::sync::Cache::builder().max_capacity(2 * keys.len() as u64);
    let cache = cache.time_to_live(Duration::from_secs(300)).build();
    for key in keys {
        cache.insert(key.clone(), Arc::new(Row([0; 16])));
    }
    cache.run_pending_tasks();
    assert_eq!(cache.entry_count(), keys.len() as u64);
    cache
}

fn in_ours(
    runtime: &tokio::runtime::Runtime,
    keys: &[String],
    policy: Policy,
) -> (Cache, Region<str, Row>) {
    runtime.block_on(async {
        let room = 1_024 * 2 * keys.len() as u64;
        let cache = policy(Cache::builder("large").memory_bytes(room));
        let cache = cache.build().await.unwrap();
        let rows = cache.region::<str, Row>("row").build().unwrap();
        for key in keys {
            let load = async |_| Ok::<_, io::Error>(Row([0; 16]));
            rows.get_or_load(key, load).await.unwrap();
        }
        assert_eq!(cache.status().memory_entries, keys.len() as u64);
        (cache, rows)
    })
}

#[test]
fn an_entry_takes_at_most_1_3_times_the_memory_that_it_takes_in_moka() {
    let runtime = runtime();
    let keys: Vec<String> = (0..20_000).map(|n| format!("resident:{n}")).collect();
    let (theirs, raw) = left_behind(|| in_moka(&keys));
    let each = |bytes: i64| bytes as f64 / keys.len() as f64;
    // moka frees what was dropped a while later, so nothing is dropped in between.
    let mut kept = Vec::new();
    for (name, policy) in POLICIES {
        let (ours, all) = left_behind(|| in_ours(&runtime, &keys, *policy));
        let ratio = all as f64 / raw as f64;
        println!(
            "{name}: {:.0} bytes and {:.0} in moka, {ratio:.2}",
            each(all),
            each(raw)
        );
        assert!(ratio <= 1.3, "{name}: {ratio:.2}");
        kept.push(ours);
    }
    drop((theirs, kept));
}

/// Puts more in than there is room for, and compares what is allocated then with what the cache says.
fn allocated_over_said<V>(policy: Policy, values: u32, value: impl Fn() -> V) -> f64
where
    V: serde::Serialize + serde::de::DeserializeOwned + Send + Sync + 'static,
{
    const ROOM: u64 = 2 << 20;
    let runtime = runtime();
    let ((cache, _things), allocated) = left_behind(|| {
        runtime.block_on(async {
            let cache = policy(Cache::builder("full").memory_bytes(ROOM));
            let cache = cache.build().await.unwrap();
            let things = cache.region::<u32, V>("thing").build().unwrap();
            for key in 0..values {
                let _ = things.set(&key, value()).await.unwrap();
            }
            (cache, things)
        })
    });
    let said = cache.status().memory_bytes;
    assert!((ROOM * 9 / 10..=ROOM).contains(&said), "{said}");
    allocated as f64 / said as f64
}

#[test]
fn what_entries_weigh_is_what_they_take_for_small_and_for_large_ones() {
    for (name, policy) in POLICIES {
        let small = allocated_over_said(*policy, 20_000, || 1_u64);
        let middling = allocated_over_said(*policy, 5_000, || "x".repeat(1_000));
        let large = allocated_over_said(*policy, 2_000, || "x".repeat(4_000));
        println!("{name}: {small:.2} {middling:.2} {large:.2}");
        for ratio in [small, middling, large] {
            assert!((1.0 / 1.3..=1.3).contains(&ratio), "{name}: {ratio:.2}");
        }
    }
}

#[derive(Debug, Clone, Copy)]
enum Step {
    Set(u8),
    Load(u8),
    Read(u8),
    Remove(u8),
    Expire(u8),
    Clear,
    Wait,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let key = 0..40_u8;
    let step = prop_oneof![
        6 => key.clone().prop_map(Step::Set),
        6 => key.clone().prop_map(Step::Load),
        6 => key.clone().prop_map(Step::Read),
        3 => key.clone().prop_map(Step::Remove),
        1 => key.prop_map(Step::Expire),
        1 => Just(Step::Clear),
        1 => Just(Step::Wait),
    ];
    prop::collection::vec(step, 1..120)
}

/// One caller: a read may find nothing, because memory is short, but never anything but the last value.
async fn follow(policy: Policy, steps: Vec<Step>) -> Result<(), TestCaseError> {
    let clock = ManualClock::new();
    // Room for about ten of the forty.
    let cache = policy(Cache::builder("small").memory_bytes(10 * HEAVY));
    let cache = cache.clock(&clock).build().await.unwrap();
    let things = region::<u64>(&cache).await;
    let mut truth = HashMap::new();
    for (number, step) in (1..).zip(steps) {
        match step {
            Step::Set(key) => {
                let _ = things.set(&key, number).await.unwrap();
                truth.insert(key, number);
            }
            Step::Load(key) => {
                let load = async move |_| Ok::<_, io::Error>(number);
                let got = *things.get_or_load(&key, load).await.unwrap();
                let known = truth.insert(key, got);
                prop_assert!(got == number || known == Some(got), "{got} of {known:?}");
            }
            Step::Read(key) => {
                let got = things.peek(&key).map(|got| *got);
                prop_assert!(got.is_none() || got == truth.get(&key).copied());
            }
            Step::Remove(key) => {
                let _ = things.remove(&key).await.unwrap();
                truth.remove(&key);
            }
            Step::Expire(key) => {
                let _ = things.expire(&key).await.unwrap();
                truth.remove(&key);
            }
            Step::Clear => {
                let _ = cache.clear().await;
                truth.clear();
            }
            Step::Wait => {
                clock.advance(Duration::from_secs(3_600));
                truth.clear();
            }
        }
    }
    prop_assert_eq!(cache.strays(), 0);
    prop_assert!(cache.status().memory_bytes <= 10 * HEAVY);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn a_read_finds_the_last_value_or_nothing_whatever_came_before(steps in steps()) {
        for (_, policy) in POLICIES {
            runtime().block_on(follow(*policy, steps.clone()))?;
        }
    }
}

/// Writers raise a number at the source and then remove its key; whoever reads after that must not see less.
struct Source {
    numbers: [AtomicU64; 40],
    floors: [AtomicU64; 40],
}

async fn write(things: &Region<u8, u64>, source: &Source, key: u8) {
    let place = usize::from(key);
    let number = source.numbers[place].fetch_add(1, Ordering::SeqCst) + 1;
    let _ = things.remove(&key).await.unwrap();
    source.floors[place].fetch_max(number, Ordering::SeqCst);
}

async fn read(things: &Region<u8, u64>, source: &Arc<Source>, key: u8) {
    let place = usize::from(key);
    let floor = source.floors[place].load(Ordering::SeqCst);
    let at_source = Arc::clone(source);
    let load = async move |_| {
        let number = at_source.numbers[place].load(Ordering::SeqCst);
        tokio::task::yield_now().await;
        Ok::<_, io::Error>(number)
    };
    let got = *things.get_or_load(&key, load).await.unwrap();
    assert!(got >= floor, "{got} after {floor}");
}

#[test]
fn threads_that_read_and_change_a_memory_that_is_too_small_see_nothing_old() {
    for (_, policy) in POLICIES {
        read_and_change(*policy);
    }
}

fn read_and_change(policy: Policy) {
    let cache = policy(Cache::builder("small").memory_bytes(10 * HEAVY));
    let cache = runtime().block_on(cache.build()).unwrap();
    let things = runtime().block_on(region::<u64>(&cache));
    let source = Arc::new(Source {
        numbers: [const { AtomicU64::new(0) }; 40],
        floors: [const { AtomicU64::new(0) }; 40],
    });
    std::thread::scope(|scope| {
        for thread in 0..4_u64 {
            let (cache, things, source) = (&cache, &things, &source);
            scope.spawn(move || {
                runtime().block_on(async move {
                    let mut random = fastrand::Rng::with_seed(thread);
                    for _ in 0..3_000 {
                        let key = random.u8(0..40);
                        match random.u8(0..100) {
                            0 => drop(cache.clear().await),
                            1..20 => write(things, source, key).await,
                            _ => read(things, source, key).await,
                        }
                    }
                });
            });
        }
    });
    assert_eq!(cache.strays(), 0);
    assert!(cache.status().memory_bytes <= 10 * HEAVY);
    assert!(things.stats().hits_memory > 0, "memory was of use");
}

static ALIVE: AtomicUsize = AtomicUsize::new(0);

#[derive(serde::Serialize, serde::Deserialize)]
struct Counted;

impl Counted {
    fn new() -> Self {
        ALIVE.fetch_add(1, Ordering::SeqCst);
        Self
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        ALIVE.fetch_sub(1, Ordering::SeqCst);
    }
}

#[tokio::test]
async fn what_is_evicted_is_given_back() {
    for (_, policy) in POLICIES {
        give_back(*policy).await;
    }
}

async fn give_back(policy: Policy) {
    let cache = policy(Cache::builder("small").memory_bytes(10 * HEAVY));
    let cache = cache.build().await.unwrap();
    let region = cache.region::<u32, Counted>("thing");
    let things = region.weigher(|_| 1_500).build().unwrap();
    let deadline = std::time::Instant::now() + DEADLINE;
    for key in 0..10_000_u32 {
        let _ = things.set(&key, Counted::new()).await.unwrap();
    }
    let mut key = 10_000;
    while ALIVE.load(Ordering::SeqCst) > 400 {
        assert!(std::time::Instant::now() < deadline, "{ALIVE:?} are alive");
        let _ = things.set(&key, Counted::new()).await.unwrap();
        let _ = cache.status();
        key += 1;
    }
    assert_eq!(cache.strays(), 0);
}

#[tokio::test]
async fn values_that_do_not_serialise_stay_within_the_budget() {
    // 32 KiB each, of which the last number is what JSON cannot hold.
    const FLOATS: usize = 4 << 10;
    let cache = Cache::builder("shop").memory_bytes(1 << 20).build();
    let cache = cache.await.unwrap();
    let lists = cache.region::<u32, Vec<f64>>("list").build().unwrap();
    for key in 0..100 {
        let mut list = vec![0.123_456_789; FLOATS];
        list.push(f64::NAN);
        let load = async move |_| Ok::<_, io::Error>(list);
        lists.get_or_load(&key, load).await.unwrap();
    }
    let there = || (0..100).filter(|key| lists.peek(key).is_some()).count();
    let within = || {
        // What was put off is done when somebody asks.
        let _ = cache.status();
        there() <= 32
    };
    crate::harness::eventually("the budget holds", within).await;
    assert!(there() > 0, "they are kept");
}

#[tokio::test]
async fn an_entry_that_is_larger_than_all_of_memory_is_told_and_counted() {
    for (name, policy) in POLICIES {
        let cache = policy(Cache::builder("shop").memory_bytes(10_000));
        let cache = cache.build().await.unwrap();
        let region = cache.region::<u8, u32>("thing");
        let region = region.weigher(|value| *value as usize).build().unwrap();
        let mut events = cache.events();
        let _ = region.set(&1, 1_000).await.unwrap();
        let _ = region.set(&1, 20_000).await.unwrap();
        assert_eq!(region.peek(&1), None, "{name}: nor is the older one there");
        assert_eq!(cache.stats().evictions, 1, "{name}");
        let told = std::iter::from_fn(|| events.try_next());
        let evicted = |event: &Event| {
            *event
                == Event::Evicted {
                    key: "thing:1".into(),
                }
        };
        assert_eq!(told.filter(evicted).count(), 1, "{name}");
    }
    let cache = Cache::builder("shop")
        .memory_bytes(0)
        .build()
        .await
        .unwrap();
    let region = region::<u32>(&cache).await;
    let _ = region.set(&1, 1).await.unwrap();
    assert_eq!((region.peek(&1), cache.stats().evictions), (None, 0));
}
