//! Each read is counted once, whatever becomes of it.

use std::future::Future;
use std::io;
use std::pin::pin;
use std::task::{Context, Waker};

use bilten_cache::Stats;
use bilten_cache::test_util::{Call, FaultyRemote, Moment};

use crate::harness::{Node, eventually};

fn reads(stats: Stats) -> [u64; 4] {
    [
        stats.hits_memory,
        stats.hits_remote,
        stats.misses,
        stats.cancelled,
    ]
}

/// Polls once, and leaves.
fn leave_early<T>(work: impl Future<Output = T>) {
    let mut work = pin!(work);
    let polled = work.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    assert!(polled.is_pending(), "nobody leaves who has an answer");
}

#[tokio::test]
async fn a_read_whose_caller_leaves_early_is_counted_as_cancelled_and_nothing_else() {
    let store = FaultyRemote::new();
    let node = Node::on(&store).await;
    let _ = node.stock.set("here", 1).await.unwrap();
    let read = store.trap(Call::Read, Moment::Before);
    leave_early(node.stock.get("tea"));
    assert_eq!(reads(node.stock.stats()), [0, 0, 0, 1]);
    read.release();

    let read = store.trap(Call::Read, Moment::Before);
    leave_early(node.stock.get_many(&["here", "tea", "milk"]));
    assert_eq!(reads(node.stock.stats()), [1, 0, 0, 3]);
    read.release();

    let (load, mut held) = crate::harness::held();
    let load = node.stock.get_or_load("tea", move |_| load.run());
    {
        let mut load = pin!(load);
        tokio::select! {
            biased;
            _ = &mut load => panic!("the loader waits"),
            () = held.started() => {}
        }
    }
    assert_eq!(reads(node.stock.stats()), [1, 0, 0, 4]);
    held.finish(7);
    eventually("the load goes on", || node.stock.peek("tea").is_some()).await;
    let stats = node.stock.stats();
    assert_eq!((stats.loads, stats.cancelled), (1, 4));
    assert_eq!(node.cache.stats().cancelled, 4);
    assert!(stats.hit_ratio() > 0.99, "only answers count");
}

#[tokio::test]
async fn of_many_keys_those_that_had_no_answer_are_counted_as_cancelled() {
    let store = FaultyRemote::new();
    let (node, other) = (Node::on(&store).await, Node::on(&store).await);
    let _ = node.stock.set("here", 1).await.unwrap();
    let _ = other.stock.set("there", 2).await.unwrap();
    let (load, mut held) = crate::harness::held();
    let load = std::sync::Mutex::new(Some(load));
    let many = node
        .stock
        .get_or_load_many(["here", "there", "tea", "milk"], move |keys| {
            let load = load.lock().unwrap().take().unwrap();
            async move {
                let value = load.run().await?;
                Ok::<_, io::Error>(keys.into_iter().map(move |key| (key, value)))
            }
        });
    {
        let mut many = pin!(many);
        tokio::select! {
            biased;
            _ = &mut many => panic!("the loader waits"),
            () = held.started() => {}
        }
    }
    assert_eq!(reads(node.stock.stats()), [1, 1, 0, 2]);
    held.finish(7);
    eventually("the load goes on", || node.stock.peek("milk").is_some()).await;
    assert_eq!(reads(node.stock.stats())[3], 2);
}

#[tokio::test]
async fn a_key_that_is_named_twice_counts_as_two_reads_wherever_its_value_comes_from() {
    let store = FaultyRemote::new();
    let (node, other) = (Node::on(&store).await, Node::on(&store).await);
    let _ = node.stock.set("here", 1).await.unwrap();
    for name in ["there", "far"] {
        let _ = other.stock.set(name, 2).await.unwrap();
    }
    let many = async |names: Vec<&'static str>| {
        let load = async |missing: Vec<&'static str>| {
            let known = missing.into_iter().filter(|name| *name != "none");
            Ok::<_, io::Error>(known.map(|name| (name, 3)).collect::<Vec<_>>())
        };
        node.stock.get_or_load_many(names, load).await.unwrap()
    };
    let twice = |name| vec![name, name];
    many(twice("here")).await;
    assert_eq!(reads(node.stock.stats()), [2, 0, 0, 0]);
    many(twice("there")).await;
    assert_eq!(reads(node.stock.stats()), [2, 2, 0, 0]);
    many(twice("tea")).await;
    assert_eq!(reads(node.stock.stats()), [2, 2, 2, 0]);
    many(twice("none")).await;
    assert_eq!(reads(node.stock.stats()), [2, 2, 4, 0]);
    node.stock.get_many(&["far", "far", "none", "none"]).await;
    assert_eq!(reads(node.stock.stats()), [2, 4, 6, 0]);
    let read = store.trap(Call::Read, Moment::Before);
    leave_early(many(twice("late")));
    assert_eq!(reads(node.stock.stats()), [2, 4, 6, 2]);
    read.release();
    let long: &'static str = "x".repeat(2_000).leak();
    let mut events = node.cache.events();
    many(twice(long)).await;
    assert_eq!(reads(node.stock.stats()), [2, 4, 8, 2]);
    while let Some(event) = events.try_next() {
        assert!(!format!("{event:?}").contains(long), "{event:?}");
    }
}

#[tokio::test]
async fn a_read_that_cannot_be_loaded_is_a_miss() {
    let node = Node::alone().await;
    let stock = node.stock.clone();
    let around =
        node.stock.get_or_load("tea", async move |_| {
            let one = stock.get_or_load("tea", async |_| Ok::<_, io::Error>(1));
            assert!(one.await.is_err(), "it would wait for itself");
            let many = stock.get_or_load_many(["tea", "milk"], async |_| {
                Ok::<[(_, u32); 0], io::Error>([])
            });
            assert!(many.await.is_err(), "so would they");
            Ok::<_, io::Error>(7)
        });
    assert_eq!(*around.await.unwrap(), 7);
    // The one around, the one inside, and both of the many.
    assert_eq!(reads(node.stock.stats()), [0, 0, 4, 0]);
}

#[tokio::test]
async fn reads_of_a_call_that_fails_for_another_key_are_counted_once_too() {
    let node = Node::alone().await;
    let fails = node.stock.get_or_load_many(["tea", "milk"], async |_| {
        Err::<[(_, u32); 0], _>(io::Error::other("down"))
    });
    assert!(fails.await.is_err());
    let [hits, remote, misses, cancelled] = reads(node.stock.stats());
    assert_eq!((hits, remote, misses + cancelled), (0, 0, 2));
    assert!(misses >= 1, "the one that failed");
}
