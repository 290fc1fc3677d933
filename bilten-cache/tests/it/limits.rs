//! Bounds: on loads at a time, on the time that an entry nobody reads stays, on the life of an entry in each level.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bilten_cache::test_util::{Call, FaultyRemote, ManualClock, Moment};
use bilten_cache::{Cache, Error, Region};
use tokio::sync::{Semaphore, oneshot};

use crate::harness::eventually;

/// Loads that last until they are let go, and how many of them there were at once.
#[derive(Clone)]
struct Loads {
    now: Arc<AtomicUsize>,
    most: Arc<AtomicUsize>,
    free: Arc<Semaphore>,
}

impl Loads {
    fn new() -> Self {
        Self {
            now: Arc::default(),
            most: Arc::default(),
            free: Arc::new(Semaphore::new(0)),
        }
    }

    fn start(
        &self,
        region: &Region<i64, i64>,
        key: i64,
    ) -> tokio::task::JoinHandle<Result<Arc<i64>, Error>> {
        let (loads, region) = (self.clone(), region.clone());
        tokio::spawn(async move {
            let load = async move |_| {
                let now = loads.now.fetch_add(1, Ordering::SeqCst) + 1;
                loads.most.fetch_max(now, Ordering::SeqCst);
                loads.free.acquire().await.unwrap().forget();
                loads.now.fetch_sub(1, Ordering::SeqCst);
                Ok::<_, io::Error>(key)
            };
            region.get_or_load(&key, load).await
        })
    }
}

#[tokio::test]
async fn no_more_loads_run_at_once_than_region_and_cache_allow() {
    for (of_region, of_cache) in [(Some(2), None), (None, Some(2)), (Some(2), Some(5))] {
        let mut builder = Cache::builder("shop").remote(FaultyRemote::new());
        if let Some(loads) = of_cache {
            builder = builder.max_concurrent_loads(loads);
        }
        let cache = builder.build().await.unwrap();
        let mut region = cache.region::<i64, i64>("number");
        if let Some(loads) = of_region {
            region = region.max_concurrent_loads(loads);
        }
        let region = region.build().unwrap();
        let loads = Loads::new();
        let readers: Vec<_> = (0..20).map(|key| loads.start(&region, key)).collect();
        eventually("two run", || loads.now.load(Ordering::SeqCst) == 2).await;
        assert_eq!(region.stats().loads, 2);
        loads.free.add_permits(20);
        for (key, reader) in (0..).zip(readers) {
            assert_eq!(*reader.await.unwrap().unwrap(), key);
        }
        assert_eq!(loads.most.load(Ordering::SeqCst), 2);
    }
}

#[tokio::test(start_paused = true)]
async fn who_finds_no_place_waits_for_a_load_timeout_and_is_told() {
    let cache = Cache::builder("shop")
        .max_concurrent_loads(1)
        .build()
        .await
        .unwrap();
    let limit = Duration::from_secs(3);
    let slow = cache.region::<i64, i64>("slow").build().unwrap();
    let region = cache
        .region::<i64, i64>("number")
        .load_timeout(limit)
        .stale_if_error(Duration::from_secs(60))
        .build()
        .unwrap();
    let loads = Loads::new();
    let first = loads.start(&slow, 1);
    eventually("it runs", || loads.now.load(Ordering::SeqCst) == 1).await;
    let begun = tokio::time::Instant::now();
    let _ = region.set(&2, 20).await.unwrap();
    let _ = region.expire(&2).await.unwrap();
    let (second, stale) = tokio::join!(loads.start(&region, 3), loads.start(&region, 2));
    let error = second.unwrap().unwrap_err();
    assert!(
        matches!(error, Error::Overloaded { limit: 1, after, .. } if after == limit),
        "{error}"
    );
    assert!(error.to_string().contains("region `number`"), "{error}");
    assert_eq!(*stale.unwrap().unwrap(), 20, "as after any error");
    assert!(begun.elapsed() >= limit && begun.elapsed() < limit * 2);
    assert_eq!(region.stats().loads_refused, 2);
    loads.free.add_permits(1);
    assert_eq!(*first.await.unwrap().unwrap(), 1);
}

#[tokio::test]
async fn a_loader_that_loads_needs_no_second_place() {
    let cache = Cache::builder("shop")
        .max_concurrent_loads(1)
        .build()
        .await
        .unwrap();
    let tree = cache
        .region::<i64, i64>("tree")
        .max_concurrent_loads(1)
        .build()
        .unwrap();
    let inner = tree.clone();
    let load = async move |_| {
        let below = inner
            .get_or_load(&1, async |_| Ok::<_, io::Error>(5))
            .await?;
        let many = |missing: Vec<i64>| async move {
            Ok::<_, io::Error>(
                missing
                    .into_iter()
                    .map(|key| (key, key))
                    .collect::<Vec<_>>(),
            )
        };
        let more = inner.get_or_load_many([2, 3], many).await?;
        Ok::<_, Error>(*below + more.into_iter().flatten().map(|one| *one).sum::<i64>())
    };
    assert_eq!(*tree.get_or_load(&0, load).await.unwrap(), 10);
}

#[tokio::test]
async fn a_load_of_many_keys_takes_one_place() {
    let cache = Cache::builder("shop")
        .remote(FaultyRemote::new())
        .build()
        .await
        .unwrap();
    let region = cache
        .region::<i64, i64>("number")
        .max_concurrent_loads(1)
        .build()
        .unwrap();
    let many = |missing: Vec<i64>| async move {
        Ok::<_, io::Error>(
            missing
                .into_iter()
                .map(|key| (key, key))
                .collect::<Vec<_>>(),
        )
    };
    let found = region.get_or_load_many(0..50, many).await.unwrap();
    assert_eq!(found.into_iter().flatten().count(), 50);
    let loads = Loads::new();
    let first = loads.start(&region, 100);
    eventually("it runs", || loads.now.load(Ordering::SeqCst) == 1).await;
    let (other, before) = (region.clone(), region.stats().coalesced);
    let batch = tokio::spawn(async move { other.get_or_load_many(100..103, many).await });
    eventually("it waits", || region.stats().coalesced > before).await;
    assert!(!batch.is_finished());
    loads.free.add_permits(1);
    first.await.unwrap().unwrap();
    assert_eq!(batch.await.unwrap().unwrap().len(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_load_that_waits_for_a_place_keeps_no_other_process_from_loading() {
    let store = FaultyRemote::new();
    let one = one_at_a_time(&store).await;
    let (go, holder) = holder(&one).await;
    let own = one.clone();
    let queued = tokio::spawn(async move {
        let load = own.get_or_load(&2, async |_| Ok::<_, io::Error>(20));
        load.await
    });
    eventually("it asked for the lease", || store.calls(Call::Lease) == 2).await;
    settled().await;
    let two = one_at_a_time(&store).await;
    let begun = tokio::time::Instant::now();
    let found = two.get_or_load(&2, async |_| Ok::<_, io::Error>(30)).await;
    assert_eq!(*found.unwrap(), 30);
    assert!(
        begun.elapsed() < Duration::from_millis(100),
        "{:?}",
        begun.elapsed()
    );
    eventually("it is stored", || store.bytes("number:2").is_some()).await;
    assert!(!queued.is_finished());
    let _ = go.send(());
    assert_eq!(*holder.await.unwrap().unwrap(), 6);
    assert_eq!(
        *queued.await.unwrap().unwrap(),
        30,
        "what the other has loaded"
    );
    assert_eq!((one.stats().loads, two.stats().loads), (2, 1));
}

#[tokio::test]
async fn what_nobody_reads_leaves_memory_after_its_idle_time_and_what_is_read_after_its_time_to_live()
 {
    let clock = ManualClock::new();
    let cache = Cache::builder("shop").clock(&clock).build().await.unwrap();
    let region = cache
        .region::<i64, i64>("number")
        .time_to_live(Duration::from_secs(100))
        .time_to_idle(Duration::from_secs(10))
        .build()
        .unwrap();
    let _ = region.set_many([(1, 1), (2, 2), (3, 3)]).await.unwrap();
    for _ in 0..11 {
        clock.advance(Duration::from_secs(9));
        assert!(region.get(&1).await.is_some());
        // A look is no use.
        let _ = region.peek(&2);
    }
    assert_eq!((region.peek(&2), region.peek(&3)), (None, None));
    clock.advance(Duration::from_secs(1));
    assert_eq!(region.get(&1).await, None, "a hundred seconds are over");
}

#[tokio::test]
async fn an_entry_that_is_read_does_not_outlive_its_expiry() {
    let clock = ManualClock::new();
    let cache = Cache::builder("shop").clock(&clock).build().await.unwrap();
    let region = cache
        .region::<i64, i64>("number")
        .time_to_idle(Duration::from_secs(10));
    let region = region
        .stale_if_error(Duration::from_secs(60))
        .build()
        .unwrap();
    let _ = region.set(&1, 1).await.unwrap();
    clock.advance(Duration::from_secs(9));
    assert!(region.get(&1).await.is_some());
    let _ = region.expire(&1).await.unwrap();
    assert_eq!(region.get(&1).await, None);
}

/// On one clock with the second level, a second at a time: whatever memory is told and whatever jitter was drawn, nobody who has the entry in
/// memory has it when a node without memory gets it no more.
#[tokio::test]
async fn memory_never_keeps_an_entry_longer_than_the_second_level() {
    const SECOND: Duration = Duration::from_secs(1);
    // The second level counts in whole milliseconds.
    const SLACK: Duration = Duration::from_millis(5);
    for memory in [None, Some(5), Some(500)] {
        let clock = ManualClock::new();
        let store = FaultyRemote::new().with_clock(&clock);
        let node = async |bytes: u64| {
            let cache = Cache::builder("shop").remote(store.another_node());
            // What is in memory must be trusted all the time, or it would not matter how long it stays there.
            let cache = cache.clock(&clock).isolated_ttl(SECOND * 86_400);
            let cache = cache.memory_bytes(bytes).build().await.unwrap();
            let region = cache.region::<i64, i64>("number").time_to_live(SECOND * 60);
            let region = region.memory_time_to_live(memory.map(Duration::from_secs));
            region.jitter(SECOND * 5).build().unwrap()
        };
        let (one, two) = (node(1 << 20).await, node(1 << 20).await);
        let without = node(0).await;
        let _ = one.set(&1, 1).await.unwrap();
        assert!(two.get(&1).await.is_some());
        let (mut lasted, mut there) = ([0; 2], 0);
        for second in 1..=70 {
            clock.advance(SECOND - SLACK);
            let is_there = without.get(&1).await.is_some();
            clock.advance(SLACK);
            there = if is_there { second } else { there };
            for (region, lasted) in [&one, &two].into_iter().zip(&mut lasted) {
                let has = region.peek(&1).is_some();
                assert!(is_there || !has, "{memory:?}: at {second} s");
                *lasted = if has { second } else { *lasted };
            }
        }
        assert!((59..=65).contains(&there), "{memory:?}: {there}");
        // It is memory that is looked at: it has the entry up to a second before its own end and that of the other.
        let least = memory.map_or(there, |memory| there.min(memory)) - 1;
        assert!(
            lasted.iter().all(|lasted| *lasted >= least),
            "{lasted:?}, {least}"
        );
    }
}

/// A cache that runs one load at a time, and a load that has the place until it is told to go on and load `inner`.
async fn holder(
    region: &Region<i64, i64>,
) -> (
    oneshot::Sender<()>,
    tokio::task::JoinHandle<Result<Arc<i64>, Error>>,
) {
    let (go, told) = oneshot::channel::<()>();
    let (begun, has_begun) = oneshot::channel();
    let inner = region.clone();
    let load = async move |_| {
        let _ = begun.send(());
        let _ = told.await;
        let below = inner.get_or_load(&1, async |_| Ok::<_, io::Error>(5));
        Ok::<_, Error>(*below.await? + 1)
    };
    let outer = region.clone();
    let holder = tokio::spawn(async move { outer.get_or_load(&0, load).await });
    has_begun.await.unwrap();
    (go, holder)
}

async fn one_at_a_time(store: &FaultyRemote) -> Region<i64, i64> {
    let cache = Cache::builder("shop").remote(store.clone());
    let cache = cache.max_concurrent_loads(1).build().await.unwrap();
    cache.region::<i64, i64>("number").build().unwrap()
}

/// Nothing that can happen by itself is left to do.
async fn settled() {
    for _ in 0..200 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_loader_waits_for_no_load_that_waits_for_its_place() {
    for many in [false, true] {
        let region = one_at_a_time(&FaultyRemote::new()).await;
        let (go, holder) = holder(&region).await;
        let other = region.clone();
        let queued = tokio::spawn(async move {
            if many {
                let load = |keys: Vec<i64>| async move {
                    let rows = keys.into_iter().map(|key| (key, 5)).collect::<Vec<_>>();
                    Ok::<_, io::Error>(rows)
                };
                let found = other.get_or_load_many([1, 2], load).await?;
                return Ok(found.into_iter().flatten().map(|one| *one).sum::<i64>() - 5);
            }
            let load = other.get_or_load(&1, async |_| Ok::<_, io::Error>(5));
            load.await.map(|found| *found)
        });
        settled().await;
        assert!(!queued.is_finished(), "it waits for the place");
        let _ = go.send(());
        assert_eq!(*holder.await.unwrap().unwrap(), 6, "many: {many}");
        assert_eq!(queued.await.unwrap().unwrap(), 5, "many: {many}");
        assert_eq!(region.stats().loads_refused, 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_load_that_somebody_with_a_place_already_waits_for_does_not_begin_to_wait_for_it() {
    let store = FaultyRemote::new();
    let region = one_at_a_time(&store).await;
    let (go, holder) = holder(&region).await;
    let asked = store.trap(Call::Lease, Moment::Before);
    let other = region.clone();
    let plain = tokio::spawn(async move {
        let load = other.get_or_load(&1, async |_| Ok::<_, io::Error>(5));
        load.await
    });
    asked.caught().await;
    let _ = go.send(());
    eventually("the loader waits for it", || region.stats().coalesced == 1).await;
    asked.release();
    assert_eq!(*holder.await.unwrap().unwrap(), 6);
    assert_eq!(*plain.await.unwrap().unwrap(), 5);
    assert_eq!(region.stats().loads, 2, "each key once");
}
