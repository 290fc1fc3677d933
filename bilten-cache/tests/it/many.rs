//! Many keys in one call: one round trip, one load, and no two calls that wait for each other.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bilten_cache::test_util::{Call, FaultyRemote, ManualClock, Moment};
use bilten_cache::{Ack, Cache, Error, Loaded};

use crate::harness::{DEADLINE, Node, eventually};

type Asked = Arc<Mutex<Vec<Vec<String>>>>;

fn names(range: std::ops::Range<u32>) -> Vec<String> {
    range.map(|n| format!("k{n}")).collect()
}

fn value_of(name: &str) -> u32 {
    name[1..].parse().unwrap()
}

/// Loads each key with its own number and writes down what it was asked for.
async fn load_many(node: &Node, keys: Vec<String>, asked: &Asked) -> Vec<Option<Arc<u32>>> {
    let asked = Arc::clone(asked);
    let load = move |missing: Vec<String>| {
        asked.lock().unwrap().push(missing.clone());
        let rows = missing
            .into_iter()
            .map(|name| (name.clone(), value_of(&name)));
        std::future::ready(Ok::<_, io::Error>(rows.collect::<Vec<_>>()))
    };
    let found = node.stock.get_or_load_many(keys, load);
    tokio::time::timeout(DEADLINE * 3, found)
        .await
        .unwrap()
        .unwrap()
}

#[tokio::test]
async fn the_loader_gets_exactly_the_keys_that_neither_level_has() {
    let store = FaultyRemote::new();
    let (one, two) = (Node::on(&store).await, Node::on(&store).await);
    let own = names(0..40)
        .into_iter()
        .map(|name| (name.clone(), value_of(&name)));
    assert_eq!(one.stock.set_many(own).await.unwrap(), Ack::Everywhere);
    let others = names(40..80)
        .into_iter()
        .map(|name| (name.clone(), value_of(&name)));
    assert_eq!(two.stock.set_many(others).await.unwrap(), Ack::Everywhere);
    let asked = Asked::default();
    let found = load_many(&one, names(0..100), &asked).await;
    for (name, value) in names(0..100).iter().zip(found) {
        assert_eq!(value.as_deref(), Some(&value_of(name)));
    }
    let calls = asked.lock().unwrap().clone();
    assert_eq!(calls.len(), 1);
    assert_eq!(calls[0], names(80..100), "in the order of the call");
    let stats = one.stock.stats();
    // Two changes at once on one stripe leave neither in memory.
    assert!(stats.hits_memory >= 20, "{stats:?}");
    assert_eq!(stats.hits_memory + stats.hits_remote, 80, "{stats:?}");
    assert_eq!(stats.misses, 20);
    eventually("what was loaded is stored", || {
        names(80..100)
            .iter()
            .all(|name| store.bytes(&format!("stock:{name}")).is_some())
    })
    .await;
}

#[tokio::test]
async fn many_keys_cost_one_read_of_the_second_level() {
    let store = FaultyRemote::new();
    let (one, two) = (Node::on(&store).await, Node::on(&store).await);
    let values = names(0..50)
        .into_iter()
        .map(|name| (name.clone(), value_of(&name)));
    let _ = one.stock.set_many(values).await.unwrap();
    let _ = two.stock.get("k7").await;
    let before = store.calls(Call::Read);
    let found = two.stock.get_many(&names(0..60)).await;
    assert_eq!(found.iter().flatten().count(), 50);
    assert_eq!(found[7].as_deref(), Some(&7));
    assert_eq!(found[55], None);
    assert_eq!(store.calls(Call::Read) - before, 1);
    assert_eq!(two.stock.get_many(&names(0..50)).await, found[..50]);
    assert_eq!(
        store.calls(Call::Read) - before,
        1,
        "the second time from memory"
    );
}

#[tokio::test]
async fn a_key_that_the_loader_does_not_return_is_none_and_not_remembered() {
    let node = Node::alone().await;
    let nothing =
        |_: Vec<String>| std::future::ready(Ok::<Vec<(String, u32)>, io::Error>(Vec::new()));
    let found = node
        .stock
        .get_or_load_many(names(0..3), nothing)
        .await
        .unwrap();
    assert_eq!(found, [None, None, None]);
    assert_eq!(node.load("k1", 5).await, 5);
    let asked = Asked::default();
    let found = load_many(&node, names(0..3), &asked).await;
    assert_eq!(found[1].as_deref(), Some(&5));
    assert_eq!(asked.lock().unwrap()[0], ["k0", "k2"]);
}

#[tokio::test]
async fn a_key_named_twice_is_loaded_once_and_answered_twice() {
    let node = Node::alone().await;
    let asked = Asked::default();
    let keys = ["k1", "k2", "k1"].map(str::to_owned).to_vec();
    let found = load_many(&node, keys, &asked).await;
    let found: Vec<u32> = found.iter().flatten().map(|value| **value).collect();
    assert_eq!(found, [1, 2, 1]);
    assert_eq!(asked.lock().unwrap().concat().len(), 2);
    let none = load_many(&node, Vec::new(), &asked).await;
    assert!(none.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn overlapping_calls_on_two_nodes_load_each_key_once_and_wait_in_no_circle() {
    let store = FaultyRemote::new();
    let nodes = [Node::on(&store).await, Node::on(&store).await];
    let asked = Asked::default();
    for round in 0..20_u32 {
        let keys = names(round * 100..round * 100 + 30);
        let mut calls = Vec::new();
        for (at, node) in nodes.iter().cycle().take(6).enumerate() {
            let (node, asked, mut keys) = (node.clone(), Arc::clone(&asked), keys.clone());
            // Each in an order of its own, with a share of its own.
            keys.rotate_left(at * 5);
            keys.truncate(20);
            calls.push(tokio::spawn(
                async move { load_many(&node, keys, &asked).await },
            ));
        }
        for call in calls {
            assert!(call.await.unwrap().iter().all(Option::is_some));
        }
    }
    let mut loaded = asked.lock().unwrap().concat();
    let total = loaded.len();
    loaded.sort();
    loaded.dedup();
    assert_eq!((total, loaded.len()), (20 * 30, 20 * 30));
}

#[tokio::test]
async fn one_caller_whose_key_a_load_of_many_left_out_loads_it_itself() {
    let node = Node::alone().await;
    let go = Arc::new(tokio::sync::Notify::new());
    let (began, release) = (Arc::new(AtomicBool::new(false)), Arc::clone(&go));
    let begun = Arc::clone(&began);
    let load = move |_: Vec<String>| {
        begun.store(true, Ordering::SeqCst);
        let release = Arc::clone(&release);
        async move {
            release.notified().await;
            Ok::<Vec<(String, u32)>, io::Error>(Vec::new())
        }
    };
    let many = node.stock.clone();
    let many = tokio::spawn(async move { many.get_or_load_many(names(1..3), load).await });
    eventually("it loads", || began.load(Ordering::SeqCst)).await;
    let single = node.clone();
    let single = tokio::spawn(async move { single.load("k1", 9).await });
    eventually("it waits", || node.stock.stats().coalesced == 1).await;
    go.notify_one();
    assert_eq!(single.await.unwrap(), 9);
    assert_eq!(many.await.unwrap().unwrap(), [None, None]);
}

#[tokio::test]
async fn a_loader_of_many_that_fails_panics_or_asks_for_its_own_keys_is_an_error() {
    let node = Node::alone().await;
    let fail =
        |_: Vec<String>| std::future::ready(Err::<Vec<(String, u32)>, _>(io::Error::other("away")));
    let error = node
        .stock
        .get_or_load_many(names(0..3), fail)
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Load { .. }), "{error}");
    let panics = |_: Vec<String>| async {
        if true {
            panic!("on purpose");
        }
        Ok::<Vec<(String, u32)>, io::Error>(Vec::new())
    };
    let error = node
        .stock
        .get_or_load_many(names(0..3), panics)
        .await
        .unwrap_err();
    assert!(matches!(error, Error::LoadPanicked { .. }), "{error}");
    let inner = node.stock.clone();
    let recursive = move |_: Vec<String>| {
        let inner = inner.clone();
        async move {
            let load = async |_| Ok::<_, io::Error>(1_u32);
            inner
                .get_or_load("k2", load)
                .await
                .map(|value| vec![("k2".to_owned(), *value)])
        }
    };
    let error = node
        .stock
        .get_or_load_many(names(0..3), recursive)
        .await
        .unwrap_err();
    let source = error.source_as::<Error>();
    assert!(matches!(source, Some(Error::Recursive { .. })), "{error}");
    let found = load_many(&node, names(0..3), &Asked::default()).await;
    assert_eq!(found.iter().flatten().count(), 3);
}

#[tokio::test]
async fn keys_that_are_too_long_are_loaded_with_the_others_and_not_cached() {
    let node = Node::alone().await;
    let long = "x".repeat(2_000);
    for _ in 0..2 {
        let keys = vec!["k1".to_owned(), long.clone()];
        let load = |missing: Vec<String>| {
            let rows: Vec<_> = missing.into_iter().map(|name| (name, 4)).collect();
            std::future::ready(Ok::<_, io::Error>(rows))
        };
        let found = node.stock.get_or_load_many(keys, load).await.unwrap();
        assert_eq!(found.iter().flatten().count(), 2);
    }
    let stats = node.stock.stats();
    assert_eq!((stats.keys_refused, stats.misses), (2, 3));
    assert_eq!(
        (stats.loads, stats.load_errors),
        (3, 0),
        "a load like others"
    );
    let nothing =
        |_: Vec<String>| std::future::ready(Ok::<_, io::Error>(Vec::<(String, u32)>::new()));
    let found = node.stock.get_or_load_many([long.clone()], nothing).await;
    assert_eq!(found.unwrap(), [None]);
    let fail =
        |_: Vec<String>| std::future::ready(Err::<Vec<(String, u32)>, _>(io::Error::other("away")));
    let found = node.stock.get_or_load_many([long.clone()], fail).await;
    assert!(found.is_err());
    let stats = node.stock.stats();
    assert_eq!((stats.loads, stats.load_errors), (5, 1));
    assert_eq!(node.stock.get_many(&["k1".to_owned(), long]).await[1], None);
}

#[tokio::test]
async fn removing_many_reaches_every_node_and_the_weakest_answer_counts() {
    let store = FaultyRemote::new();
    let (one, two) = (Node::on(&store).await, Node::on(&store).await);
    let values = names(0..200)
        .into_iter()
        .map(|name| (name.clone(), Loaded::new(value_of(&name))));
    assert_eq!(one.stock.set_many(values).await.unwrap(), Ack::Everywhere);
    assert_eq!(
        two.stock
            .get_many(&names(0..200))
            .await
            .iter()
            .flatten()
            .count(),
        200
    );
    assert_eq!(
        one.stock.remove_many(names(0..200)).await.unwrap(),
        Ack::Everywhere
    );
    eventually("the other has none", || {
        names(0..200)
            .iter()
            .all(|name| two.stock.peek(name).is_none())
    })
    .await;
    let too_long = one
        .stock
        .remove_many(["k1".to_owned(), "x".repeat(2_000)])
        .await;
    assert!(matches!(too_long, Err(Error::KeyTooLong { .. })));
    store.fail(true);
    assert_eq!(
        one.stock.remove_many(names(0..3)).await.unwrap(),
        Ack::Deferred
    );
    assert_eq!(
        Node::alone()
            .await
            .stock
            .remove_many(names(0..3))
            .await
            .unwrap(),
        Ack::Local
    );
}

#[tokio::test]
async fn without_the_second_level_many_are_loaded_all_the_same() {
    let store = FaultyRemote::new();
    let node = Node::on(&store).await;
    store.fail(true);
    assert_eq!(node.stock.get_many(&names(0..3)).await, [None, None, None]);
    let asked = Asked::default();
    let found = load_many(&node, names(0..30), &asked).await;
    assert_eq!(found.iter().flatten().count(), 30);
    assert_eq!(asked.lock().unwrap().len(), 1);
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert_eq!(
        node.stock
            .get_many(&names(0..30))
            .await
            .iter()
            .flatten()
            .count(),
        30
    );
}

/// A task of its own, or a handler of a server, asks for that.
#[tokio::test]
async fn calls_for_many_borrowed_keys_may_go_to_other_threads() {
    let (node, asked) = (Node::alone().await, Asked::default());
    let stock = node.stock.clone();
    let work = async move {
        let _ = stock.set_many([("a", 1), ("b", 2)]).await.unwrap();
        let found = stock.get_many(&["a", "b"]).await;
        let _ = stock.remove_many(["a"]).await.unwrap();
        let _ = stock.after("7").remove_many(["b"]).await.unwrap();
        drop(asked);
        found.len()
    };
    assert_eq!(tokio::spawn(work).await.unwrap(), 2);
}

#[tokio::test]
async fn a_call_may_name_more_keys_than_a_stack_has_room_for() {
    let (node, asked) = (Node::alone().await, Asked::default());
    let keys = names(0..12_000);
    for _ in 0..2 {
        let found = load_many(&node, keys.clone(), &asked).await;
        assert!(
            (0..)
                .zip(found)
                .all(|(n, value)| value.as_deref() == Some(&n))
        );
    }
    let asked: Vec<usize> = asked.lock().unwrap().iter().map(Vec::len).collect();
    assert_eq!(asked, [12_000], "the second call finds them all here");
}

#[tokio::test]
async fn a_none_of_the_loader_is_remembered_for_its_time_and_a_key_left_out_is_not() {
    let clock = ManualClock::new();
    let cache = Cache::builder("shop").clock(&clock).build().await.unwrap();
    let users = cache.region::<str, Option<u32>>("user");
    let users = users
        .time_to_live(Duration::from_secs(60))
        .negative_time_to_live(Duration::from_secs(5))
        .build()
        .unwrap();
    let some = |missing: Vec<String>| async move {
        assert_eq!(missing, ["k0", "k1", "k2"]);
        let found = vec![("k0".to_owned(), Some(0)), ("k1".to_owned(), None)];
        Ok::<_, io::Error>(found)
    };
    let found = users.get_or_load_many(names(0..3), some).await.unwrap();
    let found: Vec<_> = found
        .iter()
        .map(|value| value.as_deref().copied())
        .collect();
    assert_eq!(found, [Some(Some(0)), Some(None), None]);
    assert_eq!(users.get("k1").await.as_deref(), Some(&None));
    let asked = Asked::default();
    let told = asked.clone();
    let again = move |missing: Vec<String>| {
        told.lock().unwrap().push(missing);
        std::future::ready(Ok::<Vec<(String, Option<u32>)>, io::Error>(Vec::new()))
    };
    users.get_or_load_many(names(0..3), again).await.unwrap();
    assert_eq!(*asked.lock().unwrap(), [["k2"]]);
    clock.advance(Duration::from_secs(5));
    assert_eq!(users.peek("k1"), None);
    assert_eq!(users.peek("k0").as_deref(), Some(&Some(0)));
}

#[tokio::test]
async fn values_that_go_one_by_one_are_not_made_before_they_are_sent() {
    for (bytes, most) in [(70 << 10, 64), (600 << 10, 16)] {
        let store = FaultyRemote::new();
        let cache = Cache::builder("shop").remote(store.another_node());
        let cache = cache.remote_budget(DEADLINE * 3).build().await.unwrap();
        let region = cache.region::<u32, String>("text").build().unwrap();
        let traps: Vec<_> = (0..most)
            .map(|_| store.trap(Call::Claim, Moment::Before))
            .collect();
        let made = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&made);
        let values = (0..100).map(move |n| {
            count.fetch_add(1, Ordering::SeqCst);
            (n, "x".repeat(bytes))
        });
        let set = tokio::spawn(async move { region.set_many(values).await });
        eventually("they are on their way", || store.calls(Call::Claim) == most).await;
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        assert_eq!(
            (store.calls(Call::Claim), made.load(Ordering::SeqCst)),
            (most, most)
        );
        drop(traps);
        assert_eq!(set.await.unwrap().unwrap(), Ack::Everywhere);
        assert_eq!(made.load(Ordering::SeqCst), 100);
    }
}
