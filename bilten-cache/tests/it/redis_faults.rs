//! A real Redis that is killed, frozen, flushed or cut off.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bilten_cache::status::Connection;
use bilten_cache::{Ack, Cache, Loaded, Redis, RedisClient};
use bilten_testbed::Redis as Server;
use bilten_testbed::{FaultProxy, RedisSentinel};
use futures_util::FutureExt;

use crate::harness::{DEADLINE, Node, eventually, with_each_client};

with_each_client! {
    redis_down_at_the_start_is_found_when_it_comes,
    redis_killed_and_restarted_empty_comes_back_by_itself,
    a_frozen_redis_costs_its_budget_and_no_hit,
    flushall_empties_every_l1,
    a_connection_that_goes_silent_is_replaced,
    connections_that_are_reset_come_back,
    a_full_redis_takes_invalidations_but_no_values,
    a_read_only_replica_serves_reads_and_defers_changes,
    a_user_without_scripting_rights_gets_a_cache_in_memory,
    a_sentinel_fail_over_is_followed,
    a_removal_that_a_fail_over_lost_comes_back_to_nobody,
    a_removal_of_which_nobody_is_left_comes_back_no_longer_than_its_value_lives,
    another_record_under_our_position_begins_a_new_incarnation,
}

async fn node(client: RedisClient, url: String) -> Node {
    let redis = Redis::url(url).client(client);
    Node::of(Cache::builder("shop").redis(redis).build().await.unwrap())
}

async fn connected(node: &Node) {
    eventually("connected", || {
        node.cache.status().connection == Connection::Connected
    })
    .await;
}

/// Until this node has noticed that it looks at another log, what it finds in L2 is a miss to it.
async fn comes_to_see(node: &Node, value: u32) {
    let deadline = Instant::now() + DEADLINE;
    while node.stock.get("tea").await.as_deref() != Some(&value) {
        assert!(Instant::now() < deadline, "{value} does not arrive");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn redis_down_at_the_start_is_found_when_it_comes(client: RedisClient) {
    let server = Server::start().unwrap();
    server.kill().unwrap();
    let begun = Instant::now();
    let node = node(client, server.url()).await;
    assert!(begun.elapsed() < DEADLINE / 2, "{:?}", begun.elapsed());
    assert_eq!(node.cache.status().connection, Connection::Down);
    assert_eq!(node.load("tea", 7).await, 7);
    assert_eq!(node.stock.remove("tea").await.unwrap(), Ack::Deferred);
    server.restart().unwrap();
    connected(&node).await;
    assert_eq!(node.stock.set("tea", 8).await.unwrap(), Ack::Everywhere);
}

async fn redis_killed_and_restarted_empty_comes_back_by_itself(client: RedisClient) {
    let server = Server::start().unwrap();
    let (one, two) = (
        node(client, server.url()).await,
        node(client, server.url()).await,
    );
    let _ = one.stock.set("tea", 1).await.unwrap();
    two.stock.get("tea").await.unwrap();
    server.kill().unwrap();
    assert_eq!(one.stock.remove("tea").await.unwrap(), Ack::Deferred);
    assert_eq!(one.load("jam", 2).await, 2);
    server.restart().unwrap();
    for node in [&one, &two] {
        connected(node).await;
        eventually("nothing of the old incarnation is left", || {
            node.stock.peek("tea").is_none()
        })
        .await;
    }
    eventually("the removal was delivered", || {
        one.cache.status().waiting == 0
    })
    .await;
    assert_eq!(one.stock.set("tea", 3).await.unwrap(), Ack::Everywhere);
    comes_to_see(&two, 3).await;
}

async fn a_frozen_redis_costs_its_budget_and_no_hit(client: RedisClient) {
    let server = Server::start().unwrap();
    let node = node(client, server.url()).await;
    let _ = node.stock.set("jam", 1).await.unwrap();
    server.pause().unwrap();
    for _ in 0..10_000 {
        let hit = node.load("jam", 2).now_or_never();
        assert_eq!(hit, Some(1), "a hit in memory waits for nothing");
    }
    let begun = Instant::now();
    assert_eq!(node.load("tea", 7).await, 7);
    assert!(begun.elapsed() < DEADLINE / 2, "{:?}", begun.elapsed());
    assert_eq!(node.stock.peek("jam").as_deref(), Some(&1));
    eventually("it is noticed", || {
        node.cache.status().connection != Connection::Connected
    })
    .await;
    assert_eq!(node.stock.remove("jam").await.unwrap(), Ack::Deferred);
    server.resume().unwrap();
    connected(&node).await;
    eventually("the removal was delivered", || {
        node.cache.status().waiting == 0
    })
    .await;
    assert_eq!(
        server
            .cli(&["EXISTS", "shop:v:{stock:jam}"])
            .unwrap()
            .trim(),
        "0"
    );
}

async fn flushall_empties_every_l1(client: RedisClient) {
    let server = Server::start().unwrap();
    let (one, two) = (
        node(client, server.url()).await,
        node(client, server.url()).await,
    );
    let _ = one.stock.set("tea", 1).await.unwrap();
    two.stock.get("tea").await.unwrap();
    server.cli(&["FLUSHALL"]).unwrap();
    for node in [&one, &two] {
        eventually("it noticed", || node.stock.peek("tea").is_none()).await;
        connected(node).await;
    }
}

async fn a_connection_that_goes_silent_is_replaced(client: RedisClient) {
    let server = Server::start().unwrap();
    let proxy = FaultProxy::to(server.addr()).await.unwrap();
    let (near, far) = (
        node(client, server.url()).await,
        node(client, proxy.url_like(&server.url()).unwrap()).await,
    );
    let _ = near.stock.set("tea", 1).await.unwrap();
    assert_eq!(far.stock.get("tea").await.as_deref(), Some(&1));
    proxy.blackhole(bilten_testbed::Direction::Both);
    let _ = near.stock.remove("tea").await.unwrap();
    eventually("what it cannot vouch for is no longer served", || {
        far.stock.peek("tea").is_none()
    })
    .await;
    assert_eq!(far.load("jam", 2).await, 2);
    proxy.heal();
    connected(&far).await;
    assert_eq!(far.stock.get("tea").await, None);
}

async fn connections_that_are_reset_come_back(client: RedisClient) {
    let server = Server::start().unwrap();
    let proxy = FaultProxy::to(server.addr()).await.unwrap();
    let (near, far) = (
        node(client, server.url()).await,
        node(client, proxy.url_like(&server.url()).unwrap()).await,
    );
    for round in 0..5 {
        let _ = near.stock.set("tea", round).await.unwrap();
        comes_to_see(&far, round).await;
        proxy.reset_all();
    }
}

async fn a_full_redis_takes_invalidations_but_no_values(client: RedisClient) {
    let server = Server::start().unwrap();
    let node = node(client, server.url()).await;
    let _ = node.stock.set("tea", 1).await.unwrap();
    server.cli(&["CONFIG", "SET", "maxmemory", "1"]).unwrap();
    assert_eq!(node.stock.set("tea", 2).await.unwrap(), Ack::Everywhere);
    assert_eq!(node.load("jam", 3).await, 3);
    assert_eq!(node.stock.get("tea").await.as_deref(), Some(&2));
    let in_redis = || server.cli(&["EXISTS", "shop:v:{stock:tea}"]).unwrap();
    assert_eq!(in_redis().trim(), "0");
    assert!(node.cache.stats().remote_failures > 0);
    assert_eq!(
        node.cache.stats().breaker_opened,
        0,
        "the server is there, it only refuses"
    );
    assert_eq!(node.cache.clear().await, Ack::Everywhere);
    server.cli(&["CONFIG", "SET", "maxmemory", "0"]).unwrap();
    assert_eq!(node.stock.set("tea", 4).await.unwrap(), Ack::Everywhere);
    assert_eq!(in_redis().trim(), "1");
}

async fn a_read_only_replica_serves_reads_and_defers_changes(client: RedisClient) {
    let (primary, server) = (Server::start().unwrap(), Server::start().unwrap());
    let node = node(client, server.url()).await;
    let port = primary.port().to_string();
    server.cli(&["REPLICAOF", "127.0.0.1", &port]).unwrap();
    assert_eq!(node.stock.set("tea", 1).await.unwrap(), Ack::Deferred);
    assert_eq!(node.load("jam", 2).await, 2);
    assert_eq!(node.stock.get("tea").await.as_deref(), Some(&1));
    server.cli(&["REPLICAOF", "NO", "ONE"]).unwrap();
    connected(&node).await;
    eventually("the change was delivered", || {
        node.cache.status().waiting == 0
    })
    .await;
}

async fn a_user_without_scripting_rights_gets_a_cache_in_memory(client: RedisClient) {
    let server = Server::start().unwrap();
    server
        .cli(&[
            "ACL",
            "SETUSER",
            "app",
            "on",
            ">secret",
            "~*",
            "&*",
            "+@all",
            "-@scripting",
        ])
        .unwrap();
    let node = node(
        client,
        format!("redis://app:secret@127.0.0.1:{}", server.port()),
    )
    .await;
    assert_eq!(node.cache.status().connection, Connection::Down);
    assert_eq!(node.load("tea", 1).await, 1);
    assert_eq!(node.stock.peek("tea").as_deref(), Some(&1));
    assert_eq!(node.stock.remove("tea").await.unwrap(), Ack::Deferred);
    server
        .cli(&["ACL", "SETUSER", "app", "+@scripting"])
        .unwrap();
    connected(&node).await;
    eventually("the removal was delivered", || {
        node.cache.status().waiting == 0
    })
    .await;
}

async fn a_sentinel_fail_over_is_followed(client: RedisClient) {
    let sentinel = RedisSentinel::start().unwrap();
    let node = node(client, sentinel.url()).await;
    assert_eq!(node.stock.set("tea", 1).await.unwrap(), Ack::Everywhere);
    let old = sentinel.primary().unwrap();
    old.kill().unwrap();
    sentinel.wait_for_new_primary(old).unwrap();
    let deadline = Instant::now() + DEADLINE;
    while node.stock.set("tea", 2).await.unwrap() != Ack::Everywhere {
        assert!(Instant::now() < deadline, "the new primary is not found");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    connected(&node).await;
    assert_eq!(node.load("jam", 3).await, 3);
}

async fn another_record_under_our_position_begins_a_new_incarnation(client: RedisClient) {
    let server = Server::start().unwrap();
    let node = node(client, server.url()).await;
    let before = node.cache.status().log_position;
    let _ = node.stock.set("tea", 1).await.unwrap();
    eventually("its record came round", || {
        node.cache.status().log_position == before + 1
    })
    .await;
    let id = format!("{}-0", before + 1);
    let incarnation = || server.cli(&["HGET", "{shop}:meta", "inc"]).unwrap();
    let before = incarnation();
    // What a promoted copy looks like that never had our record and got another one since.
    server.cli(&["DEL", "{shop}:log"]).unwrap();
    let fields = [
        "w",
        "00000000000000ff",
        "s",
        "k:stock:jam",
        "r",
        "00000000000000ff",
    ];
    server
        .cli(&[&["XADD", "{shop}:log", &id][..], &fields].concat())
        .unwrap();
    eventually("a new incarnation began", || incarnation() != before).await;
    eventually("nothing of the old one is served", || {
        node.stock.peek("tea").is_none()
    })
    .await;
    connected(&node).await;
    assert_eq!(node.stock.get("tea").await, None);
}

async fn a_removal_that_a_fail_over_lost_comes_back_to_nobody(client: RedisClient) {
    let stop = Arc::new(AtomicBool::new(false));
    let group = RedisSentinel::start().unwrap();
    let one = node(client, group.url()).await;
    assert_eq!(one.stock.set("tea", 1).await.unwrap(), Ack::Everywhere);
    let old = group.primary().unwrap();
    let incarnation = |server: &Server| server.cli(&["HGET", "{shop}:meta", "inc"]).unwrap();
    let before = incarnation(old);
    let replicas = cut_off_replicas(&group, old);
    // Only the primary knows, which does not live to tell.
    assert_eq!(one.stock.remove("tea").await.unwrap(), Ack::Everywhere);
    let reader = tokio::spawn(reads_until_stopped(one.clone(), Arc::clone(&stop)));
    old.kill().unwrap();
    for replica in replicas {
        replica.resume().unwrap();
    }
    let new = group.wait_for_new_primary(old).unwrap();
    let in_redis = new.cli(&["EXISTS", "shop:v:{stock:tea}"]).unwrap();
    assert_eq!(in_redis.trim(), "1", "the removal was lost");
    eventually("who knew of it has begun a new log", || {
        incarnation(new) != before
    })
    .await;
    connected(&one).await;
    let two = node(client, group.url()).await;
    for node in [&one, &two] {
        assert_eq!(node.stock.get("tea").await, None);
    }
    stop.store(true, Ordering::SeqCst);
    assert_eq!(
        reader.await.unwrap(),
        0,
        "who removed it never reads it again"
    );
}

/// Stops the replicas once they have everything: what the primary is told from now on it alone knows.
fn cut_off_replicas<'g>(group: &'g RedisSentinel, primary: &Server) -> Vec<&'g Server> {
    primary.wait_for_replicas().unwrap();
    let nodes = group.nodes().iter();
    let replicas: Vec<&Server> = nodes.filter(|node| node.port() != primary.port()).collect();
    for replica in &replicas {
        replica.pause().unwrap();
    }
    // Or what is sent to them would wait in their sockets.
    primary.cli(&["CLIENT", "KILL", "TYPE", "replica"]).unwrap();
    replicas
}

/// Redis acknowledges before its replicas have a change. Where neither server nor process is left that knew of it, its value is the only
/// bound.
async fn a_removal_of_which_nobody_is_left_comes_back_no_longer_than_its_value_lives(
    client: RedisClient,
) {
    const LIFE: Duration = Duration::from_secs(10);
    let group = RedisSentinel::start().unwrap();
    let one = node(client, group.url()).await;
    let value = Loaded::new(1).time_to_live(LIFE);
    assert_eq!(one.stock.set("tea", value).await.unwrap(), Ack::Everywhere);
    let set = Instant::now();
    let old = group.primary().unwrap();
    let replicas = cut_off_replicas(&group, old);
    assert_eq!(one.stock.remove("tea").await.unwrap(), Ack::Everywhere);
    old.kill().unwrap();
    drop(one);
    for replica in replicas {
        replica.resume().unwrap();
    }
    let new = group.wait_for_new_primary(old).unwrap();
    let left = LIFE.saturating_sub(set.elapsed());
    let kept = new.cli(&["PTTL", "shop:v:{stock:tea}"]).unwrap();
    let kept: i64 = kept.trim().parse().unwrap();
    assert!(
        i128::from(kept) <= left.as_millis() as i128 + 1,
        "{kept} ms of {left:?}"
    );
    let two = node(client, group.url()).await;
    loop {
        let asked = Instant::now();
        let found = two.stock.get("tea").await;
        // To the millisecond in which both clocks are known.
        if asked > set + LIFE + Duration::from_millis(100) {
            assert_eq!(found, None);
            break;
        }
        assert!(found.is_none_or(|value| *value == 1));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let there = new.cli(&["EXISTS", "shop:v:{stock:tea}"]).unwrap();
    assert_eq!(there.trim(), "0");
    assert_eq!(two.load("tea", 2).await, 2);
}

/// How often a key was found that was removed before.
async fn reads_until_stopped(node: Node, stop: Arc<AtomicBool>) -> u32 {
    let mut found = 0;
    while !stop.load(Ordering::SeqCst) {
        found += u32::from(node.stock.get("tea").await.is_some());
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    found
}
