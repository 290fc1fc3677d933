//! A caller reads the second level in its own task; others who want the key wait for it, but do not depend on it.

use std::future::Future;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::Duration;

use bilten_cache::test_util::{Call, FaultyRemote, ManualClock, Moment};
use bilten_cache::{Ack, Cache};

use crate::harness::{DEADLINE, Node, eventually};

#[tokio::test]
async fn a_hit_in_l2_costs_no_task() {
    let store = FaultyRemote::new();
    let (one, two) = (Node::patient(&store).await, Node::patient(&store).await);
    let _ = one.stock.set("tea", 1).await.unwrap();
    let answer = store.trap(Call::Read, Moment::After);
    let metrics = tokio::runtime::Handle::current().metrics();
    let before = metrics.num_alive_tasks();
    {
        let read = async { two.load("tea", 2).await };
        let mut read = pin!(read);
        let is_pending = |read: std::pin::Pin<&mut _>| {
            Future::poll(read, &mut Context::from_waker(Waker::noop())).is_pending()
        };
        assert!(is_pending(read.as_mut()), "it waits for L2");
        assert_eq!(metrics.num_alive_tasks(), before);
        answer.release();
        assert_eq!(read.await, 1);
    }
    assert_eq!(metrics.num_alive_tasks(), before);
}

#[tokio::test]
async fn when_the_reader_is_dropped_its_load_goes_on_and_serves_all_who_wait() {
    let store = FaultyRemote::new();
    let node = Node::patient(&store).await;
    let request = store.trap(Call::Read, Moment::Before);
    let (mut held, leader) = node.start_load("tea");
    request.caught().await;
    let followers = [2; 10].map(|value| {
        let node = node.clone();
        tokio::spawn(async move { node.load("tea", value).await })
    });
    eventually("they wait", || node.stock.stats().coalesced == 10).await;
    leader.abort();
    assert!(leader.await.unwrap_err().is_cancelled());
    held.started().await;
    held.finish(1);
    for follower in followers {
        let value = tokio::time::timeout(DEADLINE, follower).await;
        assert_eq!(value.expect("nobody hangs").unwrap(), 1);
    }
    let stats = node.stock.stats();
    assert_eq!((stats.loads, stats.misses, stats.coalesced), (1, 10, 10));
    assert_eq!(store.calls(Call::Read), 2);
}

#[tokio::test]
async fn a_load_whose_only_caller_left_during_the_read_of_l2_is_made_for_the_next_one() {
    let store = FaultyRemote::new();
    let node = Node::patient(&store).await;
    let request = store.trap(Call::Read, Moment::Before);
    let (mut held, leader) = node.start_load("tea");
    request.caught().await;
    leader.abort();
    held.started().await;
    held.finish(1);
    eventually("it is kept", || node.stock.peek("tea").is_some()).await;
    assert_eq!(node.load("tea", 2).await, 1);
    assert_eq!(node.stock.stats().loads, 1);
}

/// A service whose callers wait less long than its second level may take.
#[tokio::test]
async fn callers_less_patient_than_a_store_that_hangs_get_their_loads_and_the_breaker_learns() {
    const KEYS: u32 = 10;
    const PATIENCE: Duration = Duration::from_millis(20);
    let store = FaultyRemote::new();
    let cache = Cache::builder("shop").remote(store.another_node());
    let cache = cache.remote_budget(5 * PATIENCE).build().await.unwrap();
    let node = Node::of(cache);
    let _hang = [(); 1_000].map(|()| store.trap(Call::Read, Moment::Before));
    let callers = (0..KEYS).map(|n| {
        let node = node.clone();
        tokio::spawn(async move {
            let key = n.to_string();
            let asks = async || tokio::time::timeout(PATIENCE, node.load(&key, n)).await;
            while asks().await.is_err() {}
            n
        })
    });
    for caller in callers.collect::<Vec<_>>() {
        let ended = tokio::time::timeout(DEADLINE, caller).await;
        ended.expect("its load is made").unwrap();
    }
    assert_eq!(node.stock.stats().loads, u64::from(KEYS), "once each");
    let stats = node.cache.stats();
    assert!(stats.breaker_opened > 0, "{stats:?}");
}

/// Callers who give each read up after 20 ms, of a store whose reads hang, while it is not so.
async fn impatient_reads(node: &Node, store: &FaultyRemote, mut enough: impl FnMut() -> bool) {
    const PATIENCE: Duration = Duration::from_millis(20);
    let hang = |_| store.trap(Call::Read, Moment::Before);
    let _hang: Vec<_> = (0..2_000).map(hang).collect();
    let deadline = tokio::time::Instant::now() + DEADLINE;
    while !enough() {
        assert!(tokio::time::Instant::now() < deadline, "nobody found out");
        let _ = tokio::time::timeout(PATIENCE, node.stock.get("tea")).await;
        let both = ["tea", "jam"];
        let _ = tokio::time::timeout(PATIENCE, node.stock.get_many(&both)).await;
    }
}

async fn with_a_budget(store: &FaultyRemote) -> Node {
    let cache = Cache::builder("shop").remote(store.another_node());
    let budget = Duration::from_millis(300);
    Node::of(cache.remote_budget(budget).build().await.unwrap())
}

#[tokio::test]
async fn of_a_store_that_hangs_the_breaker_learns_although_every_caller_gives_its_read_up() {
    let store = FaultyRemote::new();
    let node = with_a_budget(&store).await;
    let _hang = [(); 100].map(|()| store.trap(Call::Release, Moment::Before));
    let opened = || node.cache.stats().breaker_opened > 0;
    impatient_reads(&node, &store, opened).await;
}

#[tokio::test]
async fn a_store_that_is_slower_than_its_callers_are_patient_and_answers_in_time_is_left_in_use() {
    let store = FaultyRemote::new();
    let node = with_a_budget(&store).await;
    // What asks whether it is there.
    let probed = || store.calls(Call::Release) >= 3;
    impatient_reads(&node, &store, probed).await;
    assert_eq!(node.cache.stats().breaker_opened, 0);
    assert_eq!(node.stock.set("tea", 1).await.unwrap(), Ack::Everywhere);
}

#[tokio::test]
async fn callers_who_give_up_reads_while_others_are_answered_cause_no_doubt() {
    let (store, clock) = (FaultyRemote::new(), ManualClock::new());
    let cache = Cache::builder("shop").remote(store.another_node());
    let budget = Duration::from_millis(20);
    let node = Node::of(
        cache
            .clock(&clock)
            .remote_budget(budget)
            .build()
            .await
            .unwrap(),
    );
    for n in 0..30 {
        let answer = store.trap(Call::Read, Moment::After);
        {
            let mut read = pin!(node.stock.get("tea"));
            let _ = read.as_mut().poll(&mut Context::from_waker(Waker::noop()));
            answer.caught().await;
        }
        drop(answer);
        clock.advance(budget / 4);
        assert_eq!(node.stock.get("jam").await, None, "{n}");
    }
    assert_eq!(
        (
            node.cache.stats().breaker_opened,
            store.calls(Call::Release)
        ),
        (0, 0)
    );
}

#[tokio::test(start_paused = true)]
async fn a_miss_costs_its_load_and_at_most_the_budget_however_long_the_store_hangs() {
    const BUDGET: Duration = Duration::from_millis(250);
    const LOAD: Duration = Duration::from_millis(30);
    let store = FaultyRemote::new();
    let cache = Cache::builder("shop").remote(store.another_node());
    let node = Node::of(cache.remote_budget(BUDGET).build().await.unwrap());
    let calls = [Call::Read, Call::Lease, Call::Store];
    let _hang = [(); 100].map(|()| calls.map(|call| store.trap(call, Moment::Before)));
    for n in 0..20 {
        let begun = tokio::time::Instant::now();
        let load = async move |_| {
            tokio::time::sleep(LOAD).await;
            Ok::<_, io::Error>(n)
        };
        let found = node.stock.get_or_load(&n.to_string(), load).await;
        assert_eq!(*found.unwrap(), n);
        let (took, tick) = (begun.elapsed(), Duration::from_millis(2));
        assert!(took <= BUDGET + LOAD + tick, "{n}: {took:?}");
    }
    assert!(node.cache.stats().breaker_opened > 0);
}

#[tokio::test]
async fn a_reader_that_is_neither_run_nor_dropped_holds_nobody_up() {
    let store = FaultyRemote::new();
    let node = Node::on(&store).await;
    let answer = store.trap(Call::Read, Moment::After);
    let stuck = node
        .stock
        .get_or_load("tea", async |_| Ok::<_, io::Error>(1));
    let mut stuck = pin!(stuck);
    let once = stuck.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    assert!(once.is_pending());
    answer.release();
    // Its answer is there, and nobody runs it.
    let other = tokio::time::timeout(DEADLINE, node.load("tea", 2)).await;
    assert_eq!(other.expect("nobody hangs"), 2);
    // Whatever it does now, nobody gets an older value than he had.
    let late = stuck.await.unwrap();
    assert!([1, 2].contains(&*late));
    assert_eq!(node.stock.stats().loads, 1 + u64::from(*late == 1));
}

#[tokio::test]
async fn where_nothing_was_found_for_a_while_a_load_waits_for_one_round_trip_and_finds_what_is_there_all_the_same()
 {
    let store = FaultyRemote::new();
    let (one, two) = (Node::on(&store).await, Node::on(&store).await);
    for n in 0..8 {
        one.load(&n.to_string(), n).await;
    }
    let reads = store.calls(Call::Read);
    assert_eq!((reads, store.calls(Call::Lease)), (8, 8));
    assert_eq!(one.load("next", 9).await, 9);
    assert_eq!((store.calls(Call::Read), store.calls(Call::Lease)), (8, 9));
    eventually("it is stored", || store.bytes("stock:next").is_some()).await;

    let _ = two.stock.set("tea", 3).await.unwrap();
    assert_eq!(
        one.load("tea", 4).await,
        3,
        "the lease answers with the value"
    );
    let _ = two.stock.set("milk", 5).await.unwrap();
    assert_eq!(one.load("milk", 6).await, 5);
    assert_eq!((store.calls(Call::Read), store.calls(Call::Lease)), (9, 10));
}

/// What a load of many keys finds that waits for a reader who is neither run nor dropped, where only one load may run.
async fn many_behind_a_stuck_reader(rows: &'static [(&'static str, u32)]) -> Vec<Option<Arc<u32>>> {
    let store = FaultyRemote::new();
    let cache = Cache::builder("shop").remote(store.another_node());
    let cache = cache.build().await.unwrap();
    let region = cache.region::<str, u32>("stock").max_concurrent_loads(1);
    let stock = region.build().unwrap();
    let _answers = store.trap(Call::Read, Moment::After);
    let stuck = stock.get_or_load("tea", async |_| Ok::<_, io::Error>(1));
    let mut stuck = pin!(stuck);
    let once = stuck.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    assert!(once.is_pending());
    let load = move |_: Vec<&'static str>| async move { Ok::<_, io::Error>(rows.to_vec()) };
    let found = tokio::time::timeout(DEADLINE, stock.get_or_load_many(["tea"], load)).await;
    assert_eq!(stock.stats().coalesced, 1, "once, on however many flights");
    found.expect("nobody hangs").expect("no error")
}

#[tokio::test]
async fn behind_a_reader_that_is_stuck_a_load_of_many_takes_one_place() {
    let found = many_behind_a_stuck_reader(&[("tea", 3)]).await;
    assert_eq!(found[0].as_deref(), Some(&3));
}

#[tokio::test]
async fn behind_a_reader_that_is_stuck_what_a_load_of_many_leaves_out_is_no_error() {
    assert_eq!(many_behind_a_stuck_reader(&[]).await, [None]);
}
