//! Callers that are dropped in the middle of a change.

use std::future::Future;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Context;

use bilten_cache::test_util::{Call, FaultyRemote, Moment};

use crate::harness::{Node, eventually};

#[tokio::test]
async fn a_remove_whose_caller_is_dropped_is_carried_through() {
    let store = FaultyRemote::new();
    let node = Node::patient(&store).await;
    let _ = node.stock.set("tea", 1).await.unwrap();
    let request = store.trap(Call::Invalidate, Moment::Before);
    let caller = tokio::spawn({
        let node = node.clone();
        async move { node.stock.remove("tea").await }
    });
    request.caught().await;
    caller.abort();
    assert!(caller.await.unwrap_err().is_cancelled());
    request.release();
    eventually("both levels dropped it", || {
        node.stock.peek("tea").is_none() && store.bytes("stock:tea").is_none()
    })
    .await;
}

#[tokio::test]
async fn a_set_whose_caller_is_dropped_after_l2_had_it_is_in_l1_too() {
    let store = FaultyRemote::new();
    let node = Node::patient(&store).await;
    let _ = node.stock.set("tea", 1).await.unwrap();
    let answer = store.trap(Call::Store, Moment::After);
    let caller = tokio::spawn({
        let node = node.clone();
        async move { node.stock.set("tea", 2).await }
    });
    answer.caught().await;
    caller.abort();
    assert!(caller.await.unwrap_err().is_cancelled());
    answer.release();
    eventually("L1 has the new value", || {
        node.stock.peek("tea").as_deref() == Some(&2)
    })
    .await;
}

#[tokio::test]
async fn a_write_through_dropped_during_the_write_removes_the_key() {
    let store = FaultyRemote::new();
    for node in [Node::on(&store).await, Node::alone().await] {
        let _ = node.stock.set("tea", 1).await.unwrap();
        let write = node
            .stock
            .write_through("tea", std::future::pending::<Result<u32, io::Error>>());
        {
            let mut write = std::pin::pin!(write);
            assert!(
                write
                    .as_mut()
                    .poll(&mut Context::from_waker(std::task::Waker::noop()))
                    .is_pending()
            );
        }
        assert_eq!(
            node.stock.peek("tea"),
            None,
            "nobody knows whether the source was written"
        );
    }
    eventually("L2 dropped it", || store.bytes("stock:tea").is_none()).await;
}

#[tokio::test]
async fn a_write_through_dropped_before_its_source_is_asked_changes_nothing() {
    let store = FaultyRemote::new();
    let (node, other) = (Node::patient(&store).await, Node::patient(&store).await);
    let _ = node.stock.set("tea", 1).await.unwrap();
    for moment in [Moment::Before, Moment::After] {
        let told = store.trap(Call::BeginWrite, moment);
        let (asked, ended) = (AtomicBool::new(false), store.calls(Call::EndWrite));
        let write = node.stock.write_through("tea", async {
            asked.store(true, Ordering::SeqCst);
            Ok::<_, io::Error>(2)
        });
        {
            let mut write = std::pin::pin!(write);
            let waker = Context::from_waker(std::task::Waker::noop());
            assert!(write.as_mut().poll(&mut { waker }).is_pending());
        }
        told.release();
        assert!(!asked.load(Ordering::SeqCst));
        assert_eq!(node.stock.peek("tea").as_deref(), Some(&1));
        assert_eq!(other.stock.get("tea").await.as_deref(), Some(&1));
        // Nor is it taken for a write that goes on.
        eventually("its end is told", || store.calls(Call::EndWrite) > ended).await;
        let write = async { Ok::<_, io::Error>(1) };
        node.stock.write_through("tea", write).await.unwrap();
        assert_eq!(node.stock.peek("tea").as_deref(), Some(&1), "{moment:?}");
    }
}

#[tokio::test]
async fn a_write_through_that_fails_removes_the_key() {
    let node = Node::on(&FaultyRemote::new()).await;
    let _ = node.stock.set("tea", 1).await.unwrap();
    let write = async { Err::<u32, _>(io::Error::other("connection lost after commit")) };
    let error = node.stock.write_through("tea", write).await.unwrap_err();
    assert_eq!(
        error.source_as::<io::Error>().unwrap().to_string(),
        "connection lost after commit"
    );
    assert_eq!(node.stock.get("tea").await, None);
}

#[tokio::test]
async fn dropping_the_cache_in_the_middle_of_a_load_harms_nobody() {
    let store = FaultyRemote::new();
    let node = Node::on(&store).await;
    let (mut held, reader) = node.start_load("tea");
    held.started().await;
    drop(node);
    held.finish(7);
    assert_eq!(*reader.await.unwrap().unwrap(), 7);
}

#[tokio::test]
async fn the_log_is_no_longer_followed_when_the_last_handle_is_gone() {
    let store = FaultyRemote::new();
    let node = Node::on(&store).await;
    eventually("the log is followed", || store.calls(Call::Pulse) > 0).await;
    let Node { cache, stock } = node;
    drop(cache);
    let other = Node::on(&store).await;
    let _ = stock.set("tea", 1).await.unwrap();
    let _ = other.stock.remove("tea").await.unwrap();
    eventually("a region alone keeps the log going", || {
        stock.peek("tea").is_none()
    })
    .await;
    drop((stock, other));
    let metrics = tokio::runtime::Handle::current().metrics();
    eventually("all tasks have ended", || metrics.num_alive_tasks() == 0).await;
}

#[tokio::test]
async fn ten_thousand_caches_leave_no_task_behind() {
    let metrics = tokio::runtime::Handle::current().metrics();
    for _ in 0..10_000 {
        Node::on(&FaultyRemote::new()).await;
    }
    eventually("all tasks have ended", || metrics.num_alive_tasks() == 0).await;
}

#[tokio::test]
async fn a_cache_whose_every_handle_is_dropped_during_a_load_leaves_no_task() {
    for stage in [None, Some(Call::Read), Some(Call::Store)] {
        let store = FaultyRemote::new();
        let before = tokio::runtime::Handle::current()
            .metrics()
            .num_alive_tasks();
        let node = Node::patient(&store).await;
        let trap = stage.map(|call| store.trap(call, Moment::Before));
        let (mut held, reader) = node.start_load("tea");
        match (&trap, stage) {
            (Some(trap), Some(Call::Read)) => trap.caught().await,
            (Some(trap), _) => {
                held.started().await;
                held.finish(7);
                trap.caught().await;
                held = crate::harness::held().1;
            }
            (None, _) => held.started().await,
        }
        reader.abort();
        drop(node);
        if let Some(trap) = trap {
            trap.release();
        }
        held.finish(7);
        // An abort is what was asked for; a panic is not.
        assert!(!reader.await.is_err_and(|error| error.is_panic()));
        eventually("every task ended", || {
            tokio::runtime::Handle::current()
                .metrics()
                .num_alive_tasks()
                == before
        })
        .await;
    }
}
