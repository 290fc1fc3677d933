//! Leases that go without anybody's doing, or that somebody waits for.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bilten_cache::remote::{Lease, Remote};
use bilten_cache::test_util::{Call, FaultyRemote, ManualClock, Moment};
use bilten_cache::{Ack, Cache, Region};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::harness::{DEADLINE, Held, HeldLoad, Node, eventually, held};
use crate::hooked::Hooked;

/// A full store that gives up first what ends first does this, and so does one that takes over.
#[tokio::test]
async fn what_was_loaded_under_a_lease_that_nobody_took_stays_in_memory_for_a_while() {
    let (store, clock) = (FaultyRemote::new(), ManualClock::new());
    let cache = Cache::builder("shop").remote(store.another_node());
    let cache = cache.clock(&clock).isolated_ttl(Duration::from_secs(5));
    let node = Node::of(cache.build().await.unwrap());
    for round in 1..4 {
        let (mut held, load) = node.start_load("tea");
        held.started().await;
        store.lose_leases();
        held.finish(round);
        assert_eq!(*load.await.unwrap().unwrap(), round);
        // It asks whether there is another value, and hears that there is none.
        let asked = u64::from(2 * round);
        eventually("it looked", || store.calls(Call::Read) == asked).await;
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        assert_eq!(node.stock.stats().stores_refused, u64::from(round));
        assert_eq!(node.load("tea", 9).await, round, "it is not loaded again");
        let _ = node.stock.set("jam", 1).await.unwrap();
        // Others may know something newer of which nobody heard.
        clock.advance(Duration::from_secs(5));
        eventually("the log was heard of", || node.stock.peek("jam").is_some()).await;
        assert_eq!(node.stock.peek("tea"), None);
    }
}

/// A region that loads one key at a time, and a load that has the place.
async fn busy(store: &FaultyRemote) -> (Region<str, u32>, Held, JoinHandle<u32>) {
    let cache = Cache::builder("shop").remote(store.another_node());
    let region = cache.build().await.unwrap().region::<str, u32>("stock");
    let region = region.max_concurrent_loads(1).build().unwrap();
    let (load, mut held) = held();
    let own = region.clone();
    let first = async move { *own.get_or_load("first", |_| load.run()).await.unwrap() };
    let first = tokio::spawn(first);
    held.started().await;
    (region, held, first)
}

fn start(region: &Region<str, u32>, key: &'static str, value: u32) -> JoinHandle<u32> {
    let region = region.clone();
    tokio::spawn(async move {
        let load = async move |_| Ok::<_, io::Error>(value);
        *region.get_or_load(key, load).await.unwrap()
    })
}

#[tokio::test(start_paused = true)]
async fn a_load_that_waits_for_another_process_has_no_place_meanwhile() {
    let store = FaultyRemote::new();
    let (region, first_held, first) = busy(&store).await;
    let queued = start(&region, "tea", 1);
    eventually("it waits for a place", || store.calls(Call::Release) == 1).await;
    // Another process is faster.
    let other = Node::on(&store).await;
    let (mut elsewhere, other_load) = other.start_load("tea");
    elsewhere.started().await;
    let asked = store.calls(Call::Lease);
    first_held.finish(1);
    assert_eq!(first.await.unwrap(), 1);
    eventually("it asked for the lease", || {
        store.calls(Call::Lease) > asked + 1
    })
    .await;
    let begun = Instant::now();
    assert_eq!(start(&region, "jam", 2).await.unwrap(), 2);
    assert!(
        begun.elapsed() < Duration::from_millis(100),
        "it had the place"
    );
    assert!(!queued.is_finished());
    elsewhere.finish(3);
    assert_eq!(*other_load.await.unwrap().unwrap(), 3);
    assert_eq!(queued.await.unwrap(), 3, "what the other one has loaded");
}

#[tokio::test(start_paused = true)]
async fn a_load_does_not_wait_for_its_own_lease_that_it_could_not_give_back() {
    let store = FaultyRemote::new();
    let (region, first_held, first) = busy(&store).await;
    let lost = store.hold_back(Call::Release);
    let queued = start(&region, "tea", 7);
    eventually("the release got no answer", || {
        region.stats().loads == 1 && store.calls(Call::Release) == 1
    })
    .await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    first_held.finish(1);
    assert_eq!(first.await.unwrap(), 1);
    let begun = Instant::now();
    assert_eq!(queued.await.unwrap(), 7);
    assert!(
        begun.elapsed() < Duration::from_millis(100),
        "{:?}",
        begun.elapsed()
    );
    eventually("it is stored", || store.bytes("stock:tea").is_some()).await;
    drop(lost);
}

#[tokio::test(start_paused = true)]
async fn a_later_lease_that_could_not_be_given_back_is_as_good_as_the_first_one() {
    let store = FaultyRemote::new();
    let (region, first_held, first) = busy(&store).await;
    let queued = start(&region, "tea", 7);
    eventually("it waits for a place", || store.calls(Call::Release) == 1).await;
    // Another process has the lease when it gets the place.
    let other = store.another_node();
    let minute = Duration::from_secs(60);
    let lease = other.lease("stock:tea", 99, minute, None).await;
    assert_eq!(lease.unwrap(), Lease::Owned);
    let asked = store.calls(Call::Lease);
    first_held.finish(1);
    assert_eq!(first.await.unwrap(), 1);
    eventually("it waits for the other one", || {
        store.calls(Call::Lease) > asked
    })
    .await;
    let (load, mut second) = held();
    let own = region.clone();
    let next = async move { *own.get_or_load("next", |_| load.run()).await.unwrap() };
    let next = tokio::spawn(next);
    second.started().await;
    other.release("stock:tea", 99).await.unwrap();
    // Now it gets the lease, and there is no place.
    let lost = store.hold_back(Call::Release);
    eventually("it gives the lease back", || {
        store.calls(Call::Release) == 3
    })
    .await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    second.finish(2);
    assert_eq!(next.await.unwrap(), 2);
    let begun = Instant::now();
    assert_eq!(queued.await.unwrap(), 7);
    let took = begun.elapsed();
    assert!(took < Duration::from_millis(100), "{took:?}");
    eventually("it is stored", || store.bytes("stock:tea").is_some()).await;
    drop(lost);
}

#[tokio::test(start_paused = true)]
async fn who_hears_nothing_of_its_lease_does_not_wait_for_it() {
    let store = FaultyRemote::new();
    let (region, first_held, first) = busy(&store).await;
    let (release, renew) = (store.hold_back(Call::Release), store.hold_back(Call::Renew));
    let queued = start(&region, "tea", 7);
    eventually("the release got no answer", || {
        store.calls(Call::Release) == 1
    })
    .await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    let asked = store.calls(Call::Lease);
    first_held.finish(1);
    assert_eq!(first.await.unwrap(), 1);
    let begun = Instant::now();
    assert_eq!(queued.await.unwrap(), 7);
    // The time of one call.
    let took = begun.elapsed();
    assert!(took < Duration::from_millis(500), "{took:?}");
    assert_eq!(
        store.calls(Call::Lease),
        asked,
        "it did not ask for another"
    );
    drop((release, renew));
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_for_a_value_that_it_may_not_take() {
    let store = FaultyRemote::new();
    let way = Hooked::new(Arc::new(store.another_node())).refusing_key("stock:tea");
    let cache = Cache::builder("shop").remote(way).build().await.unwrap();
    let node = Node::of(cache);
    let other = store.another_node();
    let minute = Duration::from_secs(60);
    let lease = other.lease("stock:tea", 99, minute, None).await;
    assert_eq!(lease.unwrap(), Lease::Owned);
    let begun = Instant::now();
    let waits = start(&node.stock, "tea", 7);
    eventually("it asked for the lease", || store.calls(Call::Lease) > 1).await;
    // What is there is known to be old, and the server does not take that.
    assert_eq!(node.stock.remove("tea").await.unwrap(), Ack::Deferred);
    assert_eq!(waits.await.unwrap(), 7);
    let took = begun.elapsed();
    assert!(took < Duration::from_millis(500), "{took:?}");
}

#[tokio::test]
async fn a_lease_is_not_taken_over_a_value_that_was_stored_since_the_look() {
    let clock = ManualClock::new();
    let store = FaultyRemote::new().with_clock(&clock);
    let node = async || {
        let cache = Cache::builder("shop").remote(store.another_node());
        let cache = cache.clock(&clock).isolated_ttl(Duration::from_secs(600));
        // A call stands in a trap meanwhile.
        let cache = cache.remote_budget(DEADLINE).build().await.unwrap();
        let region = cache.region::<str, u32>("stock");
        let region = region.time_to_live(Duration::from_secs(60));
        region.build().unwrap()
    };
    let (one, two) = (node().await, node().await);
    let _ = one.set("tea", 1).await.unwrap();
    clock.advance(Duration::from_secs(61));
    for turn in 2..5 {
        let trap = store.trap(Call::Lease, Moment::Before);
        let late = start(&one, "tea", 100);
        // It has looked at the value, whose time is over.
        trap.caught().await;
        let before = store.bytes("stock:tea");
        assert_eq!(start(&two, "tea", turn).await.unwrap(), turn);
        eventually("the other one's is stored", || {
            store.bytes("stock:tea") != before
        })
        .await;
        trap.release();
        assert_eq!(late.await.unwrap(), turn, "the value of the other one");
        assert_eq!(one.stats().loads, 0);
        clock.advance(Duration::from_secs(61));
    }
}

/// A region of a process of its own, whose leases end soon.
async fn with_short_leases(store: &FaultyRemote) -> (Cache, Region<str, u32>) {
    let cache = Cache::builder("shop").remote(store.another_node());
    let cache = cache.build().await.unwrap();
    let region = cache.region("stock").lease(Duration::from_millis(300));
    let region = region.max_concurrent_loads(1).build().unwrap();
    (cache, region)
}

fn load(region: &Region<str, u32>, key: &'static str, by: HeldLoad) -> JoinHandle<Arc<u32>> {
    let region = region.clone();
    tokio::spawn(async move { region.get_or_load(key, move |_| by.run()).await.unwrap() })
}

#[tokio::test(start_paused = true)]
async fn a_load_longer_than_its_lease_runs_once_for_all_processes() {
    let store = FaultyRemote::new();
    let (_one, holder) = with_short_leases(&store).await;
    let (first, mut held_one) = held();
    let first = load(&holder, "tea", first);
    held_one.started().await;
    let mut waiting = Vec::new();
    for _ in 0..3 {
        let (cache, region) = with_short_leases(&store).await;
        let (other, held) = held();
        waiting.push((load(&region, "tea", other), held, region, cache));
    }
    tokio::time::sleep(Duration::from_secs(20)).await;
    held_one.finish(7);
    assert_eq!(*first.await.unwrap(), 7);
    for (waits, _, region, _) in waiting {
        assert_eq!(*waits.await.unwrap(), 7);
        assert_eq!(region.stats().loads, 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_load_that_takes_all_its_time_holds_up_others_no_longer_than_theirs() {
    let store = FaultyRemote::new();
    let (_one, holder) = with_short_leases(&store).await;
    let (never, mut held_one) = held();
    let _hangs = tokio::spawn(async move { holder.get_or_load("tea", move |_| never.run()).await });
    held_one.started().await;
    let other = Cache::builder("shop").remote(store.another_node());
    let other = other.build().await.unwrap();
    let region = other.region::<str, u32>("stock");
    let limit = Duration::from_secs(5);
    let region = region.load_timeout(limit).build().unwrap();
    let begun = Instant::now();
    let loaded = region.get_or_load("tea", async |_| Ok::<_, io::Error>(8));
    assert_eq!(*loaded.await.unwrap(), 8);
    let waited = begun.elapsed();
    assert!(waited >= limit && waited < limit * 2, "{waited:?}");
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_another_process_in_vain_has_the_time_of_a_load_also_behind_a_queue() {
    waits_behind_a_queue(None).await;
}

#[tokio::test(start_paused = true)]
async fn who_gets_a_lease_late_has_the_time_of_a_load_also_behind_a_queue() {
    waits_behind_a_queue(Some(Duration::from_millis(100))).await;
}

/// Another process holds the lease for ever, or lets it go so long before the end of the wait.
async fn waits_behind_a_queue(lets_go: Option<Duration>) {
    let (store, limit) = (FaultyRemote::new(), Duration::from_secs(4));
    let cache = Cache::builder("shop").remote(store.another_node());
    let region = cache.build().await.unwrap().region::<str, u32>("stock");
    let region = region.max_concurrent_loads(1).load_timeout(limit);
    let region = region.build().unwrap();
    let (first, mut first_held) = held();
    let first = load(&region, "jam", first);
    first_held.started().await;
    let (begun, queued) = (Instant::now(), region.clone());
    let queued = tokio::spawn(async move {
        let load = async move |_| {
            tokio::time::sleep(limit * 3 / 4).await;
            Ok::<_, io::Error>(8)
        };
        queued.get_or_load("tea", load).await
    });
    eventually("it waits for a place", || store.calls(Call::Release) == 1).await;
    // Another process has the lease when it gets the place, and its source hangs.
    let other = store.another_node();
    let minute = Duration::from_secs(60);
    let lease = other.lease("stock:tea", 99, minute, None).await;
    assert_eq!(lease.unwrap(), Lease::Owned);
    first_held.finish(1);
    assert_eq!(*first.await.unwrap(), 1);
    if let Some(before) = lets_go {
        tokio::time::sleep_until(begun + limit - before).await;
        other.release("stock:tea", 99).await.unwrap();
    }
    assert_eq!(*queued.await.unwrap().unwrap(), 8);
    let waited = begun.elapsed();
    let wait = limit - lets_go.unwrap_or_default();
    assert!(waited >= wait && waited < limit * 2, "{waited:?}");
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_was_taken_without_an_answer_is_free_after_the_load() {
    let (store, minute) = (FaultyRemote::new(), Duration::from_secs(60));
    let cache = Cache::builder("shop").remote(store.another_node());
    let region = cache.build().await.unwrap().region::<str, u32>("stock");
    let region = region.lease(minute).build().unwrap();
    let (lost, other) = (store.hold_back(Call::Lease), store.another_node());
    let (by, mut by_held) = held();
    let loaded = load(&region, "tea", by);
    by_held.started().await;
    assert!(lost.deliver(), "it gets there after all");
    let lease = other.lease("stock:tea", 99, minute, None).await;
    assert_eq!(lease.unwrap(), Lease::Busy);
    by_held.finish(7);
    assert_eq!(*loaded.await.unwrap(), 7);
    eventually("it is given back", || store.calls(Call::Release) == 1).await;
    let lease = other.lease("stock:tea", 99, minute, None).await;
    assert_eq!(lease.unwrap(), Lease::Owned, "nothing is stored under it");
}

#[tokio::test(start_paused = true)]
async fn many_keys_that_wait_for_a_place_hold_up_no_process_that_has_one() {
    let store = FaultyRemote::new();
    let (_one, busy) = with_short_leases(&store).await;
    let (first, mut held_one) = held();
    let first = load(&busy, "jam", first);
    held_one.started().await;
    let many = tokio::spawn({
        let busy = busy.clone();
        async move {
            let load = |keys: Vec<&'static str>| async move {
                Ok::<_, io::Error>(keys.into_iter().map(|key| (key, 1)).collect::<Vec<_>>())
            };
            busy.get_or_load_many(["tea", "salt"], load).await
        }
    });
    eventually("it has the leases", || store.calls(Call::Lease) >= 3).await;
    let (_two, idle) = with_short_leases(&store).await;
    let begun = Instant::now();
    let loaded = idle.get_or_load("tea", async |_| Ok::<_, io::Error>(2));
    assert_eq!(*loaded.await.unwrap(), 2);
    let waited = begun.elapsed();
    assert!(waited <= Duration::from_millis(400), "{waited:?}");
    eventually("it is stored", || store.bytes("stock:tea").is_some()).await;
    held_one.finish(7);
    assert_eq!(*first.await.unwrap(), 7);
    let found = many.await.unwrap().unwrap();
    assert!(found.iter().all(|value| value.is_some()), "{found:?}");
}

/// Loads these keys with one call, which brings 1 for each when `goes_on` says so.
fn many(
    region: &Region<str, u32>,
    keys: [&'static str; 2],
    goes_on: &Arc<Notify>,
) -> JoinHandle<Vec<Option<Arc<u32>>>> {
    let (region, goes_on) = (region.clone(), Arc::clone(goes_on));
    tokio::spawn(async move {
        let load = move |keys: Vec<&'static str>| {
            let goes_on = Arc::clone(&goes_on);
            async move {
                goes_on.notified().await;
                Ok::<_, io::Error>(keys.into_iter().map(|key| (key, 1)).collect::<Vec<_>>())
            }
        };
        region.get_or_load_many(keys, load).await.unwrap()
    })
}

#[tokio::test(start_paused = true)]
async fn many_keys_that_get_their_place_late_keep_their_leases_from_then_on() {
    let store = FaultyRemote::new();
    let (_one, busy) = with_short_leases(&store).await;
    let (first, mut held_one) = held();
    let first = load(&busy, "jam", first);
    held_one.started().await;
    let goes_on = Arc::<Notify>::default();
    let many = many(&busy, ["tea", "salt"], &goes_on);
    eventually("it has the leases", || store.calls(Call::Lease) == 3).await;
    // Seven tenths of the lease, and a little more than the second look at it.
    tokio::time::sleep(Duration::from_millis(210)).await;
    let (_two, idle) = with_short_leases(&store).await;
    let waits = start(&idle, "tea", 2);
    held_one.finish(7);
    assert_eq!(*first.await.unwrap(), 7);
    tokio::time::sleep(Duration::from_secs(3)).await;
    goes_on.notify_one();
    assert!(many.await.unwrap().iter().all(Option::is_some));
    assert_eq!(waits.await.unwrap(), 1, "what the other process has loaded");
    assert_eq!(idle.stats().loads, 0);
}

#[tokio::test(start_paused = true)]
async fn a_late_call_of_a_batch_that_waits_for_a_place_keeps_no_lease_alive() {
    let store = FaultyRemote::new();
    let (_one, busy) = with_short_leases(&store).await;
    // A process that loads one of the two keys.
    let other = store.another_node();
    let minute = Duration::from_secs(60);
    let lease = other.lease("stock:tea", 99, minute, None).await;
    assert_eq!(lease.unwrap(), Lease::Owned);
    let goes_on = Arc::<Notify>::default();
    goes_on.notify_one();
    let many = many(&busy, ["salt", "tea"], &goes_on);
    eventually("the first call is over", || busy.peek("salt").is_some()).await;
    let (first, mut held_one) = held();
    let first = load(&busy, "jam", first);
    held_one.started().await;
    // It dies, and the second call of the batch finds no place.
    let asked = store.calls(Call::Lease);
    other.release("stock:tea", 99).await.unwrap();
    eventually("it has the lease", || {
        store.calls(Call::Lease) > asked && busy.stats().loads == 2
    })
    .await;
    let taken = async || other.lease("stock:tea", 98, minute, None).await.unwrap();
    while taken().await == Lease::Owned {
        other.release("stock:tea", 98).await.unwrap();
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let (_two, idle) = with_short_leases(&store).await;
    let begun = Instant::now();
    assert_eq!(start(&idle, "tea", 2).await.unwrap(), 2);
    let waited = begun.elapsed();
    assert!(waited <= Duration::from_millis(500), "{waited:?}");
    held_one.finish(7);
    assert_eq!(*first.await.unwrap(), 7);
    goes_on.notify_one();
    assert!(many.await.unwrap().iter().all(Option::is_some));
}
