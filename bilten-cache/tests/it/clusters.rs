//! A cluster that loses primaries and hands over slots while it is in use, and what the clients make of it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bilten_cache::remote::{Keyspace, Lease, Remote};
use bilten_cache::status::{Connection, Verdict};
use bilten_cache::{Ack, Cache, Loaded, Pattern, Redis, RedisClient};
use bilten_testbed::RedisCluster;

use crate::conformance::conforms;
use crate::harness::{DEADLINE, Node, PATIENCE, eventually, with_each_client};
use crate::wire::commands_go_to_each_primary_together;

with_each_client! {
    a_lost_owner_of_the_log_is_replaced,
    a_removal_that_the_primary_of_its_value_took_with_it_is_still_known,
}

const LOG: &str = "{shop}:log";

async fn node(client: RedisClient, cluster: &RedisCluster) -> Node {
    let redis = Redis::url(cluster.url()).client(client);
    let node = Node::of(Cache::builder("shop").redis(redis).build().await.unwrap());
    assert_eq!(node.cache.status().connection, Connection::Connected);
    node
}

/// The same for many keys at once: a machine with other things to do is not what is tested there.
async fn patient(client: RedisClient, cluster: &RedisCluster) -> Node {
    let redis = Redis::url(cluster.url()).client(client);
    let cache = Cache::builder("shop").redis(redis).remote_budget(PATIENCE);
    Node::of(cache.build().await.unwrap())
}

async fn remote(client: RedisClient, cluster: &RedisCluster) -> Arc<dyn Remote> {
    let redis = Redis::url(cluster.url()).client(client);
    redis
        .into_remote("shop", Duration::from_secs(2))
        .await
        .unwrap()
}

/// Until changes reach everybody again and nothing waits.
async fn works_again(one: &Node, two: &Node, value: u32) {
    let deadline = Instant::now() + DEADLINE;
    while one.stock.set("tea", value).await.unwrap() != Ack::Everywhere
        || two.stock.get("tea").await.as_deref() != Some(&value)
    {
        assert!(Instant::now() < deadline, "{value} does not arrive");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    for node in [one, two] {
        eventually("connected, and nothing waits", || {
            let status = node.cache.status();
            status.connection == Connection::Connected && status.waiting == 0
        })
        .await;
    }
}

/// A cluster takes seconds to start, so what leaves it whole is done on one, with one client after the other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_client_works_on_a_cluster_and_follows_a_planned_fail_over() {
    let cluster = RedisCluster::start().unwrap();
    for client in [RedisClient::Fred, RedisClient::RedisRs] {
        conforms(Redis::url(cluster.url()).client(client)).await;
        values_and_records_arrive(client, &cluster).await;
        many_keys_at_once_and_what_takes_them_arrive(client, &cluster).await;
        commands_go_to_each_primary_together(client, &cluster).await;
        every_primary_is_swept(client, &cluster).await;
        a_planned_fail_over_under_load_is_followed(client, &cluster).await;
        a_password_that_is_not_needed(client, &cluster).await;
    }
}

/// fred goes on without it, redis-rs connects to no node then.
async fn a_password_that_is_not_needed(client: RedisClient, cluster: &RedisCluster) {
    let redis = Redis::url(cluster.url()).client(client).password("secret");
    let built = Cache::builder("shop").redis(redis).build().await;
    let told = match built {
        Ok(cache) if client == RedisClient::Fred => {
            assert_eq!(cache.status().connection, Connection::Connected);
            return;
        }
        Ok(cache) => format!("{:?}", cache.status()),
        Err(error) => error.to_string(),
    };
    assert_eq!(client, RedisClient::RedisRs, "{told}");
    assert!(
        told.contains("does not accept") && !told.contains("secret"),
        "{told}"
    );
}

async fn values_and_records_arrive(client: RedisClient, cluster: &RedisCluster) {
    let (one, two) = (node(client, cluster).await, node(client, cluster).await);
    for n in 0..30_u32 {
        let key = format!("item-{n}");
        let ack = one.stock.set(&key, n).await.unwrap();
        assert_eq!(ack, Ack::Everywhere, "{key}");
        assert_eq!(two.stock.get(&key).await.as_deref(), Some(&n), "{key}");
        assert_eq!(one.stock.remove(&key).await.unwrap(), Ack::Everywhere);
        eventually("it is gone", || two.stock.peek(&key).is_none()).await;
        assert_eq!(two.load(&key, n + 100).await, n + 100);
        assert_eq!(one.load(&key, 0).await, n + 100);
    }
    let _ = one.cache.clear().await;
    eventually("the clear arrived", || two.stock.peek("item-1").is_none()).await;
    assert_eq!(two.stock.get("item-1").await, None);
}

/// In all slots, of course.
async fn many_keys_at_once_and_what_takes_them_arrive(client: RedisClient, cluster: &RedisCluster) {
    let (one, two) = (
        patient(client, cluster).await,
        patient(client, cluster).await,
    );
    let keys = |range: std::ops::Range<u32>| -> Vec<String> {
        range.map(|n| format!("item-{n}")).collect()
    };
    let everything = Pattern::glob("stock:item-*").unwrap();
    for how in ["tag", "pattern", "keys"] {
        let values = keys(0..60).into_iter().zip(0..);
        let values = values.map(|(key, n)| (key, Loaded::new(n).tags(["hot"])));
        assert_eq!(one.stock.set_many(values).await.unwrap(), Ack::Everywhere);
        let before = two.stock.stats().hits_remote;
        let found = two.stock.get_many(&keys(0..60)).await;
        let found: Vec<u32> = found.into_iter().flatten().map(|value| *value).collect();
        assert_eq!(found, (0..60).collect::<Vec<u32>>());
        assert_eq!(two.stock.stats().hits_remote - before, 60);
        let asked = Arc::new(Mutex::new(Vec::new()));
        let asks = Arc::clone(&asked);
        let load = move |missing: Vec<String>| {
            asks.lock().unwrap().extend(missing.clone());
            let rows = missing
                .into_iter()
                .map(|key| (key, Loaded::new(7).tags(["hot"])));
            std::future::ready(Ok::<_, std::io::Error>(rows.collect::<Vec<_>>()))
        };
        let found = two.stock.get_or_load_many(keys(0..80), load).await.unwrap();
        assert!(found.iter().all(Option::is_some));
        let mut asked = asked.lock().unwrap().clone();
        asked.sort_by_key(|key| key.len() * 1_000 + key[5..].parse::<usize>().unwrap());
        assert_eq!(asked, keys(60..80));
        let ack = match how {
            "tag" => one.cache.invalidate_tag("hot").await,
            "pattern" => one.cache.invalidate_pattern(&everything).await,
            _ => one.stock.remove_many(keys(0..80)).await.unwrap(),
        };
        assert_eq!(ack, Ack::Everywhere);
        eventually("all are gone", || {
            keys(0..80).iter().all(|key| two.stock.peek(key).is_none())
        })
        .await;
        for node in [&one, &two, &patient(client, cluster).await] {
            let found = node.stock.get_many(&keys(0..80)).await;
            assert_eq!(found.iter().flatten().count(), 0, "{client:?} {how}");
        }
    }
}

async fn every_primary_is_swept(client: RedisClient, cluster: &RedisCluster) {
    let node = node(client, cluster).await;
    let before = node.cache.sweep().await;
    assert!(before.finished);
    for n in 0..100 {
        let set = node.stock.set(&n.to_string(), n).await.unwrap();
        assert_eq!(set, Ack::Everywhere);
    }
    assert_eq!(node.cache.clear().await, Ack::Everywhere);
    let _ = node.stock.set("young", 1).await.unwrap();
    let swept = node.cache.sweep().await;
    assert_eq!((swept.removed, swept.finished), (100, true), "{client:?}");
    assert_eq!(node.stock.get("young").await.as_deref(), Some(&1));
}

async fn a_planned_fail_over_under_load_is_followed(client: RedisClient, cluster: &RedisCluster) {
    let (one, two) = (node(client, cluster).await, node(client, cluster).await);
    let stop = Arc::new(AtomicBool::new(false));
    let load = tokio::spawn({
        let (node, stop) = (one.clone(), Arc::clone(&stop));
        async move {
            let (mut slowest, mut changes) = (Duration::ZERO, 0_u32);
            while !stop.load(Ordering::Relaxed) {
                let begun = Instant::now();
                let key = format!("item-{}", changes % 50);
                let _ = node.stock.set(&key, changes).await.unwrap();
                assert_eq!(node.load(&key, changes).await, changes);
                slowest = slowest.max(begun.elapsed());
                changes += 1;
            }
            (slowest, changes)
        }
    });
    cluster.fail_over(LOG).unwrap();
    works_again(&one, &two, 7).await;
    stop.store(true, Ordering::Relaxed);
    let (slowest, changes) = load.await.unwrap();
    assert!(changes > 0 && slowest < DEADLINE, "{slowest:?}, {changes}");
}

async fn a_lost_owner_of_the_log_is_replaced(client: RedisClient) {
    let cluster = RedisCluster::start().unwrap();
    let (one, two) = (node(client, &cluster).await, node(client, &cluster).await);
    works_again(&one, &two, 1).await;
    let old = cluster.owner(LOG).unwrap();
    old.kill().unwrap();
    assert_eq!(one.load("jam", 2).await, 2);
    cluster.wait_for_new_owner(LOG, old).unwrap();
    works_again(&one, &two, 3).await;
}

/// The log is on another primary and whole, so nothing of it tells that the value came back.
async fn a_removal_that_the_primary_of_its_value_took_with_it_is_still_known(client: RedisClient) {
    let cluster = RedisCluster::start().unwrap();
    let owner = |name: &str| cluster.owner(name).unwrap();
    let names = Keyspace::new("shop");
    let of_log = owner(LOG).port();
    let mut keys = (0..100).map(|n| n.to_string());
    let value_of = |key: &str| names.value(&format!("stock:{key}"));
    let key = keys
        .find(|key| owner(&value_of(key)).port() != of_log)
        .unwrap();
    let value = value_of(&key);
    let (one, two) = (node(client, &cluster).await, node(client, &cluster).await);
    assert_eq!(one.stock.set(&key, 1).await.unwrap(), Ack::Everywhere);
    assert_eq!(two.stock.get(&key).await.as_deref(), Some(&1));
    let old = owner(&value);
    old.wait_for_replicas().unwrap();
    let role = old.cli(&["ROLE"]).unwrap();
    let is_its = |node: &&bilten_testbed::Redis| role.contains(&node.port().to_string());
    let replicas = cluster
        .nodes()
        .iter()
        .filter(|node| node.port() != old.port());
    let replicas: Vec<_> = replicas.filter(is_its).collect();
    assert!(!replicas.is_empty(), "{role}");
    for replica in &replicas {
        replica.pause().unwrap();
    }
    // Or what is sent to them would wait in their sockets.
    old.cli(&["CLIENT", "KILL", "TYPE", "replica"]).unwrap();
    assert_eq!(one.stock.remove(&key).await.unwrap(), Ack::Everywhere);
    eventually("the other heard of it", || two.stock.peek(&key).is_none()).await;
    old.kill().unwrap();
    for replica in replicas {
        replica.resume().unwrap();
    }
    let new = cluster.wait_for_new_owner(&value, old).unwrap();
    let there = new.cli(&["EXISTS", &value]).unwrap();
    assert_eq!(there.trim(), "1", "the removal was lost");
    let deadline = Instant::now() + DEADLINE;
    for node in [&one, &two] {
        // Until the client has found the new one.
        while node.stock.set("other", 2).await.unwrap() != Ack::Everywhere
            || node.cache.stats().hits_remote + node.stock.stats().misses == 0
        {
            assert!(Instant::now() < deadline);
            assert_eq!(node.stock.get(&key).await, None);
        }
        for _ in 0..20 {
            assert_eq!(node.stock.get(&key).await, None);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let explained = node.stock.explain(&key).await;
        let lost = matches!(&explained.remote, Verdict::Invalidated { by, .. } if by.contains("fail-over"));
        assert!(lost, "{explained}");
    }
}

/// Keys on a primary that is going to be lost, and on another.
fn keys(cluster: &RedisCluster) -> (String, String) {
    let names = Keyspace::new("shop");
    let owner = |key: &str| cluster.owner(&names.value(key)).unwrap().port();
    let lost = "stock:0".to_owned();
    let kept = (1..100).map(|n| format!("stock:{n}"));
    let kept = kept
        .into_iter()
        .find(|key| owner(key) != owner(&lost))
        .unwrap();
    (lost, kept)
}

async fn put(remote: &dyn Remote, key: &str) {
    let hold = Duration::from_secs(60);
    assert_eq!(
        remote.lease(key, 1, hold, None).await.unwrap(),
        Lease::Owned
    );
    assert!(remote.store(key, 1, "there".into(), hold).await.unwrap());
}

/// Reads of a key whose primary is well, from the moment on when another primary is killed; how many failed. The
/// node timeout is long, so that the cluster itself has not yet reacted.
async fn failures_beside_a_lost_primary(client: RedisClient, until: impl Fn(u32) -> bool) -> u32 {
    let cluster = RedisCluster::start_with_node_timeout(Duration::from_secs(10)).unwrap();
    let (lost, kept) = keys(&cluster);
    let remote = remote(client, &cluster).await;
    for key in [&lost, &kept] {
        assert_eq!(remote.read(key).await.unwrap(), None);
    }
    put(&*remote, &kept).await;
    let victim = cluster.owner(&Keyspace::new("shop").value(&lost)).unwrap();
    victim.kill().unwrap();
    let both = [&lost, &kept].map(|key| Arc::from(key.as_str()));
    let other = tokio::spawn({
        let remote = Arc::clone(&remote);
        async move {
            loop {
                assert!(remote.read(&lost).await.is_err());
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    });
    let deadline = Instant::now() + Duration::from_secs(4);
    let mut failures = 0;
    while Instant::now() < deadline && !until(failures) {
        failures += u32::from(remote.read(&kept).await.is_err());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(!other.is_finished(), "the lost primary answered");
    other.abort();
    if failures == 0 {
        let found = remote.read_many(&both).await;
        assert_eq!(found.unwrap(), [None, Some("there".into())]);
        let alone = remote.read_many(&both[..1]).await;
        assert!(alone.is_err(), "{alone:?}");
    }
    failures
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_rs_goes_on_with_the_other_shards_when_a_primary_is_lost() {
    let failures = failures_beside_a_lost_primary(RedisClient::RedisRs, |_| false).await;
    assert_eq!(failures, 0);
}

/// A limit of fred 10.1. When this fails, fred has learnt it, and the documentation says too little.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fred_stops_all_shards_when_a_primary_is_lost() {
    let failures = failures_beside_a_lost_primary(RedisClient::Fred, |found| found > 0).await;
    assert!(failures > 0);
}

/// Puts the slot of a key into the middle of its move: the owner answers `ASK` for what it does not have.
fn begin_move(cluster: &RedisCluster, key: &str) {
    let source = cluster.owner(key).unwrap();
    let slot = source.cli(&["CLUSTER", "KEYSLOT", key]).unwrap();
    let is_other = |node: &&bilten_testbed::Redis| {
        node.port() != source.port() && node.cli(&["ROLE"]).unwrap().starts_with("master")
    };
    let target = cluster.nodes().iter().find(is_other).unwrap();
    let id = |node: &bilten_testbed::Redis| node.cli(&["CLUSTER", "MYID"]).unwrap();
    let set = |node: &bilten_testbed::Redis, what: &str, other: &str| {
        let words = ["CLUSTER", "SETSLOT", slot.trim(), what, other.trim()];
        node.cli(&words).unwrap();
    };
    set(target, "IMPORTING", &id(source));
    set(source, "MIGRATING", &id(target));
}

/// A limit of fred 10.1: an `ASK` ends its router. The supervisor replaces the client.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_rs_follows_a_slot_that_is_moving_and_fred_fails_and_is_replaced() {
    let cluster = RedisCluster::start().unwrap();
    let (moving, other) = keys(&cluster);
    begin_move(&cluster, &Keyspace::new("shop").value(&moving));
    let redis_rs = remote(RedisClient::RedisRs, &cluster).await;
    for _ in 0..10 {
        assert_eq!(redis_rs.read(&moving).await.unwrap(), None);
    }
    let fred = remote(RedisClient::Fred, &cluster).await;
    assert!(fred.read(&moving).await.is_err());
    let deadline = Instant::now() + DEADLINE;
    while fred.read(&other).await.is_err() {
        assert!(Instant::now() < deadline, "the client is not replaced");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
