//! The second level fails: nothing is lost but time.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bilten_cache::status::Connection;
use bilten_cache::test_util::{Call, FaultyRemote, ManualClock, Moment};
use bilten_cache::{Ack, Cache, Loaded, Pattern};

use crate::harness::{DEADLINE, Node, eventually};
use crate::hooked::Hooked;

#[tokio::test]
async fn a_removal_that_l2_did_not_get_waits_and_is_delivered() {
    let store = FaultyRemote::new();
    let (one, two) = (Node::on(&store).await, Node::on(&store).await);
    let _ = one.stock.set("tea", 1).await.unwrap();
    two.stock.get("tea").await.unwrap();
    let request = store.trap(Call::Invalidate, Moment::Before);
    let remover = tokio::spawn({
        let one = one.clone();
        async move { one.stock.remove("tea").await.unwrap() }
    });
    request.caught().await;
    // This one request fails; the value is still there.
    store.fail(true);
    request.release();
    assert_eq!(remover.await.unwrap(), Ack::Deferred);
    assert_eq!(one.stock.peek("tea"), None);
    store.fail(false);
    assert!(store.bytes("stock:tea").is_some());
    assert_eq!(
        one.stock.get("tea").await,
        None,
        "what is in L2 is known to be old"
    );
    eventually("it was delivered", || one.cache.status().waiting == 0).await;
    assert_eq!(store.bytes("stock:tea"), None);
    eventually("the other node learnt of it", || {
        two.stock.peek("tea").is_none()
    })
    .await;
    assert_eq!(one.cache.stats().deferred, 1);
}

#[tokio::test]
async fn what_is_deferred_takes_from_memory_what_it_names_and_is_delivered() {
    let store = FaultyRemote::new();
    let (one, two) = (Node::on(&store).await, Node::on(&store).await);
    let _ = one.stock.set("tea", 1).await.unwrap();
    two.stock.get("tea").await.unwrap();
    let hot = Loaded::new(1).tags(["hot"]);
    let _ = one.stock.set("soup", hot).await.unwrap();
    let _ = one.stock.set("jam", 1).await.unwrap();
    let flushes = one.cache.stats().flushes;
    store.fail(true);
    let (mut taken, first) = one.start_load("trout");
    let (mut spared, second) = one.start_load("salt");
    taken.started().await;
    spared.started().await;
    let pattern = Pattern::glob("stock:t*").unwrap();
    assert_eq!(one.cache.invalidate_pattern(&pattern).await, Ack::Deferred);
    assert_eq!(one.stock.peek("soup").as_deref(), Some(&1));
    assert_eq!(one.cache.invalidate_tag("hot").await, Ack::Deferred);
    assert_eq!(
        (one.stock.peek("tea"), one.stock.peek("soup")),
        (None, None)
    );
    assert_eq!(one.stock.peek("jam").as_deref(), Some(&1));
    taken.finish(1);
    spared.finish(1);
    first.await.unwrap().unwrap();
    second.await.unwrap().unwrap();
    assert_eq!(one.stock.peek("trout"), None, "its load began before");
    assert_eq!(one.load("tea", 2).await, 2);
    assert_eq!(
        one.stock.peek("tea").as_deref(),
        Some(&2),
        "what is loaded now is kept"
    );
    assert_eq!(one.cache.stats().flushes, flushes);
    assert_eq!(one.stock.peek("jam").as_deref(), Some(&1));
    store.fail(false);
    eventually("it was delivered", || one.cache.status().waiting == 0).await;
    eventually("the other node learnt of it", || {
        two.stock.peek("tea").is_none()
    })
    .await;
    assert_eq!(two.stock.get("tea").await, None);
}

#[tokio::test]
async fn a_value_set_while_l2_is_down_is_served_from_memory_and_not_from_l2() {
    let store = FaultyRemote::new();
    let node = Node::on(&store).await;
    let _ = node.stock.set("tea", 1).await.unwrap();
    store.fail(true);
    assert_eq!(node.stock.set("tea", 2).await.unwrap(), Ack::Deferred);
    assert_eq!(node.stock.get("tea").await.as_deref(), Some(&2));
    store.fail(false);
    eventually("it was delivered", || node.cache.status().waiting == 0).await;
    assert_eq!(store.bytes("stock:tea"), None, "the old value is gone");
    assert_eq!(node.stock.get("tea").await.as_deref(), Some(&2));
}

#[tokio::test]
async fn reads_with_a_loader_never_fail_because_of_l2() {
    let store = FaultyRemote::new();
    store.fail(true);
    let node = Node::on(&store).await;
    assert_eq!(node.cache.status().connection, Connection::Down);
    assert_eq!(node.load("tea", 7).await, 7);
    assert_eq!(node.stock.peek("tea").as_deref(), Some(&7));
    assert_eq!(node.stock.get("jam").await, None);
    store.fail(false);
    eventually("it connects by itself", || {
        node.cache.status().connection == Connection::Connected
    })
    .await;
    assert_eq!(node.load("salt", 8).await, 8);
    eventually("L2 has it", || store.bytes("stock:salt").is_some()).await;
}

#[tokio::test]
async fn a_load_that_began_while_l2_was_down_is_not_stored() {
    let store = FaultyRemote::new();
    let node = Node::on(&store).await;
    store.fail(true);
    let (mut held, reader) = node.start_load("tea");
    held.started().await;
    store.fail(false);
    held.finish(7);
    reader.await.unwrap().unwrap();
    // Stores are made behind the caller.
    let _ = node.cache.shutdown(DEADLINE).await;
    assert_eq!(
        (store.calls(Call::Store), store.bytes("stock:tea")),
        (0, None)
    );
}

#[tokio::test]
async fn a_stalled_l2_costs_a_read_its_budget_and_a_hit_nothing() {
    let store = FaultyRemote::new();
    let budget = Duration::from_millis(30);
    let cache = Cache::builder("shop")
        .remote(store.another_node())
        .remote_budget(budget)
        .build()
        .await
        .unwrap();
    let node = Node::of(cache);
    let _ = node.stock.set("jam", 1).await.unwrap();
    let _stall = store.trap(Call::Read, Moment::Before);
    let load = tokio::time::timeout(DEADLINE, node.load("tea", 7)).await;
    assert_eq!(load.unwrap(), 7);
    assert_eq!(node.stock.peek("jam").as_deref(), Some(&1));
    assert_eq!(node.cache.stats().remote_failures, 1);
}

#[tokio::test]
async fn a_store_that_keeps_failing_is_left_alone_and_found_again() {
    let store = FaultyRemote::new();
    let node = Node::on(&store).await;
    store.fail(true);
    for key in ["a", "b", "c", "d", "e"] {
        node.load(key, 1).await;
    }
    assert_eq!(node.cache.stats().breaker_opened, 1);
    let calls = store.calls(Call::Read);
    node.load("f", 1).await;
    assert_eq!(store.calls(Call::Read), calls, "the breaker is open");
    store.fail(false);
    eventually("the breaker closes", || {
        node.cache.status().connection == Connection::Connected
    })
    .await;
}

#[tokio::test]
async fn too_many_calls_at_once_are_misses() {
    let store = FaultyRemote::new();
    let cache = Cache::builder("shop")
        .remote(store.another_node())
        .remote_concurrency(1)
        .remote_budget(DEADLINE)
        .build()
        .await
        .unwrap();
    let node = Node::of(cache);
    let stall = store.trap(Call::Read, Moment::Before);
    let first = tokio::spawn({
        let node = node.clone();
        async move { node.stock.get("tea").await }
    });
    stall.caught().await;
    assert_eq!(node.load("jam", 1).await, 1);
    assert_eq!(store.calls(Call::Read), 1);
    stall.release();
    first.await.unwrap();
}

#[tokio::test]
async fn one_slow_delivery_holds_up_no_other() {
    let store = FaultyRemote::new();
    let node = Node::patient(&store).await;
    store.fail(true);
    for n in 0..10 {
        let key = format!("key-{n}");
        assert_eq!(node.stock.remove(&key).await.unwrap(), Ack::Deferred);
    }
    let first = store.trap(Call::Invalidate, Moment::Before);
    store.fail(false);
    first.caught().await;
    let slow = store.trap(Call::Invalidate, Moment::Before);
    first.release();
    slow.caught().await;
    eventually("only that one waits", || node.cache.status().waiting == 1).await;
    slow.release();
    eventually("all are delivered", || node.cache.status().waiting == 0).await;
}

#[tokio::test]
async fn while_l2_is_known_to_be_away_no_change_waits_for_it() {
    let (store, clock) = (FaultyRemote::new(), ManualClock::new());
    let cache = Cache::builder("shop").remote(store.another_node());
    let node = Node::of(cache.clock(&clock).build().await.unwrap());
    store.fail(true);
    eventually("the log's own task has found out", || {
        node.cache.stats().breaker_opened == 1
    })
    .await;
    let before = store.calls(Call::Invalidate);
    for n in 0..20 {
        // Longer than the breaker's longest pause: it would let one through.
        clock.advance(Duration::from_secs(5));
        let key = format!("key-{n}");
        assert_eq!(node.stock.remove(&key).await.unwrap(), Ack::Deferred);
    }
    assert_eq!(store.calls(Call::Invalidate), before);
    store.fail(false);
    eventually("all are delivered", || node.cache.status().waiting == 0).await;
    assert_eq!(node.stock.remove("tea").await.unwrap(), Ack::Everywhere);
}

#[tokio::test]
async fn who_answers_after_an_outage_is_not_read_before_its_log_was_looked_at() {
    let store = FaultyRemote::new();
    let cache = Cache::builder("shop").remote(store.clone()).memory_bytes(0);
    let node = Node::of(cache.build().await.unwrap());
    assert_eq!(node.stock.set("tea", 1).await.unwrap(), Ack::Everywhere);
    assert_eq!(node.stock.get("tea").await.as_deref(), Some(&1));
    store.fail(true);
    eventually("it is known to be away", || {
        node.cache.stats().breaker_opened == 1
    })
    .await;
    // It answers again, but for the log: it may be a copy that never had the last records.
    store.cut_log(true);
    store.fail(false);
    let deadline = tokio::time::Instant::now() + DEADLINE;
    while node.stock.remove("jam").await.unwrap() != Ack::Everywhere {
        assert!(
            tokio::time::Instant::now() < deadline,
            "no call goes through"
        );
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    assert_eq!(node.stock.get("tea").await, None);
    store.cut_log(false);
    eventually("its log was looked at", || {
        node.cache.status().connection == Connection::Connected
    })
    .await;
    assert_eq!(node.stock.get("tea").await.as_deref(), Some(&1));
}

#[tokio::test]
async fn one_change_that_is_refused_holds_up_no_other() {
    let store = FaultyRemote::new();
    let way = Hooked::new(Arc::new(store.another_node())).refusing_key("stock:tea");
    let cache = Cache::builder("shop").remote(way).build().await.unwrap();
    let (one, two) = (Node::of(cache), Node::on(&store).await);
    let keys: Vec<String> = (0..200).map(|n| n.to_string()).collect();
    for key in &keys {
        let _ = two.stock.set(key, 1).await.unwrap();
    }
    assert_eq!(one.stock.remove("tea").await.unwrap(), Ack::Deferred);
    store.fail(true);
    let _ = one.cache.invalidate_tag("any").await;
    assert_eq!(
        one.stock.remove_many(keys).await.unwrap(),
        Ack::Deferred,
        "behind the one that is refused"
    );
    store.fail(false);
    eventually("the others are delivered", || {
        one.cache.status().waiting == 1
    })
    .await;
    assert_eq!(store.bytes("stock:0"), None);
    eventually("the other process hears of them", || {
        two.stock.peek("199").is_none()
    })
    .await;
    let _ = two.stock.set("jam", 2).await.unwrap();
    // No tag waits any more, so what is in L2 is read again, once the breaker knows that it answers.
    let deadline = Instant::now() + DEADLINE;
    while one.stock.get("jam").await.as_deref() != Some(&2) {
        assert!(Instant::now() < deadline, "it is not read again");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Asks for so many keys at once; how many questions came to the store.
async fn ask_at_once(node: &Node, store: &FaultyRemote, readers: u32) -> u64 {
    let before = store.calls(Call::Read);
    let readers = (0..readers).map(|_| async { node.stock.get("tea").await });
    let found = futures_util::future::join_all(readers).await;
    assert!(found.iter().all(Option::is_none));
    store.calls(Call::Read) - before
}

#[tokio::test(start_paused = true)]
async fn half_open_one_of_many_callers_tries_and_the_others_are_turned_away() {
    let (store, clock) = (FaultyRemote::new(), ManualClock::new());
    let builder = Cache::builder("shop").remote(store.another_node());
    let cache = builder.clock(&clock).build().await.unwrap();
    let node = Node::of(cache);
    // Only reads hang: what follows the log must not find out by itself.
    let hangs: Vec<_> = (0..100)
        .map(|_| store.trap(Call::Read, Moment::Before))
        .collect();
    for _ in 0..5 {
        assert_eq!(ask_at_once(&node, &store, 1).await, 1);
    }
    assert_eq!(node.cache.stats().breaker_opened, 1);
    assert_eq!(ask_at_once(&node, &store, 50).await, 0, "it is open");
    clock.advance(Duration::from_millis(251));
    assert_eq!(ask_at_once(&node, &store, 50).await, 1, "one tries");
    clock.advance(Duration::from_millis(499));
    assert_eq!(ask_at_once(&node, &store, 50).await, 0, "for twice as long");
    drop(hangs);
    // Within a second of the clock, or what follows the log would find out first.
    clock.advance(Duration::from_millis(2));
    assert_eq!(ask_at_once(&node, &store, 1).await, 1, "it succeeds");
    assert_eq!(ask_at_once(&node, &store, 50).await, 50, "it is closed");
}

#[tokio::test]
async fn a_change_waits_for_its_turn_where_reads_are_turned_away() {
    let store = FaultyRemote::new();
    let cache = Cache::builder("shop").remote(store.another_node());
    let cache = cache.remote_concurrency(1).remote_budget(DEADLINE);
    let node = Node::of(cache.build().await.unwrap());
    let stalls = store.trap(Call::Read, Moment::After);
    let start = |act: u32| {
        let node = node.clone();
        tokio::spawn(async move {
            match act {
                0 => node
                    .stock
                    .get("tea")
                    .await
                    .map_or(Ack::Local, |_| Ack::Local),
                1 => node.stock.remove("tea").await.unwrap(),
                2 => node.stock.set("jam", 1).await.unwrap(),
                _ => node.cache.clear().await,
            }
        })
    };
    let reader = start(0);
    stalls.caught().await;
    let changes = [start(1), start(2), start(3)];
    let before = node.cache.stats().remote_failures;
    assert_eq!(node.stock.get("salt").await, None);
    assert_eq!(
        node.cache.stats().remote_failures,
        before + 1,
        "turned away"
    );
    stalls.release();
    for change in changes {
        assert_eq!(change.await.unwrap(), Ack::Everywhere);
    }
    reader.await.unwrap();
    assert_eq!(node.cache.stats().deferred, 0);
}

#[tokio::test]
async fn a_read_that_waits_for_another_process_takes_nothing_that_was_removed_meanwhile() {
    let store = FaultyRemote::new();
    let (one, two) = (Node::on(&store).await, Node::on(&store).await);
    let (mut old, first) = two.start_load("tea");
    old.started().await;
    let (mut new, second) = one.start_load("tea");
    eventually("it waits", || store.calls(Call::Lease) >= 2).await;
    // Neither the removal nor its delivery reaches the store: the lease of the other process stands.
    let removal = store.trap(Call::Invalidate, Moment::Before);
    let delivery = store.trap(Call::Invalidate, Moment::Before);
    assert_eq!(one.stock.remove("tea").await.unwrap(), Ack::Deferred);
    old.finish(1);
    assert_eq!(*first.await.unwrap().unwrap(), 1);
    eventually("the old value is stored", || {
        store.bytes("stock:tea").is_some()
    })
    .await;
    new.started().await;
    new.finish(2);
    assert_eq!(*second.await.unwrap().unwrap(), 2);
    assert_ne!(one.stock.peek("tea").as_deref(), Some(&1));
    removal.release();
    delivery.release();
    eventually("it was delivered", || one.cache.status().waiting == 0).await;
    assert_ne!(one.stock.get("tea").await.as_deref(), Some(&1));
}
