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

use crate::harness::{Node, eventually, with_each_client};
use crate::staleness::{SECOND, TTL};

type Numbers = Region<i64, i64>;

/// Far longer than it takes, far less than a load may take.
const SOON: Duration = Duration::from_secs(1);

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
    let lease = other.lease("number:1", 7, SECOND * 60, true);
    lease.await.unwrap();
    let begun = tokio::time::Instant::now();
    let found = source.load(&region, &[1, 2]).await;
    assert_eq!(found, [Some(1), Some(2)]);
    assert!(begun.elapsed() < SECOND / 10, "{:?}", begun.elapsed());
    assert_eq!(source.asked(), [1, 2]);
}

#[tokio::test]
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
        // Of the inner call two keys, and one of them is why it ends.
        let due = if recursive { 5 } else { 3 };
        assert_eq!(region.stats().misses, due, "recursive: {recursive}");
        let misses = std::iter::from_fn(|| events.try_next());
        let misses = misses.filter(|event| matches!(event, Event::Miss { .. }));
        assert_eq!(misses.count() as u64, due);
    }
}

#[tokio::test]
async fn changes_of_many_keys_are_on_their_way_together_and_64_at_a_time() {
    for (call, keys) in [(Call::Claim, 64), (Call::Invalidate, 100)] {
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
        eventually("they wait for their answers", || store.calls(call) == 64).await;
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        assert_eq!(store.calls(call), 64);
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

with_each_client! {
    sixty_four_changes_cost_a_few_round_trips,
}

async fn sixty_four_changes_cost_a_few_round_trips(client: RedisClient) {
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
    far.delay(SECOND / 25);
    let begun = Instant::now();
    for key in 0..4 {
        assert_eq!(region.remove(&key).await.unwrap(), Ack::Everywhere);
    }
    let round_trip = begun.elapsed() / 4;
    let begun = Instant::now();
    let set = region.set_many((0..64).map(|key| (key, key)));
    assert_eq!(set.await.unwrap(), Ack::Everywhere);
    let set = begun.elapsed();
    let begun = Instant::now();
    let removed = region.remove_many(0..64);
    assert_eq!(removed.await.unwrap(), Ack::Everywhere);
    let removed = begun.elapsed();
    // One by one it would be 128 and 64 of them.
    assert!(set < round_trip * 10, "{set:?}, one takes {round_trip:?}");
    assert!(
        removed < round_trip * 6,
        "{removed:?}, one takes {round_trip:?}"
    );
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
    let runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = { runtime }.worker_threads(1).enable_all().build().unwrap();
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
        // The due key has its lease and waits for the other one.
        eventually("it wants a load", || region.stats().loads == 2).await;
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
