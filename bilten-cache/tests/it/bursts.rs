//! More changes at once than there may be calls: who has begun one comes to its end.

use std::io;

use bilten_cache::test_util::{Call, FaultyRemote, Moment};
use bilten_cache::{Ack, Cache};

use crate::harness::{DEADLINE, Node, eventually};

/// More than a budget's worth of waiting is nobody's business here.
async fn one_call_at_a_time(store: &FaultyRemote) -> Node {
    let cache = Cache::builder("shop").remote(store.another_node());
    let cache = cache.remote_concurrency(1).remote_budget(DEADLINE);
    Node::of(cache.build().await.unwrap())
}

fn keys() -> impl Iterator<Item = String> {
    (0..50).map(|n| format!("k{n}"))
}

#[tokio::test]
async fn a_write_has_one_turn_for_its_claim_and_for_its_value() {
    let store = FaultyRemote::new();
    let node = one_call_at_a_time(&store).await;
    let writes = keys().map(|key| {
        let stock = node.stock.clone();
        tokio::spawn(async move { stock.set(&key, 1).await.unwrap() })
    });
    for write in writes.collect::<Vec<_>>() {
        assert_eq!(write.await.unwrap(), Ack::Everywhere);
    }
    let stored = keys().filter(|key| store.bytes(&format!("stock:{key}")).is_some());
    assert_eq!(stored.count(), 50);
    assert_eq!(node.cache.stats().remote_failures, 0);
}

#[tokio::test]
async fn a_write_of_the_source_is_not_taken_for_one_that_overlaps_because_others_wait_for_their_turn()
 {
    let store = FaultyRemote::new();
    let node = one_call_at_a_time(&store).await;
    let writes = keys().map(|key| {
        let stock = node.stock.clone();
        tokio::spawn(async move {
            let write = async { Ok::<_, io::Error>(1) };
            stock.write_through(&key, write).await.unwrap()
        })
    });
    for write in writes.collect::<Vec<_>>() {
        write.await.unwrap();
    }
    // Two on one stripe of the tickets count as overlapping; of fifty there are few.
    let kept = keys().filter(|key| {
        node.stock.peek(key).is_some() && store.bytes(&format!("stock:{key}")).is_some()
    });
    assert!(kept.count() >= 40);
}

#[tokio::test]
async fn what_a_load_brought_is_stored_once_the_changes_before_it_are_made() {
    let store = FaultyRemote::new();
    let node = one_call_at_a_time(&store).await;
    let (mut held, load) = node.start_load("tea");
    held.started().await;
    let change = store.trap(Call::Invalidate, Moment::Before);
    let removal = tokio::spawn({
        let stock = node.stock.clone();
        async move { stock.remove("jam").await.unwrap() }
    });
    change.caught().await;
    held.finish(7);
    assert_eq!(*load.await.unwrap().unwrap(), 7);
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    change.release();
    assert_eq!(removal.await.unwrap(), Ack::Everywhere);
    eventually("it is stored", || store.bytes("stock:tea").is_some()).await;
}
