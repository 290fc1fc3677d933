//! Leases that go without anybody's doing, or that somebody waits for.

use std::io;
use std::time::Duration;

use bilten_cache::test_util::{Call, FaultyRemote, ManualClock};
use bilten_cache::{Cache, Region};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::harness::{Held, Node, eventually, held};

/// A full store that gives up first what ends first does this, and so does one that takes over.
#[tokio::test]
async fn what_was_loaded_under_a_lease_that_nobody_took_stays_in_memory_for_a_while() {
    let (store, clock) = (FaultyRemote::new(), ManualClock::new());
    let cache = Cache::builder("shop").remote(store.another_node());
    let cache = cache.clock(&clock).isolated_ttl(Duration::from_secs(5));
    let node = Node::of(cache.build().await.unwrap());
    for round in 1..4 {
        let (mut held, load) = node.start_load("tea");
        held.started().await;
        store.lose_leases();
        held.finish(round);
        assert_eq!(*load.await.unwrap().unwrap(), round);
        // It asks whether there is another value, and hears that there is none.
        let asked = u64::from(2 * round);
        eventually("it looked", || store.calls(Call::Read) == asked).await;
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        assert_eq!(node.stock.stats().stores_refused, u64::from(round));
        assert_eq!(node.load("tea", 9).await, round, "it is not loaded again");
        let _ = node.stock.set("jam", 1).await.unwrap();
        // Others may know something newer of which nobody heard.
        clock.advance(Duration::from_secs(5));
        eventually("the log was heard of", || node.stock.peek("jam").is_some()).await;
        assert_eq!(node.stock.peek("tea"), None);
    }
}

/// A region that loads one key at a time, and a load that has the place.
async fn busy(store: &FaultyRemote) -> (Region<str, u32>, Held, JoinHandle<u32>) {
    let cache = Cache::builder("shop").remote(store.another_node());
    let region = cache.build().await.unwrap().region::<str, u32>("stock");
    let region = region.max_concurrent_loads(1).build().unwrap();
    let (load, mut held) = held();
    let own = region.clone();
    let first = async move { *own.get_or_load("first", |_| load.run()).await.unwrap() };
    let first = tokio::spawn(first);
    held.started().await;
    (region, held, first)
}

fn start(region: &Region<str, u32>, key: &'static str, value: u32) -> JoinHandle<u32> {
    let region = region.clone();
    tokio::spawn(async move {
        let load = async move |_| Ok::<_, io::Error>(value);
        *region.get_or_load(key, load).await.unwrap()
    })
}

#[tokio::test(start_paused = true)]
async fn a_load_that_waits_for_another_process_has_no_place_meanwhile() {
    let store = FaultyRemote::new();
    let (region, first_held, first) = busy(&store).await;
    let queued = start(&region, "tea", 1);
    eventually("it waits for a place", || store.calls(Call::Release) == 1).await;
    // Another process is faster.
    let other = Node::on(&store).await;
    let (mut elsewhere, other_load) = other.start_load("tea");
    elsewhere.started().await;
    let asked = store.calls(Call::Lease);
    first_held.finish(1);
    assert_eq!(first.await.unwrap(), 1);
    eventually("it asked for the lease", || {
        store.calls(Call::Lease) > asked + 1
    })
    .await;
    let begun = Instant::now();
    assert_eq!(start(&region, "jam", 2).await.unwrap(), 2);
    assert!(
        begun.elapsed() < Duration::from_millis(100),
        "it had the place"
    );
    assert!(!queued.is_finished());
    elsewhere.finish(3);
    assert_eq!(*other_load.await.unwrap().unwrap(), 3);
    assert_eq!(queued.await.unwrap(), 3, "what the other one has loaded");
}

#[tokio::test(start_paused = true)]
async fn a_load_does_not_wait_for_its_own_lease_that_it_could_not_give_back() {
    let store = FaultyRemote::new();
    let (region, first_held, first) = busy(&store).await;
    let lost = store.hold_back(Call::Release);
    let queued = start(&region, "tea", 7);
    eventually("the release got no answer", || {
        region.stats().loads == 1 && store.calls(Call::Release) == 1
    })
    .await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    first_held.finish(1);
    assert_eq!(first.await.unwrap(), 1);
    let begun = Instant::now();
    assert_eq!(queued.await.unwrap(), 7);
    assert!(
        begun.elapsed() < Duration::from_millis(100),
        "{:?}",
        begun.elapsed()
    );
    eventually("it is stored", || store.bytes("stock:tea").is_some()).await;
    drop(lost);
}
