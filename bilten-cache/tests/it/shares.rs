//! Many keys of one call leave room and time for others.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bilten_cache::events::{Event, Refusal};
use bilten_cache::remote::{Author, Each, Lease, Position, Remote, RemoteError};
use bilten_cache::test_util::{Call, FaultyRemote, Moment};
use bilten_cache::{Ack, Cache, Error, Redis, RedisClient, Region};
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::harness::{eventually, held, with_each_client};
use crate::staleness::SECOND;

with_each_client! {
    a_record_that_is_refused_keeps_no_other_from_its_own,
}

type Numbers = Region<i64, i64>;

/// What a source has of each key, at once.
type Rows = std::future::Ready<io::Result<Vec<(i64, i64)>>>;

/// Keys that a call of many loads, and the calls that it took.
type Asked = Arc<Mutex<Vec<Vec<i64>>>>;

fn loader(asked: &Asked) -> impl Fn(Vec<i64>) -> Rows + use<> {
    let asked = Arc::clone(asked);
    move |keys: Vec<i64>| {
        asked.lock().unwrap().push(keys.clone());
        std::future::ready(Ok(keys.into_iter().map(|key| (key, key)).collect()))
    }
}

#[tokio::test(start_paused = true)]
async fn cold_keys_wait_for_leases_no_longer_than_twice_the_budget() {
    let store = FaultyRemote::new();
    store.takes(Call::Lease, SECOND / 5);
    let cache = Cache::builder("shop").remote(store.another_node());
    let cache = cache.remote_concurrency(10);
    let cache = cache.build().await.unwrap();
    let region: Numbers = cache.region("number").build().unwrap();
    let (asked, begun) = (Asked::default(), Instant::now());
    let found = region.get_or_load_many(0..300, loader(&asked)).await;
    assert_eq!(found.unwrap().iter().flatten().count(), 300);
    // Five at a time they would take twelve seconds.
    assert!(begun.elapsed() < SECOND, "{:?}", begun.elapsed());
    let calls: Vec<usize> = asked.lock().unwrap().iter().map(Vec::len).collect();
    assert_eq!(calls, [300], "one call of the loader all the same");
    let leased = store.calls(Call::Lease);
    assert!((10..=20).contains(&leased), "{leased}");
    eventually("who has a lease is stored", || {
        store.calls(Call::Store) == leased
    })
    .await;
    assert!((0..300).all(|key| region.peek(&key).is_some()), "in memory");
    assert_eq!(cache.stats().remote_failures, 0);
}

#[tokio::test(start_paused = true)]
async fn renewals_and_releases_of_a_thousand_leases_leave_half_of_the_places_to_others() {
    for call in [Call::Renew, Call::Release] {
        let store = FaultyRemote::new();
        let minute = SECOND * 60;
        let cache = Cache::builder("shop").remote(store.another_node());
        let cache = cache.remote_concurrency(10).remote_budget(minute);
        let cache = cache.build().await.unwrap();
        let region: Numbers = cache.region("number").lease(SECOND * 3).build().unwrap();
        let other = Cache::builder("shop").remote(store.another_node());
        let other: Numbers = (other.build().await.unwrap().region("number"))
            .build()
            .unwrap();
        let _ = other.set(&5_000, 1).await.unwrap();
        let traps: Vec<_> = (0..1_000)
            .map(|_| store.trap(call, Moment::Before))
            .collect();
        let (goes_on, fails) = (Arc::new(Notify::new()), call == Call::Release);
        let (own, held) = (region.clone(), Arc::clone(&goes_on));
        let load = move |keys: Vec<i64>| {
            let held = Arc::clone(&held);
            async move {
                if fails {
                    return Err(io::Error::other("away"));
                }
                held.notified().await;
                Ok(keys.into_iter().map(|key| (key, key)).collect::<Vec<_>>())
            }
        };
        let load = tokio::spawn(async move { own.get_or_load_many(0..1_000, load).await });
        eventually("they stand in the queue", || store.calls(call) == 5).await;
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        assert_eq!(store.calls(call), 5, "half of them at once");
        let begun = Instant::now();
        assert_eq!(region.get(&5_000).await.as_deref(), Some(&1));
        assert_eq!(region.remove(&5_001).await.unwrap(), Ack::Everywhere);
        assert!(begun.elapsed() < SECOND, "{:?}", begun.elapsed());
        for trap in traps {
            trap.release();
        }
        goes_on.notify_one();
        assert_eq!(load.await.unwrap().is_err(), fails);
    }
}

/// The second level is too slow for all that is loaded.
#[tokio::test(start_paused = true)]
async fn what_loads_leave_behind_waits_for_its_turn_no_longer_than_one_call_may_take() {
    let store = FaultyRemote::new();
    let cache = Cache::builder("shop").remote(store.another_node());
    let cache = cache.remote_concurrency(2).remote_budget(SECOND);
    let cache = cache.build().await.unwrap();
    let region: Numbers = cache.region("number").build().unwrap();
    let load = async |key: i64| {
        let load = async move |_| Ok::<_, io::Error>(key);
        assert_eq!(*region.get_or_load(&key, load).await.unwrap(), key);
    };
    let slow: Vec<_> = (0..100)
        .map(|_| store.trap(Call::Store, Moment::Before))
        .collect();
    let tasks = || Handle::current().metrics().num_alive_tasks();
    let before = tasks();
    for key in 0..100 {
        load(key).await;
    }
    assert!(tasks() > before + 90, "they wait for one that is slow");
    tokio::time::sleep(SECOND * 21 / 10).await;
    assert!(tasks() <= before + 1, "{} of {before}", tasks());
    assert!(store.calls(Call::Store) <= 3);
    drop(slow);
    load(1_000).await;
    eventually("the next one is stored", || {
        store.bytes("number:1000").is_some()
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn what_finds_no_turn_in_time_leaves_no_lease_behind_and_is_counted() {
    let store = FaultyRemote::new();
    let cache = Cache::builder("shop").remote(store.another_node());
    let cache = cache.remote_concurrency(2).remote_budget(SECOND);
    let cache = cache.build().await.unwrap();
    let region: Numbers = (cache.region("number").lease(SECOND * 60)).build().unwrap();
    let mut events = cache.events();
    let slow: Vec<_> = (0..8)
        .map(|_| store.trap(Call::Store, Moment::Before))
        .collect();
    for key in 0..8 {
        let load = async move |_| Ok::<_, io::Error>(key);
        assert_eq!(*region.get_or_load(&key, load).await.unwrap(), key);
    }
    tokio::time::sleep(SECOND * 5).await;
    drop(slow);
    let left_out = region.stats().stores_left_out;
    assert!(left_out >= 5, "{left_out} of them waited for the slow one");
    let told = std::iter::from_fn(|| events.try_next());
    let told = told.filter(|event| {
        let why = Refusal::Overloaded;
        matches!(event, Event::Refused { why: told, .. } if *told == why)
    });
    assert_eq!(told.count() as u64, left_out);
    let (other, mut free) = (store.another_node(), 0);
    for key in 0..8 {
        let key = format!("number:{key}");
        let lease = other.lease(&key, 99, SECOND, None).await.unwrap();
        free += u64::from(lease == Lease::Owned);
    }
    assert!(free >= left_out, "{free} of {left_out}");
}

#[tokio::test]
async fn changes_that_a_store_makes_one_by_one_are_never_more_than_half_of_the_calls() {
    for (call, keys) in [(Call::Claim, 64), (Call::Invalidate, 64)] {
        let store = FaultyRemote::new();
        let cache = Cache::builder("shop").remote(store.another_node());
        let cache = cache.remote_concurrency(10).remote_budget(SECOND * 60);
        let region: Numbers = (cache.build().await.unwrap().region("number"))
            .build()
            .unwrap();
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
        eventually("some are on their way", || store.calls(call) == 5).await;
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        assert_eq!(store.calls(call), 5);
        assert_eq!(region.get(&99).await, None);
        assert_eq!(store.calls(Call::Read), 1, "there is room for a read");
        drop(traps);
        assert_eq!(change.await.unwrap().unwrap(), Ack::Everywhere);
    }
}

#[tokio::test(start_paused = true)]
async fn one_slow_key_of_many_defers_no_other() {
    for call in [Call::Claim, Call::Store, Call::Invalidate] {
        let store = FaultyRemote::new();
        let cache = Cache::builder("shop").remote(store.another_node());
        let cache = cache.build().await.unwrap();
        let region: Numbers = cache.region("number").build().unwrap();
        let lost = store.hold_back(call);
        let ack = match call {
            Call::Invalidate => region.remove_many(0..8).await.unwrap(),
            _ => region.set_many((0..8).map(|key| (key, key))).await.unwrap(),
        };
        let deferred = u64::from(call != Call::Store);
        let due = [Ack::Everywhere, Ack::Deferred][usize::from(call != Call::Store)];
        assert_eq!((ack, cache.stats().deferred), (due, deferred), "{call:?}");
        let stored = (0..8).filter(|key| store.bytes(&format!("number:{key}")).is_some());
        let due = if call == Call::Invalidate { 0 } else { 7 };
        assert_eq!(stored.count(), due, "{call:?}");
        assert_eq!(cache.stats().remote_failures, 1, "{call:?}");
        drop(lost);
    }
}

#[tokio::test(start_paused = true)]
async fn keys_whose_load_finds_no_place_are_no_loads() {
    let cache = Cache::builder("shop").max_concurrent_loads(1);
    let cache = cache.build().await.unwrap();
    let region = cache.region::<i64, u32>("number").load_timeout(SECOND);
    let region = region.build().unwrap();
    let other = cache.region::<i64, u32>("other").build().unwrap();
    let (load, mut first) = held();
    let busy = tokio::spawn(async move { other.get_or_load(&99, |_| load.run()).await });
    first.started().await;
    let never = Arc::new(AtomicUsize::new(0));
    let calls = Arc::clone(&never);
    let load = move |_: Vec<i64>| {
        calls.fetch_add(1, Ordering::SeqCst);
        std::future::ready(Ok::<_, io::Error>(Vec::<(i64, u32)>::new()))
    };
    let refused = region.get_or_load_many(0..5, load).await.unwrap_err();
    assert!(matches!(refused, Error::Overloaded { .. }), "{refused}");
    let stats = region.stats();
    assert_eq!((stats.loads, stats.load_errors), (0, 0));
    assert_eq!(stats.loads_refused, 1);
    assert_eq!(never.load(Ordering::SeqCst), 0);
    busy.abort();
}

/// Who took a record, and who did not.
fn taken(answers: &Each<Position>) -> Vec<bool> {
    let refused = |answer: &Result<Position, RemoteError>| match answer {
        Ok(_) => true,
        Err(RemoteError::Refused(why)) => !why.starts_with("WRONGTYPE"),
        Err(other) => panic!("{other}"),
    };
    answers.iter().map(refused).collect()
}

async fn a_record_that_is_refused_keeps_no_other_from_its_own(client: RedisClient) {
    let server = bilten_testbed::Redis::start().unwrap();
    let redis = Redis::url(server.url()).client(client);
    let remote = redis.into_remote("shop", SECOND * 5).await.unwrap();
    let keys = ["a", "b", "c"].map(|key| Arc::<str>::from(format!("number:{key}")));
    let author = Author::new(1, 0, 0);
    let foreign = || {
        let text = "redis.call('DEL', KEYS[1]) return redis.call('SET', KEYS[1], 'x')";
        server.cli(&["EVAL", text, "1", "{shop}:log"]).unwrap();
    };
    let first = remote.remove_many(&keys[..1], author).await.unwrap();
    assert_eq!(taken(&first), [true], "the log begins");
    foreign();
    let claims: Vec<_> = keys.iter().cloned().zip(1..).collect();
    let claimed = remote.claim_many(&claims, SECOND * 60, author).await;
    assert_eq!(taken(&claimed.unwrap()), [false, true, true]);
    foreign();
    let removed = remote.remove_many(&keys, author).await.unwrap();
    assert_eq!(taken(&removed), [false, true, true]);
}
