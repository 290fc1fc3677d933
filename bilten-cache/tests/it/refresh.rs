//! Values that are loaded anew before their time is over, and loaders that ask whether an old one is still good.

use std::io;
use std::time::Duration;

use bilten_cache::test_util::{Call, FaultyRemote, ManualClock, Moment};
use bilten_cache::{Cache, Loaded, RegionBuilder};

use crate::harness::{DEADLINE, eventually, held};
use crate::staleness::{Prices, SECOND, TTL, load, on_a_clock};

#[tokio::test]
async fn a_hot_key_is_loaded_anew_once_before_its_end() {
    let ahead = |r: RegionBuilder<str, u32>| r.refresh_ahead(0.8);
    let (clock, _cache, prices) = on_a_clock(ahead).await;
    load(&prices, 1).await;
    clock.advance(SECOND * 79);
    assert_eq!(load(&prices, 9).await, 1);
    assert_eq!(prices.stats().loads, 1, "not due yet");
    clock.advance(SECOND);
    let (loader, mut held) = held();
    let due = prices.get_or_load("tea", move |_| loader.run()).await;
    assert_eq!(*due.unwrap(), 1);
    held.started().await;
    for _ in 0..10 {
        assert_eq!(load(&prices, 9).await, 1);
    }
    // Who comes after the end waits for the load that runs.
    clock.advance(SECOND * 20);
    let waits = prices.clone();
    let waits = tokio::spawn(async move { load(&waits, 9).await });
    eventually("it waits", || prices.stats().coalesced == 1).await;
    held.finish(2);
    assert_eq!(waits.await.unwrap(), 2);
    assert_eq!(prices.stats().loads, 2);
}

#[tokio::test]
async fn a_refresh_ahead_loses_to_a_newer_write() {
    let ahead = |r: RegionBuilder<str, u32>| r.refresh_ahead(0.5);
    // Also to one that sets again what was there.
    for set in [5, 1] {
        let (clock, _cache, prices) = on_a_clock(ahead).await;
        load(&prices, 1).await;
        clock.advance(SECOND * 60);
        let (loader, mut held) = held();
        prices
            .get_or_load("tea", move |_| loader.run())
            .await
            .unwrap();
        held.started().await;
        prices.set("tea", set).await.unwrap();
        held.finish(2);
        eventually("the fill was refused", || prices.stats().fills_refused == 1).await;
        assert_eq!(prices.peek("tea").as_deref(), Some(&set));
    }
}

#[tokio::test]
async fn a_refresh_ahead_loses_to_a_newer_write_in_the_second_level_too() {
    for set in [5, 1] {
        let store = FaultyRemote::new();
        let node = async || {
            let cache = Cache::builder("shop").remote(store.another_node());
            let cache = cache.build().await.unwrap();
            let region = cache.region("price").time_to_live(TTL);
            let prices: Prices = region.refresh_ahead(1e-9).build().unwrap();
            (cache, prices)
        };
        let ((_a, one), (_b, two)) = (node().await, node().await);
        load(&one, 1).await;
        eventually("it is stored", || store.bytes("price:tea").is_some()).await;
        let (loader, mut held) = held();
        let due = one.get_or_load("tea", move |_| loader.run());
        assert_eq!(*due.await.unwrap(), 1);
        held.started().await;
        two.set("tea", set).await.unwrap();
        held.finish(2);
        eventually("the store was refused", || one.stats().stores_refused == 1).await;
        for prices in [&one, &two] {
            let found = prices.get("tea").await;
            assert_eq!(found.as_deref(), Some(&set));
        }
    }
}

#[tokio::test]
async fn of_two_nodes_that_refresh_ahead_one_loads() {
    let store = FaultyRemote::new();
    let node = async || {
        let cache = Cache::builder("shop").remote(store.another_node());
        let cache = cache.remote_budget(DEADLINE).build().await.unwrap();
        let region = cache.region("price").time_to_live(TTL);
        // Due almost from the beginning.
        let prices: Prices = region.refresh_ahead(1e-9).build().unwrap();
        (cache, prices)
    };
    let ((_a, one), (_b, two)) = (node().await, node().await);
    one.set("tea", 1).await.unwrap();
    assert_eq!(two.get("tea").await.as_deref(), Some(&1));
    // A value is newer when it was made in a later millisecond.
    tokio::time::sleep(Duration::from_millis(3)).await;
    let trap = store.trap(Call::Store, Moment::Before);
    assert_eq!(load(&one, 2).await, 1);
    trap.caught().await;
    assert_eq!(load(&two, 9).await, 1);
    trap.release();
    eventually("the second has the first one's", || {
        two.peek("tea").as_deref() == Some(&2)
    })
    .await;
    assert_eq!((one.stats().loads, two.stats().loads), (1, 0));
}

#[tokio::test]
async fn a_loader_that_hears_not_modified_extends_value_tags_and_validators() {
    let windows = |r: RegionBuilder<str, u32>| r.revalidate_within(TTL);
    let (clock, cache, prices) = on_a_clock(windows).await;
    let first = Loaded::new(1)
        .tags(["drinks"])
        .etag("v1")
        .last_modified("noon");
    prices.set("tea", first).await.unwrap();
    for _ in 0..2 {
        clock.advance(TTL);
        assert_eq!(prices.peek("tea"), None);
        let ask = async |cx: bilten_cache::LoadContext<u32>| {
            let stale = cx.stale().ok_or_else(|| io::Error::other("gone"))?;
            assert_eq!(stale.etag(), Some("v1"));
            assert_eq!(stale.last_modified(), Some("noon"));
            assert_eq!(**stale.value(), 1);
            Ok::<_, io::Error>(stale.not_modified())
        };
        assert_eq!(*prices.get_or_load("tea", ask).await.unwrap(), 1);
        clock.advance(TTL - SECOND);
        assert_eq!(prices.peek("tea").as_deref(), Some(&1));
        clock.advance(SECOND);
    }
    load(&prices, 1).await;
    prices
        .set("tea", Loaded::new(1).tags(["drinks"]))
        .await
        .unwrap();
    let _ = cache.invalidate_tag("drinks").await;
    let nothing = async |cx: bilten_cache::LoadContext<u32>| {
        Ok::<_, io::Error>(u32::from(cx.stale().is_some()))
    };
    assert_eq!(*prices.get_or_load("tea", nothing).await.unwrap(), 0);
}

#[tokio::test]
async fn validators_reach_the_loader_of_another_node() {
    let store = FaultyRemote::new();
    let node = async || {
        let cache = Cache::builder("shop").remote(store.another_node());
        let cache = cache.build().await.unwrap();
        let region = cache.region("price").revalidate_within(TTL);
        let prices: Prices = region
            .time_to_live(Duration::from_millis(20))
            .build()
            .unwrap();
        (cache, prices)
    };
    let ((_a, one), (_b, two)) = (node().await, node().await);
    one.set("tea", Loaded::new(1).etag("v1")).await.unwrap();
    eventually("its time is over", || one.peek("tea").is_none()).await;
    let ask = async |cx: bilten_cache::LoadContext<u32>| {
        let etag = cx.stale().and_then(|stale| stale.etag());
        Ok::<_, io::Error>(u32::from(etag == Some("v1")))
    };
    assert_eq!(*two.get_or_load("tea", ask).await.unwrap(), 1);
}

#[tokio::test]
async fn what_does_not_exist_is_remembered_for_its_own_time() {
    let clock = ManualClock::new();
    let cache = Cache::builder("shop").clock(&clock).build().await.unwrap();
    let users = cache.region::<i64, Option<u32>>("user").time_to_live(TTL);
    let users = users.negative_time_to_live(SECOND).build().unwrap();
    for (id, value) in [(1, None), (2, Some(7))] {
        let load = async move |_| Ok::<_, io::Error>(value);
        users.get_or_load(&id, load).await.unwrap();
        assert_eq!(users.get(&id).await.as_deref(), Some(&value));
    }
    assert_eq!(users.get(&3).await, None, "not known");
    clock.advance(SECOND);
    assert_eq!(users.peek(&1), None);
    assert_eq!(users.peek(&2).as_deref(), Some(&Some(7)));
}

#[tokio::test]
async fn the_end_of_what_is_not_modified_is_spread_no_further() {
    let settings = |r: RegionBuilder<str, u32>| r.jitter(SECOND * 60).revalidate_within(TTL * 10);
    let (clock, _cache, prices) = on_a_clock(settings).await;
    load(&prices, 1).await;
    for round in 0..8 {
        clock.advance(TTL + SECOND * 60);
        let ask = async |cx: bilten_cache::LoadContext<u32>| {
            let stale = cx.stale().ok_or_else(|| io::Error::other("gone"))?;
            Ok::<_, io::Error>(stale.not_modified())
        };
        assert_eq!(*prices.get_or_load("tea", ask).await.unwrap(), 1);
        clock.advance(TTL - Duration::from_millis(1));
        assert!(prices.peek("tea").is_some(), "round {round}: too early");
        clock.advance(Duration::from_millis(1));
        assert_eq!(prices.peek("tea"), None, "round {round}");
    }
}

#[tokio::test]
async fn early_expiry_loads_anew_by_one_reader_and_only_near_the_end() {
    let (clock, _cache, prices) = on_a_clock(|r| r.refresh_early(1.0)).await;
    let moves = clock.clone();
    let load = async move |_| {
        moves.advance(SECOND);
        Ok::<_, io::Error>(1)
    };
    prices.get_or_load("tea", load).await.unwrap();
    // Farther from the end than twenty times what the load took, nobody draws.
    clock.advance(TTL - SECOND * 22);
    for _ in 0..200 {
        assert_eq!(crate::staleness::load(&prices, 9).await, 1);
    }
    assert_eq!(prices.stats().loads, 1);
    clock.advance(SECOND * 22 - Duration::from_nanos(1));
    assert!(prices.peek("tea").is_some(), "it is not over");
    let (loader, mut held) = held();
    let due = prices.get_or_load("tea", move |_| loader.run()).await;
    assert_eq!(*due.unwrap(), 1);
    held.started().await;
    for _ in 0..50 {
        assert_eq!(crate::staleness::load(&prices, 9).await, 1);
    }
    held.finish(2);
    crate::staleness::until_fresh(&prices, 2).await;
    assert_eq!(prices.stats().loads, 2);
}
