//! What other processes see, and what happens when the log is cut, trimmed, lost or set back.

use std::io;
use std::time::Duration;

use bilten_cache::status::Connection;
use bilten_cache::test_util::{Call, FaultyRemote, ManualClock};
use bilten_cache::{Ack, Cache, Loaded, Pattern};

use crate::harness::{Node, eventually};

#[tokio::test]
async fn another_node_stops_serving_what_was_removed() {
    let store = FaultyRemote::new();
    let (one, two) = (Node::on(&store).await, Node::on(&store).await);
    let _ = one.stock.set("tea", 1).await.unwrap();
    assert_eq!(two.stock.get("tea").await.as_deref(), Some(&1));
    assert_eq!(one.stock.remove("tea").await.unwrap(), Ack::Everywhere);
    eventually("the other node dropped it", || {
        two.stock.peek("tea").is_none()
    })
    .await;
}

#[tokio::test]
async fn another_node_takes_up_what_was_set() {
    let store = FaultyRemote::new();
    let (one, two) = (Node::on(&store).await, Node::on(&store).await);
    let _ = one.stock.set("tea", 1).await.unwrap();
    two.stock.get("tea").await.unwrap();
    let _ = one.stock.set("tea", 2).await.unwrap();
    eventually("the other node dropped it", || {
        two.stock.peek("tea").is_none()
    })
    .await;
    assert_eq!(two.stock.get("tea").await.as_deref(), Some(&2));
}

#[tokio::test]
async fn a_nodes_own_set_stays_in_its_memory_when_its_record_comes_round() {
    let store = FaultyRemote::new();
    let (one, two) = (Node::on(&store).await, Node::on(&store).await);
    let _ = one.stock.set("tea", 1).await.unwrap();
    let _ = two.stock.remove("other").await.unwrap();
    let end = two.cache.status().log_position.max(2);
    eventually("both records came round", || {
        one.cache.status().log_position >= end
    })
    .await;
    assert_eq!(one.stock.peek("tea").as_deref(), Some(&1));
}

#[tokio::test]
async fn a_load_on_one_node_does_not_touch_the_others() {
    let store = FaultyRemote::new();
    let (one, two) = (Node::on(&store).await, Node::on(&store).await);
    let _ = one.stock.set("tea", 1).await.unwrap();
    let before = store.calls(Call::Invalidate) + store.calls(Call::Claim);
    assert_eq!(two.load("jam", 2).await, 2);
    assert_eq!(one.load("jam", 3).await, 2);
    assert_eq!(two.load("tea", 4).await, 1);
    assert_eq!(
        store.calls(Call::Invalidate) + store.calls(Call::Claim),
        before
    );
    for node in [&one, &two] {
        assert_eq!(node.stock.peek("tea").as_deref(), Some(&1));
        assert_eq!(node.stock.peek("jam").as_deref(), Some(&2));
    }
}

#[tokio::test]
async fn tags_patterns_and_clear_reach_other_nodes() {
    let store = FaultyRemote::new();
    let (one, two) = (Node::on(&store).await, Node::on(&store).await);
    let fill = async || {
        for key in ["tea", "jam"] {
            let _ = one
                .stock
                .set(key, Loaded::new(1).tags([key]))
                .await
                .unwrap();
            two.stock.get(key).await.unwrap();
        }
    };
    let left = || {
        (
            two.stock.peek("tea").is_some(),
            two.stock.peek("jam").is_some(),
        )
    };
    fill().await;
    let _ = one.cache.invalidate_tag("tea").await;
    eventually("the tag arrived", || left() == (false, true)).await;
    fill().await;
    let _ = one
        .cache
        .invalidate_pattern(&Pattern::glob("stock:j*").unwrap())
        .await;
    eventually("the pattern arrived", || left() == (true, false)).await;
    fill().await;
    let _ = one.stock.clear().await;
    eventually("the clear arrived", || left() == (false, false)).await;
}

#[tokio::test]
async fn clearing_a_region_leaves_one_whose_name_begins_the_same() {
    let node = Node::on(&FaultyRemote::new()).await;
    let stocks = node.cache.region::<str, u32>("stocks").build().unwrap();
    let _ = node.stock.set("tea", 1).await.unwrap();
    let _ = stocks.set("tea", 2).await.unwrap();
    let _ = node.stock.clear().await;
    assert_eq!(
        (
            node.stock.get("tea").await,
            stocks.get("tea").await.as_deref()
        ),
        (None, Some(&2))
    );
}

#[tokio::test]
async fn values_that_never_leave_memory_are_invalidated_everywhere_too() {
    let store = FaultyRemote::new();
    let (one, two) = (Node::on(&store).await, Node::on(&store).await);
    let pages = |node: &Node| {
        node.cache
            .memory_region::<str, fn() -> u32>("page")
            .build()
            .unwrap()
    };
    let (on_one, on_two) = (pages(&one), pages(&two));
    on_two
        .get_or_load("home", async |_| Ok::<_, io::Error>((|| 1) as fn() -> u32))
        .await
        .unwrap();
    assert_eq!((store.calls(Call::Read), store.calls(Call::Lease)), (0, 0));
    // The same key on the other node: a load is no change, so it takes nothing from anybody.
    on_one
        .get_or_load("home", async |_| Ok::<_, io::Error>((|| 2) as fn() -> u32))
        .await
        .unwrap();
    assert_eq!(store.log_position(), 0);
    assert_eq!(on_two.peek("home").map(|page| page()), Some(1));
    let _ = on_one.remove("home").await.unwrap();
    eventually("it was dropped", || on_two.peek("home").is_none()).await;
}

/// Until a node has noticed that it hears nothing of the log.
async fn is_cut_off(node: &Node) {
    eventually("it hears nothing", || {
        node.cache.status().connection == Connection::Down
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn records_missed_during_a_cut_are_caught_up_with() {
    let store = FaultyRemote::new();
    let cut = store.another_node();
    let (one, two) = (
        Node::on(&store).await,
        Node::of(
            Cache::builder("shop")
                .remote(cut.clone())
                .build()
                .await
                .unwrap(),
        ),
    );
    for key in ["tea", "jam", "salt"] {
        let _ = one.stock.set(key, 1).await.unwrap();
        two.stock.get(key).await.unwrap();
    }
    cut.cut_log(true);
    is_cut_off(&two).await;
    let _ = one.stock.remove("tea").await.unwrap();
    let _ = one
        .cache
        .invalidate_pattern(&Pattern::glob("stock:j*").unwrap())
        .await;
    assert_eq!(two.stock.peek("tea").as_deref(), Some(&1), "it is cut off");
    let healed = tokio::time::Instant::now();
    cut.cut_log(false);
    eventually("what was removed is gone", || {
        two.stock.peek("tea").is_none() && two.stock.peek("jam").is_none()
    })
    .await;
    assert!(
        healed.elapsed() <= Duration::from_secs(1),
        "{:?}",
        healed.elapsed()
    );
    assert_eq!(
        two.stock.peek("salt").as_deref(),
        Some(&1),
        "no flush was needed"
    );
    assert_eq!(two.cache.stats().log_gaps, 0);
}

#[tokio::test]
async fn records_that_were_trimmed_away_flush_l1_once() {
    let store = FaultyRemote::new();
    let cut = store.another_node();
    let (one, two) = (
        Node::on(&store).await,
        Node::of(
            Cache::builder("shop")
                .remote(cut.clone())
                .build()
                .await
                .unwrap(),
        ),
    );
    let _ = one.stock.set("tea", 1).await.unwrap();
    eventually("both are up to date", || {
        two.cache.status().log_position == 1
    })
    .await;
    two.stock.get("tea").await.unwrap();
    let flushes = two.cache.stats().flushes;
    cut.cut_log(true);
    is_cut_off(&two).await;
    let _ = one.stock.remove("tea").await.unwrap();
    store.trim_log();
    let _ = one.stock.set("jam", 2).await.unwrap();
    cut.cut_log(false);
    eventually("the gap was found", || two.cache.stats().log_gaps == 1).await;
    eventually("the node is in step again", || {
        two.cache.status().connection == Connection::Connected
    })
    .await;
    assert_eq!(two.stock.get("tea").await, None);
    assert_eq!(two.stock.get("jam").await.as_deref(), Some(&2));
    let stats = two.cache.stats();
    assert_eq!((stats.log_gaps, stats.flushes - flushes), (1, 1));
}

#[tokio::test]
async fn trimmed_records_are_missed_even_when_nothing_follows_them() {
    let store = FaultyRemote::new();
    let cut = store.another_node();
    let (one, two) = (
        Node::on(&store).await,
        Node::of(
            Cache::builder("shop")
                .remote(cut.clone())
                .build()
                .await
                .unwrap(),
        ),
    );
    let _ = one.stock.set("tea", 1).await.unwrap();
    two.stock.get("tea").await.unwrap();
    cut.cut_log(true);
    is_cut_off(&two).await;
    let _ = one.stock.remove("tea").await.unwrap();
    store.trim_log();
    cut.cut_log(false);
    eventually("the pulse shows the gap", || {
        two.stock.peek("tea").is_none()
    })
    .await;
}

#[tokio::test]
async fn a_store_that_lost_everything_empties_every_l1() {
    let store = FaultyRemote::new();
    let (one, two) = (Node::on(&store).await, Node::on(&store).await);
    let _ = one.stock.set("tea", 1).await.unwrap();
    two.stock.get("tea").await.unwrap();
    let old = store.bytes("stock:tea").unwrap();
    store.lose_everything();
    eventually("both noticed", || {
        one.stock.peek("tea").is_none() && two.stock.peek("tea").is_none()
    })
    .await;
    eventually("both are in step again", || {
        [&one, &two]
            .iter()
            .all(|node| node.cache.status().connection == Connection::Connected)
    })
    .await;
    store.put_bytes("stock:tea", old);
    assert_eq!(
        two.stock.get("tea").await,
        None,
        "an entry of the old incarnation is never valid again"
    );
}

#[tokio::test(start_paused = true)]
async fn a_store_that_lost_everything_is_noticed_within_the_poll_interval() {
    const STEP: Duration = Duration::from_millis(5);
    let (store, clock) = (FaultyRemote::new(), ManualClock::new());
    let node = async || {
        let cache = Cache::builder("shop").remote(store.another_node());
        // A read of the log waits for news for a quarter of this: a third one would begin just before the next look is due. Each
        // of them is answered, so nobody doubts himself because he has heard nothing.
        let cache = cache
            .clock(&clock)
            .isolated_ttl(Duration::from_millis(4 * 490));
        Node::of(cache.build().await.unwrap())
    };
    let (one, two) = (node().await, node().await);
    // The clock of the caches and that of the store go in step.
    let until = async |is_so: &dyn Fn() -> bool| {
        let begun = tokio::time::Instant::now();
        while !is_so() {
            let waited = begun.elapsed();
            assert!(waited < Duration::from_secs(60), "still not so");
            clock.advance(STEP);
            tokio::time::sleep(STEP).await;
        }
        begun.elapsed()
    };
    for round in 0..12 {
        let both = |state| [&one, &two].map(|node| node.cache.status().connection == state);
        until(&|| both(Connection::Connected) == [true; 2]).await;
        // What is written at another moment each time moves the reads of the log.
        let begun = tokio::time::Instant::now();
        until(&|| begun.elapsed() >= Duration::from_millis(170) * round).await;
        let _ = one.stock.set("tea", 1).await.unwrap();
        assert!(two.stock.get("tea").await.is_some());
        store.lose_everything();
        let gone = || one.stock.peek("tea").is_none() && two.stock.peek("tea").is_none();
        let took = until(&gone).await;
        assert!(took <= Duration::from_millis(1_050), "{round}: {took:?}");
    }
}

#[tokio::test]
async fn a_fail_over_to_an_older_copy_begins_a_new_incarnation() {
    let store = FaultyRemote::new();
    let (one, two) = (Node::on(&store).await, Node::on(&store).await);
    let _ = one.stock.set("tea", 1).await.unwrap();
    two.stock.get("tea").await.unwrap();
    for _ in 0..3 {
        let _ = one.cache.invalidate_tag("hot").await;
    }
    eventually("both are up to date", || {
        two.cache.status().log_position == 4
    })
    .await;
    store.step_back(2);
    eventually("both noticed", || {
        one.stock.peek("tea").is_none() && two.stock.peek("tea").is_none()
    })
    .await;
    eventually("both are in step again", || {
        [&one, &two]
            .iter()
            .all(|node| node.cache.status().connection == Connection::Connected)
    })
    .await;
    assert_eq!(two.stock.get("tea").await, None);
    let _ = one.stock.set("tea", 2).await.unwrap();
    assert_eq!(two.stock.get("tea").await.as_deref(), Some(&2));
}

#[tokio::test]
async fn an_older_copy_that_has_gone_on_past_our_position_is_recognised() {
    let store = FaultyRemote::new();
    let cut = store.another_node();
    let (one, two) = (
        Node::on(&store).await,
        Node::of(
            Cache::builder("shop")
                .remote(cut.clone())
                .build()
                .await
                .unwrap(),
        ),
    );
    let _ = one.stock.set("tea", 1).await.unwrap();
    for _ in 0..3 {
        let _ = one.cache.invalidate_tag("cold").await;
    }
    eventually("it is up to date", || two.cache.status().log_position == 4).await;
    two.stock.get("tea").await.unwrap();
    cut.cut_log(true);
    // Records 3 and 4 are lost; others take their numbers, and one more follows. No number is missing.
    store.step_back(2);
    let three = Node::on(&store).await;
    let _ = three.stock.remove("tea").await.unwrap();
    for _ in 0..2 {
        let _ = three.cache.invalidate_tag("cold").await;
    }
    cut.cut_log(false);
    eventually("it noticed", || two.stock.peek("tea").is_none()).await;
    eventually("it is in step again", || {
        two.cache.status().connection == Connection::Connected
    })
    .await;
    assert_eq!(two.load("tea", 2).await, 2);
}

#[tokio::test]
async fn a_record_of_a_future_version_counts_as_everything() {
    let store = FaultyRemote::new();
    let node = Node::on(&store).await;
    let _ = node.stock.set("tea", 1).await.unwrap();
    store.append_unreadable();
    eventually("it was dropped", || node.stock.peek("tea").is_none()).await;
    assert_eq!(node.stock.get("tea").await, None);
    assert_eq!(node.cache.stats().log_unreadable, 1);
}

#[tokio::test]
async fn a_node_that_is_cut_off_serves_l1_for_its_isolated_ttl_only() {
    let store = FaultyRemote::new();
    let cut = store.another_node();
    let clock = ManualClock::new();
    let cache = Cache::builder("shop")
        .remote(cut.clone())
        .clock(&clock)
        .isolated_ttl(Duration::from_secs(5));
    let node = Node::of(cache.build().await.unwrap());
    let _ = node.stock.set("tea", 1).await.unwrap();
    cut.cut_log(true);
    clock.advance(Duration::from_millis(4_999));
    assert_eq!(node.stock.peek("tea").as_deref(), Some(&1));
    clock.advance(Duration::from_millis(1));
    assert_eq!(node.stock.peek("tea"), None);
    assert_eq!(node.cache.status().connection, Connection::Unheard);
    // What is in L2 may have been invalidated since; what it loads now it keeps for the same short time.
    assert_eq!(node.stock.get("tea").await, None);
    assert_eq!(node.load("tea", 1).await, 1);
    assert_eq!(node.stock.peek("tea").as_deref(), Some(&1));
    clock.advance(Duration::from_secs(5));
    assert_eq!(node.stock.peek("tea"), None);
    cut.cut_log(false);
    eventually("it is back", || {
        node.cache.status().connection == Connection::Connected
    })
    .await;
    assert_eq!(node.stock.peek("tea").as_deref(), Some(&1));
}

#[tokio::test]
async fn one_set_causes_no_reads_until_somebody_asks() {
    let store = FaultyRemote::new();
    let one = Node::on(&store).await;
    let _ = one.stock.set("tea", 1).await.unwrap();
    let mut others = Vec::new();
    for _ in 0..50 {
        let node = Node::on(&store).await;
        node.stock.get("tea").await.unwrap();
        others.push(node);
    }
    let before = store.calls(Call::Read);
    let _ = one.stock.set("tea", 2).await.unwrap();
    eventually("all dropped it", || {
        others.iter().all(|node| node.stock.peek("tea").is_none())
    })
    .await;
    assert_eq!(store.calls(Call::Read), before);
    for node in &others {
        assert_eq!(node.stock.get("tea").await.as_deref(), Some(&2));
        assert_eq!(node.stock.get("tea").await.as_deref(), Some(&2));
    }
    assert_eq!(store.calls(Call::Read), before + 50);
}
