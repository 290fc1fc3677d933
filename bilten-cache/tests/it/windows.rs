//! Values whose time is over, with several settings at once: both windows, one load after a pause, results that come late.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bilten_cache::test_util::{FaultyRemote, ManualClock};
use bilten_cache::{Cache, Error, RegionBuilder};

use crate::harness::{eventually, held};
use crate::staleness::{Prices, SECOND, TTL, fail, load, on_a_clock};

/// Nodes on one store, all of them on a clock that the test moves.
pub(crate) async fn nodes<const N: usize>(
    store: &FaultyRemote,
    clock: &ManualClock,
    setting: impl Fn(RegionBuilder<str, u32>) -> RegionBuilder<str, u32>,
) -> ([Prices; N], Vec<Cache>) {
    let mut caches = Vec::new();
    for _ in 0..N {
        let cache = Cache::builder("shop").remote(store.another_node());
        // However far the clock jumps, they are not cut off.
        let cache = cache.clock(clock).isolated_ttl(TTL * 1_000);
        caches.push(cache.build().await.unwrap());
    }
    let regions = std::array::from_fn(|n| {
        let region = caches[n].region("price").time_to_live(TTL);
        setting(region).build().unwrap()
    });
    (regions, caches)
}

pub(crate) fn a_store() -> (ManualClock, FaultyRemote) {
    let clock = ManualClock::new();
    let store = FaultyRemote::new().with_clock(&clock);
    (clock, store)
}

#[tokio::test]
async fn of_two_windows_the_first_serves_at_once_and_the_second_waits_for_the_load() {
    let windows = |r: RegionBuilder<str, u32>| {
        r.stale_while_revalidate(SECOND * 10)
            .stale_if_error(SECOND * 60)
            .retry_after(Duration::ZERO)
    };
    let (clock, _cache, prices) = on_a_clock(windows).await;
    load(&prices, 1).await;
    clock.advance(TTL + SECOND * 5);
    let (loader, mut behind) = held();
    let at_once = prices.get_or_load("tea", move |_| loader.run()).await;
    assert_eq!(*at_once.unwrap(), 1, "before the load has answered");
    behind.started().await;
    drop(behind);
    eventually("that load failed", || prices.stats().load_errors == 1).await;

    clock.advance(SECOND * 25);
    let (loader, mut held) = held();
    let waits = prices.clone();
    let reader = tokio::spawn(async move { waits.get_or_load("tea", move |_| loader.run()).await });
    held.started().await;
    assert!(!reader.is_finished(), "beyond the first window it waits");
    let stale = prices.stats().stale;
    drop(held);
    assert_eq!(*reader.await.unwrap().unwrap(), 1, "the load failed");
    assert_eq!(prices.stats().stale, stale + 1);

    clock.advance(SECOND * 30);
    assert!(matches!(fail(&prices).await, Err(Error::Load { .. })));
}

#[tokio::test]
async fn the_first_window_may_be_longer_than_the_second() {
    let windows = |r: RegionBuilder<str, u32>| {
        r.stale_while_revalidate(SECOND * 60)
            .stale_if_error(SECOND * 10)
            .retry_after(Duration::ZERO)
    };
    let (clock, _cache, prices) = on_a_clock(windows).await;
    load(&prices, 1).await;
    clock.advance(TTL + SECOND * 30);
    assert_eq!(*fail(&prices).await.unwrap(), 1, "served at once");
    eventually("the load failed", || prices.stats().load_errors == 1).await;
    clock.advance(SECOND * 30);
    assert!(fail(&prices).await.is_err());
}

#[tokio::test]
async fn after_the_pause_one_of_many_callers_loads_and_its_failure_begins_the_next_pause() {
    let windows = |r: RegionBuilder<str, u32>| r.stale_if_error(TTL).retry_after(SECOND * 5);
    let (clock, _cache, prices) = on_a_clock(windows).await;
    load(&prices, 1).await;
    clock.advance(TTL);
    assert_eq!(*fail(&prices).await.unwrap(), 1);
    for round in 0..2 {
        clock.advance(SECOND * 5);
        let (loader, mut held) = held();
        let first = prices.clone();
        let mut callers = vec![tokio::spawn(async move {
            first.get_or_load("tea", move |_| loader.run()).await
        })];
        held.started().await;
        for _ in 0..19 {
            let prices = prices.clone();
            callers.push(tokio::spawn(async move { fail(&prices).await }));
        }
        let waiting = 19 * (round + 1);
        eventually("they wait", || prices.stats().coalesced == waiting).await;
        drop(held);
        for caller in callers {
            assert_eq!(*caller.await.unwrap().unwrap(), 1);
        }
        assert_eq!(prices.stats().loads, 3 + round, "one load for all of them");
        assert_eq!(*fail(&prices).await.unwrap(), 1, "and none in the pause");
        assert_eq!(prices.stats().loads, 3 + round);
    }
}

/// Tells when it is dropped.
struct Dropped(Arc<AtomicBool>);

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

#[tokio::test(start_paused = true)]
async fn a_load_beyond_its_limit_is_kept_or_dropped_as_the_region_says() {
    for late in [None, Some(SECOND * 60)] {
        let (clock, store) = a_store();
        let limits = |r: RegionBuilder<str, u32>| {
            let region = r.load_timeout(SECOND);
            match late {
                Some(longer) => region.late_results(longer),
                None => region,
            }
        };
        let ([prices], _caches) = nodes(&store, &clock, limits).await;
        let dropped = Arc::new(AtomicBool::new(false));
        let guard = Dropped(dropped.clone());
        let slow = async move |_| {
            let _guard = &guard;
            tokio::time::sleep(SECOND * 5).await;
            Ok::<_, io::Error>(7)
        };
        let error = prices.get_or_load("tea", slow).await.unwrap_err();
        assert!(matches!(error, Error::LoadTimeout { after, .. } if after == SECOND));
        tokio::time::sleep(SECOND).await;
        assert_eq!(dropped.load(Ordering::SeqCst), late.is_none());
        tokio::time::sleep(SECOND * 5).await;
        let kept = late.map(|_| 7);
        assert_eq!(prices.peek("tea").as_deref().copied(), kept);
        assert_eq!(store.bytes("price:tea").is_some(), kept.is_some());
    }
}
