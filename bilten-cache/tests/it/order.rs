//! Changes that overlap, records that come late or in the wrong order, and deliveries that have to wait.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bilten_cache::test_util::{Call, FaultyRemote, ManualClock, Moment};
use bilten_cache::{Ack, Cache, Loaded};

use crate::harness::{DEADLINE, Node, eventually, held};
use crate::hooked::Hooked;

/// The steps of a write where value and log are in different slots.
const STEPS: [Call; 3] = [Call::Claim, Call::Append, Call::Store];

/// Every order of three steps of node 0 and three of node 1.
fn orders() -> Vec<Vec<usize>> {
    let all = (0_u32..1 << 6).filter(|bits| bits.count_ones() == 3);
    all.map(|bits| (0..6).map(|at| (bits >> at & 1) as usize).collect())
        .collect()
}

async fn on(way: &FaultyRemote) -> Node {
    let cache = Cache::builder("shop").remote(way.clone());
    Node::of(cache.remote_budget(DEADLINE).build().await.unwrap())
}

#[tokio::test]
async fn two_overlapping_sets_on_a_cluster_end_alike_in_every_order() {
    let orders = orders();
    assert_eq!(orders.len(), 20);
    for (order, deaf) in orders.iter().flat_map(|o| [(o, false), (o, true)]) {
        let store = FaultyRemote::new().in_slots();
        let ways = [store.another_node(), store.another_node()];
        let nodes = [on(&ways[0]).await, on(&ways[1]).await];
        ways.iter().for_each(|way| way.cut_log(deaf));
        let (mut stopped, mut tasks) = (Vec::new(), Vec::new());
        for (node, value) in nodes.iter().cloned().zip(1..) {
            let claim = store.trap(STEPS[0], Moment::Before);
            let set = async move { node.stock.set("tea", value).await.unwrap() };
            tasks.push(Some(tokio::spawn(set)));
            claim.caught().await;
            stopped.push(Some((claim, 0)));
        }
        for number in order {
            let (trap, step) = stopped[*number].take().unwrap();
            // The other node stands still, so this one runs into the trap.
            let next = STEPS
                .get(step + 1)
                .map(|call| store.trap(*call, Moment::Before));
            trap.release();
            if let Some(next) = next {
                next.caught().await;
                stopped[*number] = Some((next, step + 1));
            } else {
                let ack = tasks[*number].take().unwrap().await.unwrap();
                assert_eq!(ack, Ack::Everywhere);
            }
        }
        ways.iter().for_each(|way| way.cut_log(false));
        for node in &nodes {
            eventually("both records came", || {
                node.cache.status().log_position == 2
            })
            .await;
        }
        let there = on(&store.another_node()).await.stock.get("tea").await;
        assert!(there.is_some(), "{order:?}");
        for node in &nodes {
            // The record of one that was overtaken between its two steps may come last, which costs a miss.
            let found = node.stock.get("tea").await;
            let same = found.is_none() || found == there;
            assert!(same, "{order:?} deaf: {deaf}: {found:?}, {there:?}");
        }
    }
}

#[tokio::test]
async fn a_record_older_than_a_write_costs_it_at_most_a_read_of_l2() {
    let store = FaultyRemote::new();
    let near = Node::on(&store).await;
    let way = store.another_node();
    let far = on(&way).await;
    way.cut_log(true);
    assert_eq!(near.stock.remove("tea").await.unwrap(), Ack::Everywhere);
    assert_eq!(far.stock.set("tea", 2).await.unwrap(), Ack::Everywhere);
    way.cut_log(false);
    eventually("both records came", || far.cache.status().log_position == 2).await;
    for node in [&far, &near] {
        assert_eq!(node.stock.get("tea").await.as_deref(), Some(&2));
    }
}

#[tokio::test]
async fn records_in_the_wrong_order_cost_a_flush_and_no_value() {
    let store = FaultyRemote::new();
    let near = Node::on(&store).await;
    let way = store.another_node();
    let cache = Cache::builder("shop").remote(way.clone().reversing_records());
    let far = Node::of(cache.build().await.unwrap());
    way.cut_log(true);
    let _ = near.stock.remove("tea").await.unwrap();
    let _ = near.stock.set("tea", 2).await.unwrap();
    let before = far.cache.stats();
    way.cut_log(false);
    eventually("it starts anew from where the log stands", || {
        far.cache.status().log_position == 2
    })
    .await;
    let after = far.cache.stats();
    assert_eq!(after.log_gaps - before.log_gaps, 1);
    assert_eq!(after.flushes - before.flushes, 1);
    for node in [&far, &near] {
        assert_eq!(node.stock.get("tea").await.as_deref(), Some(&2));
    }
}

#[tokio::test]
async fn records_that_come_again_drop_nothing_and_are_no_gap() {
    let store = FaultyRemote::new();
    let near = Node::on(&store).await;
    let way = store.another_node();
    let cache = Cache::builder("shop").remote(way.doubling_records());
    let far = Node::of(cache.build().await.unwrap());
    let before = far.cache.stats();
    let all_came = || far.cache.status().log_position == store.log_position();
    for _ in 0..5 {
        // One after the other: the records before come again with each.
        let _ = near.stock.remove("tea").await.unwrap();
        eventually("it came", all_came).await;
        let _ = near.stock.set("tea", 7).await.unwrap();
        eventually("it came", all_came).await;
        assert_eq!(far.stock.get("tea").await.as_deref(), Some(&7));
        let _ = near.stock.remove("jam").await.unwrap();
        let _ = near.stock.set("jam", 7).await.unwrap();
    }
    let _ = far.stock.set("salt", 1).await.unwrap();
    let _ = near.stock.remove("other").await.unwrap();
    eventually("all came", all_came).await;
    let after = far.cache.stats();
    assert_eq!(after.log_gaps - before.log_gaps, 0);
    assert_eq!(after.flushes - before.flushes, 0);
    let reads = store.calls(Call::Read);
    for (key, value) in [("tea", 7), ("salt", 1)] {
        assert_eq!(far.load(key, 9).await, value);
    }
    assert_eq!(store.calls(Call::Read), reads, "both were in memory");
}

#[tokio::test]
async fn more_waiting_removals_than_there_is_room_for_become_one_clear() {
    let store = FaultyRemote::new();
    let (one, two) = (Node::on(&store).await, Node::on(&store).await);
    let _ = one.stock.set("jam", 1).await.unwrap();
    two.stock.get("jam").await.unwrap();
    store.fail(true);
    for n in 0..=10_000 {
        let ack = one.stock.remove(&n.to_string()).await.unwrap();
        assert_eq!(ack, Ack::Deferred);
    }
    let status = one.cache.status();
    assert_eq!((status.waiting, status.markers_widened), (1, 1));
    let asked = store.calls(Call::Invalidate);
    store.fail(false);
    eventually("it was delivered", || one.cache.status().waiting == 0).await;
    assert!(store.calls(Call::Invalidate) <= asked + 2);
    eventually("it reached the other node", || {
        two.stock.peek("jam").is_none()
    })
    .await;
    assert_eq!(two.stock.get("jam").await, None);
}

#[tokio::test(start_paused = true)]
async fn a_delivery_that_is_refused_stops_there_and_is_tried_with_pauses() {
    let refused = Arc::new(AtomicU32::new(0));
    let remote = Hooked::new(Arc::new(FaultyRemote::new())).refusing(&refused);
    let cache = Cache::builder("shop").remote(remote).build().await;
    let node = Node::of(cache.unwrap());
    for key in ["tea", "jam", "salt"] {
        assert_eq!(node.stock.remove(key).await.unwrap(), Ack::Deferred);
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    let before = refused.load(Ordering::SeqCst);
    tokio::time::sleep(Duration::from_secs(10)).await;
    let tried = refused.load(Ordering::SeqCst) - before;
    // Half a second for news of the log and up to as much for the pause; one request each time.
    assert!((5..=45).contains(&tried), "{tried}");
    assert_eq!(node.cache.status().waiting, 3);
}

#[tokio::test(start_paused = true)]
async fn a_change_that_is_refused_again_and_again_does_not_delay_what_others_say() {
    let store = FaultyRemote::new();
    let way = Hooked::new(Arc::new(store.another_node())).refusing_key("stock:bad");
    let node = Node::of(Cache::builder("shop").remote(way).build().await.unwrap());
    let other = Node::on(&store).await;
    assert_eq!(node.stock.remove("bad").await.unwrap(), Ack::Deferred);
    for round in 0..20 {
        let _ = other.stock.set("tea", round).await.unwrap();
        assert_eq!(node.stock.get("tea").await.as_deref(), Some(&round));
        let last = store.log_position();
        eventually("it came", || node.cache.status().log_position == last).await;
        tokio::time::sleep(Duration::from_millis(u64::from(round) * 37)).await;
        node.load("tea", round).await;
        let _ = other.stock.remove("tea").await.unwrap();
        let said = tokio::time::Instant::now();
        eventually("it arrives", || node.stock.peek("tea").is_none()).await;
        let took = said.elapsed();
        assert!(took <= Duration::from_millis(50), "round {round}: {took:?}");
    }
    assert_eq!(node.cache.status().waiting, 1);
}

#[tokio::test]
async fn a_removal_delivered_late_costs_a_newer_write_at_most_a_miss() {
    let store = FaultyRemote::new();
    let (one, two) = (Node::on(&store).await, Node::on(&store).await);
    let _ = one.stock.set("tea", 1).await.unwrap();
    let _ = one.stock.set("jam", 5).await.unwrap();
    assert_eq!(two.stock.get("jam").await.as_deref(), Some(&5));
    let flushes = || [&one, &two].map(|node| node.cache.stats().flushes);
    let before = flushes();
    let lost = store.hold_back(Call::Invalidate);
    let delivery = store.trap(Call::Invalidate, Moment::Before);
    assert_eq!(one.stock.remove("tea").await.unwrap(), Ack::Deferred);
    assert_eq!(two.stock.set("tea", 2).await.unwrap(), Ack::Everywhere);
    drop(lost);
    delivery.caught().await;
    delivery.release();
    eventually("it was delivered", || one.cache.status().waiting == 0).await;
    let end = store.log_position();
    for node in [&one, &two] {
        assert!(!matches!(node.stock.get("tea").await.as_deref(), Some(1)));
        eventually("it came round", || node.cache.status().log_position == end).await;
    }
    // One miss for both, and nothing but the key.
    assert_eq!(one.load("tea", 3).await, 3);
    eventually("it is stored", || store.bytes("stock:tea").is_some()).await;
    assert_eq!(two.load("tea", 4).await, 3);
    assert_eq!(flushes(), before);
    for node in [&one, &two] {
        assert_eq!(node.stock.peek("jam").as_deref(), Some(&5));
    }
}

#[tokio::test]
async fn a_tag_invalidated_during_a_refresh_ahead_refuses_its_result() {
    let clock = ManualClock::new();
    let store = FaultyRemote::new();
    let cache = Cache::builder("shop").remote(store.another_node());
    let cache = cache.clock(&clock).build().await.unwrap();
    let minute = Duration::from_secs(60);
    let prices = cache.region::<str, u32>("price").time_to_live(minute);
    let prices = prices.refresh_ahead(0.5).build().unwrap();
    let tagged = |value| Loaded::new(value).tags(["drinks"]);
    let _ = prices.set("tea", tagged(1)).await.unwrap();
    clock.advance(minute * 2 / 3);
    // The log has to be heard of after so long a time.
    eventually("the log was read", || prices.peek("tea").is_some()).await;
    let (loader, mut held) = held();
    let refresh = move |_| async move { loader.run().await.map(tagged) };
    assert_eq!(*prices.get_or_load("tea", refresh).await.unwrap(), 1);
    held.started().await;
    assert_eq!(cache.invalidate_tag("drinks").await, Ack::Everywhere);
    held.finish(2);
    eventually("the fill was refused", || prices.stats().fills_refused == 1).await;
    assert_eq!(prices.peek("tea"), None);
    assert_eq!(prices.get("tea").await, None);
}
