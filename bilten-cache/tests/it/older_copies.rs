//! Fail-overs that bring something older back: a log, or a value of which the log still says that it is gone.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bilten_cache::remote::{Author, Remote, Scope};
use bilten_cache::status::Connection;
use bilten_cache::test_util::{Call, FaultyRemote, ManualClock, Moment};
use bilten_cache::{Ack, Cache, Redis, RedisClient, Region};
use bilten_testbed::Redis as Server;

use crate::harness::{DEADLINE, Node, eventually, with_each_client};
use crate::hooked::{Hooked, Split};

with_each_client! {
    a_log_that_was_left_and_comes_back_is_not_followed_again,
}

async fn heard(nodes: &[&Node], position: u64) {
    for node in nodes {
        eventually("it came", || node.cache.status().log_position >= position).await;
    }
}

async fn incarnation(store: &FaultyRemote) -> u64 {
    store.pulse(0).await.unwrap().position.unwrap().incarnation
}

/// On a cluster the log is whole and only the value goes back.
#[tokio::test]
async fn a_value_that_a_fail_over_brought_back_is_a_miss_to_all_who_heard_of_its_removal() {
    let store = FaultyRemote::new().in_slots();
    let (one, two) = (Node::on(&store).await, Node::on(&store).await);
    for how in 0..3 {
        assert_eq!(one.stock.set("tea", 1).await.unwrap(), Ack::Everywhere);
        let old = store.bytes("stock:tea").unwrap();
        let ack = match how {
            0 => one.stock.remove("tea").await.unwrap(),
            1 => one.stock.set("tea", 2).await.unwrap(),
            _ => two.stock.remove("tea").await.unwrap(),
        };
        assert_eq!(ack, Ack::Everywhere);
        heard(&[&one, &two], store.log_position()).await;
        store.put_bytes("stock:tea", old.clone());
        for node in [&one, &two] {
            let found = node.stock.get("tea").await;
            assert!(found.as_deref() != Some(&1), "{how}: {found:?}");
            let outrun = node.stock.stats().outrun;
            assert!(outrun > 0 || found.is_some(), "{how}: it is counted");
        }
        let late = Node::on(&store).await;
        let found = late.stock.get("tea").await;
        assert_eq!(found.as_deref(), Some(&1), "who came later cannot know");
        // What is loaded in its place is everybody's.
        assert_eq!(two.load("tea", 3).await, 3);
        eventually("it is stored", || {
            store.bytes("stock:tea") != Some(old.clone())
        })
        .await;
        let _ = one.stock.remove("jam").await.unwrap();
        heard(&[&one, &two], store.log_position()).await;
        assert_eq!(one.load("tea", 9).await, if how == 1 { 2 } else { 3 });
        let _ = one.stock.remove("tea").await.unwrap();
    }
}

#[tokio::test]
async fn a_value_that_lost_its_expiry_in_a_fail_over_is_still_stale() {
    let store = FaultyRemote::new().in_slots();
    let (one, two) = (Node::on(&store).await, Node::on(&store).await);
    let kept = |node: &Node| -> Region<str, u32> {
        let region = node.cache.region("kept");
        region
            .stale_if_error(Duration::from_secs(60))
            .build()
            .unwrap()
    };
    let (first, second) = (kept(&one), kept(&two));
    let _ = first.set("tea", 1).await.unwrap();
    let fresh = store.bytes("kept:tea").unwrap();
    assert_eq!(first.expire("tea").await.unwrap(), Ack::Everywhere);
    heard(&[&two], store.log_position()).await;
    store.put_bytes("kept:tea", fresh);
    assert_eq!(second.get("tea").await, None, "it is not fresh");
    let fail = async |_| Err::<u32, _>(io::Error::other("the source is down"));
    let stale = second.get_or_load("tea", fail).await;
    assert_eq!(*stale.unwrap(), 1, "but may stand in for an error");
}

#[tokio::test]
async fn what_was_written_through_is_read_by_others_although_it_is_older_than_its_claim() {
    let store = FaultyRemote::new();
    let (one, two) = (Node::on(&store).await, Node::on(&store).await);
    for value in 1..4 {
        let write = async move { Ok::<_, io::Error>(value) };
        one.stock.write_through("tea", write).await.unwrap();
        heard(&[&two], store.log_position()).await;
        assert_eq!(two.stock.get("tea").await.as_deref(), Some(&value));
    }
    assert_eq!(two.stock.stats().hits_remote, 3);
}

#[tokio::test]
async fn what_is_loaded_right_after_a_removal_of_ones_own_is_read_by_others() {
    let store = FaultyRemote::new();
    let (one, two) = (Node::on(&store).await, Node::on(&store).await);
    // The remover has not heard what the other one said before.
    let deaf = store.trap(Call::Tail, Moment::Before);
    deaf.caught().await;
    let _ = two.stock.remove("jam").await.unwrap();
    let _ = one.stock.remove("tea").await.unwrap();
    assert_eq!(one.load("tea", 1).await, 1);
    eventually("it is stored", || store.bytes("stock:tea").is_some()).await;
    drop(deaf);
    heard(&[&one, &two], 2).await;
    assert_eq!(two.stock.get("tea").await.as_deref(), Some(&1));
}

/// A node whose changes are refused, with a clock that stands.
async fn refused(store: &FaultyRemote) -> (Node, Arc<AtomicU32>) {
    let count = Arc::new(AtomicU32::new(0));
    let way = Hooked::new(Arc::new(store.another_node())).refusing(&count);
    let cache = Cache::builder("shop")
        .remote(way)
        .clock(&ManualClock::new());
    (Node::of(cache.build().await.unwrap()), count)
}

#[tokio::test]
async fn who_recognises_an_older_copy_trusts_nothing_even_if_it_may_not_say_so() {
    let store = FaultyRemote::new();
    let writer = Node::on(&store).await;
    for key in ["tea", "jam", "jam", "jam"] {
        let _ = writer.stock.set(key, 1).await.unwrap();
    }
    let (other, count) = refused(&store).await;
    assert_eq!(other.stock.get("tea").await.as_deref(), Some(&1));
    assert_eq!(other.stock.peek("tea").as_deref(), Some(&1));
    drop(writer);
    let read = store.trap(Call::Tail, Moment::Before);
    read.caught().await;
    // The copy goes on: its removals stand under numbers that the other node believes to have read.
    store.step_back(2);
    let third = Node::on(&store).await;
    for key in ["tea", "salt", "salt", "salt"] {
        let _ = third.stock.remove(key).await.unwrap();
    }
    read.release();
    eventually("it tries to begin a new log", || {
        count.load(Ordering::SeqCst) > 0
    })
    .await;
    for _ in 0..50 {
        assert_eq!(other.stock.peek("tea"), None);
        assert_eq!(other.stock.get("tea").await, None);
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    assert!(count.load(Ordering::SeqCst) > 1, "it tries again");
}

/// Only the node that removed it knows, and its own tail has not said so yet.
#[tokio::test]
async fn who_was_told_of_a_record_knows_that_a_log_without_it_is_an_older_copy() {
    let store = FaultyRemote::new();
    let way = store.another_node();
    let cache = Cache::builder("shop").remote(way.clone()).build().await;
    let one = Node::of(cache.unwrap());
    let _ = one.stock.set("tea", 1).await.unwrap();
    heard(&[&one], 1).await;
    let (old, before) = (store.bytes("stock:tea").unwrap(), incarnation(&store).await);
    let read = store.trap(Call::Tail, Moment::Before);
    read.caught().await;
    assert_eq!(one.stock.remove("tea").await.unwrap(), Ack::Everywhere);
    store.step_back(1);
    store.put_bytes("stock:tea", old);
    way.cut_log(true);
    read.release();
    eventually("the cut is noticed", || store.calls(Call::Release) > 0).await;
    way.cut_log(false);
    let late = Node::on(&store).await;
    let deadline = tokio::time::Instant::now() + DEADLINE;
    while incarnation(&store).await == before {
        assert!(tokio::time::Instant::now() < deadline, "no new log");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    assert_eq!(Node::on(&store).await.stock.get("tea").await, None);
    assert_eq!(one.stock.get("tea").await, None);
    // Who followed the older copy notices with its next heartbeat.
    while late.stock.get("tea").await.is_some() {
        assert!(tokio::time::Instant::now() < deadline, "late finds it");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

#[tokio::test]
async fn a_node_in_doubt_recognises_an_older_copy_that_has_gone_on() {
    let store = FaultyRemote::new();
    let writer = Node::on(&store).await;
    let way = store.another_node();
    let cache = Cache::builder("shop").remote(way.clone()).build().await;
    let two = Node::of(cache.unwrap());
    let _ = writer.stock.set("tea", 1).await.unwrap();
    let old = store.bytes("stock:tea").unwrap();
    for key in ["jam", "jam", "tea"] {
        let _ = writer.stock.remove(key).await.unwrap();
    }
    heard(&[&two], 4).await;
    let before = store.pulse(0).await.unwrap().position.unwrap();
    // A record that it misses puts it in doubt, and it cannot ask.
    way.cut_log(true);
    eventually("it hears nothing", || {
        two.cache.status().connection == Connection::Down
    })
    .await;
    let _ = writer.stock.remove("jam").await.unwrap();
    drop(writer);
    store.trim_log();
    let asks = store.trap(Call::Snapshot, Moment::Before);
    way.cut_log(false);
    asks.caught().await;
    let asks_again = store.trap(Call::Snapshot, Moment::Before);
    way.cut_log(true);
    store.fail(true);
    asks.release();
    // Until it has been told that this one failed.
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    store.fail(false);
    // The copy goes on beyond where it was.
    store.step_back(3);
    store.put_bytes("stock:tea", old);
    let third = store.another_node();
    let author = Author::new(9, before.incarnation, 0);
    let salt = Scope::Key("stock:salt".into());
    for _ in 0..6 {
        third.invalidate(&salt, author).await.unwrap();
    }
    way.cut_log(false);
    asks_again.release();
    let deadline = tokio::time::Instant::now() + DEADLINE;
    while incarnation(&store).await == before.incarnation {
        assert!(tokio::time::Instant::now() < deadline, "no new log");
        assert_eq!(two.stock.get("tea").await, None);
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    for node in [&two, &Node::on(&store).await] {
        assert_eq!(node.stock.get("tea").await, None);
    }
}

/// A replica that has not caught up yet answers for a moment, as one does that was the primary before.
#[tokio::test]
async fn a_log_that_was_only_looked_at_through_somebody_who_lags_is_not_begun_anew() {
    let store = FaultyRemote::new();
    let split = Arc::new(Split::default());
    let way = Hooked::new(Arc::new(store.another_node())).split(&split);
    let one = Node::of(Cache::builder("shop").remote(way).build().await.unwrap());
    let two = Node::on(&store).await;
    let before = incarnation(&store).await;
    for n in 0..4 {
        let _ = one.stock.set("tea", n).await.unwrap();
    }
    heard(&[&one, &two], 4).await;
    assert_eq!(two.stock.get("tea").await.as_deref(), Some(&3));
    // It lacks the last two records.
    let value = store.bytes("stock:tea").unwrap();
    let mut end = store.pulse(4).await.unwrap();
    end.position.as_mut().unwrap().number = 2;
    end.stamp = None;
    split.refuses_changes();
    split.calls_find(value, end);
    eventually("it doubts", || {
        one.cache.status().connection != Connection::Connected
    })
    .await;
    split.ends();
    eventually("it follows again", || {
        one.cache.status().connection == Connection::Connected
    })
    .await;
    assert_eq!(incarnation(&store).await, before);
    assert_eq!(store.log_position(), 4, "nothing was said");
    assert_eq!(two.stock.peek("tea").as_deref(), Some(&3));
    assert_eq!(one.stock.get("tea").await.as_deref(), Some(&3));
}

/// The same to who only reads, and would have to trust nothing of an older copy.
#[tokio::test]
async fn who_only_reads_knows_its_log_again_after_a_look_at_somebody_who_lags() {
    let store = FaultyRemote::new();
    let split = Arc::new(Split::default());
    let way = Hooked::new(Arc::new(store.another_node())).split(&split);
    let reader = Cache::builder("shop").remote(way).read_only();
    let (reader, writer) = (
        Node::of(reader.build().await.unwrap()),
        Node::on(&store).await,
    );
    for n in 0..4 {
        let _ = writer.stock.set("tea", n).await.unwrap();
    }
    heard(&[&reader, &writer], 4).await;
    assert_eq!(reader.stock.get("tea").await.as_deref(), Some(&3));
    let value = store.bytes("stock:tea").unwrap();
    let mut end = store.pulse(4).await.unwrap();
    end.position.as_mut().unwrap().number = 2;
    end.stamp = None;
    split.one_call_finds(value, end);
    eventually("it doubts", || reader.stock.peek("tea").is_none()).await;
    eventually("it follows again", || {
        reader.cache.status().connection == Connection::Connected
    })
    .await;
    assert_eq!(reader.stock.get("tea").await.as_deref(), Some(&3));
    assert_eq!(reader.stock.stats().outrun, 0);
    let _ = writer.stock.set("tea", 9).await.unwrap();
    heard(&[&reader], 5).await;
    assert_eq!(reader.stock.get("tea").await.as_deref(), Some(&9));
}

#[tokio::test(start_paused = true)]
async fn a_value_of_no_use_counts_once_however_long_its_load_waits() {
    for outrun in [true, false] {
        let store = FaultyRemote::new().in_slots();
        let node = Node::on(&store).await;
        let other = store.another_node();
        for (turn, key) in ["tea", "jam", "salt"].into_iter().enumerate() {
            let name = format!("stock:{key}");
            let _ = node.stock.set(key, 1).await.unwrap();
            let old = store.bytes(&name).unwrap();
            let _ = node.stock.remove(key).await.unwrap();
            heard(&[&node], store.log_position()).await;
            let bytes = if outrun { old } else { "garbage".into() };
            store.put_bytes(&name, bytes);
            // Another process has the lease and leaves it to its end.
            if key != "salt" {
                let lease = other.lease(&name, 7, Duration::from_secs(60), Some(&[]));
                lease.await.unwrap();
            }
            if key == "jam" {
                let load = |keys: Vec<&'static str>| async move {
                    Ok::<_, io::Error>(keys.into_iter().map(|key| (key, 2)))
                };
                let found = node.stock.get_or_load_many(["jam"], load).await.unwrap();
                assert_eq!(found[0].as_deref(), Some(&2));
            } else {
                assert_eq!(node.load(key, 2).await, 2);
            }
            let stats = node.stock.stats();
            let counted = (stats.outrun, stats.undecodable);
            let due = turn as u64 + 1;
            assert_eq!(counted, if outrun { (due, 0) } else { (0, due) }, "{key}");
        }
    }
}

#[tokio::test]
async fn a_new_log_that_another_process_has_begun_is_followed_and_not_begun_again() {
    let store = FaultyRemote::new();
    let writer = Node::on(&store).await;
    for key in ["tea", "jam", "jam"] {
        let _ = writer.stock.set(key, 1).await.unwrap();
    }
    // It may not say anything.
    let (one, count) = refused(&store).await;
    heard(&[&writer, &one], 3).await;
    drop(writer);
    let before = incarnation(&store).await;
    store.step_back(2);
    eventually("it tries to begin a new log", || {
        count.load(Ordering::SeqCst) > 0
    })
    .await;
    let other = store.another_node();
    let author = Author::new(9, before, 1 << 53);
    other.invalidate(&Scope::All, author).await.unwrap();
    eventually("it follows the new one", || {
        one.cache.status().connection == Connection::Connected
    })
    .await;
    assert_ne!(incarnation(&store).await, before);
    assert_eq!(store.log_position(), 1, "that is all that was said there");
}

async fn a_log_that_was_left_and_comes_back_is_not_followed_again(client: RedisClient) {
    let server = Server::start().unwrap();
    let node = async || {
        let redis = Redis::url(server.url()).client(client);
        Node::of(Cache::builder("shop").redis(redis).build().await.unwrap())
    };
    let (one, two) = (node().await, node().await);
    let _ = one.stock.set("tea", 1).await.unwrap();
    assert_eq!(two.stock.get("tea").await.as_deref(), Some(&1));
    let begun = || server.cli(&["HGET", "{shop}:meta", "inc"]).unwrap();
    let first = begun();
    server.cli(&["SWAPDB", "0", "1"]).unwrap();
    eventually("both follow another log", || {
        let forgot = |node: &Node| node.stock.peek("tea").is_none();
        begun() != first && forgot(&one) && forgot(&two)
    })
    .await;
    // What is said there is said in that log.
    let deadline = std::time::Instant::now() + DEADLINE;
    while one.cache.clear().await != Ack::Everywhere {
        assert!(std::time::Instant::now() < deadline);
    }
    let there = server.cli(&["HGET", "{shop}:meta", "n"]).unwrap();
    let there: u64 = there.parse().unwrap();
    heard(&[&one, &two], there).await;
    server.cli(&["SWAPDB", "0", "1"]).unwrap();
    assert_eq!(begun(), first, "the first one is back, and its value");
    let deadline = std::time::Instant::now() + DEADLINE;
    while begun() == first {
        assert!(std::time::Instant::now() < deadline, "it is followed again");
        for node in [&one, &two] {
            assert_eq!(node.stock.get("tea").await, None);
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    for node in [&one, &two] {
        assert_eq!(node.stock.get("tea").await, None);
    }
}
