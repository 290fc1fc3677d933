//! The end of a cache: in order, or by dropping it.

use std::time::{Duration, Instant};

use bilten_cache::status::Connection;
use bilten_cache::test_util::{Call, FaultyRemote, Moment};
use bilten_cache::{Ack, Cache, Redis, RedisClient};
use bilten_testbed::Redis as Server;
use tokio::runtime::Handle;

use crate::harness::{DEADLINE, Node, eventually, with_each_client};

with_each_client! {
    a_cache_that_was_shut_down_leaves_no_task_and_no_connection,
    a_cache_that_was_dropped_leaves_no_task_and_no_connection,
}

fn tasks() -> usize {
    Handle::current().metrics().num_alive_tasks()
}

#[tokio::test]
async fn shutdown_delivers_what_waits() {
    let store = FaultyRemote::new();
    let (node, other) = (Node::on(&store).await, Node::on(&store).await);
    let _ = node.stock.set("tea", 1).await.unwrap();
    store.fail(true);
    assert_eq!(node.stock.remove("tea").await.unwrap(), Ack::Deferred);
    store.fail(false);
    let report = node.cache.shutdown(DEADLINE).await;
    assert!(report.is_clean(), "{report}");
    assert_eq!(store.bytes("stock:tea"), None);
    eventually("the other node learnt of it", || {
        other.stock.peek("tea").is_none()
    })
    .await;
}

#[tokio::test]
async fn shutdown_says_what_it_could_not_deliver_and_keeps_to_its_limit() {
    let store = FaultyRemote::new();
    let node = Node::on(&store).await;
    store.fail(true);
    for key in ["tea", "jam"] {
        assert_eq!(node.stock.remove(key).await.unwrap(), Ack::Deferred);
    }
    let begun = Instant::now();
    let report = node.cache.shutdown(Duration::from_millis(100)).await;
    assert!(begun.elapsed() < DEADLINE / 2, "{:?}", begun.elapsed());
    assert_eq!((report.undelivered, report.unfinished), (2, 0));
}

#[tokio::test]
async fn shutdown_waits_for_a_load_and_for_its_store() {
    let store = FaultyRemote::new();
    let node = Node::on(&store).await;
    let (mut held, reader) = node.start_load("tea");
    held.started().await;
    let cache = node.cache.clone();
    let shutdown = tokio::spawn(async move { cache.shutdown(DEADLINE).await });
    tokio::task::yield_now().await;
    assert!(!shutdown.is_finished());
    held.finish(7);
    assert!(shutdown.await.unwrap().is_clean());
    assert_eq!(*reader.await.unwrap().unwrap(), 7);
    assert!(store.bytes("stock:tea").is_some());
}

#[tokio::test]
async fn a_load_that_outlasts_the_shutdown_is_told_of_and_still_answers() {
    let store = FaultyRemote::new();
    let node = Node::on(&store).await;
    let (mut held, reader) = node.start_load("tea");
    held.started().await;
    let report = node.cache.shutdown(Duration::from_millis(20)).await;
    assert_eq!((report.undelivered, report.unfinished), (0, 1));
    held.finish(7);
    assert_eq!(*reader.await.unwrap().unwrap(), 7);
}

#[tokio::test]
async fn what_is_used_after_a_shutdown_works_from_loaders() {
    let store = FaultyRemote::new();
    let (node, other) = (Node::on(&store).await, Node::on(&store).await);
    let _ = node.stock.set("tea", 1).await.unwrap();
    assert!(node.cache.shutdown(DEADLINE).await.is_clean());
    // The log is no longer followed: what the other one changes cannot be known here.
    let _ = other.stock.set("tea", 2).await.unwrap();
    assert_eq!(node.stock.get("tea").await, None);
    assert_eq!(node.load("tea", 2).await, 2);
    assert_eq!(node.cache.status().connection, Connection::Down);
    assert!(node.cache.shutdown(DEADLINE).await.is_clean(), "once more");
}

#[tokio::test]
async fn a_cache_in_memory_shuts_down_at_once() {
    let node = Node::alone().await;
    assert!(node.cache.shutdown(Duration::MAX).await.is_clean());
}

/// Connections that a server has, ours of this question left out.
fn connections(server: &Server) -> usize {
    let list = server.cli(&["CLIENT", "LIST"]).unwrap();
    list.lines().filter(|line| !line.is_empty()).count() - 1
}

async fn used(client: RedisClient, server: &Server) -> Node {
    let redis = Redis::url(server.url()).client(client);
    let node = Node::of(Cache::builder("shop").redis(redis).build().await.unwrap());
    assert_eq!(node.stock.set("tea", 1).await.unwrap(), Ack::Everywhere);
    assert_eq!(node.load("jam", 2).await, 2);
    assert!(connections(server) >= 2);
    node
}

async fn a_cache_that_was_shut_down_leaves_no_task_and_no_connection(client: RedisClient) {
    let server = Server::start().unwrap();
    let before = tasks();
    let node = used(client, &server).await;
    assert!(node.cache.shutdown(DEADLINE).await.is_clean());
    // The handles are still there.
    eventually("nothing is left", || {
        tasks() == before && connections(&server) == 0
    })
    .await;
    assert_eq!(node.stock.remove("tea").await.unwrap(), Ack::Deferred);
    assert_eq!(node.load("jam", 3).await, 3);
}

async fn a_cache_that_was_dropped_leaves_no_task_and_no_connection(client: RedisClient) {
    let server = Server::start().unwrap();
    let before = tasks();
    drop(used(client, &server).await);
    eventually("nothing is left", || {
        tasks() == before && connections(&server) == 0
    })
    .await;
}

#[tokio::test]
async fn shutdown_waits_for_a_store_whose_reader_has_its_value_already() {
    let store = FaultyRemote::new();
    let node = Node::patient(&store).await;
    let trap = store.trap(Call::Store, Moment::Before);
    assert_eq!(node.load("tea", 7).await, 7);
    trap.caught().await;
    let cache = node.cache.clone();
    let shutdown = tokio::spawn(async move { cache.shutdown(DEADLINE).await });
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
    assert!(!shutdown.is_finished());
    assert_eq!(store.bytes("stock:tea"), None);
    trap.release();
    assert!(shutdown.await.unwrap().is_clean());
    assert!(store.bytes("stock:tea").is_some());
}
