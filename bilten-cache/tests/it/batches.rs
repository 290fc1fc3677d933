//! A load of many keys beside refreshes, bounds, failures and ends: nobody waits for what waits for him, and each read counts.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bilten_cache::events::Event;
use bilten_cache::remote::Remote;
use bilten_cache::test_util::{Call, FaultyRemote, ManualClock, Moment};
use bilten_cache::{Ack, Cache, Error, Redis, RedisClient, Region, RegionBuilder};
use bilten_testbed::FaultProxy;

use crate::harness::{DEADLINE, Node, eventually, with_each_client};
use crate::hooked::Hooked;
use crate::staleness::{SECOND, TTL};

type Numbers = Region<i64, i64>;

/// Far longer than it takes, also on a machine that is busy, and less than a load may take.
const SOON: Duration = Duration::from_secs(15);

async fn numbers(
    store: Option<&FaultyRemote>,
    setting: impl FnOnce(RegionBuilder<i64, i64>) -> RegionBuilder<i64, i64>,
) -> (ManualClock, Numbers) {
    let clock = ManualClock::new();
    let mut cache = Cache::builder("shop").clock(&clock);
    if let Some(store) = store {
        cache = cache.remote(store.another_node()).isolated_ttl(TTL * 10);
    }
    let cache = cache.build().await.unwrap();
    let region = setting(cache.region("number").time_to_live(TTL));
    (clock, region.build().unwrap())
}

/// Loads each key with its own number; the calls of the loader so far.
#[derive(Clone, Default)]
struct Source {
    calls: Arc<Mutex<Vec<Vec<i64>>>>,
}

impl Source {
    async fn load(&self, region: &Numbers, keys: &[i64]) -> Vec<Option<i64>> {
        self.load_but(region, keys, &[]).await
    }

    /// Of these keys it knows nothing.
    async fn load_but(
        &self,
        region: &Numbers,
        keys: &[i64],
        gone: &'static [i64],
    ) -> Vec<Option<i64>> {
        let calls = Arc::clone(&self.calls);
        let load = move |missing: Vec<i64>| {
            calls.lock().unwrap().push(missing.clone());
            let there = missing.into_iter().filter(|key| !gone.contains(key));
            let rows: Vec<_> = there.map(|key| (key, key)).collect();
            std::future::ready(Ok::<_, io::Error>(rows))
        };
        let found = region.get_or_load_many(keys.to_vec(), load);
        let found = tokio::time::timeout(SOON, found).await;
        let found = found.expect("nobody waits for himself").unwrap();
        found
            .iter()
            .map(|value| value.as_deref().copied())
            .collect()
    }

    fn asked(&self) -> Vec<i64> {
        let mut asked = self.calls.lock().unwrap().concat();
        asked.sort_unstable();
        asked
    }
}

#[tokio::test(start_paused = true)]
async fn keys_that_are_due_do_not_take_the_place_that_their_call_waits_for() {
    let one = |r: RegionBuilder<i64, i64>| r.refresh_ahead(0.5).max_concurrent_loads(1);
    let ((clock, region), source) = (numbers(None, one).await, Source::default());
    source.load(&region, &[1, 2]).await;
    clock.advance(TTL * 6 / 10);
    let found = source.load(&region, &[1, 2, 3]).await;
    assert_eq!(found, [Some(1), Some(2), Some(3)]);
    eventually("the due ones are loaded too", || region.stats().loads == 5).await;
    assert_eq!(source.asked(), [1, 1, 2, 2, 3]);
    assert_eq!(region.stats().loads_refused, 0);
}

#[tokio::test(start_paused = true)]
async fn a_due_key_that_another_process_loads_does_not_hold_up_a_missing_one() {
    let (store, source) = (FaultyRemote::new(), Source::default());
    let (clock, region) = numbers(Some(&store), |r| r.refresh_ahead(0.5)).await;
    source.load(&region, &[1]).await;
    eventually("it is stored", || store.bytes("number:1").is_some()).await;
    clock.advance(TTL * 6 / 10);
    let other = store.another_node();
    let lease = other.lease("number:1", 7, SECOND * 60, Some(&[]));
    lease.await.unwrap();
    let begun = tokio::time::Instant::now();
    let found = source.load(&region, &[1, 2]).await;
    assert_eq!(found, [Some(1), Some(2)]);
    assert!(begun.elapsed() < SECOND / 10, "{:?}", begun.elapsed());
    assert_eq!(source.asked(), [1, 2]);
}

#[tokio::test(start_paused = true)]
async fn a_due_key_that_the_loader_leaves_out_is_not_asked_for_at_every_call() {
    let ahead = |r: RegionBuilder<i64, i64>| r.refresh_ahead(0.5).retry_after(SECOND * 5);
    let ((clock, region), source) = (numbers(None, ahead).await, Source::default());
    source.load(&region, &[1]).await;
    clock.advance(TTL * 6 / 10);
    for turn in 0..3 {
        let found = source.load_but(&region, &[1], &[1]).await;
        assert_eq!(found, [Some(1)], "turn {turn}: its time is not over");
        eventually("it was asked for", || region.stats().loads == 2).await;
        // What the flight does after the loader.
        tokio::task::yield_now().await;
    }
    clock.advance(SECOND * 5);
    source.load_but(&region, &[1], &[1]).await;
    eventually("it is asked for again", || region.stats().loads == 3).await;
    clock.advance(TTL);
    let found = source.load_but(&region, &[1], &[1]).await;
    assert_eq!(found, [None], "nothing is remembered about it");
}

#[tokio::test]
async fn each_key_of_a_call_that_fails_is_one_miss_and_one_event() {
    for recursive in [false, true] {
        let cache = Cache::builder("shop").build().await.unwrap();
        let region: Numbers = cache.region("number").build().unwrap();
        let mut events = cache.events();
        let inner = region.clone();
        let fail = move |_: Vec<i64>| {
            let inner = inner.clone();
            async move {
                if recursive {
                    let load = |_: Vec<i64>| std::future::ready(Ok(Vec::new()));
                    let many = inner.get_or_load_many::<_, Vec<(i64, i64)>, _, io::Error, _, _>(
                        [4, 3, 4],
                        load,
                    );
                    many.await.map_err(io::Error::other)?;
                }
                Err::<Vec<(i64, i64)>, _>(io::Error::other("away"))
            }
        };
        region.get_or_load_many([1, 2, 3], fail).await.unwrap_err();
        // Of the inner call three, one of them named twice and one the reason why it ends.
        let due = if recursive { 6 } else { 3 };
        assert_eq!(region.stats().misses, due, "recursive: {recursive}");
        let misses = std::iter::from_fn(|| events.try_next());
        let misses = misses.filter(|event| matches!(event, Event::Miss { .. }));
        assert_eq!(misses.count() as u64, due);
    }
}

#[tokio::test]
async fn changes_of_many_keys_are_on_their_way_together_and_512_at_a_time() {
    for (call, keys) in [(Call::Claim, 512), (Call::Invalidate, 600)] {
        let store = FaultyRemote::new();
        let cache = Cache::builder("shop").remote(store.another_node());
        let cache = cache.remote_budget(SECOND * 60).build().await.unwrap();
        let region: Numbers = cache.region("number").build().unwrap();
        let traps: Vec<_> = (0..keys)
            .map(|_| store.trap(call, Moment::Before))
            .collect();
        let own = region.clone();
        let change = tokio::spawn(async move {
            match call {
                Call::Claim => own.set_many((0..keys).map(|key| (key, key))).await,
                _ => own.remove_many(0..keys).await,
            }
        });
        eventually("they wait for their answers", || store.calls(call) == 512).await;
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        assert_eq!(store.calls(call), 512);
        for trap in traps {
            trap.release();
        }
        assert_eq!(change.await.unwrap().unwrap(), Ack::Everywhere);
        let calls = u64::try_from(keys).unwrap();
        assert_eq!(store.calls(call), calls);
        let stores = if call == Call::Claim { calls } else { 0 };
        assert_eq!(store.calls(Call::Store), stores);
    }
}

#[tokio::test]
async fn of_many_changes_each_has_its_own_answer_from_a_store_of_ones_own() {
    let store = FaultyRemote::new();
    let hooked = Hooked::new(Arc::new(store.another_node())).refusing_key("number:3");
    let cache = Cache::builder("shop").remote(hooked).build().await.unwrap();
    let region: Numbers = cache.region("number").build().unwrap();
    let set = region.set_many((0..6).map(|key| (key, key))).await;
    assert_eq!(set.unwrap(), Ack::Everywhere);
    assert_eq!(region.remove_many(0..6).await.unwrap(), Ack::Deferred);
    assert_eq!(cache.status().waiting, 1, "the one that was refused");
    for key in 0..6 {
        assert_eq!(region.peek(&key), None, "{key}");
        let there = store.bytes(&format!("number:{key}")).is_some();
        assert_eq!(there, key == 3, "{key}");
    }
    assert_eq!(cache.stats().deferred, 1);
}

#[tokio::test]
async fn values_that_cannot_be_kept_large_ones_and_twice_the_same_key_go_with_the_others() {
    let store = FaultyRemote::new();
    let node = async || {
        let cache = Cache::builder("shop").remote(store.another_node());
        let cache = cache.build().await.unwrap();
        let region = cache.region::<str, Vec<f64>>("list");
        (cache, region.build().unwrap())
    };
    let ((_a, one), (_b, two)) = (node().await, node().await);
    let _ = one.set("nan", vec![0.0]).await.unwrap();
    assert!(two.get("nan").await.is_some());
    let long = "x".repeat(2_000);
    let values = [
        ("small", vec![1.0]),
        ("nan", vec![f64::NAN]),
        ("large", vec![0.5; 50_000]),
        (&long, vec![1.0]),
        ("twice", vec![1.0]),
        ("twice", vec![2.0]),
    ];
    let error = one.set_many(values).await.unwrap_err();
    assert!(
        matches!(error, Error::Encode { .. } | Error::KeyTooLong { .. }),
        "{error}"
    );
    eventually("the old one is gone", || two.peek("nan").is_none()).await;
    for (key, length) in [("small", 1), ("large", 50_000), ("twice", 1)] {
        for region in [&one, &two] {
            let found = region.get(key).await.unwrap();
            assert_eq!(found.len(), length, "{key}");
        }
    }
    assert_eq!(two.get("nan").await, None);
    assert_eq!(one.get("twice").await, two.get("twice").await);
}

#[tokio::test]
async fn of_several_values_for_one_key_the_last_one_stays_whatever_is_slow() {
    let store = FaultyRemote::new();
    let node = async || {
        let cache = Cache::builder("shop").remote(store.another_node());
        // A call stands in a trap meanwhile.
        let cache = cache.remote_budget(DEADLINE).build().await.unwrap();
        let region = cache.region::<str, Vec<f64>>("list");
        (cache, region.build().unwrap())
    };
    let ((_a, one), (_b, two)) = (node().await, node().await);
    // A large one goes by itself, beside the others.
    let large = vec![0.5; 50_000];
    let claim = store.trap(Call::Claim, Moment::Before);
    let values = [
        ("tea", large),
        ("jam", vec![5.0]),
        ("tea", vec![1.0]),
        ("jam", vec![6.0]),
        ("tea", vec![2.0]),
    ];
    let set = one.clone();
    let set = tokio::spawn(async move { set.set_many(values).await });
    claim.caught().await;
    eventually("the others go on", || store.calls(Call::Claim) >= 2).await;
    claim.release();
    assert_eq!(set.await.unwrap().unwrap(), Ack::Everywhere);
    for region in [&one, &two] {
        assert_eq!(region.get("tea").await.as_deref(), Some(&vec![2.0]));
        assert_eq!(region.get("jam").await.as_deref(), Some(&vec![6.0]));
    }
}

#[tokio::test]
async fn many_changes_in_an_outage_wait_and_are_delivered() {
    let store = FaultyRemote::new();
    let ((_one, region), (_two, other)) = (
        numbers(Some(&store), |r| r).await,
        numbers(Some(&store), |r| r).await,
    );
    let values = || (0..100).map(|key| (key, key));
    assert_eq!(region.set_many(values()).await.unwrap(), Ack::Everywhere);
    let keys: Vec<i64> = (0..100).collect();
    assert_eq!(other.get_many(&keys).await.iter().flatten().count(), 100);
    store.fail(true);
    let later = region.set_many(keys.iter().map(|key| (*key, key + 1)));
    assert_eq!(later.await.unwrap(), Ack::Deferred);
    assert_eq!(region.remove_many(0..50).await.unwrap(), Ack::Deferred);
    let here = |key: &i64| region.peek(key).as_deref().copied();
    assert!(keys[..50].iter().all(|key| here(key).is_none()));
    // Two that share a ticket overlap: one of them is kept.
    let kept = keys[50..].iter().filter(|key| here(key).is_some());
    assert!(
        kept.clone().all(|key| here(key) == Some(key + 1)),
        "its own"
    );
    assert!(kept.count() >= 40);
    store.fail(false);
    eventually("the other hears of all", || {
        keys.iter().all(|key| other.peek(key).is_none())
    })
    .await;
    assert_eq!(other.get_many(&keys).await.iter().flatten().count(), 0);
}

#[tokio::test]
async fn missing_keys_are_leased_256_at_a_time() {
    let store = FaultyRemote::new();
    let cache = Cache::builder("shop").remote(store.another_node());
    let cache = cache.remote_budget(SECOND * 60).build().await.unwrap();
    let region: Numbers = cache.region("number").lease(SECOND * 60).build().unwrap();
    let traps: Vec<_> = (0..600)
        .map(|_| store.trap(Call::Lease, Moment::Before))
        .collect();
    let own = region.clone();
    let load = |missing: Vec<i64>| async move {
        Ok::<_, io::Error>(missing.into_iter().map(|key| (key, key)))
    };
    let load = tokio::spawn(async move { own.get_or_load_many(0..600, load).await });
    eventually("some ask", || store.calls(Call::Lease) == 256).await;
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert_eq!(store.calls(Call::Lease), 256);
    for trap in traps {
        trap.release();
    }
    let found = load.await.unwrap().unwrap();
    assert_eq!(found.iter().flatten().count(), 600);
    assert_eq!(store.calls(Call::Lease), 600);
}

#[tokio::test]
async fn more_missing_keys_than_calls_are_kept_everywhere_all_the_same() {
    let store = FaultyRemote::new();
    let cache = Cache::builder("shop").remote(store.another_node());
    let cache = cache.remote_concurrency(10).build().await.unwrap();
    let region: Numbers = cache.region("number").build().unwrap();
    let load = |missing: Vec<i64>| async move {
        Ok::<_, io::Error>(missing.into_iter().map(|key| (key, key)))
    };
    let found = region.get_or_load_many(0..300, load).await.unwrap();
    assert_eq!(found.iter().flatten().count(), 300);
    let kept = |key: i64| store.bytes(&format!("number:{key}")).is_some();
    eventually("all are kept", || (0..300).all(kept)).await;
    let stats = cache.stats();
    assert_eq!((stats.remote_failures, stats.breaker_opened), (0, 0));
}

with_each_client! {
    many_values_cost_two_round_trips_and_many_removals_one,
}

async fn many_values_cost_two_round_trips_and_many_removals_one(client: RedisClient) {
    let server = bilten_testbed::Redis::start().unwrap();
    let far = FaultProxy::to(server.addr()).await.unwrap();
    let url = far.url_like(&server.url()).unwrap();
    let redis = Redis::url(url).client(client);
    let cache = Cache::builder("shop")
        .redis(redis)
        .remote_budget(SECOND * 20);
    let cache = cache.build().await.unwrap();
    let region: Numbers = cache.region("number").build().unwrap();
    let warm = region.set_many((0..64).map(|key| (key, key)));
    assert_eq!(warm.await.unwrap(), Ack::Everywhere);
    far.delay(SECOND / 10);
    let begun = Instant::now();
    for key in 0..4 {
        assert_eq!(region.remove(&key).await.unwrap(), Ack::Everywhere);
    }
    let round_trip = begun.elapsed() / 4;
    for keys in [64, 512] {
        let begun = Instant::now();
        let set = region.set_many((0..keys).map(|key| (key, key)));
        assert_eq!(set.await.unwrap(), Ack::Everywhere);
        let set = begun.elapsed();
        let begun = Instant::now();
        let removed = region.remove_many(0..keys);
        assert_eq!(removed.await.unwrap(), Ack::Everywhere);
        let removed = begun.elapsed();
        let trips = |took: Duration| took.as_secs_f64() / round_trip.as_secs_f64();
        let (set, removed) = (trips(set), trips(removed));
        // By themselves two and one. Of 512 keys, 64 at a time, they would be 16 and 8.
        let found = format!("{keys} keys: {set:.1} and {removed:.1} of {round_trip:?}");
        assert!(set < 8.0 && removed < 6.0, "{found}");
    }
}

#[tokio::test]
async fn a_read_that_would_wait_for_itself_is_one_miss() {
    let node = Node::alone().await;
    let inner = node.stock.clone();
    let load = async move |_| {
        let own = inner.get_or_load("tea", async |_| Ok::<_, io::Error>(1));
        own.await.map(|value| *value)
    };
    let error = node.stock.get_or_load("tea", load).await.unwrap_err();
    let source = error.source_as::<Error>();
    assert!(matches!(source, Some(Error::Recursive { .. })), "{error}");
    assert_eq!(node.stock.stats().misses, 2);
}

#[test]
fn a_call_that_is_dropped_outside_of_its_runtime_does_no_harm() {
    // With one thread, so that what is done while the call waits is known.
    let runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = { runtime }.enable_all().build().unwrap();
    let loads = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&loads);
    let load = move |missing: Vec<i64>| {
        counted.fetch_add(1, Ordering::SeqCst);
        let rows: Vec<_> = missing.into_iter().map(|key| (key, key)).collect();
        std::future::ready(Ok::<_, io::Error>(rows))
    };
    let (store, region, call, trap) = runtime.block_on(async {
        let store = FaultyRemote::new();
        let (clock, region) = numbers(Some(&store), |r| r.refresh_ahead(0.5)).await;
        Source::default().load(&region, &[1]).await;
        clock.advance(TTL * 6 / 10);
        let trap = store.trap(Call::Read, Moment::Before);
        let own = region.clone();
        let mut call = Box::pin(async move { own.get_or_load_many([1, 2], load).await });
        assert!(futures_util::poll!(call.as_mut()).is_pending());
        trap.caught().await;
        // The due key has its lease, over the value that is due, and waits for the other one.
        eventually("it asked", || store.calls(Call::Lease) >= 3).await;
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        (store, region, call, trap)
    });
    drop(call);
    drop(trap);
    let found = runtime.block_on(async {
        let load = async |_| Ok::<_, io::Error>(9);
        region.get_or_load(&2, load).await.unwrap()
    });
    assert_eq!((*found, loads.load(Ordering::SeqCst)), (9, 0));
    drop(store);
}
