//! Nodes that do not hear the log, or that look at another one than they think.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bilten_cache::remote::Remote;
use bilten_cache::status::Connection;
use bilten_cache::test_util::{Call, FaultyRemote, ManualClock, Moment};
use bilten_cache::{Ack, Cache, Loaded, Pattern, Region};

use crate::harness::{DEADLINE, Node, eventually, held};
use crate::hooked::Hooked;

/// A node with a clock and a way to the log of its own.
async fn clocked(store: &FaultyRemote, clock: &ManualClock) -> (Node, FaultyRemote) {
    let way = store.another_node();
    let cache = Cache::builder("shop").remote(way.clone()).clock(clock);
    (Node::of(cache.build().await.unwrap()), way)
}

fn all() -> Pattern {
    Pattern::glob("stock:*").unwrap()
}

#[tokio::test]
async fn a_node_that_is_cut_off_reads_l2_for_its_isolated_ttl_only() {
    let (store, clock) = (FaultyRemote::new(), ManualClock::new());
    let near = Node::on(&store).await;
    let (far, way) = clocked(&store, &clock).await;
    let _ = near.stock.set("tea", 1).await.unwrap();
    eventually("it came", || far.cache.status().log_position == 1).await;
    way.cut_log(true);
    // The value stays in L2, invalidated by a marker that the far node cannot know.
    let _ = near.cache.invalidate_pattern(&all()).await;
    clock.advance(Duration::from_secs(5));
    assert_eq!(far.stock.get("tea").await, None);
    assert_eq!(far.load("tea", 2).await, 2);
}

#[tokio::test]
async fn what_a_cut_off_node_finds_in_l2_is_not_trusted_longer_than_the_rest() {
    let (store, clock) = (FaultyRemote::new(), ManualClock::new());
    let near = Node::on(&store).await;
    let (far, way) = clocked(&store, &clock).await;
    let _ = near.stock.set("tea", 1).await.unwrap();
    eventually("it came", || far.cache.status().log_position == 1).await;
    way.cut_log(true);
    clock.advance(Duration::from_secs(4));
    assert_eq!(far.stock.get("tea").await.as_deref(), Some(&1));
    clock.advance(Duration::from_secs(1));
    assert_eq!(far.stock.peek("tea"), None);
}

#[tokio::test]
async fn without_the_log_a_loaded_value_is_as_old_as_its_load() {
    let (store, clock) = (FaultyRemote::new(), ManualClock::new());
    store.fail(true);
    let (node, _) = clocked(&store, &clock).await;
    let (mut held, reader) = node.start_load("tea");
    held.started().await;
    clock.advance(Duration::from_secs(4));
    held.finish(1);
    assert_eq!(*reader.await.unwrap().unwrap(), 1);
    assert_eq!(node.stock.peek("tea").as_deref(), Some(&1));
    clock.advance(Duration::from_secs(1));
    assert_eq!(node.stock.peek("tea"), None);
}

#[tokio::test]
async fn a_load_that_began_under_an_older_log_stores_nothing_that_counts() {
    let store = FaultyRemote::new();
    let (one, two) = (Node::on(&store).await, Node::on(&store).await);
    for _ in 0..5 {
        let _ = one.stock.remove("jam").await.unwrap();
    }
    eventually("they came", || two.cache.status().log_position == 5).await;
    let (mut held, reader) = two.start_load("tea");
    held.started().await;
    // A fail-over that keeps the lease: the log goes back and a new incarnation begins.
    store.step_back(1);
    let _ = one.cache.invalidate_tag("any").await;
    for node in [&one, &two] {
        eventually("it follows the new log", || {
            node.cache.status().log_position == 1
        })
        .await;
    }
    assert_eq!(one.cache.invalidate_pattern(&all()).await, Ack::Everywhere);
    // Position 5 of the old log is no later than position 2 of the new one.
    held.finish(1);
    reader.await.unwrap().unwrap();
    eventually("it is stored", || store.bytes("stock:tea").is_some()).await;
    assert_eq!(one.stock.get("tea").await, None);
    assert_eq!(two.stock.get("tea").await, None);
}

#[tokio::test]
async fn nodes_an_hour_apart_behave_the_same() {
    let (store, early, late) = (FaultyRemote::new(), ManualClock::new(), ManualClock::new());
    late.advance(Duration::from_secs(3_600));
    let (one, _) = clocked(&store, &early).await;
    let (two, _) = clocked(&store, &late).await;
    for (from, to) in [(&one, &two), (&two, &one)] {
        for how in 0..4 {
            let value = Loaded::new(1)
                .tags(["hot"])
                .time_to_live(Duration::from_secs(60));
            let _ = from.stock.set("tea", value).await.unwrap();
            assert_eq!(to.stock.get("tea").await.as_deref(), Some(&1));
            let _ = match how {
                0 => from.stock.remove("tea").await.unwrap(),
                1 => from.cache.invalidate_tag("hot").await,
                2 => from.cache.invalidate_pattern(&all()).await,
                _ => from.cache.clear().await,
            };
            eventually("it is gone", || to.stock.peek("tea").is_none()).await;
            assert_eq!(to.stock.get("tea").await, None);
            assert_eq!(from.stock.get("tea").await, None);
        }
    }
}

#[tokio::test]
async fn ten_thousand_removals_during_a_cut_are_caught_up_with() {
    let (store, clock) = (FaultyRemote::new(), ManualClock::new());
    let near = Node::on(&store).await;
    let (far, way) = clocked(&store, &clock).await;
    far.load("key-9999", 1).await;
    way.cut_log(true);
    for n in 0..10_000 {
        let _ = near.stock.remove(&format!("key-{n}")).await.unwrap();
    }
    assert_eq!(far.stock.peek("key-9999").as_deref(), Some(&1));
    way.cut_log(false);
    eventually("it caught up", || far.stock.peek("key-9999").is_none()).await;
    eventually("to the end", || far.cache.status().log_position == 10_000).await;
}

#[tokio::test]
async fn who_lost_its_lease_may_not_store_over_its_successor() {
    let store = FaultyRemote::new();
    let (one, two) = (Node::patient(&store).await, Node::on(&store).await);
    let short = |node: &Node| {
        let region = node.cache.region::<str, u32>("short");
        region.lease(Duration::from_millis(60)).build().unwrap()
    };
    let (first, second) = (short(&one), short(&two));
    let stall = store.trap(Call::Renew, Moment::Before);
    let (load, mut held) = held();
    let slow = tokio::spawn({
        let first = first.clone();
        async move { first.get_or_load("tea", move |_| load.run()).await }
    });
    held.started().await;
    stall.caught().await;
    // It waits for the lease as long as one lasts, may give up before it has run out, and then tries again.
    eventually_stored(&store, &second).await;
    held.finish(1);
    assert_eq!(*slow.await.unwrap().unwrap(), 1);
    eventually("the store was refused", || {
        first.stats().stores_refused == 1
    })
    .await;
    stall.release();
    let fresh = Node::on(&store).await;
    assert_eq!(short(&fresh).get("tea").await.as_deref(), Some(&2));
    // What was refused there does not stay here either.
    assert_eq!(first.get("tea").await.as_deref(), Some(&2));
}

async fn eventually_stored(store: &FaultyRemote, region: &Region<str, u32>) {
    let deadline = tokio::time::Instant::now() + DEADLINE;
    while store.bytes("short:tea").is_none() {
        assert!(tokio::time::Instant::now() < deadline, "never stored");
        let two = async |_| Ok::<_, std::io::Error>(2);
        region.get_or_load("tea", two).await.unwrap();
        // One that gave up waiting for the lease is in L1 and would hide the next try.
        let started = tokio::time::Instant::now();
        while store.bytes("short:tea").is_none() && started.elapsed() < Duration::from_millis(50) {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        if store.bytes("short:tea").is_none() {
            let _ = region.clear().await;
        }
    }
}

#[tokio::test]
async fn a_pattern_costs_one_call_however_many_keys_it_takes() {
    let store = FaultyRemote::new();
    let (one, two) = (Node::on(&store).await, Node::on(&store).await);
    for n in 0..2_000 {
        let _ = one.stock.set(&format!("key-{n}"), n).await.unwrap();
    }
    let counted = [Call::Read, Call::Claim, Call::Invalidate, Call::Store];
    let before = counted.map(|call| store.calls(call));
    let _ = one.cache.invalidate_pattern(&all()).await;
    let after = counted.map(|call| store.calls(call));
    assert_eq!(
        after,
        [before[0], before[1], before[2] + 1, before[3]],
        "one append and nothing else"
    );
    for n in 0..2_000 {
        let key = format!("key-{n}");
        assert_eq!(one.stock.peek(&key), None);
        assert_eq!(two.stock.get(&key).await, None, "{key}");
    }
}

#[tokio::test]
async fn twenty_tags_cost_no_call_to_validate() {
    let store = FaultyRemote::new();
    let (one, two) = (Node::on(&store).await, Node::on(&store).await);
    let tags: Vec<String> = (0..20).map(|n| format!("tag-{n}")).collect();
    let _ = one
        .stock
        .set("tea", Loaded::new(1).tags(tags.iter().map(String::as_str)))
        .await
        .unwrap();
    let before = store.calls(Call::Read);
    assert_eq!(two.stock.get("tea").await.as_deref(), Some(&1));
    assert_eq!(store.calls(Call::Read), before + 1);
    for tag in ["tag-99", "tag-19"] {
        let known = two.cache.status().log_position;
        let _ = one.cache.invalidate_tag(tag).await;
        eventually("it came", || two.cache.status().log_position > known).await;
        let there = two.stock.peek("tea").is_some();
        assert_eq!(there, tag == "tag-99");
    }
    assert_eq!(store.calls(Call::Read), before + 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn markers_deleted_by_hand_bring_nothing_back() {
    let server = bilten_testbed::Redis::start().unwrap();
    let connect = async || {
        let cache = Cache::builder("shop").redis(server.url());
        Node::of(cache.build().await.unwrap())
    };
    let (one, two) = (connect().await, connect().await);
    let _ = one.stock.set("tea", 1).await.unwrap();
    let _ = one.cache.invalidate_pattern(&all()).await;
    server.cli(&["DEL", "{shop}:meta"]).unwrap();
    for node in [&one, &two, &connect().await] {
        assert_eq!(node.stock.get("tea").await, None);
    }
    let begun = |server: &bilten_testbed::Redis| -> u64 {
        let number = server.cli(&["HGET", "{shop}:meta", "n"]).unwrap();
        number.parse().unwrap_or(u64::MAX)
    };
    eventually("all of them follow the new log", || {
        [&one, &two]
            .iter()
            .all(|node| node.cache.status().log_position == begun(&server))
    })
    .await;
    assert_eq!(one.stock.get("tea").await, None);
    assert_eq!(one.stock.set("tea", 2).await.unwrap(), Ack::Everywhere);
    assert_eq!(two.stock.get("tea").await.as_deref(), Some(&2));
}

#[tokio::test]
async fn a_node_whose_reads_of_the_log_break_learns_by_asking_for_its_position() {
    let (store, clock) = (FaultyRemote::new(), ManualClock::new());
    let one = Node::on(&store).await;
    let broken = Hooked::new(Arc::new(store.another_node())).impatient();
    let two = Cache::builder("shop").remote(broken).clock(&clock);
    let two = Node::of(two.build().await.unwrap());
    for key in ["tea", "jam"] {
        let _ = one.stock.set(key, 1).await.unwrap();
    }
    // A record that comes after the read of its value costs another read.
    eventually("it knows of them", || two.cache.status().log_position == 2).await;
    for key in ["tea", "jam"] {
        assert_eq!(two.stock.get(key).await.as_deref(), Some(&1));
    }
    for _ in 0..4 {
        clock.advance(Duration::from_secs(3));
        eventually("it has asked again", || {
            let age = two.cache.status().log_age;
            age.is_some_and(|age| age < Duration::from_secs(1))
        })
        .await;
    }
    let _ = one.stock.remove("tea").await.unwrap();
    eventually("it learnt of it", || two.stock.peek("tea").is_none()).await;
    let kept = two.stock.peek("jam");
    assert_eq!(kept.as_deref(), Some(&1), "the rest is trusted");
}

#[tokio::test]
async fn who_only_reads_follows_an_older_copy_and_trusts_nothing_that_it_may_have_brought_back() {
    let store = FaultyRemote::new();
    let writer = Node::on(&store).await;
    let reader = Cache::builder("shop").remote(store.another_node());
    let reader = Node::of(reader.read_only().build().await.unwrap());
    let _ = writer.stock.set("tea", 1).await.unwrap();
    let old = store.bytes("stock:tea").unwrap();
    let _ = writer.stock.remove("tea").await.unwrap();
    let _ = writer.stock.set("salt", 1).await.unwrap();
    let salt = Pattern::prefix("stock:salt");
    let _ = writer.cache.invalidate_pattern(&salt).await;
    let _ = writer.stock.remove("jam").await.unwrap();
    let stands_at = async |number| {
        let status = || reader.cache.status();
        eventually("it follows", || {
            status().log_position == number && status().connection == Connection::Connected
        })
        .await;
    };
    stands_at(5).await;
    // Nobody is left who knows what the copy lacks.
    drop(writer);
    store.step_back(4);
    store.put_bytes("stock:tea", old.clone());
    stands_at(1).await;
    assert_eq!(reader.stock.get("tea").await, None);
    // On a cluster this one did not go back.
    assert!(store.bytes("stock:salt").is_some());
    assert_eq!(reader.stock.get("salt").await, None);
    assert!(
        reader
            .stock
            .explain("tea")
            .await
            .to_string()
            .contains("older copy")
    );
    assert_eq!(reader.load("tea", 2).await, 2);
    assert_eq!(reader.stock.peek("tea").as_deref(), Some(&2), "it is kept");
    // A new process writes, and the log goes on beyond what the reader had seen.
    let writer = Node::on(&store).await;
    for n in 0..5 {
        let _ = writer.stock.set("jam", n).await.unwrap();
    }
    stands_at(6).await;
    assert_eq!(reader.stock.get("jam").await.as_deref(), Some(&4));
    let _ = writer.stock.remove("tea").await.unwrap();
    stands_at(7).await;
    store.put_bytes("stock:tea", old);
    assert_eq!(reader.stock.get("tea").await, None);
    // Another log is trusted from its beginning.
    store.lose_everything();
    let writer = Node::on(&store).await;
    stands_at(0).await;
    assert_eq!(writer.load("tea", 3).await, 3);
    eventually("it is stored", || store.bytes("stock:tea").is_some()).await;
    assert_eq!(reader.stock.get("tea").await.as_deref(), Some(&3));
}

#[tokio::test]
async fn a_store_of_ones_own_that_panics_is_followed_again_when_it_does_not() {
    let store = FaultyRemote::new();
    let panics = Arc::new(AtomicBool::new(true));
    let way = Hooked::new(Arc::new(store.another_node())).panicking(&panics);
    let cache = Cache::builder("shop").remote(way).build().await.unwrap();
    let (node, other) = (Node::of(cache), Node::on(&store).await);
    eventually("it does not follow", || {
        node.cache.status().connection == Connection::Down
    })
    .await;
    let _ = other.stock.set("tea", 1).await.unwrap();
    assert_eq!(node.load("jam", 2).await, 2);
    panics.store(false, Ordering::SeqCst);
    eventually("it follows", || {
        let status = node.cache.status();
        status.connection == Connection::Connected && status.log_position == 1
    })
    .await;
    let cause = node.cache.status().cause;
    assert_eq!(cause, None);
}

#[tokio::test]
async fn more_records_than_one_read_brings_are_no_gap() {
    let store = FaultyRemote::new();
    let one = Node::on(&store).await;
    let way = store.another_node();
    let cache = Cache::builder("shop").remote(way.clone());
    let cache = cache.build().await.unwrap();
    let two = Node::of(cache);
    for key in ["tea", "jam"] {
        let _ = two.stock.set(key, 1).await.unwrap();
    }
    way.cut_log(true);
    eventually("it notices", || {
        two.cache.status().connection == Connection::Down
    })
    .await;
    for _ in 0..2_500 {
        let _ = one.stock.remove("jam").await.unwrap();
    }
    way.cut_log(false);
    eventually("it has caught up", || {
        two.cache.status().log_position == store.log_position()
    })
    .await;
    assert_eq!(two.cache.stats().log_gaps, 0);
    assert_eq!(two.stock.peek("tea").as_deref(), Some(&1));
    assert_eq!(two.stock.peek("jam"), None);
}

#[tokio::test]
async fn an_older_copy_that_goes_on_before_anybody_looks_at_it_is_recognised() {
    let store = FaultyRemote::new();
    let (one, two) = (Node::on(&store).await, Node::on(&store).await);
    for key in ["tea", "jam", "jam", "jam"] {
        let _ = one.stock.set(key, 1).await.unwrap();
    }
    assert_eq!(two.stock.get("tea").await.as_deref(), Some(&1));
    eventually("it came", || two.cache.status().log_position == 4).await;
    drop(one);
    let read = store.trap(Call::Tail, Moment::Before);
    read.caught().await;
    // A fail-over that no connection notices: its first record of its own stands where the other node believes to have been.
    store.step_back(2);
    let three = Node::on(&store).await;
    for key in ["tea", "salt", "salt", "salt"] {
        let _ = three.stock.remove(key).await.unwrap();
    }
    read.release();
    eventually("what it was not told of is gone", || {
        two.stock.peek("tea").is_none()
    })
    .await;
    assert_eq!(two.stock.get("tea").await, None);
}

/// A server was frozen, another one took over, the first one goes on: a process whose calls still go to the first hears the log of the
/// second. What it reads then may be old, until it asks the first one where its log ends.
#[tokio::test]
async fn a_process_between_two_servers_notices_with_its_next_heartbeat() {
    let (store, clock, split) = (FaultyRemote::new(), ManualClock::new(), Arc::default());
    let near = Node::on(&store).await;
    let way = Hooked::new(Arc::new(store.another_node())).split(&split);
    let cache = Cache::builder("shop").remote(way).clock(&clock);
    let far = Node::of(cache.build().await.unwrap());
    let _ = near.stock.set("tea", 1).await.unwrap();
    eventually("it came", || far.cache.status().log_position == 1).await;
    let (old, end) = (
        store.bytes("stock:tea").unwrap(),
        store.pulse(1).await.unwrap(),
    );
    let _ = near.stock.set("tea", 2).await.unwrap();
    eventually("it came", || far.cache.status().log_position == 2).await;
    split.calls_find(old, end);
    let flushes = far.cache.stats().flushes;
    let known = far.stock.get("tea").await;
    assert_eq!(known, None, "it has heard that this key was written since");
    clock.advance(Duration::from_secs(1));
    eventually("it notices", || far.cache.stats().flushes > flushes).await;
    for _ in 0..100 {
        assert_ne!(far.stock.get("tea").await.as_deref(), Some(&1));
        tokio::task::yield_now().await;
    }
    split.ends();
    eventually("it follows one server", || {
        far.cache.status().connection == Connection::Connected
    })
    .await;
    assert_ne!(far.load("tea", 3).await, 1);
}
