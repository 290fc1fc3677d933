//! A second level of somebody's own that panics: one more way to fail, and no worse than the others.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bilten_cache::status::Connection;
use bilten_cache::test_util::{Call, FaultyRemote, ManualClock, Moment};
use bilten_cache::{Ack, Cache};

use crate::harness::{DEADLINE, Node, eventually};
use crate::hooked::Hooked;

#[tokio::test]
async fn a_change_in_which_the_store_panics_waits_and_is_delivered() {
    let (store, panics) = (FaultyRemote::new(), Arc::new(AtomicBool::new(false)));
    let way = Hooked::new(Arc::new(store.another_node())).panicking_in_calls(&panics);
    let node = Node::of(Cache::builder("shop").remote(way).build().await.unwrap());
    let other = Node::on(&store).await;
    for value in [1, 2] {
        for key in ["tea", "jam"] {
            assert_eq!(node.stock.set(key, value).await.unwrap(), Ack::Everywhere);
            assert_eq!(other.stock.get(key).await.as_deref(), Some(&value));
        }
        panics.store(true, Ordering::SeqCst);
        assert_eq!(node.stock.remove("tea").await.unwrap(), Ack::Deferred);
        assert_eq!(
            node.stock.set("jam", value + 10).await.unwrap(),
            Ack::Deferred
        );
        assert_eq!(node.stock.peek("tea"), None);
        assert_eq!(node.stock.peek("jam").as_deref(), Some(&(value + 10)));
        assert_eq!(node.cache.status().waiting, 2);
        assert_eq!(node.stock.get("salt").await, None);
        assert_eq!(node.load("pepper", value).await, value);
        let many = node.stock.get_many(&["bread", "jam"]).await;
        assert_eq!(many.len(), 2);
        panics.store(false, Ordering::SeqCst);
        eventually("they are delivered, and the breaker is closed", || {
            let status = node.cache.status();
            status.waiting == 0 && status.connection == Connection::Connected
        })
        .await;
        for key in ["tea", "jam"] {
            eventually("the other heard of it", || other.stock.peek(key).is_none()).await;
        }
        let _ = node.cache.clear().await;
    }
}

#[tokio::test]
async fn a_store_that_shows_the_same_old_value_for_each_lease_holds_no_load_up() {
    let clock = ManualClock::new();
    let store = FaultyRemote::new().with_clock(&clock);
    let way = Hooked::new(Arc::new(store.another_node())).forgetting_over();
    let cache = Cache::builder("shop").remote(way).clock(&clock);
    let cache = cache.remote_budget(DEADLINE).isolated_ttl(DEADLINE * 10);
    let region = cache.build().await.unwrap().region::<str, u32>("stock");
    let region = region.time_to_live(DEADLINE).build().unwrap();
    let _ = region.set("tea", 1).await.unwrap();
    clock.advance(DEADLINE * 2);
    assert!(store.bytes("stock:tea").is_some(), "it is still shown");
    let load = async |_| Ok::<_, std::io::Error>(2);
    assert_eq!(*region.get_or_load("tea", load).await.unwrap(), 2);
    assert_eq!(region.peek("tea").as_deref(), Some(&2), "here at least");
    assert!(store.calls(Call::Lease) <= 2);
}

/// However long a snapshot of many markers may take.
#[tokio::test(start_paused = true)]
async fn a_store_that_answers_nothing_holds_a_process_up_for_a_second_when_it_starts() {
    let store = FaultyRemote::new();
    let hangs = [Call::Pulse, Call::Snapshot].map(|call| store.trap(call, Moment::Before));
    let begun = tokio::time::Instant::now();
    let node = Node::on(&store).await;
    assert!(
        begun.elapsed() <= Duration::from_millis(1_100),
        "{:?}",
        begun.elapsed()
    );
    assert_eq!(node.load("tea", 1).await, 1);
    drop(hangs);
    eventually("it follows", || {
        node.cache.status().connection == Connection::Connected
    })
    .await;
}
