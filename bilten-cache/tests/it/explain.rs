//! What an explanation says about a key, at each turn of its life.

use std::io;
use std::time::Duration;

use bilten_cache::remote::Demand;
use bilten_cache::status::Verdict;
use bilten_cache::test_util::{FaultyRemote, ManualClock};
use bilten_cache::{Cache, Loaded, Pattern, RegionBuilder};

use crate::staleness::{Prices, SECOND, TTL, load, on_a_clock};

#[tokio::test]
async fn an_explanation_says_where_a_key_is_and_what_decides() {
    let store = FaultyRemote::new();
    let cache = Cache::builder("shop").remote(store.another_node());
    let cache = cache.build().await.unwrap();
    let prices: Prices = cache.region("price").stale_if_error(TTL).build().unwrap();
    let nothing = prices.explain("tea").await;
    assert_eq!(
        (nothing.memory, nothing.remote),
        (Verdict::Absent, Verdict::Absent)
    );
    prices
        .set("tea", Loaded::new(1).tags(["drinks"]))
        .await
        .unwrap();
    let fresh = prices.explain("tea").await;
    assert_eq!(fresh.key, "price:tea");
    assert!(
        matches!(fresh.memory, Verdict::Fresh { left, .. } if left > TTL),
        "{fresh}"
    );
    assert!(
        matches!(fresh.remote, Verdict::Fresh { left, .. } if left > TTL),
        "{fresh}"
    );
    prices.expire("tea").await.unwrap();
    let stale = prices.explain("tea").await;
    for verdict in [&stale.memory, &stale.remote] {
        let Verdict::Stale {
            expired,
            while_revalidate,
            if_error,
            ..
        } = verdict
        else {
            panic!("{stale}")
        };
        assert!(
            *expired && while_revalidate.is_zero() && *if_error > TTL,
            "{stale}"
        );
    }
    let _ = cache.invalidate_tag("drinks").await;
    let gone = prices.explain("tea").await;
    for verdict in [&gone.memory, &gone.remote] {
        let Verdict::Invalidated { by, at, reflects } = verdict else {
            panic!("{gone}")
        };
        assert!(by == "tag drinks" && at > reflects, "{gone}");
    }
    assert_eq!(gone.at_least, None);
    let _ = prices.after("0/17").remove("tea").await.unwrap();
    let told = prices.explain("tea").await;
    assert_eq!(told.at_least, Some(Demand::of("0/17")));
    assert!(
        told.to_string()
            .ends_with("source: at least the state `0/17`"),
        "{told}"
    );
    assert_eq!(prices.explain("milk").await.at_least, None);
    store.put_bytes("price:tea", "garbage");
    assert!(matches!(
        prices.explain("tea").await.remote,
        Verdict::Unusable(_)
    ));
    store.fail(true);
    assert!(matches!(
        prices.explain("tea").await.remote,
        Verdict::NotAsked(_)
    ));
    let alone = Cache::builder("shop").build().await.unwrap();
    let alone: Prices = alone.region("price").build().unwrap();
    assert_eq!(alone.explain("tea").await.remote, Verdict::NoLevel);
}

fn ended_by(verdict: &Verdict) -> &'static str {
    match verdict {
        Verdict::Stale { ended_by, .. } => ended_by,
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn an_explanation_names_the_setting_that_ended_an_entry_and_says_how_old_it_is() {
    let clock = ManualClock::new();
    let store = FaultyRemote::new().with_clock(&clock);
    let cache = Cache::builder("shop")
        .remote(store.another_node())
        .clock(&clock);
    let cache = cache.isolated_ttl(TTL * 100).build().await.unwrap();
    let users = |name: &str| {
        let region = cache.region::<u8, Option<u8>>(name).time_to_live(TTL);
        region.stale_if_error(TTL * 10)
    };
    let plain = users("plain")
        .negative_time_to_live(SECOND * 10)
        .build()
        .unwrap();
    let short = users("short")
        .memory_time_to_live(SECOND * 20)
        .build()
        .unwrap();
    let idle = users("idle").time_to_idle(SECOND * 20).build().unwrap();
    for region in [&plain, &short, &idle] {
        let _ = region.set(&1, Some(1)).await.unwrap();
        let _ = region.set(&2, None).await.unwrap();
    }
    let _ = plain.set(&3, Some(1)).await.unwrap();
    let _ = plain.expire(&3).await.unwrap();
    clock.advance(SECOND * 30);
    let fresh = plain.explain(&1).await;
    for verdict in [&fresh.memory, &fresh.remote] {
        let is_due =
            |age: Duration, left: Duration| (age, left) == (SECOND * 30, TTL - SECOND * 30);
        assert!(
            matches!(verdict, Verdict::Fresh { age, left } if is_due(*age, *left)),
            "{fresh}"
        );
    }
    for (region, key, memory) in [
        (&plain, 2, "negative_time_to_live"),
        (&plain, 3, "expire"),
        (&short, 1, "memory_time_to_live"),
        (&idle, 1, "time_to_idle"),
    ] {
        let found = region.explain(&key).await;
        assert_eq!(ended_by(&found.memory), memory, "{found}");
        assert!(
            found.to_string().contains(&format!("ended by `{memory}`")),
            "{found}"
        );
        match key {
            1 => assert!(matches!(found.remote, Verdict::Fresh { .. }), "{found}"),
            _ => assert_eq!(ended_by(&found.remote), memory, "{found}"),
        }
    }
    clock.advance(TTL);
    for region in [&plain, &short, &idle] {
        let found = region.explain(&1).await;
        for verdict in [&found.memory, &found.remote] {
            assert_eq!(ended_by(verdict), "time_to_live", "{found}");
        }
    }
}

#[tokio::test]
async fn an_explanation_names_the_pattern_the_clear_and_the_silence_that_decide() {
    let clock = ManualClock::new();
    let store = FaultyRemote::new().with_clock(&clock);
    let cache = Cache::builder("shop").remote(store.clone()).clock(&clock);
    let cache = cache.isolated_ttl(SECOND * 5).build().await.unwrap();
    let prices: Prices = cache.region("price").build().unwrap();
    for (turn, due) in ["pattern price:t*", "pattern price:*", "everything"]
        .into_iter()
        .enumerate()
    {
        let _ = prices.set("tea", 1).await.unwrap();
        match turn {
            0 => drop(
                cache
                    .invalidate_pattern(&Pattern::glob("price:t*").unwrap())
                    .await,
            ),
            1 => drop(prices.clear().await),
            _ => drop(cache.clear().await),
        }
        let found = prices.explain("tea").await;
        let decides = |verdict: &Verdict| match verdict {
            Verdict::Invalidated { by, .. } => by == due,
            _ => false,
        };
        assert!(decides(&found.remote), "{found}");
        // Of everything memory gives back what it has; then there is nothing to explain.
        let gone = due == "everything" && found.memory == Verdict::Absent;
        assert!(decides(&found.memory) || gone, "{found}");
    }
    let _ = prices.set("tea", 1).await.unwrap();
    store.cut_log(true);
    clock.advance(SECOND * 5);
    let found = prices.explain("tea").await;
    assert!(
        matches!(&found.memory, Verdict::Unusable(why) if why.contains("`isolated_ttl`")),
        "{found}"
    );
    assert!(matches!(found.remote, Verdict::NotAsked(_)), "{found}");
}

/// As it says where `expire` is described.
#[tokio::test]
async fn what_was_expired_is_kept_until_its_windows_end_and_those_follow_the_time_to_live_that_it_had()
 {
    let windows =
        |r: RegionBuilder<str, u32>| r.stale_if_error(SECOND * 60).retry_after(Duration::ZERO);
    let (clock, _cache, prices) = on_a_clock(windows).await;
    load(&prices, 1).await;
    clock.advance(SECOND * 10);
    let _ = prices.expire("tea").await.unwrap();
    let fail = async || {
        let load = async |_| Err::<u32, _>(io::Error::other("away"));
        prices
            .get_or_load("tea", load)
            .await
            .ok()
            .map(|value| *value)
    };
    clock.advance(TTL + SECOND * 49);
    assert_eq!(fail().await, Some(1));
    clock.advance(SECOND);
    assert_eq!(fail().await, None);
}
