//! A link that brings less in the time of a call than there is to read.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bilten_cache::status::Connection;
use bilten_cache::test_util::{Call, FaultyRemote};
use bilten_cache::{Ack, Cache, Pattern, Redis, RedisClient};
use bilten_testbed::{FaultProxy, Redis as Server};
use futures_util::future::join_all;
use tokio::sync::Semaphore;

use crate::harness::{Node, eventually, with_each_client};
use crate::hooked::Hooked;

with_each_client! {
    who_missed_more_than_the_link_brings_in_one_answer_comes_back,
    a_new_process_reads_its_markers_as_the_link_brings_them,
}

/// A thousand records take three seconds.
const BYTES_A_SECOND: u64 = 60_000;
/// A machine that does much else takes its time too.
const PATIENCE: Duration = Duration::from_secs(90);

async fn sooner_or_later(what: &str, is_so: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "still not so: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn node(client: RedisClient, url: String) -> Node {
    let redis = Redis::url(url).client(client);
    Node::of(Cache::builder("shop").redis(redis).build().await.unwrap())
}

/// One call of a busy machine may take too long.
async fn comes_to_see(node: &Node, value: u32) {
    let deadline = Instant::now() + PATIENCE;
    while node.stock.get("tea").await.as_deref() != Some(&value) {
        assert!(Instant::now() < deadline, "{value} does not arrive");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Appends so many records that take nothing.
async fn append(node: &Node, records: usize) {
    for from in (0..records).step_by(50) {
        let prefixes = (from..from + 50).map(|n| format!("stock:none-{n}-{:060}", 0));
        let prefixes: Vec<Pattern> = prefixes.map(|p| Pattern::prefix(&p)).collect();
        let changes = prefixes.iter().map(|p| node.cache.invalidate_pattern(p));
        let acks = join_all(changes).await;
        assert!(acks.iter().all(|ack| *ack == Ack::Everywhere), "{acks:?}");
    }
}

async fn who_missed_more_than_the_link_brings_in_one_answer_comes_back(client: RedisClient) {
    let server = Server::start().unwrap();
    let proxy = FaultProxy::to(server.addr()).await.unwrap();
    let near = node(client, server.url()).await;
    let far = node(client, proxy.url_like(&server.url()).unwrap()).await;
    for key in ["tea", "jam"] {
        assert_eq!(far.stock.set(key, 1).await.unwrap(), Ack::Everywhere);
    }
    proxy.refuse();
    proxy.reset_all();
    eventually("it notices", || {
        far.cache.status().connection == Connection::Down
    })
    .await;
    append(&near, 1_500).await;
    assert_eq!(near.stock.remove("jam").await.unwrap(), Ack::Everywhere);
    let end = near.cache.status().log_position;
    proxy.heal();
    proxy.throttle(BYTES_A_SECOND);
    sooner_or_later("it has caught up", || {
        let status = far.cache.status();
        status.connection == Connection::Connected && status.log_position >= end
    })
    .await;
    assert_eq!(far.cache.stats().log_gaps, 0, "it missed none");
    assert_eq!(far.stock.peek("tea").as_deref(), Some(&1));
    assert_eq!(far.stock.peek("jam"), None);
}

fn leaves_markers(server: &Server, markers: u32) {
    let marks = format!(
        "for n = 1, {markers} do redis.call('HSET', KEYS[1], 't:' .. n .. '{:040}', '1') end",
        0
    );
    server.cli(&["EVAL", &marks, "1", "{shop}:meta"]).unwrap();
}

async fn a_new_process_reads_its_markers_as_the_link_brings_them(client: RedisClient) {
    let server = Server::start().unwrap();
    let proxy = FaultProxy::to(server.addr()).await.unwrap();
    let near = node(client, server.url()).await;
    leaves_markers(&server, 3_000);
    assert_eq!(near.stock.set("tea", 1).await.unwrap(), Ack::Everywhere);
    // A second for all of them, and half of one for what is asked for first. A call has a quarter.
    proxy.throttle(BYTES_A_SECOND * 3);
    let far = node(client, proxy.url_like(&server.url()).unwrap()).await;
    sooner_or_later("it is connected", || {
        far.cache.status().connection == Connection::Connected
    })
    .await;
    proxy.heal();
    assert!(far.cache.status().markers >= 3_000);
    assert_eq!(far.cache.status().markers_widened, 0);
    comes_to_see(&far, 1).await;
}

/// Twenty thousand markers take a minute: nobody waits that long. A value is as new as its own record, so it is another one that comes last.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn markers_that_take_too_long_become_one_on_everything() {
    let server = Server::start().unwrap();
    let proxy = FaultProxy::to(server.addr()).await.unwrap();
    let near = node(RedisClient::Fred, server.url()).await;
    leaves_markers(&server, 20_000);
    for key in ["tea", "jam"] {
        assert_eq!(near.stock.set(key, 1).await.unwrap(), Ack::Everywhere);
    }
    proxy.throttle(BYTES_A_SECOND / 3);
    let url = proxy.url_like(&server.url()).unwrap();
    let far = node(RedisClient::Fred, url).await;
    sooner_or_later("it is connected", || {
        far.cache.status().connection == Connection::Connected
    })
    .await;
    let status = far.cache.status();
    assert!(
        status.markers == 1 && status.markers_widened > 0,
        "{status}"
    );
    proxy.heal();
    assert_eq!(far.stock.get("tea").await, None, "it may be invalid");
    assert_eq!(near.stock.set("tea", 2).await.unwrap(), Ack::Everywhere);
    comes_to_see(&far, 2).await;
}

/// The records of 30 seconds wait for it.
#[tokio::test]
async fn what_waits_is_delivered_before_all_that_was_missed_has_come() {
    let store = FaultyRemote::new();
    let near = Node::on(&store).await;
    let way = store.another_node();
    let slow = Hooked::new(Arc::new(way.clone())).each_record_takes(Duration::from_millis(10));
    let cache = Cache::builder("shop").remote(slow).build().await.unwrap();
    let far = Node::of(cache);
    let _ = near.stock.set("tea", 1).await.unwrap();
    way.cut_log(true);
    eventually("it notices", || {
        far.cache.status().connection == Connection::Down
    })
    .await;
    for _ in 0..3_000 {
        let removed = near.stock.remove("jam").await.unwrap();
        assert_eq!(removed, Ack::Everywhere);
    }
    // To all processes, but for no longer than this one change takes.
    store.fail(true);
    assert_eq!(far.stock.remove("tea").await.unwrap(), Ack::Deferred);
    store.fail(false);
    way.cut_log(false);
    sooner_or_later("it was delivered", || far.cache.status().waiting == 0).await;
    let status = far.cache.status();
    assert!(status.log_lag > 0, "{status}");
    assert!(store.bytes("stock:tea").is_none());
}

/// A removal needs no markers, and those of a slow link may take many seconds.
#[tokio::test(start_paused = true)]
async fn what_waits_is_delivered_while_the_markers_are_read() {
    let store = FaultyRemote::new();
    let near = Node::on(&store).await;
    let (way, places) = (store.another_node(), Arc::new(Semaphore::new(1)));
    let slow = Hooked::new(Arc::new(way.clone())).snapshots_in(&places);
    let cache = Cache::builder("shop").remote(slow).build().await.unwrap();
    let far = Node::of(cache);
    assert_eq!(near.stock.set("tea", 1).await.unwrap(), Ack::Everywhere);
    way.cut_log(true);
    eventually("it notices", || {
        far.cache.status().connection == Connection::Down
    })
    .await;
    store.fail(true);
    assert_eq!(far.stock.remove("tea").await.unwrap(), Ack::Deferred);
    store.fail(false);
    // What it missed is not there any more, so it needs a snapshot.
    assert_eq!(near.stock.set("jam", 1).await.unwrap(), Ack::Everywhere);
    store.trim_log();
    assert_eq!(near.stock.set("jam", 2).await.unwrap(), Ack::Everywhere);
    let none = Arc::clone(&places).acquire_owned().await.unwrap();
    way.cut_log(false);
    eventually("it was delivered", || store.bytes("stock:tea").is_none()).await;
    drop(none);
    eventually("it is connected", || {
        let status = far.cache.status();
        status.connection == Connection::Connected && status.waiting == 0
    })
    .await;
}

/// What waits is not delivered on to a log that nobody follows, one after the other, each time with memory emptied.
#[tokio::test(start_paused = true)]
async fn a_log_that_is_lost_while_its_markers_are_read_ends_what_is_delivered_meanwhile() {
    let store = FaultyRemote::new();
    let near = Node::on(&store).await;
    let (way, places) = (store.another_node(), Arc::new(Semaphore::new(1)));
    let slow = Hooked::new(Arc::new(way.clone())).snapshots_in(&places);
    let cache = Cache::builder("shop").remote(slow).build().await.unwrap();
    let far = Node::of(cache);
    way.cut_log(true);
    eventually("it notices", || {
        far.cache.status().connection == Connection::Down
    })
    .await;
    assert_eq!(near.stock.set("jam", 1).await.unwrap(), Ack::Everywhere);
    store.trim_log();
    assert_eq!(near.stock.set("jam", 2).await.unwrap(), Ack::Everywhere);
    let none = Arc::clone(&places).acquire_owned().await.unwrap();
    // Nothing may be delivered before its log is lost.
    store.fails(Call::Invalidate, true);
    for n in 0..100 {
        let removed = far.stock.remove(&*format!("tea-{n}")).await.unwrap();
        assert_eq!(removed, Ack::Deferred);
    }
    way.cut_log(false);
    // Time to find the log that it follows, and to ask for its markers.
    tokio::time::sleep(SNAPSHOT).await;
    let flushes = far.cache.stats().flushes;
    store.lose_everything();
    store.fails(Call::Invalidate, false);
    tokio::time::sleep(SNAPSHOT).await;
    let flushed = far.cache.stats().flushes - flushes;
    assert_eq!(flushed, 1, "the first of them has found another log");
    drop(none);
    eventually("all is delivered", || {
        let status = far.cache.status();
        status.connection == Connection::Connected && status.waiting == 0
    })
    .await;
}

const SNAPSHOT: Duration = Duration::from_secs(5);

/// What is delivered to a log that is not followed yet puts its markers in doubt, and empties memory: not once for each. Whether the outage was
/// noticed or was over before.
#[tokio::test(start_paused = true)]
async fn what_waits_is_delivered_to_another_log_after_its_markers_have_come() {
    for is_noticed in [true, false] {
        let store = FaultyRemote::new();
        let node = Node::on(&store).await;
        assert_eq!(node.stock.set("tea", 1).await.unwrap(), Ack::Everywhere);
        store.fail(true);
        for n in 0..100 {
            let removed = node.stock.remove(&*format!("jam-{n}")).await.unwrap();
            assert_eq!(removed, Ack::Deferred);
        }
        if is_noticed {
            eventually("it notices", || {
                node.cache.status().connection == Connection::Down
            })
            .await;
        }
        store.lose_everything();
        store.takes(Call::Snapshot, SNAPSHOT);
        let (snapshots, flushes) = (store.calls(Call::Snapshot), node.cache.stats().flushes);
        store.fail(false);
        eventually("all is delivered and it is connected", || {
            let status = node.cache.status();
            status.waiting == 0 && status.connection == Connection::Connected
        })
        .await;
        assert_eq!(store.calls(Call::Snapshot) - snapshots, 1, "{is_noticed}");
        let flushed = node.cache.stats().flushes - flushes;
        assert!((1..=2).contains(&flushed), "{is_noticed}: {flushed}");
    }
}

/// Until then its second level is of no use.
#[tokio::test(start_paused = true)]
async fn markers_that_a_change_put_in_doubt_are_asked_for_again_at_once() {
    let store = FaultyRemote::new();
    let node = Node::on(&store).await;
    let snapshots = store.calls(Call::Snapshot);
    store.takes(Call::Snapshot, SNAPSHOT);
    store.lose_everything();
    let asked = |times| store.calls(Call::Snapshot) == snapshots + times;
    eventually("it asks for the new log's", || asked(1)).await;
    let begun = tokio::time::Instant::now();
    // The first record of a log that is not followed yet.
    let removed = node.stock.remove("tea").await.unwrap();
    assert_eq!(removed, Ack::Everywhere);
    eventually("it asks again", || asked(2)).await;
    let took = begun.elapsed();
    assert!(took < SNAPSHOT + Duration::from_millis(100), "{took:?}");
    eventually("it is connected", || {
        node.cache.status().connection == Connection::Connected
    })
    .await;
}
