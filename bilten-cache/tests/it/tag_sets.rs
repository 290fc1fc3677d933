//! What takes the entries that carry all of several tags, and nothing else.

use std::io;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use bilten_cache::remote::{Demand, Remote, Scope};
use bilten_cache::test_util::FaultyRemote;
use bilten_cache::{Ack, Loaded};
use futures_util::poll;
use tokio::sync::oneshot;

use crate::harness::{Node, in_step};

#[tokio::test]
async fn a_tag_takes_any_entry_that_carries_it_and_a_set_those_that_carry_all() {
    let store = FaultyRemote::new();
    let (one, two) = (Node::on(&store).await, Node::on(&store).await);
    let flushes = two.cache.stats().flushes;
    let entries: [(&str, &[&str]); 4] = [
        ("a", &["berlin"]),
        ("b", &["jazz"]),
        ("c", &["berlin", "jazz"]),
        ("d", &["jazz", "free", "berlin"]),
    ];
    for (key, tags) in entries {
        let value = Loaded::new(1).tags(tags.iter().copied());
        let _ = one.stock.set(key, value).await.unwrap();
        assert!(two.stock.get(key).await.is_some());
    }
    let cases: [(&[&str], &[&str]); 4] = [
        (&["berlin", "free"], &["a", "b", "c"]),
        (&["berlin", "paris"], &["a", "b", "c"]),
        (&["jazz", "berlin", "jazz"], &["a", "b"]),
        (&["berlin"], &["b"]),
    ];
    for (tags, left) in cases {
        let ack = one.cache.invalidate_all_of_tags(tags.iter().copied()).await;
        assert_eq!(ack, Ack::Everywhere);
        in_step(&one, &two).await;
        for node in [&one, &two, &Node::on(&store).await] {
            let mut found = Vec::new();
            for (key, _) in entries {
                if node.stock.get(key).await.is_some() {
                    found.push(key);
                }
            }
            assert_eq!(found, left, "after {tags:?}");
        }
    }
    assert_eq!(two.cache.stats().flushes, flushes);
}

#[tokio::test]
async fn a_set_of_tags_takes_a_load_that_brings_all_of_them_home() {
    let store = FaultyRemote::new();
    let node = Node::on(&store).await;
    for (key, tags, kept) in [
        ("both", &["berlin", "jazz"][..], false),
        ("one", &["berlin"], true),
    ] {
        let (go, told) = oneshot::channel::<()>();
        let (begun, has_begun) = oneshot::channel();
        let stock = node.stock.clone();
        let reader = tokio::spawn(async move {
            let load = async move |_| {
                let _ = begun.send(());
                let _ = told.await;
                Ok::<_, io::Error>(Loaded::new(1).tags(tags.iter().copied()))
            };
            stock.get_or_load(key, load).await
        });
        has_begun.await.unwrap();
        let ack = node.cache.invalidate_all_of_tags(["jazz", "berlin"]).await;
        assert_eq!(ack, Ack::Everywhere);
        // Whoever comes now joins no load of which nobody knows the tags.
        let later = async |_| Ok::<_, io::Error>(2);
        let mut later = pin!(node.stock.get_or_load(key, later));
        let came = poll!(&mut later);
        go.send(()).unwrap();
        assert_eq!(*reader.await.unwrap().unwrap(), 1);
        assert_eq!(node.stock.peek(key).as_deref() == Some(&1), kept, "{key}");
        if !kept {
            let later = match came {
                Poll::Ready(later) => later,
                Poll::Pending => later.await,
            };
            assert_eq!(*later.unwrap(), 2);
        }
    }
}

#[tokio::test]
async fn a_set_of_tags_says_after_which_state_later_loads_come() {
    let store = FaultyRemote::new();
    let (one, two) = (Node::on(&store).await, Node::on(&store).await);
    let after = one.cache.after("7");
    let ack = after.invalidate_all_of_tags(["jazz", "berlin"]).await;
    assert_eq!(ack, Ack::Everywhere);
    in_step(&one, &two).await;
    for node in [&one, &two] {
        let found = node.stock.explain("tea").await.at_least;
        assert_eq!(found, Some(Demand::of("7")));
    }
    // What versions can read that know of no sets.
    let demands = store.tail(0, Duration::ZERO, 10);
    let scopes = demands.await.unwrap().into_iter();
    let scopes: Vec<_> = scopes.filter_map(|record| record.scope).collect();
    assert_eq!(scopes[0], Scope::All, "{scopes:?}");
}

#[tokio::test]
async fn a_set_that_no_entry_can_carry_is_nothing_to_do_and_an_empty_one_takes_all() {
    let store = FaultyRemote::new();
    let node = Node::on(&store).await;
    let _ = node
        .stock
        .set("tea", Loaded::new(1).tags(["hot"]))
        .await
        .unwrap();
    let before = store.log_position();
    let long = "x".repeat(257);
    let many: Vec<String> = (0..65).map(|n| n.to_string()).collect();
    for ack in [
        node.cache.invalidate_all_of_tags([&*long]).await,
        node.cache.invalidate_all_of_tags(["hot", &*long]).await,
        node.cache.invalidate_all_of_tags(many).await,
    ] {
        assert_eq!(ack, Ack::Everywhere);
    }
    assert_eq!(store.log_position(), before);
    assert!(node.stock.peek("tea").is_some());
    let _ = node.cache.invalidate_all_of_tags([""; 0]).await;
    assert_eq!(node.stock.peek("tea"), None);
}

/// What is remembered of it stays with everybody.
#[tokio::test]
async fn a_set_of_long_tags_takes_what_carries_some_of_them_and_is_remembered_by_these() {
    let store = FaultyRemote::new();
    let (one, two) = (Node::on(&store).await, Node::on(&store).await);
    let tags: Vec<String> = (10..26)
        .map(|n| format!("{n}{}", "x".repeat(254)))
        .collect();
    for (key, some) in [
        ("all", &tags[..]),
        ("most", &tags[..15]),
        ("last", &tags[15..]),
    ] {
        let value = Loaded::new(1).tags(some.iter().map(String::as_str));
        let _ = one.stock.set(key, value).await.unwrap();
        assert!(two.stock.get(key).await.is_some());
    }
    let ack = one.cache.invalidate_all_of_tags(tags).await;
    assert_eq!(ack, Ack::Everywhere);
    in_step(&one, &two).await;
    for (key, stays) in [("all", false), ("most", false), ("last", true)] {
        assert_eq!(two.stock.get(key).await.is_some(), stays, "{key}");
    }
    let snapshot = store.snapshot().await.unwrap();
    let longest = snapshot
        .markers
        .iter()
        .map(|(scope, _)| scope.encode().len());
    assert!(longest.max().unwrap() < 1_200);
}
