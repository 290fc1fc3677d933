//! How long a load waits for that of another process, and how often it asks meanwhile.

use std::io;
use std::sync::Arc;

use bilten_cache::remote::{Lease, Remote};
use bilten_cache::test_util::{Call, FaultyRemote};
use bilten_cache::{Cache, Error, Loaded, Region, RegionBuilder};
use futures_util::future::join_all;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::harness::{Node, eventually, held};
use crate::staleness::SECOND;

async fn region(
    store: &FaultyRemote,
    setting: impl FnOnce(RegionBuilder<str, u32>) -> RegionBuilder<str, u32>,
) -> Region<str, u32> {
    let cache = Cache::builder("shop").remote(store.another_node());
    let cache = cache.build().await.unwrap();
    setting(cache.region("stock")).build().unwrap()
}

type Setting = fn(RegionBuilder<str, u32>) -> RegionBuilder<str, u32>;

/// The source of another process hangs: where callers do not wait for ever, too, each of them calls its own loader in time.
#[tokio::test(start_paused = true)]
async fn who_waits_for_another_process_has_time_for_its_own_load_before_its_callers_leave() {
    let limit = SECOND * 4;
    let settings: [Setting; 2] = [
        |region| region.late_results(SECOND),
        |region| region.stale_if_error(SECOND).soft_timeout(SECOND),
    ];
    for setting in settings {
        let store = FaultyRemote::new();
        let other = Node::on(&store).await;
        let (mut hangs, _load) = other.start_load("tea");
        hangs.started().await;
        let region = region(&store, |region| setting(region).load_timeout(limit)).await;
        let begun = Instant::now();
        let load = async |_| {
            tokio::time::sleep(SECOND).await;
            Ok::<_, io::Error>(8)
        };
        let loaded = region.get_or_load("tea", load).await;
        assert_eq!(*loaded.unwrap(), 8);
        let waited = begun.elapsed();
        assert!(waited >= limit / 2 && waited < limit, "{waited:?}");
    }
}

/// What comes of a load that takes five seconds.
type Outcome = fn() -> Result<Loaded<u32>, io::Error>;

#[tokio::test(start_paused = true)]
async fn loads_of_which_nothing_is_kept_do_not_run_one_after_the_other_through_all_processes() {
    let outcomes: [Outcome; 2] = [
        || Err(io::Error::other("away")),
        || Ok(Loaded::new(7).uncached()),
    ];
    for outcome in outcomes {
        let store = FaultyRemote::new();
        let mut regions = Vec::new();
        for _ in 0..8 {
            regions.push(region(&store, |region| region).await);
        }
        let begun = Instant::now();
        let loads = regions.iter().map(|region| async move {
            let load = async move |_| {
                tokio::time::sleep(SECOND * 5).await;
                outcome()
            };
            let loaded: Result<Arc<u32>, Error> = region.get_or_load("tea", load).await;
            loaded.is_ok()
        });
        let loaded = join_all(loads).await;
        assert!(loaded.iter().all(|is_ok| *is_ok == outcome().is_ok()));
        // Theirs, after the first one's: not all eight.
        let took = begun.elapsed();
        assert!(took < SECOND * 12, "{took:?}");
        assert!(regions.iter().all(|region| region.stats().loads == 1));
        // A while later they wait again.
        tokio::time::sleep(SECOND * 10).await;
        let load = async |_| {
            tokio::time::sleep(SECOND * 5).await;
            Ok::<_, io::Error>(9)
        };
        let loads = regions.iter().map(|region| region.get_or_load("tea", load));
        let loaded = join_all(loads).await;
        assert!(loaded.into_iter().all(|value| *value.unwrap() == 9));
        let loads: u64 = regions.iter().map(|region| region.stats().loads).sum();
        assert_eq!(loads, 8 + 1);
    }
}

/// However often the key is asked for: what was told is about one load.
#[tokio::test(start_paused = true)]
async fn one_load_that_failed_ends_no_wait_for_a_later_one() {
    let store = FaultyRemote::new();
    let mut regions = Vec::new();
    for _ in 0..8 {
        regions.push(region(&store, |region| region).await);
    }
    let fails = async |_| {
        tokio::time::sleep(SECOND).await;
        Err::<u32, _>(io::Error::other("away"))
    };
    assert!(regions[0].get_or_load("tea", fails).await.is_err());
    let loads = || -> u64 { regions.iter().map(|region| region.stats().loads).sum() };
    for round in 1..7 {
        let before = loads();
        let load = async move |_| {
            tokio::time::sleep(SECOND / 3).await;
            Ok::<_, io::Error>(round)
        };
        let loaded = regions.iter().map(|region| region.get_or_load("tea", load));
        for value in join_all(loaded).await {
            assert_eq!(*value.unwrap(), round);
        }
        assert_eq!(loads() - before, 1, "round {round}");
        tokio::time::sleep(SECOND).await;
        assert!(store.bytes("stock:tea").is_some(), "it is stored");
        let _ = regions[0].remove("tea").await.unwrap();
        let forgotten = || regions.iter().all(|region| region.peek("tea").is_none());
        eventually("all have forgotten it", forgotten).await;
    }
}

#[tokio::test(start_paused = true)]
async fn who_waits_long_for_one_key_asks_seldom() {
    let store = FaultyRemote::new();
    let other = Node::on(&store).await;
    let (mut held, load) = other.start_load("tea");
    held.started().await;
    let region = region(&store, |region| region).await;
    let waits = tokio::spawn(async move {
        let loaded = region.get_or_load("tea", async |_| Ok::<_, io::Error>(8));
        *loaded.await.unwrap()
    });
    tokio::time::sleep(SECOND * 25).await;
    let asked = store.calls(Call::Lease);
    assert!((30..300).contains(&asked), "{asked}");
    let begun = Instant::now();
    held.finish(7);
    assert_eq!(*load.await.unwrap().unwrap(), 7);
    assert_eq!(waits.await.unwrap(), 7);
    let took = begun.elapsed();
    assert!(took <= SECOND / 2, "{took:?}");
}

type Numbers = Region<i64, i64>;

const KEYS: i64 = 400;

/// Loads all keys at once, when `goes_on` says so.
fn all_keys(
    numbers: &Numbers,
    goes_on: &Arc<Notify>,
) -> JoinHandle<Result<Vec<Option<Arc<i64>>>, Error>> {
    let (numbers, goes_on) = (numbers.clone(), Arc::clone(goes_on));
    let load = move |keys: Vec<i64>| {
        let goes_on = Arc::clone(&goes_on);
        async move {
            goes_on.notified().await;
            Ok::<_, io::Error>(keys.into_iter().map(|key| (key, key)).collect::<Vec<_>>())
        }
    };
    tokio::spawn(async move { numbers.get_or_load_many(0..KEYS, load).await })
}

/// A region of many keys, in a process of its own.
async fn numbers(
    store: &FaultyRemote,
    setting: impl FnOnce(RegionBuilder<i64, i64>) -> RegionBuilder<i64, i64>,
) -> Numbers {
    let cache = Cache::builder("shop").remote(store.another_node());
    // However long the machine takes for all of it.
    let cache = cache.isolated_ttl(SECOND * 600).build().await.unwrap();
    setting(cache.region("number")).build().unwrap()
}

#[tokio::test(start_paused = true)]
async fn who_has_waited_has_all_the_time_that_is_left_for_its_own_load() {
    let (store, limit) = (FaultyRemote::new(), SECOND * 40);
    let other = store.another_node();
    let late = |r: RegionBuilder<i64, i64>| r.late_results(SECOND).load_timeout(limit);
    let numbers = numbers(&store, late).await;
    let mut waits = Vec::new();
    for key in 0..16 {
        let name = format!("number:{key}");
        let lease = other.lease(&name, 99, limit * 2, None).await;
        assert_eq!(lease.unwrap(), Lease::Owned);
        let numbers = numbers.clone();
        waits.push(tokio::spawn(async move {
            // Half of the time, and hardly less.
            let load = async move |_| {
                tokio::time::sleep(limit / 2 - SECOND / 50).await;
                Ok::<_, io::Error>(key)
            };
            numbers.get_or_load(&key, load).await
        }));
    }
    for (key, waits) in (0..).zip(waits) {
        assert_eq!(*waits.await.unwrap().unwrap(), key);
    }
}

/// Most of what it asks for does not exist.
#[tokio::test(start_paused = true)]
async fn keys_that_a_load_says_nothing_about_cost_one_call_each_after_it() {
    let store = FaultyRemote::new();
    let numbers = numbers(&store, |region| region).await;
    let load = |keys: Vec<i64>| async move {
        tokio::time::sleep(SECOND / 2).await;
        let there = keys.into_iter().filter(|key| *key < 10);
        Ok::<_, io::Error>(there.map(|key| (key, key)).collect::<Vec<_>>())
    };
    let found = numbers.get_or_load_many(0..100, load).await.unwrap();
    assert_eq!(found.iter().flatten().count(), 10);
    eventually("all leases are free", || {
        store.calls(Call::Release) == 90 && store.calls(Call::Store) == 10
    })
    .await;
    tokio::time::sleep(SECOND).await;
    assert_eq!(
        (store.calls(Call::Lease), store.calls(Call::Store)),
        (100, 10)
    );
}

#[tokio::test(start_paused = true)]
async fn keys_of_a_call_that_found_no_place_cost_one_call_each_after_it() {
    let store = FaultyRemote::new();
    let cache = Cache::builder("shop").remote(store.another_node());
    let cache = cache.isolated_ttl(SECOND * 600).max_concurrent_loads(1);
    let cache = cache.build().await.unwrap();
    let stock: Region<str, u32> = cache.region("stock").build().unwrap();
    let numbers = cache.region("number").load_timeout(SECOND);
    let numbers: Numbers = numbers.build().unwrap();
    let (load, mut held) = held();
    let first = tokio::spawn(async move { stock.get_or_load("tea", |_| load.run()).await });
    held.started().await;
    let load = |_: Vec<i64>| std::future::ready(Ok::<_, io::Error>(Vec::<(i64, i64)>::new()));
    let found = numbers.get_or_load_many(0..100, load).await;
    assert!(matches!(found, Err(Error::Overloaded { .. })), "{found:?}");
    eventually("all leases are free", || store.calls(Call::Release) == 100).await;
    tokio::time::sleep(SECOND).await;
    assert_eq!(
        (store.calls(Call::Lease), store.calls(Call::Store)),
        (101, 0)
    );
    held.finish(1);
    assert_eq!(*first.await.unwrap().unwrap(), 1);
}

/// Nobody has a value for the key, which takes all of them five seconds to find out.
#[tokio::test(start_paused = true)]
async fn slow_loads_that_bring_nothing_do_not_run_one_after_the_other_either() {
    let store = FaultyRemote::new();
    let mut all = Vec::new();
    for _ in 0..8 {
        all.push(numbers(&store, |region| region).await);
    }
    let begun = Instant::now();
    let loads = all.iter().map(|numbers| {
        numbers.get_or_load_many([7], |_: Vec<i64>| async {
            tokio::time::sleep(SECOND * 5).await;
            Ok::<_, io::Error>(Vec::<(i64, i64)>::new())
        })
    });
    for found in join_all(loads).await {
        assert_eq!(found.unwrap(), [None]);
    }
    let took = begun.elapsed();
    assert!(took < SECOND * 12, "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn many_keys_that_wait_together_ask_seldom_and_hear_of_all_values_soon() {
    let store = FaultyRemote::new();
    let as_it_is = |region| region;
    let (one, two) = (
        numbers(&store, as_it_is).await,
        numbers(&store, as_it_is).await,
    );
    let (goes_on, never) = (Arc::<Notify>::default(), Arc::<Notify>::default());
    let first = all_keys(&one, &goes_on);
    let all = u64::try_from(KEYS).unwrap();
    eventually("it has all leases", || store.calls(Call::Lease) == all).await;
    let second = all_keys(&two, &never);
    tokio::time::sleep(SECOND * 10).await;
    let asked = store.calls(Call::Lease) - all;
    assert!((all..all * 50).contains(&asked), "{asked}");
    let begun = Instant::now();
    goes_on.notify_one();
    for found in [first, second] {
        let found = found.await.unwrap().unwrap();
        assert_eq!(found.iter().flatten().count() as u64, all);
    }
    let took = begun.elapsed();
    // The longest pause of one key: what is paused beyond that, because there are many, ends with the first that has its value.
    assert!(took <= SECOND * 6 / 10, "{took:?}");
    assert_eq!(two.stats().loads, 0);
}
