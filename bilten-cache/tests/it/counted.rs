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
