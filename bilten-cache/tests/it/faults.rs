//! What the second level of `test_util` can do to the caches of its users.

use std::io;
use std::time::Duration;

use bilten_cache::remote::{Author, Remote, Scope};
use bilten_cache::test_util::{Call, FaultyRemote};
use bilten_cache::{Ack, Cache};
use tokio::time::Instant;

use crate::harness::{DEADLINE, Node, eventually};

#[tokio::test(start_paused = true)]
async fn each_call_of_a_kind_takes_the_time_that_it_was_told() {
    let store = FaultyRemote::new();
    let node = Node::on(&store).await;
    let time = Duration::from_millis(40);
    for (takes, due) in [(time, time), (time, time), (Duration::ZERO, Duration::ZERO)] {
        store.takes(Call::Read, takes);
        let begun = Instant::now();
        assert_eq!(node.stock.get("tea").await, None);
        let took = begun.elapsed();
        // The timer counts in whole milliseconds.
        assert!(
            (due..=due + Duration::from_millis(1)).contains(&took),
            "{took:?}"
        );
        let begun = Instant::now();
        let _ = node.stock.remove("tea").await.unwrap();
        assert_eq!(begun.elapsed(), Duration::ZERO, "of another kind");
    }
}

#[tokio::test]
async fn one_kind_of_call_fails_and_no_other() {
    let store = FaultyRemote::new();
    let node = Node::on(&store).await;
    store.fails(Call::Store, true);
    let load = async |value| {
        let load = async move |_| Ok::<_, io::Error>(value);
        *node.stock.get_or_load("tea", load).await.unwrap()
    };
    assert_eq!(load(1).await, 1);
    eventually("it was tried", || store.calls(Call::Store) == 1).await;
    eventually("it failed", || node.cache.stats().remote_failures == 1).await;
    assert_eq!(store.bytes("stock:tea"), None);
    store.fails(Call::Store, false);
    let _ = node.stock.remove("tea").await.unwrap();
    assert_eq!(load(2).await, 2);
    let _ = node.cache.shutdown(DEADLINE).await;
    assert!(store.bytes("stock:tea").is_some());
    assert_eq!(node.cache.stats().remote_failures, 1);
}

#[tokio::test]
async fn a_share_of_the_calls_fails_and_with_the_same_seed_the_same_ones() {
    let fates = async |share: f64, seed: u64| {
        let store = FaultyRemote::new();
        store.fail_some(share, seed);
        let mut fates = Vec::new();
        for _ in 0..1_000 {
            fates.push(store.read("tea").await.is_err());
        }
        fates
    };
    let some = fates(0.25, 7).await;
    let failed = some.iter().filter(|failed| **failed).count();
    // A tenth of a per mille of all seeds is further off.
    assert!((190..=310).contains(&failed), "{failed}");
    assert_eq!(some, fates(0.25, 7).await);
    assert_ne!(some, fates(0.25, 8).await);
    assert_eq!(fates(0.0, 7).await, [false; 1_000]);
    assert_eq!(fates(1.0, 7).await, [true; 1_000]);
}

#[tokio::test]
async fn records_come_twice_or_backwards_to_the_node_that_was_told_so() {
    let store = FaultyRemote::new();
    for key in ["tea", "jam", "rice"] {
        let scope = Scope::Key(key.into());
        store
            .invalidate(&scope, Author::new(1, 0, 0))
            .await
            .unwrap();
    }
    let numbers = async |way: FaultyRemote, after: u64| -> Vec<u64> {
        let records = way.tail(after, Duration::ZERO, 100).await.unwrap();
        records.into_iter().map(|record| record.number).collect()
    };
    let way = || store.another_node();
    assert_eq!(numbers(way(), 1).await, [2, 3]);
    assert_eq!(numbers(way().reversing_records(), 1).await, [3, 2]);
    assert_eq!(
        numbers(way().doubling_records(), 1).await,
        [1, 2, 3, 1, 2, 3]
    );
    let both = way().doubling_records().reversing_records();
    assert_eq!(numbers(both, 2).await, [3, 2, 1, 3, 2, 1]);
    assert_eq!(numbers(way().doubling_records(), 3).await, [0; 0]);
}

#[tokio::test]
async fn records_that_come_twice_are_followed_however_many_there_are() {
    let store = FaultyRemote::new();
    for _ in 0..1_100 {
        store.append_unreadable();
    }
    let way = store.another_node().doubling_records();
    let node = Node::of(Cache::builder("shop").remote(way).build().await.unwrap());
    let near = Node::on(&store).await;
    let flushes = node.cache.stats().flushes;
    assert_eq!(near.stock.set("tea", 1).await.unwrap(), Ack::Everywhere);
    let end = store.log_position();
    eventually("it has heard of it", || {
        node.cache.status().log_position >= end && node.cache.status().log_lag == 0
    })
    .await;
    assert_eq!(node.stock.get("tea").await.as_deref(), Some(&1));
    let stats = node.cache.stats();
    assert_eq!((stats.log_gaps, stats.flushes), (0, flushes));
}
