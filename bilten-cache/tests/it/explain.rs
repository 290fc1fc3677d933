//! What an explanation says about a key, at each turn of its life.

use bilten_cache::remote::Demand;
use bilten_cache::status::Verdict;
use bilten_cache::test_util::FaultyRemote;
use bilten_cache::{Cache, Loaded};

use crate::staleness::{Prices, TTL};

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
