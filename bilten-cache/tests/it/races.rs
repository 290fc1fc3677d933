//! Invalidations in the middle of loads: nobody ever serves or stores what was loaded before.

use bilten_cache::test_util::{Call, FaultyRemote, ManualClock, Moment};
use bilten_cache::{Ack, Cache, CacheBuilder, Loaded, Pattern, Region};

use crate::harness::{Node, eventually, held};

async fn two_nodes() -> (FaultyRemote, Node, Node) {
    let store = FaultyRemote::new();
    let (one, two) = (Node::patient(&store).await, Node::patient(&store).await);
    (store, one, two)
}

#[tokio::test]
async fn remove_during_load_leaves_nothing_in_l1_or_l2() {
    let (store, node, other) = two_nodes().await;
    let (mut held, reader) = node.start_load("tea");
    held.started().await;
    assert_eq!(node.stock.remove("tea").await.unwrap(), Ack::Everywhere);
    held.finish(1);
    assert_eq!(
        *reader.await.unwrap().unwrap(),
        1,
        "who asked before gets what it asked for"
    );
    eventually("the store was refused", || {
        node.stock.stats().stores_refused == 1
    })
    .await;
    assert_eq!(node.stock.peek("tea"), None);
    assert_eq!(store.bytes("stock:tea"), None);
    assert_eq!(other.stock.get("tea").await, None);
    assert_eq!(node.load("tea", 2).await, 2);
}

#[tokio::test]
async fn a_remote_remove_during_load_refuses_its_store() {
    let (store, node, other) = two_nodes().await;
    let (mut held, reader) = node.start_load("tea");
    held.started().await;
    let before = node.cache.status().log_position;
    assert_eq!(other.stock.remove("tea").await.unwrap(), Ack::Everywhere);
    eventually("the record arrived", || {
        node.cache.status().log_position > before
    })
    .await;
    held.finish(1);
    reader.await.unwrap().unwrap();
    eventually("the store was refused", || {
        node.stock.stats().stores_refused == 1
    })
    .await;
    assert_eq!(
        (node.stock.peek("tea"), store.bytes("stock:tea")),
        (None, None)
    );
}

#[tokio::test]
async fn a_set_during_load_wins_everywhere() {
    let (_store, node, other) = two_nodes().await;
    let (mut held, reader) = node.start_load("tea");
    held.started().await;
    assert_eq!(node.stock.set("tea", 9).await.unwrap(), Ack::Everywhere);
    held.finish(1);
    reader.await.unwrap().unwrap();
    eventually("the store was refused", || {
        node.stock.stats().stores_refused == 1
    })
    .await;
    assert_eq!(node.stock.peek("tea").as_deref(), Some(&9));
    assert_eq!(other.stock.get("tea").await.as_deref(), Some(&9));
}

#[tokio::test]
async fn of_two_loads_around_a_remove_only_the_second_may_store() {
    let (_store, node, other) = two_nodes().await;
    let (mut old, old_reader) = node.start_load("tea");
    old.started().await;
    let before = node.cache.status().log_position;
    assert_eq!(other.stock.remove("tea").await.unwrap(), Ack::Everywhere);
    eventually("the record arrived", || {
        node.cache.status().log_position > before
    })
    .await;
    let (mut new, new_reader) = node.start_load("tea");
    new.started().await;
    // The first load ends first: with a token per process it would store, and the second would be refused.
    old.finish(1);
    assert_eq!(*old_reader.await.unwrap().unwrap(), 1);
    eventually("the first store was refused", || {
        node.stock.stats().stores_refused == 1
    })
    .await;
    new.finish(2);
    assert_eq!(*new_reader.await.unwrap().unwrap(), 2);
    assert_eq!(node.stock.peek("tea").as_deref(), Some(&2));
    assert_eq!(
        other.load("tea", 99).await,
        2,
        "waits for the store of the second load"
    );
}

#[tokio::test]
async fn callers_after_a_remove_do_not_join_the_load_before_it() {
    for (store, node) in [(None, Node::alone().await), {
        let store = FaultyRemote::new();
        let node = Node::on(&store).await;
        (Some(store), node)
    }] {
        let (mut old, old_reader) = node.start_load("tea");
        old.started().await;
        let _ = node.stock.remove("tea").await.unwrap();
        assert_eq!(node.load("tea", 2).await, 2);
        old.finish(1);
        old_reader.await.unwrap().unwrap();
        assert_eq!(node.stock.peek("tea").as_deref(), Some(&2));
        drop(store);
    }
}

/// Starts a load of `tea`, does something, and lets the load end with the tag `hot`.
async fn tagged_load_around<F: Future<Output = ()>>(node: &Node, change: impl FnOnce(Node) -> F) {
    let (load, mut held) = held();
    let stock: Region<str, u32> = node.stock.clone();
    let reader = tokio::spawn(async move {
        let load = async move |_| {
            load.run()
                .await
                .map(|value| Loaded::new(value).tags(["hot"]))
        };
        stock.get_or_load("tea", load).await
    });
    held.started().await;
    change(node.clone()).await;
    held.finish(1);
    assert_eq!(*reader.await.unwrap().unwrap(), 1);
}

#[tokio::test]
async fn a_tag_that_the_load_only_brings_home_still_counts() {
    for node in [Node::alone().await, Node::on(&FaultyRemote::new()).await] {
        tagged_load_around(&node, async |node| {
            let _ = node.cache.invalidate_tag("hot").await;
        })
        .await;
        assert_eq!(node.stock.get("tea").await, None);
        tagged_load_around(&node, async |node| {
            let _ = node.cache.invalidate_tag("cold").await;
        })
        .await;
        assert_eq!(node.stock.get("tea").await.as_deref(), Some(&1));
    }
}

#[tokio::test]
async fn a_pattern_during_load_discards_what_it_takes_and_keeps_the_rest() {
    for pattern in ["stock:t*", "stock:*a", "*"] {
        for node in [Node::alone().await, Node::on(&FaultyRemote::new()).await] {
            let (mut tea, tea_reader) = node.start_load("tea");
            let (mut jam, jam_reader) = node.start_load("jam");
            tea.started().await;
            jam.started().await;
            let _ = node
                .cache
                .invalidate_pattern(&Pattern::glob(pattern).unwrap())
                .await;
            tea.finish(1);
            jam.finish(2);
            assert_eq!(*tea_reader.await.unwrap().unwrap(), 1);
            assert_eq!(*jam_reader.await.unwrap().unwrap(), 2);
            assert_eq!(node.stock.get("tea").await, None, "{pattern}");
            assert_eq!(
                node.stock.get("jam").await.is_some(),
                pattern != "*",
                "{pattern}"
            );
        }
    }
}

#[tokio::test]
async fn what_a_pattern_invalidated_stays_invalid_in_l2_for_a_node_that_starts_later() {
    let (store, node, _other) = two_nodes().await;
    let (mut held, reader) = node.start_load("tea");
    held.started().await;
    let _ = node
        .cache
        .invalidate_pattern(&Pattern::glob("stock:*").unwrap())
        .await;
    held.finish(1);
    reader.await.unwrap().unwrap();
    eventually("the value is in the store", || {
        store.bytes("stock:tea").is_some()
    })
    .await;
    let late = Node::on(&store).await;
    assert_eq!(late.stock.get("tea").await, None);
    assert_eq!(
        late.load("tea", 2).await,
        2,
        "and the lease can be had over the invalid value"
    );
    assert_eq!(node.load("tea", 3).await, 2);
}

#[tokio::test]
async fn clear_during_load_discards_it_everywhere() {
    let (store, node, other) = two_nodes().await;
    tagged_load_around(&node, async |node| {
        assert_eq!(node.cache.clear().await, Ack::Everywhere);
    })
    .await;
    eventually("it is stored", || store.bytes("stock:tea").is_some()).await;
    assert_eq!(node.stock.get("tea").await, None);
    assert_eq!(other.stock.get("tea").await, None);
}

#[tokio::test]
async fn an_l2_reply_that_a_remove_overtook_does_not_fill_l1() {
    let (store, node, other) = two_nodes().await;
    let _ = other.stock.set("tea", 1).await.unwrap();
    let reply = store.trap(Call::Read, Moment::After);
    let reader = tokio::spawn({
        let node = node.clone();
        async move { node.stock.get("tea").await }
    });
    reply.caught().await;
    let _ = node.stock.remove("tea").await.unwrap();
    reply.release();
    // It asked before the removal, and hears that what it got is gone.
    assert_eq!(reader.await.unwrap(), None);
    assert_eq!(node.stock.peek("tea"), None);
}

#[tokio::test]
async fn nobody_refills_l1_between_the_two_removals() {
    let (store, node, _other) = two_nodes().await;
    let _ = node.stock.set("tea", 1).await.unwrap();
    let request = store.trap(Call::Invalidate, Moment::Before);
    let remover = tokio::spawn({
        let node = node.clone();
        async move { node.stock.remove("tea").await.unwrap() }
    });
    request.caught().await;
    assert_eq!(
        node.stock.get("tea").await.as_deref(),
        Some(&1),
        "the remove has not returned yet"
    );
    request.release();
    assert_eq!(remover.await.unwrap(), Ack::Everywhere);
    assert_eq!(node.stock.get("tea").await, None);
}

#[tokio::test]
async fn of_many_readers_around_the_two_removals_none_refills_l1() {
    let (store, node, other) = two_nodes().await;
    let _ = other.stock.set("tea", 1).await.unwrap();
    let request = store.trap(Call::Invalidate, Moment::Before);
    let answer = store.trap(Call::Invalidate, Moment::After);
    let remover = tokio::spawn({
        let node = node.clone();
        async move { node.stock.remove("tea").await.unwrap() }
    });
    request.caught().await;
    // L2 has it still, so that they may fill L1; one of them is on its way back until all is over.
    let late = store.trap(Call::Read, Moment::After);
    let read = || {
        let node = node.clone();
        tokio::spawn(async move { node.stock.get("tea").await })
    };
    let reader = read();
    late.caught().await;
    for early in (0..20).map(|_| read()).collect::<Vec<_>>() {
        assert_eq!(early.await.unwrap().as_deref(), Some(&1));
    }
    assert!(node.stock.peek("tea").is_some());
    request.release();
    answer.caught().await;
    assert_eq!(store.bytes("stock:tea"), None, "only L1 has it now");
    answer.release();
    assert_eq!(remover.await.unwrap(), Ack::Everywhere);
    assert_eq!(node.stock.get("tea").await, None);
    late.release();
    assert_eq!(reader.await.unwrap(), None, "known to be gone by now");
    assert_eq!(
        (node.stock.peek("tea"), node.stock.get("tea").await),
        (None, None)
    );
}

#[tokio::test]
async fn a_write_an_invalidation_and_a_write_in_one_instant_end_as_they_should() {
    // No clock moves, on no node.
    let (store, clock) = (FaultyRemote::new(), ManualClock::new());
    let node = async |builder: CacheBuilder| Node::of(builder.clock(&clock).build().await.unwrap());
    let on = async || node(Cache::builder("shop").remote(store.another_node())).await;
    let alone = node(Cache::builder("shop")).await;
    let (one, two) = (on().await, on().await);
    for how in 0..5 {
        for node in [&alone, &one] {
            let old = Loaded::new(1).tags(["hot"]);
            let _ = node.stock.set("old", old).await.unwrap();
            let _ = match how {
                0 => {
                    node.cache
                        .invalidate_pattern(&Pattern::glob("stock:*").unwrap())
                        .await
                }
                1 => node.cache.invalidate_tag("hot").await,
                2 => node.stock.clear().await,
                3 => node.cache.clear().await,
                _ => node.stock.remove("old").await.unwrap(),
            };
            let new = Loaded::new(2).tags(["hot"]);
            let _ = node.stock.set("new", new).await.unwrap();
            assert_eq!(node.stock.get("old").await, None, "{how}");
            assert_eq!(node.stock.get("new").await.as_deref(), Some(&2), "{how}");
        }
        let late = on().await;
        let end = store.log_position();
        eventually("it came", || two.cache.status().log_position == end).await;
        for node in [&two, &late] {
            assert_eq!(node.stock.get("old").await, None, "{how}");
            assert_eq!(node.stock.get("new").await.as_deref(), Some(&2), "{how}");
        }
    }
}

/// A load that lands voids no ticket, so an answer of the second level that was under way meanwhile must not go over it.
#[tokio::test]
async fn an_l2_reply_that_a_load_overtook_does_not_fill_l1() {
    let store = FaultyRemote::new();
    let node = Node::patient(&store).await;
    let _ = node.stock.set("tea", 1).await.unwrap();
    // Newer by the clock of the store.
    tokio::time::sleep(std::time::Duration::from_millis(3)).await;
    let (load, mut held) = held();
    let stock = node.stock.clone();
    let loading = tokio::spawn(async move {
        let call = stock.call().anew();
        let anew = call.get_or_load("tea", move |_| load.run()).await;
        anew.map(|value| *value)
    });
    held.started().await;
    let answer = store.trap(Call::Read, Moment::After);
    let stock = node.stock.clone();
    let reading = tokio::spawn(async move {
        stock
            .call()
            .skip_memory_read()
            .get("tea")
            .await
            .map(|value| *value)
    });
    answer.caught().await;
    held.finish(2);
    assert_eq!(loading.await.unwrap().unwrap(), 2);
    eventually("it is kept", || {
        node.stock.peek("tea").as_deref() == Some(&2)
    })
    .await;
    answer.release();
    assert_eq!(
        reading.await.unwrap(),
        Some(1),
        "as it was when it was asked"
    );
    assert_eq!(node.stock.peek("tea").as_deref(), Some(&2));
}

#[tokio::test]
async fn of_two_overlapping_sets_no_node_keeps_the_loser() {
    let (store, one, two) = two_nodes().await;
    // The first set's answer is late: the second one happens in between.
    for (call, moment) in [
        (Call::Claim, Moment::Before),
        (Call::Claim, Moment::After),
        (Call::Store, Moment::Before),
        (Call::Store, Moment::After),
    ] {
        eventually("nothing is on its way", || {
            one.cache.status().log_position == two.cache.status().log_position
        })
        .await;
        let quiet = one.cache.status().log_position;
        let late = store.trap(call, moment);
        let first = tokio::spawn({
            let one = one.clone();
            async move { one.stock.set("tea", 1).await.unwrap() }
        });
        late.caught().await;
        let _ = two.stock.set("tea", 2).await.unwrap();
        let records = if moment == Moment::Before && call == Call::Claim {
            1
        } else {
            2
        };
        eventually("the second record arrived", || {
            one.cache.status().log_position == quiet + records
        })
        .await;
        late.release();
        first.await.unwrap();
        eventually("everything arrived", || {
            two.cache.status().log_position == quiet + 2
        })
        .await;
        let last = if records == 1 { 1 } else { 2 };
        for node in [&one, &two] {
            let found = node.stock.get("tea").await;
            assert_eq!(found.as_deref(), Some(&last), "{call:?} {moment:?}");
        }
    }
}

#[tokio::test]
async fn a_write_that_was_given_up_never_overtakes_a_newer_change() {
    for (late, change) in [Call::Claim, Call::Store]
        .into_iter()
        .flat_map(|call| [0, 1, 2].map(|change| (call, change)))
    {
        let store = FaultyRemote::new();
        let (far, near) = (Node::on(&store).await, Node::on(&store).await);
        let request = store.hold_back(late);
        let ack = far.stock.set("tea", 5).await.unwrap();
        // Who has claimed a key has changed it, whatever becomes of the value.
        assert_eq!(ack == Ack::Everywhere, late == Call::Store, "{late:?}");
        eventually("nothing waits", || far.cache.status().waiting == 0).await;
        let newer = match change {
            0 => near.stock.set("tea", 6).await.unwrap(),
            1 => near.stock.remove("tea").await.unwrap(),
            _ => near.cache.clear().await,
        };
        assert_eq!(newer, Ack::Everywhere);
        assert!(request.deliver(), "{late:?} {change}");
        assert_ne!(
            near.stock.get("tea").await.as_deref(),
            Some(&5),
            "{late:?} {change}"
        );
        eventually("the newer change arrived", || {
            far.stock.peek("tea").as_deref() != Some(&5)
        })
        .await;
        assert_ne!(
            far.stock.get("tea").await.as_deref(),
            Some(&5),
            "{late:?} {change}"
        );
    }
}
