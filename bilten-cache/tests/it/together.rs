//! Reads that come together and are made in one call.

use std::sync::Arc;

use bilten_cache::test_util::{Call, FaultyRemote};
use bilten_cache::{Cache, Region};
use futures_util::future::join_all;
use tokio::time::Instant;

use crate::hooked::Hooked;
use crate::staleness::SECOND;

type Numbers = Region<i64, i64>;

/// What is found of the keys, which are read at once.
async fn read(numbers: &Numbers, keys: std::ops::Range<i64>) -> Vec<Option<i64>> {
    let reads = keys.map(|key| async move { numbers.get(&key).await.as_deref().copied() });
    join_all(reads).await
}

#[tokio::test(start_paused = true)]
async fn a_store_that_answers_nothing_holds_up_who_reads_together_for_one_budget() {
    let store = FaultyRemote::new().reading_together();
    let node = async || {
        let cache = Cache::builder("shop").remote(store.another_node());
        let cache = cache.remote_budget(SECOND).crowded();
        let cache = cache.build().await.unwrap();
        cache.region::<i64, i64>("number").build().unwrap()
    };
    let (one, two) = (node().await, node().await);
    let set = one.set_many((0..20).map(|key| (key, key))).await;
    assert!(set.is_ok());
    let lost = store.hold_back(Call::Read);
    let begun = Instant::now();
    assert_eq!(read(&two, 0..20).await, [None; 20]);
    assert_eq!(begun.elapsed(), SECOND);
    assert_eq!(store.calls(Call::Read), 1, "in one call");
    drop(lost);
}

#[tokio::test]
async fn who_reads_together_with_a_key_that_is_refused_finds_its_own() {
    let store = FaultyRemote::new();
    let one = Cache::builder("shop").remote(store.another_node());
    let one: Numbers = one.build().await.unwrap().region("number").build().unwrap();
    assert!(one.set_many((0..20).map(|key| (key, key))).await.is_ok());
    let way = Hooked::new(Arc::new(store.another_node())).not_reading("number:7");
    let two = Cache::builder("shop").remote(way).crowded();
    let two = two.remote_budget(SECOND * 60).build().await.unwrap();
    let numbers: Numbers = two.region("number").build().unwrap();
    let found = read(&numbers, 0..20).await;
    for (key, found) in (0..20).zip(found) {
        assert_eq!(found, (key != 7).then_some(key), "{key}");
    }
    assert_eq!(two.stats().breaker_opened, 0);
}
