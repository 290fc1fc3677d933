//! Values whose time is over: who gets them, who loads, and that nothing invalidated ever comes back this way.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bilten_cache::test_util::{FaultyRemote, ManualClock};
use bilten_cache::{Ack, Cache, Error, Loaded, Region, RegionBuilder};

use crate::harness::{DEADLINE, eventually, held};
use crate::logged;

pub(crate) const TTL: Duration = Duration::from_secs(100);
pub(crate) const SECOND: Duration = Duration::from_secs(1);

pub(crate) type Prices = Region<str, u32>;

/// A cache in memory only, on a clock that the test moves.
pub(crate) async fn on_a_clock(
    setting: impl FnOnce(RegionBuilder<str, u32>) -> RegionBuilder<str, u32>,
) -> (ManualClock, Cache, Prices) {
    let clock = ManualClock::new();
    let cache = Cache::builder("shop").clock(&clock).build().await.unwrap();
    let prices = setting(cache.region("price").time_to_live(TTL)).build();
    (clock, cache, prices.unwrap())
}

pub(crate) async fn load(prices: &Prices, value: u32) -> u32 {
    let load = async move |_| Ok::<_, io::Error>(value);
    *prices.get_or_load("tea", load).await.unwrap()
}

pub(crate) async fn fail(prices: &Prices) -> Result<Arc<u32>, Error> {
    let load = async |_| Err::<u32, _>(io::Error::other("the source is away"));
    prices.get_or_load("tea", load).await
}

pub(crate) async fn until_fresh(prices: &Prices, value: u32) {
    eventually("the value is fresh", || {
        prices.peek("tea").as_deref() == Some(&value)
    })
    .await;
}

#[tokio::test]
async fn within_the_first_window_a_reader_gets_the_stale_value_at_once() {
    let (clock, _cache, prices) = on_a_clock(|r| r.stale_while_revalidate(SECOND * 10)).await;
    load(&prices, 1).await;
    clock.advance(TTL);
    let (loader, mut held) = held();
    let stale = prices.get_or_load("tea", move |_| loader.run()).await;
    assert_eq!(*stale.unwrap(), 1, "before the load has answered");
    held.started().await;
    assert_eq!(load(&prices, 9).await, 1, "one load is enough");
    held.finish(2);
    until_fresh(&prices, 2).await;
    assert_eq!(prices.stats().loads, 2);
    assert_eq!(prices.stats().stale, 2);
}

#[tokio::test]
async fn beyond_the_first_window_a_reader_waits() {
    let (clock, _cache, prices) = on_a_clock(|r| r.stale_while_revalidate(SECOND * 10)).await;
    load(&prices, 1).await;
    clock.advance(TTL + SECOND * 10);
    assert_eq!(load(&prices, 2).await, 2);
}

#[tokio::test]
async fn get_and_peek_never_answer_with_a_stale_value() {
    let windows = |r: RegionBuilder<str, u32>| r.stale_while_revalidate(TTL).stale_if_error(TTL);
    let (clock, _cache, prices) = on_a_clock(windows).await;
    load(&prices, 1).await;
    clock.advance(TTL);
    assert_eq!(prices.get("tea").await, None);
    assert_eq!(prices.peek("tea"), None);
}

#[tokio::test]
async fn a_failed_load_is_covered_within_the_second_window_and_not_beyond() {
    let windows = |r: RegionBuilder<str, u32>| r.stale_if_error(SECOND * 60);
    let (clock, _cache, prices) = on_a_clock(windows).await;
    load(&prices, 1).await;
    clock.advance(TTL);
    assert_eq!(*fail(&prices).await.unwrap(), 1);
    assert_eq!(prices.stats().load_errors, 1);
    clock.advance(SECOND * 10);
    assert_eq!(load(&prices, 2).await, 2, "a load that works is preferred");
    clock.advance(TTL + SECOND * 60);
    assert!(matches!(fail(&prices).await, Err(Error::Load { .. })));
}

#[tokio::test]
async fn after_a_failure_nobody_loads_for_a_while_and_then_one_does() {
    let windows = |r: RegionBuilder<str, u32>| r.stale_if_error(TTL).retry_after(SECOND * 5);
    let (clock, _cache, prices) = on_a_clock(windows).await;
    load(&prices, 1).await;
    clock.advance(TTL);
    assert_eq!(*fail(&prices).await.unwrap(), 1);
    for _ in 0..10 {
        assert_eq!(load(&prices, 2).await, 1);
    }
    assert_eq!(prices.stats().loads, 2);
    clock.advance(SECOND * 5);
    assert_eq!(load(&prices, 2).await, 2);
    assert_eq!(prices.stats().loads, 3);
}

#[tokio::test]
async fn a_failing_refresh_behind_a_reader_leaves_the_old_value_and_is_logged_once() {
    logged::listen();
    type Setting = fn(RegionBuilder<str, u32>) -> RegionBuilder<str, u32>;
    let settings: [(&str, Setting, Duration); 3] = [
        ("behind-a-stale-one", |r| r.stale_while_revalidate(TTL), TTL),
        ("ahead-of-the-end", |r| r.refresh_ahead(0.5), TTL * 6 / 10),
        ("instead-of-an-error", |r| r.stale_if_error(TTL), TTL),
    ];
    for (name, setting, age) in settings {
        let clock = ManualClock::new();
        let cache = Cache::builder(name).clock(&clock).build().await.unwrap();
        let region = setting(cache.region("price").time_to_live(TTL));
        let prices = region.retry_after(SECOND * 5).build().unwrap();
        load(&prices, 1).await;
        clock.advance(age);
        for turn in 1..=2 {
            assert_eq!(*fail(&prices).await.unwrap(), 1);
            eventually("the load failed", || prices.stats().load_errors == turn).await;
            eventually("it was logged", || logged::lines("WARN", name).len() == 1).await;
            assert_eq!(load(&prices, 2).await, 1, "not tried again yet");
            assert_eq!(prices.stats().loads, turn + 1);
            clock.advance(SECOND * 5);
        }
        let lines = logged::lines("WARN", name);
        let says = |words: &str| lines.iter().all(|line| line.contains(words));
        assert!(
            says("the old value is served") && says("the source is away"),
            "{lines:?}"
        );
        assert_eq!(lines.len(), 1, "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn patience_ends_with_the_stale_value_and_the_late_result_is_kept() {
    let windows = |r: RegionBuilder<str, u32>| r.stale_if_error(TTL).soft_timeout(SECOND);
    let (clock, _cache, prices) = on_a_clock(windows).await;
    load(&prices, 1).await;
    clock.advance(TTL);
    let (loader, held) = held();
    let asked = tokio::time::Instant::now();
    let stale = prices.get_or_load("tea", move |_| loader.run()).await;
    assert_eq!((*stale.unwrap(), asked.elapsed()), (1, SECOND));
    held.finish(2);
    until_fresh(&prices, 2).await;
}

#[tokio::test(start_paused = true)]
async fn patience_of_zero_never_waits_when_there_is_a_stale_value() {
    let windows = |r: RegionBuilder<str, u32>| r.stale_if_error(TTL).soft_timeout(Duration::ZERO);
    let (clock, _cache, prices) = on_a_clock(windows).await;
    load(&prices, 1).await;
    clock.advance(TTL);
    let (loader, _held) = held();
    let asked = tokio::time::Instant::now();
    let stale = prices.get_or_load("tea", move |_| loader.run()).await;
    assert_eq!(*stale.unwrap(), 1);
    assert!(asked.elapsed() <= Duration::from_millis(1));
}

#[tokio::test(start_paused = true)]
async fn without_a_stale_value_a_reader_waits_to_the_hard_limit() {
    let windows = |r: RegionBuilder<str, u32>| {
        r.stale_if_error(TTL)
            .soft_timeout(SECOND)
            .load_timeout(SECOND * 3)
    };
    let (_clock, _cache, prices) = on_a_clock(windows).await;
    let asked = tokio::time::Instant::now();
    let never = async |_| std::future::pending::<Result<u32, io::Error>>().await;
    let error = prices.get_or_load("tea", never).await.unwrap_err();
    assert!(matches!(error, Error::LoadTimeout { after, .. } if after == SECOND * 3));
    assert_eq!(asked.elapsed(), SECOND * 3);
}

#[tokio::test(start_paused = true)]
async fn a_result_after_the_hard_limit_is_kept_if_the_region_wants_it() {
    let limits = |r: RegionBuilder<str, u32>| r.load_timeout(SECOND).late_results(SECOND * 60);
    let (_clock, _cache, prices) = on_a_clock(limits).await;
    let slow = async |_| {
        tokio::time::sleep(SECOND * 5).await;
        Ok::<_, io::Error>(7)
    };
    let error = prices.get_or_load("tea", slow).await.unwrap_err();
    assert!(matches!(error, Error::LoadTimeout { after, .. } if after == SECOND));
    // Who comes later joins the same load.
    tokio::time::sleep(SECOND * 3 + SECOND / 2).await;
    assert_eq!(load(&prices, 9).await, 7);
    assert_eq!(prices.stats().loads, 1);
}

#[tokio::test]
async fn what_was_removed_or_invalidated_is_never_served_stale() {
    let windows = |r: RegionBuilder<str, u32>| r.stale_while_revalidate(TTL).stale_if_error(TTL);
    let (_clock, cache, prices) = on_a_clock(windows).await;
    for round in 0..4 {
        let value = Loaded::new(round).tags(["drinks"]);
        prices.set("tea", value).await.unwrap();
        match round {
            0 => drop(prices.remove("tea").await.unwrap()),
            1 => drop(cache.invalidate_tag("drinks").await),
            2 => drop(prices.clear().await),
            _ => drop(cache.clear().await),
        }
        assert!(fail(&prices).await.is_err(), "round {round}");
    }
}

#[tokio::test]
async fn what_was_expired_is_served_stale_on_every_node() {
    let store = FaultyRemote::new();
    let mut nodes = Vec::new();
    for _ in 0..3 {
        let cache = Cache::builder("shop").remote(store.another_node());
        let cache = cache.build().await.unwrap();
        let prices: Prices = cache
            .region("price")
            .stale_if_error(TTL)
            .retry_after(Duration::ZERO)
            .build()
            .unwrap();
        nodes.push((cache, prices));
    }
    let [(_, one), (_, two), (_, three)] = &nodes[..] else {
        panic!("three nodes")
    };
    one.set("tea", 1).await.unwrap();
    assert_eq!(two.get("tea").await.as_deref(), Some(&1));
    assert_eq!(one.expire("tea").await.unwrap(), Ack::Everywhere);
    assert_eq!(one.peek("tea"), None);
    eventually("the record arrived", || two.peek("tea").is_none()).await;
    // The first has it in L1, the second had it, the third finds it in L2.
    for prices in [one, two, three] {
        assert_eq!(prices.get("tea").await, None, "it is not fresh");
        assert_eq!(*fail(prices).await.unwrap(), 1);
    }
    assert_eq!(load(three, 2).await, 2);
    eventually("the others read the new one", || {
        store.bytes("price:tea").is_some()
    })
    .await;
    one.remove("tea").await.unwrap();
    let deadline = tokio::time::Instant::now() + DEADLINE;
    for prices in [one, two, three] {
        while fail(prices).await.is_ok() {
            assert!(tokio::time::Instant::now() < deadline, "it is still served");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
}

#[tokio::test]
async fn a_load_that_began_before_an_expiry_does_not_make_it_fresh_again() {
    let store = FaultyRemote::new();
    let cache = Cache::builder("shop").remote(store.another_node());
    let cache = cache.build().await.unwrap();
    let prices: Prices = cache.region("price").stale_if_error(TTL).build().unwrap();
    let (loader, mut held) = held();
    let reader = prices.clone();
    let reader =
        tokio::spawn(async move { reader.get_or_load("tea", move |_| loader.run()).await });
    held.started().await;
    assert_eq!(prices.expire("tea").await.unwrap(), Ack::Everywhere);
    held.finish(1);
    assert_eq!(*reader.await.unwrap().unwrap(), 1);
    eventually("the store was refused", || {
        prices.stats().stores_refused == 1
    })
    .await;
    assert_eq!(prices.peek("tea"), None);
    assert_eq!(store.bytes("price:tea"), None);
}

#[tokio::test]
async fn a_stale_value_of_the_second_level_is_served_at_once_and_renewed() {
    let store = FaultyRemote::new();
    let node = async || {
        let cache = Cache::builder("shop").remote(store.another_node());
        let cache = cache.build().await.unwrap();
        let prices: Prices = cache
            .region("price")
            .time_to_live(Duration::from_millis(30))
            .stale_while_revalidate(TTL)
            .build()
            .unwrap();
        (cache, prices)
    };
    let (_one_cache, one) = node().await;
    one.set("tea", 1).await.unwrap();
    eventually("its time is over", || one.peek("tea").is_none()).await;
    let (_two_cache, two) = node().await;
    let (loader, mut held) = held();
    let stale = two.get_or_load("tea", move |_| loader.run()).await;
    assert_eq!(*stale.unwrap(), 1, "before the load has answered");
    held.started().await;
    assert_eq!(two.stats().stale, 1);
    let before = store.bytes("price:tea");
    held.finish(2);
    eventually("the new one is stored", || {
        store.bytes("price:tea") != before
    })
    .await;
}

#[tokio::test]
async fn a_tag_invalidated_during_a_background_load_refuses_its_result() {
    let windows = |r: RegionBuilder<str, u32>| r.stale_while_revalidate(TTL);
    let (clock, cache, prices) = on_a_clock(windows).await;
    let first = Loaded::new(1).tags(["drinks"]);
    prices.set("tea", first).await.unwrap();
    clock.advance(TTL);
    let (loader, mut held) = held();
    let tagged =
        move |_| async move { loader.run().await.map(|v| Loaded::new(v).tags(["drinks"])) };
    assert_eq!(*prices.get_or_load("tea", tagged).await.unwrap(), 1);
    held.started().await;
    let _ = cache.invalidate_tag("drinks").await;
    held.finish(2);
    eventually("the fill was refused", || prices.stats().fills_refused == 1).await;
    assert_eq!(load(&prices, 3).await, 3);
}
