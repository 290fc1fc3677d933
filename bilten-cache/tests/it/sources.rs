//! Loaders that read replicas: what a change says about its source reaches the next load, wherever that runs.

use std::cmp::Ordering;
use std::sync::atomic::{AtomicU32, Ordering as Atomic};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bilten_cache::test_util::{Call, FaultyRemote, ManualClock, Moment};
use bilten_cache::{Ack, Cache, CacheBuilder, Loaded, Pattern, Redis, RedisClient, source};

use crate::harness::{DEADLINE, Node, PATIENCE, eventually, unique, with_each_client};
use crate::hooked::Hooked;

/// Tokens are numbers, here of one digit.
fn order(a: &[u8], b: &[u8]) -> Option<Ordering> {
    Some(a.cmp(b))
}

fn builder(name: &str) -> CacheBuilder {
    Cache::builder(name).source_order(order)
}

async fn on(store: &FaultyRemote) -> Node {
    let cache = builder("shop").remote(store.another_node()).build().await;
    Node::of(cache.unwrap())
}

/// Loads a key that is nowhere; the answer is what the loader was told.
async fn told(node: &Node, key: &str) -> Option<String> {
    let told = Arc::new(Mutex::new(None));
    let seen = Arc::clone(&told);
    let load = async move |cx: bilten_cache::LoadContext<u32>| {
        assert_eq!(cx.at_least(), source::at_least().as_deref());
        *seen.lock().unwrap() = cx
            .at_least()
            .map(|t| String::from_utf8(t.to_vec()).unwrap());
        Ok::<_, std::io::Error>(1)
    };
    node.stock.get_or_load(key, load).await.unwrap();
    told.lock().unwrap().take()
}

fn at(token: &str) -> Option<String> {
    Some(token.to_owned())
}

#[tokio::test]
async fn the_next_load_in_memory_only_is_told_the_token() {
    let cache = builder("shop").build().await.unwrap();
    let node = Node::of(cache);
    assert_eq!(told(&node, "tea").await, None);
    let _ = node.stock.after("3").remove("tea").await.unwrap();
    let _ = node.stock.after("2").remove("tea").await.unwrap();
    assert_eq!(told(&node, "tea").await, at("3"), "the further one");
    let _ = node.stock.remove("tea").await.unwrap();
    assert_eq!(
        told(&node, "tea").await,
        at("3"),
        "a change without one forgets nothing"
    );
    assert_eq!(told(&node, "milk").await, None);
    let _ = node
        .cache
        .after("4")
        .invalidate_pattern(&Pattern::prefix("stock:m"))
        .await;
    assert_eq!(told(&node, "milk").await, at("4"));
    let _ = node.stock.after("5").clear().await;
    assert_eq!(told(&node, "tea").await, at("5"));
    let _ = node.stock.after("").remove("tea").await.unwrap();
    assert_eq!(
        told(&node, "tea").await,
        at(""),
        "no token: only the newest state"
    );
}

#[tokio::test]
async fn a_token_is_told_for_as_long_as_a_replica_may_lag() {
    let clock = ManualClock::new();
    let lag = Duration::from_secs(60);
    let cache = builder("shop").source_lag(lag).clock(&clock).build().await;
    let node = Node::of(cache.unwrap());
    let _ = node.stock.after("3").set("tea", 1).await.unwrap();
    clock.advance(lag - Duration::from_secs(1));
    let _ = node.stock.remove("tea").await.unwrap();
    assert_eq!(told(&node, "tea").await, at("3"));
    clock.advance(Duration::from_secs(1));
    let _ = node.stock.remove("tea").await.unwrap();
    assert_eq!(told(&node, "tea").await, None);
}

#[tokio::test]
async fn another_node_is_told_even_before_it_has_heard_of_the_change() {
    let store = FaultyRemote::new();
    let (one, way) = (on(&store).await, store.another_node());
    let cache = builder("shop").remote(way.clone()).build().await;
    let two = Node::of(cache.unwrap());
    way.cut_log(true);
    assert_eq!(
        one.stock.after("3").remove("tea").await.unwrap(),
        Ack::Everywhere
    );
    assert_eq!(told(&two, "tea").await, at("3"), "with its lease");
    way.cut_log(false);
    let late = on(&store).await;
    let memory = |node: &Node| node.cache.memory_region::<str, u32>("own").build().unwrap();
    let (one, late) = (
        memory(&one),
        Node {
            stock: memory(&late),
            ..late
        },
    );
    assert_eq!(
        told(&late, "milk").await,
        at("3"),
        "a process that has just started knows the furthest of all"
    );
    let _ = one.after("4").remove("tea").await.unwrap();
    eventually("both records came", || {
        late.cache.status().log_position == 4
    })
    .await;
    let _ = late.stock.remove("tea").await.unwrap();
    assert_eq!(
        told(&late, "tea").await,
        at("4"),
        "where values are in memory only, by the log"
    );
}

#[tokio::test]
async fn a_load_that_did_not_know_of_the_token_is_kept_nowhere() {
    let store = FaultyRemote::new();
    let (one, way) = (on(&store).await, store.another_node());
    let cache = builder("shop").remote(way.clone()).build().await;
    let two = Node::of(cache.unwrap());
    way.cut_log(true);
    let pattern = Pattern::prefix("stock:");
    assert_eq!(
        one.cache.after("3").invalidate_pattern(&pattern).await,
        Ack::Everywhere
    );
    // Something of its own takes it beyond the records that it has not read.
    let _ = two.stock.remove("milk").await.unwrap();
    assert_eq!(told(&two, "tea").await, None);
    eventually("it is in the second level", || {
        store.bytes("stock:tea").is_some()
    })
    .await;
    assert_eq!(one.stock.get("tea").await, None, "it may be an old row");
    way.cut_log(false);
    eventually("the records came", || two.cache.status().log_position == 3).await;
    assert_eq!(two.stock.get("tea").await, None);
    assert_eq!(told(&two, "tea").await, at("3"));
}

#[tokio::test]
async fn a_token_is_known_before_its_change_is_seen() {
    let store = FaultyRemote::new();
    let one = builder("shop").remote(store.another_node());
    let one = Node::of(one.remote_budget(DEADLINE).build().await.unwrap());
    let two = on(&store).await;
    let _ = one.stock.set("tea", 1).await.unwrap();
    let trap = store.trap(Call::Invalidate, Moment::After);
    let stock = one.stock.clone();
    let removal = tokio::spawn(async move { stock.after("3").remove("tea").await.unwrap() });
    trap.caught().await;
    // The value is gone, and the one who removed it does not know yet.
    assert_eq!(told(&two, "tea").await, at("3"));
    trap.release();
    assert_eq!(removal.await.unwrap(), Ack::Everywhere);
}

#[tokio::test]
async fn a_token_waits_with_its_change_while_the_second_level_is_away() {
    let store = FaultyRemote::new();
    let (one, two) = (on(&store).await, on(&store).await);
    store.fail(true);
    assert_eq!(
        one.stock.after("3").remove("tea").await.unwrap(),
        Ack::Deferred
    );
    assert_eq!(told(&one, "tea").await, at("3"));
    store.fail(false);
    eventually("it was delivered", || one.cache.status().waiting == 0).await;
    assert_eq!(told(&two, "tea").await, at("3"));
}

#[tokio::test]
async fn a_store_that_keeps_no_tokens_leaves_them_to_this_process() {
    let store = FaultyRemote::new();
    let remote = Hooked::new(Arc::new(store.another_node()));
    let cache = builder("shop").remote(remote).build().await.unwrap();
    let node = Node::of(cache);
    assert_eq!(
        node.stock.after("3").remove("tea").await.unwrap(),
        Ack::Everywhere
    );
    assert_eq!(told(&node, "tea").await, at("3"));
}

#[tokio::test]
async fn tokens_that_do_not_compare_ask_for_the_newest_state() {
    let store = FaultyRemote::new();
    let node = Node::on(&store).await;
    for token in ["3", "3", "4"] {
        let _ = node.stock.after(token).remove("tea").await.unwrap();
        let due = if token == "3" { at("3") } else { at("") };
        assert_eq!(told(&node, "tea").await, due);
    }
}

#[tokio::test]
async fn a_written_value_carries_its_token() {
    let store = FaultyRemote::new();
    let (one, two) = (on(&store).await, on(&store).await);
    let write = async { Ok::<_, std::io::Error>(Loaded::new(5).after("6")) };
    let written = one.stock.write_through("tea", write).await.unwrap();
    assert_eq!(
        (*written, two.stock.get("tea").await.as_deref()),
        (5, Some(&5))
    );
    let _ = two.stock.remove("tea").await.unwrap();
    assert_eq!(told(&two, "tea").await, at("6"));
}

#[tokio::test]
async fn a_load_of_many_keys_is_told_the_furthest_of_their_tokens() {
    let store = FaultyRemote::new();
    let (one, two) = (on(&store).await, on(&store).await);
    let _ = one
        .stock
        .after("3")
        .remove_many(["tea", "milk"])
        .await
        .unwrap();
    let _ = one.stock.after("4").remove("tea").await.unwrap();
    let calls = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&calls);
    let load = move |missing: Vec<&'static str>| {
        counted.fetch_add(1, Atomic::SeqCst);
        async move {
            assert_eq!(source::at_least().as_deref(), Some(&b"4"[..]));
            Ok::<_, std::io::Error>(missing.into_iter().map(|key| (key, 1)).collect::<Vec<_>>())
        }
    };
    two.stock
        .get_or_load_many(["milk", "tea", "rice"], load)
        .await
        .unwrap();
    assert_eq!(calls.load(Atomic::SeqCst), 1);
}

async fn a_real_server_keeps_tokens_for_their_time(client: RedisClient) {
    let name = unique();
    let node = async || {
        let redis = Redis::url(bilten_testbed::shared::redis().unwrap()).client(client);
        let builder = builder(&name)
            .source_lag(Duration::from_secs(2))
            .redis(redis);
        Node::of(builder.remote_budget(PATIENCE).build().await.unwrap())
    };
    let (one, two) = (node().await, node().await);
    for token in ["3", "5", "4"] {
        let ack = one.stock.after(token).remove("tea").await.unwrap();
        assert_eq!(ack, Ack::Everywhere);
    }
    assert_eq!(told(&two, "tea").await, at("5"));
    assert_eq!(told(&node().await, "milk").await, at("5"), "a new process");
    let deadline = tokio::time::Instant::now() + DEADLINE;
    loop {
        let _ = two.stock.remove("tea").await.unwrap();
        if told(&two, "tea").await.is_none() {
            break;
        }
        assert!(
            tokio::time::Instant::now() < deadline,
            "it is remembered too long"
        );
    }
    assert_eq!(
        told(&node().await, "milk").await,
        None,
        "and not by a new one either"
    );
}

with_each_client!(a_real_server_keeps_tokens_for_their_time);

#[tokio::test(start_paused = true)]
async fn a_change_that_finds_no_turn_tells_the_loads_of_its_own_process_all_the_same() {
    let store = FaultyRemote::new();
    let budget = Duration::from_millis(50);
    let cache = builder("shop").remote(store.another_node());
    let cache = cache.remote_concurrency(1).remote_budget(budget);
    let node = Node::of(cache.build().await.unwrap());
    // Two calls, one after the other, for longer than the change waits.
    let held = [Call::Read, Call::Invalidate].map(|call| store.trap(call, Moment::Before));
    let (reader, remover) = (node.clone(), node.clone());
    let reads = tokio::spawn(async move { reader.stock.get("jam").await });
    held[0].caught().await;
    let removes = tokio::spawn(async move { remover.stock.remove("jam").await });
    tokio::time::sleep(budget / 5).await;
    let ack = node.stock.after("7").remove("tea").await.unwrap();
    assert_eq!(ack, Ack::Deferred);
    assert_eq!(told(&node, "tea").await, at("7"));
    drop(held);
    reads.await.unwrap();
    let _ = removes.await.unwrap().unwrap();
}
