//! What the nodes of a user's own tests do, as processes do that share a Redis.

use std::io;
use std::time::Duration;

use bilten_cache::test_util::Nodes;
use bilten_cache::{Ack, Cache, Region};

use crate::staleness::{SECOND, TTL};

fn prices(cache: &Cache) -> Region<str, u32> {
    let region = cache.region("price").time_to_live(TTL);
    let region = region.stale_if_error(TTL).retry_after(Duration::ZERO);
    region.build().unwrap()
}

async fn fail(prices: &Region<str, u32>) -> Option<u32> {
    let load = async |_| Err::<u32, _>(io::Error::other("the source is away"));
    let found = prices.get_or_load("tea", load).await;
    found.ok().map(|value| *value)
}

#[tokio::test]
async fn a_value_grows_old_in_the_store_of_nodes_as_it_does_in_their_memory() {
    let mut nodes = Nodes::start(3).await.unwrap();
    let _ = prices(&nodes[0]).set("tea", 1).await.unwrap();
    nodes.clock().advance(TTL - SECOND);
    nodes.settled().await;
    assert_eq!(prices(&nodes[1]).get("tea").await.as_deref(), Some(&1));
    nodes.clock().advance(SECOND);
    nodes.settled().await;
    for node in 0..3 {
        let prices = prices(&nodes[node]);
        assert_eq!(prices.get("tea").await, None, "node {node}");
        assert_eq!(fail(&prices).await, Some(1), "node {node}");
    }
    // A process that is started anew has a clock of its own, and the store's time tells it how old the value is.
    nodes.restart(2).await.unwrap();
    assert_eq!(prices(&nodes[2]).get("tea").await, None);
    nodes.clock().advance(TTL);
    nodes.settled().await;
    for node in 0..3 {
        assert_eq!(fail(&prices(&nodes[node])).await, None, "node {node}");
    }
}

#[tokio::test]
async fn a_store_that_lost_everything_still_tells_the_time_of_its_clock() {
    let nodes = Nodes::start(2).await.unwrap();
    nodes.store().lose_everything();
    let mut found = None;
    for _ in 0..50 {
        let set = prices(&nodes[0]).set("tea", 1).await.unwrap();
        assert_eq!(set, Ack::Everywhere);
        // They look at the log's beginning once a second; what was made before that is of the old one.
        nodes.clock().advance(SECOND);
        nodes.settled().await;
        found = found.or(prices(&nodes[1]).get("tea").await);
    }
    assert_eq!(found.as_deref(), Some(&1));
    nodes.clock().advance(TTL);
    nodes.settled().await;
    for node in 0..2 {
        assert_eq!(prices(&nodes[node]).get("tea").await, None, "node {node}");
    }
}
