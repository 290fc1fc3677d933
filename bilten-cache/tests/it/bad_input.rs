//! What makes no sense: a clear error or a documented bound, never a panic, a hang or lost data.

use std::io;
use std::time::Duration;

use bilten_cache::events::{Event, Refusal};
use bilten_cache::key::MAX_KEY_BYTES;
use bilten_cache::test_util::{Call, FaultyRemote};
use bilten_cache::{Ack, Cache, Error, Loaded, Pattern};

use crate::harness::{Node, eventually};
use crate::logged;

#[tokio::test]
async fn a_loader_that_asks_for_its_own_key_gets_an_error_that_names_it() {
    let node = Node::on(&FaultyRemote::new()).await;
    let inner = node.stock.clone();
    let load = async move |_| {
        let own = inner
            .get_or_load("tea", async |_| Ok::<_, io::Error>(1))
            .await?;
        Ok::<_, Error>(*own)
    };
    let error = node.stock.get_or_load("tea", load).await.unwrap_err();
    let cause = error.source_as::<Error>().unwrap();
    assert!(
        matches!(cause, Error::Recursive { key, .. } if **key == *"stock:tea"),
        "{cause}"
    );
    assert!(cause.to_string().contains("`stock:tea`"), "{cause}");
    assert_eq!(
        node.load("tea", 2).await,
        2,
        "and the next one is not in its way"
    );
}

#[tokio::test]
async fn two_types_of_value_under_one_key_are_an_error_here_and_a_miss_elsewhere() {
    let store = FaultyRemote::new();
    let (one, two) = (
        Node::on(&store).await,
        Cache::builder("shop").remote(store.another_node()),
    );
    let error = one
        .cache
        .region::<str, String>("stock")
        .build()
        .unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("region name: `stock` exists already with other types"),
        "{error}"
    );
    let error = one.cache.region::<i64, u32>("stock").build().unwrap_err();
    assert!(error.to_string().contains("other types"), "{error}");
    let _ = one.stock.set("tea", 7).await.unwrap();
    let two = two.build().await.unwrap();
    let texts = two.region::<str, String>("stock").build().unwrap();
    assert_eq!(texts.get("tea").await, None);
    let load = async |_| Ok::<_, io::Error>("seven".to_owned());
    assert_eq!(*texts.get_or_load("tea", load).await.unwrap(), "seven");
    assert_eq!(texts.stats().undecodable, 2);
}

#[tokio::test]
async fn a_weigher_that_says_nothing_or_too_much_cannot_break_the_budget() {
    const BUDGET: u64 = 1 << 20;
    let cache = Cache::builder("shop")
        .memory_bytes(BUDGET)
        .build()
        .await
        .unwrap();
    let light = cache
        .region::<u32, u32>("light")
        .weigher(|_| 0)
        .build()
        .unwrap();
    for key in 0..20_000 {
        let _ = light.set(&key, key).await.unwrap();
    }
    eventually("it is within the budget", || {
        cache.status().memory_bytes <= BUDGET
    })
    .await;
    assert!(
        cache.status().memory_entries < 10_000,
        "an entry always weighs something"
    );
    let heavy = cache
        .region::<u32, u32>("heavy")
        .weigher(|_| usize::MAX)
        .build()
        .unwrap();
    let value = heavy
        .get_or_load(&1, async |_| Ok::<_, io::Error>(5))
        .await
        .unwrap();
    assert_eq!(*value, 5, "its caller has it all the same");
    eventually("it is within the budget", || {
        cache.status().memory_bytes <= BUDGET
    })
    .await;
    assert_eq!(heavy.peek(&1), None);
}

#[tokio::test]
async fn a_value_with_ten_thousand_tags_is_handed_out_and_not_kept() {
    let store = FaultyRemote::new();
    let node = Node::on(&store).await;
    let tags = (0..10_000).map(|n| format!("tag {n}"));
    let loaded = Loaded::new(1).tags(tags);
    let load = async move |_| Ok::<_, io::Error>(loaded);
    assert_eq!(*node.stock.get_or_load("tea", load).await.unwrap(), 1);
    let _ = node
        .stock
        .set(
            "milk",
            Loaded::new(1).tags((0..10_000).map(|n| n.to_string())),
        )
        .await
        .unwrap();
    for key in ["tea", "milk"] {
        assert_eq!(
            (node.stock.peek(key), store.bytes(&format!("stock:{key}"))),
            (None, None)
        );
    }
}

#[tokio::test]
async fn tags_that_cannot_be_kept_are_told_counted_and_logged_once() {
    logged::listen();
    let name = "over-tagged";
    let cache = Cache::builder(name).build().await.unwrap();
    let node = Node::of(cache);
    let mut events = node.cache.events();
    let many: Vec<_> = (0..65).map(|n| n.to_string()).collect();
    let long = vec!["x".repeat(257)];
    for (n, tags) in (1..).zip([&many, &long]) {
        let loaded = Loaded::new(1).tags(tags.clone());
        let load = async move |_| Ok::<_, io::Error>(loaded);
        assert_eq!(*node.stock.get_or_load("tea", load).await.unwrap(), 1);
        let milk = Loaded::new(1).tags(tags.clone());
        let _ = node.stock.set("milk", milk).await.unwrap();
        assert_eq!(node.stock.stats().tags_refused, 2 * n);
    }
    let uncached = async |_| Ok::<_, io::Error>(Loaded::new(1).uncached());
    node.stock.get_or_load("jam", uncached).await.unwrap();
    assert_eq!(node.stock.stats().tags_refused, 4, "that one was meant");
    let told = std::iter::from_fn(|| events.try_next());
    let refused: Vec<_> = told
        .filter_map(|event| match event {
            Event::Refused { key, why } => Some((key.to_string(), why)),
            _ => None,
        })
        .collect();
    let due = ["tea", "milk", "tea", "milk"].map(|key| (format!("stock:{key}"), Refusal::Tags));
    assert_eq!(refused, due);
    let lines = logged::lines("WARN", name);
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(
        lines[0].contains("longest=256") && lines[0].contains("region=stock"),
        "{lines:?}"
    );
}

#[tokio::test]
async fn the_longest_times_there_are_overflow_nothing() {
    let store = FaultyRemote::new();
    let longest = Duration::MAX;
    let cache = Cache::builder("shop")
        .remote(store.another_node())
        .remote_budget(longest)
        .isolated_ttl(longest)
        .source_lag(longest)
        .build()
        .await
        .unwrap();
    let region = cache
        .region::<i64, u32>("number")
        .time_to_live(longest)
        .jitter(longest)
        .stale_while_revalidate(longest)
        .stale_if_error(longest)
        .load_timeout(longest)
        .late_results(longest)
        .lease(longest)
        .refresh_ahead(0.5)
        .build()
        .unwrap();
    let _ = region.after("7").set(&1, 1).await.unwrap();
    assert!(region.get(&1).await.is_some());
    assert_eq!(
        *region
            .get_or_load(&2, async |_| Ok::<_, io::Error>(2))
            .await
            .unwrap(),
        2
    );
    let call = region.call().time_to_live(longest);
    let _ = call.set(&3, 3).await.unwrap();
    assert!(region.get(&3).await.is_some());
}

#[tokio::test(start_paused = true)]
async fn a_load_of_a_key_that_is_too_long_is_a_load_like_others() {
    let cache = Cache::builder("shop").max_concurrent_loads(1);
    let node = Node::of(cache.build().await.unwrap());
    let mut events = node.cache.events();
    let [outer, inner] = ["o", "i"].map(|letter| letter.repeat(2_000));
    let (stock, own, below) = (node.stock.clone(), outer.clone(), inner.clone());
    let load = async move |_| {
        let below = stock.get_or_load(&below, async |_| Ok::<_, io::Error>(1));
        let below = *below.await?;
        let again = stock.get_or_load(&own, async |_| Ok::<_, io::Error>(1));
        let error = again.await.unwrap_err();
        assert!(
            matches!(&error, Error::Recursive { key, .. } if key.ends_with(&own)),
            "{error}"
        );
        Ok::<_, Error>(below + 1)
    };
    assert_eq!(*node.stock.get_or_load(&outer, load).await.unwrap(), 2);

    let (mut held, reader) = node.start_load("tea");
    held.started().await;
    let full = node
        .stock
        .get_or_load(&outer, async |_| Ok::<_, io::Error>(1));
    let error = full.await.unwrap_err();
    assert!(
        matches!(error, Error::Overloaded { limit: 1, .. }),
        "{error}"
    );
    held.finish(3);
    reader.await.unwrap().unwrap();
    let fails = async |_| Err::<u32, _>(io::Error::other("gone"));
    let error = node.stock.get_or_load(&outer, fails).await.unwrap_err();
    assert!(matches!(error, Error::Load { .. }), "{error}");

    let stats = node.stock.stats();
    assert_eq!((stats.loads, stats.load_errors), (4, 1));
    assert_eq!(stats.loads_refused, 1);
    let (mut loaded, mut failed) = (0, 0);
    while let Some(event) = events.try_next() {
        match event {
            Event::Loaded { .. } => loaded += 1,
            Event::LoadFailed { .. } => failed += 1,
            _ => {}
        }
    }
    assert_eq!((loaded, failed), (3, 2));
}

#[tokio::test]
async fn text_that_is_longer_than_any_key_or_tag_invalidates_nothing_and_leaves_no_record() {
    let store = FaultyRemote::new();
    let node = Node::on(&store).await;
    assert_eq!(node.load("tea", 1).await, 1);
    let (cache, before) = (&node.cache, store.calls(Call::Invalidate));
    let long = format!("stock:{}", "x".repeat(1 << 20));
    let escaped = Pattern::glob(&format!("{}*", "\\[".repeat(400))).unwrap();
    for pattern in [Pattern::prefix(&long), escaped] {
        assert_eq!(cache.invalidate_pattern(&pattern).await, Ack::Everywhere);
        let after = cache.after("7").invalidate_pattern(&pattern).await;
        assert_eq!(after, Ack::Everywhere);
    }
    assert_eq!(cache.invalidate_tag(&long).await, Ack::Everywhere);
    assert_eq!(store.calls(Call::Invalidate), before);
    assert_eq!(node.stock.peek("tea").as_deref(), Some(&1));

    let key = &long["stock:".len()..MAX_KEY_BYTES];
    assert_eq!(node.load(key, 2).await, 2);
    let longest = Pattern::prefix(&long[..MAX_KEY_BYTES]);
    assert_eq!(cache.invalidate_pattern(&longest).await, Ack::Everywhere);
    assert_eq!(node.stock.peek(key), None, "the longest key can be named");

    let reader = Cache::builder("shop").read_only().build().await.unwrap();
    let refused = reader.invalidate_pattern(&Pattern::prefix(&long)).await;
    assert_eq!(refused, Ack::ReadOnly);
}
