//! What one process does with a value and its time, as the others see it.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bilten_cache::test_util::{Call, FaultyRemote, ManualClock};
use bilten_cache::{Ack, Cache, LoadContext, Loaded, RegionBuilder};

use crate::harness::{eventually, held};
use crate::hooked::Hooked;
use crate::staleness::{Prices, SECOND, TTL, fail, load, until_fresh};
use crate::windows::{a_store, nodes};

struct Here {
    store: FaultyRemote,
    clock: ManualClock,
    caches: Vec<Cache>,
}

async fn three(
    setting: impl Fn(RegionBuilder<str, u32>) -> RegionBuilder<str, u32>,
) -> (Here, [Prices; 3]) {
    let (clock, store) = a_store();
    let (regions, caches) = nodes(&store, &clock, setting).await;
    let here = Here {
        store,
        clock,
        caches,
    };
    (here, regions)
}

impl Here {
    fn bytes(&self) -> Option<bytes::Bytes> {
        self.store.bytes("price:tea")
    }

    /// Until the second level has another value than this one.
    async fn stored_since(&self, before: Option<bytes::Bytes>) {
        let is_new = || self.bytes().is_some() && self.bytes() != before;
        eventually("it is stored", is_new).await;
    }
}

async fn gone(prices: &Prices) {
    eventually("the record arrived", || prices.peek("tea").is_none()).await;
    assert_eq!(prices.get("tea").await, None);
}

/// Hears that its value is good, and gives it a tag more.
async fn still_good(cx: LoadContext<u32>) -> io::Result<Loaded<u32>> {
    let stale = cx.stale().ok_or_else(|| io::Error::other("gone"))?;
    assert_eq!(stale.etag(), Some("v1"));
    assert_eq!(stale.last_modified(), Some("noon"));
    Ok(stale.not_modified().tags(["hot"]))
}

#[tokio::test]
async fn what_is_not_modified_has_its_old_and_its_new_tags_on_every_node() {
    for tag in ["drinks", "hot"] {
        let (here, [one, two, three]) = three(|r| r.revalidate_within(TTL)).await;
        let first = Loaded::new(1).tags(["drinks"]);
        let first = first.etag("v1").last_modified("noon");
        one.set("tea", first).await.unwrap();
        // The second round is another node's, which has the validators from the first one's extension.
        for asks in [&one, &two] {
            here.clock.advance(TTL);
            let before = here.bytes();
            let found = asks.get_or_load("tea", still_good).await;
            assert_eq!(*found.unwrap(), 1);
            here.stored_since(before).await;
        }
        for prices in [&one, &two, &three] {
            assert_eq!(prices.get("tea").await.as_deref(), Some(&1), "{tag}");
        }
        assert_eq!(here.caches[2].invalidate_tag(tag).await, Ack::Everywhere);
        for prices in [&one, &two, &three] {
            gone(prices).await;
        }
    }
}

#[tokio::test]
async fn what_is_not_modified_ends_at_the_same_time_on_every_node() {
    let (here, [one, two, three]) = three(|r| r.revalidate_within(TTL)).await;
    let first = Loaded::new(1).etag("v1").last_modified("noon");
    one.set("tea", first).await.unwrap();
    here.clock.advance(TTL);
    let before = here.bytes();
    one.get_or_load("tea", still_good).await.unwrap();
    here.stored_since(before).await;
    here.clock.advance(TTL / 2);
    assert_eq!(two.get("tea").await.as_deref(), Some(&1));
    here.clock.advance(TTL / 2 - SECOND);
    for prices in [&one, &two, &three] {
        assert_eq!(prices.get("tea").await.as_deref(), Some(&1));
    }
    here.clock.advance(SECOND);
    for prices in [&one, &two, &three] {
        assert_eq!(prices.get("tea").await, None);
    }
}

#[tokio::test]
async fn the_tags_and_the_time_that_a_loader_gives_count_on_every_node() {
    let (here, [one, two, three]) = three(|r| r).await;
    let own = async |_: LoadContext<u32>| {
        let loaded = Loaded::new(1).tags(["drinks"]);
        Ok::<_, io::Error>(loaded.time_to_live(SECOND * 5))
    };
    one.get_or_load("tea", own).await.unwrap();
    here.stored_since(None).await;
    assert_eq!(two.get("tea").await.as_deref(), Some(&1));
    here.clock.advance(SECOND * 4);
    // This one finds it when a fifth of its time is left.
    for prices in [&one, &two, &three] {
        assert_eq!(prices.get("tea").await.as_deref(), Some(&1));
    }
    here.clock.advance(SECOND);
    for prices in [&one, &two, &three] {
        assert_eq!(
            prices.get("tea").await,
            None,
            "its own time, not the region's"
        );
    }
    let before = here.bytes();
    one.get_or_load("tea", own).await.unwrap();
    here.stored_since(before).await;
    assert_eq!(two.get("tea").await.as_deref(), Some(&1));
    assert_eq!(
        here.caches[2].invalidate_tag("drinks").await,
        Ack::Everywhere
    );
    for prices in [&one, &two, &three] {
        gone(prices).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_result_that_comes_after_its_callers_patience_reaches_every_node() {
    let windows = |r: RegionBuilder<str, u32>| r.stale_if_error(TTL).soft_timeout(SECOND);
    let (here, [one, two, three]) = three(windows).await;
    load(&one, 1).await;
    here.stored_since(None).await;
    assert_eq!(two.get("tea").await.as_deref(), Some(&1));
    here.clock.advance(TTL);
    let (loader, held) = held();
    let asked = tokio::time::Instant::now();
    let stale = one.get_or_load("tea", move |_| loader.run()).await;
    assert_eq!((*stale.unwrap(), asked.elapsed()), (1, SECOND));
    let before = here.bytes();
    held.finish(2);
    until_fresh(&one, 2).await;
    here.stored_since(before).await;
    for prices in [&one, &two, &three] {
        assert_eq!(prices.get("tea").await.as_deref(), Some(&2));
        assert_eq!(load(prices, 9).await, 2);
    }
    assert_eq!(here.caches[1].stats().loads, 0);
}

#[tokio::test]
async fn an_expired_value_is_served_at_once_on_another_node_and_a_removed_one_is_waited_for() {
    let (here, [one, two, three]) = three(|r| r.stale_while_revalidate(TTL)).await;
    one.set("tea", 1).await.unwrap();
    assert_eq!(two.get("tea").await.as_deref(), Some(&1));
    assert_eq!(one.expire("tea").await.unwrap(), Ack::Everywhere);
    eventually("the record arrived", || two.peek("tea").is_none()).await;
    // The second had it, the third finds it in the second level.
    for (prices, value) in [(&two, 2), (&three, 3)] {
        assert_eq!(prices.get("tea").await, None, "it is not fresh");
        let before = here.bytes();
        let (loader, mut held) = held();
        let stale = prices.get_or_load("tea", move |_| loader.run()).await;
        assert_eq!(*stale.unwrap(), value - 1, "before the load has answered");
        held.started().await;
        held.finish(value);
        until_fresh(prices, value).await;
        here.stored_since(before).await;
        assert_eq!(one.get("tea").await.as_deref(), Some(&value));
        assert_eq!(one.expire("tea").await.unwrap(), Ack::Everywhere);
        eventually("the record arrived", || prices.peek("tea").is_none()).await;
    }
    assert_eq!(one.remove("tea").await.unwrap(), Ack::Everywhere);
    let told = || {
        let last = here.store.log_position();
        let mut there = here.caches.iter().map(|cache| cache.status().log_position);
        there.all(|position| position == last)
    };
    eventually("the record came to all", told).await;
    for prices in [&two, &three] {
        assert!(fail(prices).await.is_err(), "nothing stands in for it");
    }
    let (loader, mut held) = held();
    let waits = two.clone();
    let reader = tokio::spawn(async move { waits.get_or_load("tea", move |_| loader.run()).await });
    held.started().await;
    assert!(!reader.is_finished());
    held.finish(5);
    assert_eq!(*reader.await.unwrap().unwrap(), 5);
}

#[tokio::test]
async fn how_long_a_load_took_counts_for_early_expiry_on_every_node() {
    let (here, [one, two, _]) = three(|r| r.refresh_early(1.0)).await;
    let moves = here.clock.clone();
    let slow = async move |_: LoadContext<u32>| {
        moves.advance(SECOND);
        Ok::<_, io::Error>(1)
    };
    one.get_or_load("tea", slow).await.unwrap();
    here.stored_since(None).await;
    assert_eq!(two.get("tea").await.as_deref(), Some(&1));
    here.clock.advance(TTL - Duration::from_millis(1));
    let before = here.bytes();
    // So near the end one read in a thousand draws otherwise.
    for _ in 0..100 {
        assert_eq!(load(&two, 1).await, 1);
    }
    here.stored_since(before).await;
    assert_eq!((one.stats().loads, two.stats().loads), (1, 1));
}

/// Its own clock has no part in it at all: it is the one that no one can set.
#[tokio::test]
async fn a_clock_of_the_server_that_is_set_back_moves_no_end_in_memory() {
    let (clock, store) = a_store();
    let back = Arc::new(AtomicU64::new(0));
    let server = Hooked::new(Arc::new(store.another_node())).set_back(&back);
    let cache = Cache::builder("shop").remote(server).clock(&clock);
    let cache = cache.isolated_ttl(TTL * 1_000).build().await.unwrap();
    let prices: Prices = cache.region("price").time_to_live(TTL).build().unwrap();
    let _ = prices.set("tea", 1).await.unwrap();
    back.store(3_600_000, Ordering::SeqCst);
    for _ in 0..3 {
        let asked = store.calls(Call::Pulse);
        clock.advance(SECOND);
        eventually("it asks for the time", || store.calls(Call::Pulse) > asked).await;
    }
    assert_eq!(load(&prices, 2).await, 1);
    clock.advance(TTL - SECOND * 4);
    assert_eq!(prices.peek("tea").as_deref(), Some(&1));
    clock.advance(SECOND);
    assert_eq!(prices.peek("tea"), None);
}
