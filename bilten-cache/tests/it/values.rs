//! Values, keys and bytes of every kind.

use std::io;
use std::time::Duration;

use bilten_cache::test_util::{Call, FaultyRemote, ManualClock};
use bilten_cache::{Ack, Cache, Error, Key, Loaded, Pattern};
use serde::{Deserialize, Serialize};

use crate::harness::{Node, eventually};
use crate::logged;

/// A value that serialises only when it is even.
#[derive(Debug, Clone, PartialEq, Deserialize)]
struct Picky(u32);

impl Serialize for Picky {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.0.is_multiple_of(2) {
            serializer.serialize_u32(self.0)
        } else {
            Err(serde::ser::Error::custom("odd"))
        }
    }
}

#[tokio::test]
async fn a_value_that_does_not_serialise_still_reaches_who_loaded_it() {
    let store = FaultyRemote::new();
    let node = Node::on(&store).await;
    let region = node.cache.region::<i64, Picky>("picky").build().unwrap();
    assert_eq!(
        *region
            .get_or_load(&1, async |_| Ok::<_, io::Error>(Picky(1)))
            .await
            .unwrap(),
        Picky(1)
    );
    assert_eq!(
        region.peek(&1).as_deref(),
        Some(&Picky(1)),
        "memory does not mind"
    );
    eventually("the lease was given back", || {
        store.calls(Call::Release) == 1
    })
    .await;
    assert_eq!(
        (store.bytes("picky:1"), region.stats().unencodable),
        (None, 1)
    );
}

#[tokio::test]
async fn setting_a_value_that_does_not_serialise_names_it_and_removes_the_old_one() {
    let node = Node::on(&FaultyRemote::new()).await;
    let region = node.cache.region::<i64, Picky>("picky").build().unwrap();
    let _ = region.set(&1, Picky(2)).await.unwrap();
    let error = region.set(&1, Picky(3)).await.unwrap_err();
    let message = error.to_string();
    assert!(
        message.contains("`picky`") && message.contains("i64") && message.contains("Picky"),
        "{message}"
    );
    assert_eq!(region.get(&1).await, None);
    let written = region
        .write_through(&1, async { Ok::<_, io::Error>(Picky(5)) })
        .await
        .unwrap();
    assert_eq!(
        *written,
        Picky(5),
        "the source has it, so its writer gets it"
    );
    assert_eq!(region.get(&1).await, None);
}

#[tokio::test]
async fn keys_with_special_characters_are_only_themselves() {
    let store = FaultyRemote::new();
    let node = Node::on(&store).await;
    let long = "x".repeat(900);
    let keys = [
        "*", "t*", "{t}", "t\n", "", "t:u", "%2A", "ü 🫖", "[a]", "t\0", "\\", &long,
    ];
    for (n, key) in (0_u32..).zip(keys) {
        let _ = node.stock.set(key, n).await.unwrap();
    }
    let _ = node.stock.set("tea", 99).await.unwrap();
    let fresh = Node::on(&store).await;
    for (n, key) in (0_u32..).zip(keys) {
        assert_eq!(fresh.stock.get(key).await.as_deref(), Some(&n), "{key:?}");
    }
    let _ = fresh.stock.remove("*").await.unwrap();
    let _ = fresh
        .cache
        .invalidate_pattern(&Pattern::prefix("stock:t*"))
        .await;
    assert_eq!(fresh.stock.get("tea").await.as_deref(), Some(&99));
    assert_eq!(fresh.stock.get("*").await, None);
    assert_eq!(fresh.stock.get("t*").await, None);
}

#[tokio::test]
async fn a_key_of_100_kilobytes_is_loaded_each_time_and_cannot_be_set() {
    let store = FaultyRemote::new();
    let node = Node::on(&store).await;
    let key = "x".repeat(100_000);
    assert_eq!((node.load(&key, 1).await, node.load(&key, 2).await), (1, 2));
    assert_eq!(node.stock.get(&key).await, None);
    for result in [node.stock.set(&key, 3).await, node.stock.remove(&key).await] {
        let error = result.unwrap_err();
        assert!(matches!(
            error,
            Error::KeyTooLong {
                bytes: 100_006,
                limit: 1024,
                ..
            }
        ));
        assert!(
            error.to_string().len() < 300,
            "the key itself is not in the message"
        );
    }
    let write = async { panic!("must not be polled") };
    let refused = node
        .stock
        .write_through(&key, async {
            write.await;
            Ok::<u32, io::Error>(1)
        })
        .await;
    assert!(matches!(refused, Err(Error::KeyTooLong { .. })));
    assert_eq!(
        (store.calls(Call::Read), node.stock.stats().keys_refused),
        (0, 6)
    );
}

#[tokio::test]
async fn any_bytes_in_l2_are_at_worst_a_miss() {
    let store = FaultyRemote::new();
    let node = Node::on(&store).await;
    let _ = node.stock.set("good", 1).await.unwrap();
    let good = store.bytes("stock:good").unwrap();
    let mut future = good.to_vec();
    future[3] = b'2';
    let cases: [(&str, Vec<u8>); 6] = [
        ("empty", Vec::new()),
        ("text", b"hello".to_vec()),
        ("json", b"1".to_vec()),
        ("another key's", good.to_vec()),
        ("cut short", good[..good.len() - 1].to_vec()),
        ("of a future version", future),
    ];
    for (n, (what, bytes)) in (0_u32..).zip(cases) {
        store.put_bytes(&format!("stock:{what}").replace(' ', "%20"), bytes);
        assert_eq!(node.stock.get(what).await, None, "{what}");
        assert_eq!(node.load(what, n).await, n, "{what}");
        let encoded = format!("stock:{what}").replace(' ', "%20");
        let fresh = Node::on(&store).await;
        eventually("it was overwritten", || {
            store.bytes(&encoded).unwrap().starts_with(b"BLT1")
        })
        .await;
        assert_eq!(fresh.load(what, 100).await, n, "{what}");
    }
    assert_eq!(node.stock.stats().undecodable, 12);
}

#[tokio::test]
async fn an_entry_of_another_schema_version_or_type_is_a_miss() {
    let store = FaultyRemote::new();
    let (one, two) = (Node::on(&store).await, Node::on(&store).await);
    let region = one.cache.region::<i64, u32>("versioned").build().unwrap();
    let _ = region.set(&1, 7).await.unwrap();
    let newer = two
        .cache
        .region::<i64, u32>("versioned")
        .schema_version(1)
        .build()
        .unwrap();
    assert_eq!(newer.get(&1).await, None);
    let three = Node::on(&store).await;
    let other_type = three
        .cache
        .region::<i64, String>("versioned")
        .build()
        .unwrap();
    assert_eq!(other_type.get(&1).await, None);
    assert_eq!(
        (newer.stats().undecodable, other_type.stats().undecodable),
        (1, 1)
    );
}

/// Serde's words show the value, and a value may be somebody's session.
#[tokio::test]
async fn what_cannot_be_read_is_told_without_the_value() {
    logged::listen();
    let store = FaultyRemote::new();
    let (one, two) = (Node::on(&store).await, Node::on(&store).await);
    let texts = one.cache.region::<i64, String>("sessions").build().unwrap();
    let token = "eyJhbGciOi".repeat(100);
    let _ = texts.set(&1, token).await.unwrap();
    let numbers = two.cache.region::<i64, u32>("sessions").build().unwrap();
    assert_eq!(numbers.get(&1).await, None);
    let told = logged::lines("WARN", two.cache.name());
    let about = |line: &&String| line.contains("region=sessions");
    let line = told.iter().find(about).expect("it is told");
    assert!(
        line.contains("invalid type: string .., expected u32"),
        "{line}"
    );
    assert!(!line.contains("eyJ"), "{line}");
}

#[tokio::test]
async fn one_name_is_one_region() {
    let node = Node::alone().await;
    let again = node.cache.region::<str, u32>("stock").build().unwrap();
    let _ = node.stock.set("tea", 1).await.unwrap();
    assert_eq!(again.peek("tea").as_deref(), Some(&1));
    let ttl = Duration::from_secs(1);
    for error in [
        node.cache
            .region::<str, String>("stock")
            .build()
            .unwrap_err(),
        node.cache.region::<i64, u32>("stock").build().unwrap_err(),
        node.cache
            .region::<str, u32>("stock")
            .time_to_live(ttl)
            .build()
            .unwrap_err(),
        node.cache
            .memory_region::<str, u32>("stock")
            .build()
            .unwrap_err(),
        node.cache
            .region::<str, u32>("stock:list")
            .build()
            .unwrap_err(),
    ] {
        assert!(
            error.to_string().starts_with("region name: `stock"),
            "{error}"
        );
    }
}

#[tokio::test]
async fn a_zero_duration_names_its_field() {
    let node = Node::alone().await;
    let region = || node.cache.region::<str, u32>("zero");
    for (field, built) in [
        (
            "time_to_live",
            region().time_to_live(Duration::ZERO).build(),
        ),
        (
            "memory_time_to_live",
            region().memory_time_to_live(Duration::ZERO).build(),
        ),
        (
            "load_timeout",
            region().load_timeout(Duration::ZERO).build(),
        ),
        ("lease", region().lease(Duration::ZERO).build()),
    ] {
        assert!(
            built
                .unwrap_err()
                .to_string()
                .starts_with(&format!("{field}: it is zero; "))
        );
    }
    for (field, built) in [
        (
            "remote_budget",
            Cache::builder("shop")
                .remote_budget(Duration::ZERO)
                .build()
                .await,
        ),
        (
            "isolated_ttl",
            Cache::builder("shop")
                .isolated_ttl(Duration::ZERO)
                .build()
                .await,
        ),
        (
            "remote_concurrency",
            Cache::builder("shop").remote_concurrency(0).build().await,
        ),
        ("cache name", Cache::builder("my shop").build().await),
    ] {
        let error = built.unwrap_err();
        assert!(
            matches!(&error, Error::Config { field: named, .. } if named == field),
            "{error}"
        );
    }
}

#[tokio::test]
async fn an_entry_lives_as_long_as_it_was_told() {
    let clock = ManualClock::new();
    let cache = Cache::builder("shop").clock(&clock).build().await.unwrap();
    let minute = Duration::from_secs(60);
    let region = cache
        .region::<str, u32>("aging")
        .time_to_live(minute)
        .jitter(minute)
        .build()
        .unwrap();
    let _ = region.set("default", 1).await.unwrap();
    let _ = region
        .set("short", Loaded::new(1).time_to_live(Duration::from_secs(1)))
        .await
        .unwrap();
    let _ = region
        .set("for ever", Loaded::new(1).time_to_live(Duration::MAX))
        .await
        .unwrap();
    let there = |key| region.peek(key).is_some();
    clock.advance(Duration::from_secs(59));
    assert!(there("default") && there("for ever"));
    clock.advance(Duration::from_secs(61));
    assert!(
        !there("default") && !there("short"),
        "jitter adds at most as much as it says"
    );
    clock.advance(Duration::from_secs(86_400 * 365));
    assert!(there("for ever"));
}

#[tokio::test]
async fn entries_stored_together_do_not_run_out_together() {
    const KEYS: usize = 300;
    let second = Duration::from_secs(1);
    let clock = ManualClock::new();
    let store = FaultyRemote::new().with_clock(&clock);
    let node = async || {
        let cache = Cache::builder("shop").remote(store.another_node());
        let cache = cache.clock(&clock).isolated_ttl(second * 86_400);
        let region = cache.build().await.unwrap().region::<usize, usize>("aging");
        region
            .time_to_live(second * 60)
            .jitter(second * 60)
            .build()
            .unwrap()
    };
    let nodes = [node().await, node().await];
    let values = (0..KEYS).map(|key| (key, key));
    assert_eq!(nodes[0].set_many(values).await.unwrap(), Ack::Everywhere);
    let keys: Vec<usize> = (0..KEYS).collect();
    for node in &nodes {
        // Also who has written them: a key whose place among the tickets another one shared is in the second level alone.
        let found = node.get_many(&keys).await;
        assert!(found.iter().all(Option::is_some));
    }
    let there = |node: usize| -> Vec<bool> {
        keys.iter()
            .map(|key| nodes[node].peek(key).is_some())
            .collect()
    };
    let count = |there: &[bool]| there.iter().filter(|is_there| **is_there).count();
    // A little before its end: the second level counts in whole milliseconds.
    clock.advance(second * 60 - Duration::from_millis(5));
    assert_eq!((count(&there(0)), count(&there(1))), (KEYS, KEYS));
    let mut ends = [vec![0; KEYS], vec![0; KEYS]];
    for at in 61..=121 {
        clock.advance(second);
        for (node, ends) in ends.iter_mut().enumerate() {
            for (end, is_there) in ends.iter_mut().zip(there(node)) {
                *end = if is_there { at } else { *end };
            }
        }
        if at == 90 {
            // Half of them, give or take ten times what chance may do.
            let left = count(&there(0));
            assert!((60..=240).contains(&left), "{left} of {KEYS}");
        }
    }
    assert_eq!((count(&there(0)), count(&there(1))), (0, 0));
    // What was drawn when it was stored is its end everywhere.
    let alike = ends[0]
        .iter()
        .zip(&ends[1])
        .all(|(one, two): (&i32, &i32)| (one - two).abs() <= 1);
    assert!(alike, "{ends:?}");
}

#[tokio::test]
async fn memory_never_outlives_l2() {
    let store = FaultyRemote::new();
    let writer = Node::on(&store).await;
    let _ = writer
        .stock
        .set("tea", Loaded::new(1).time_to_live(Duration::from_secs(10)))
        .await
        .unwrap();
    let clock = ManualClock::new();
    let reader = Node::of(
        Cache::builder("shop")
            .remote(store.another_node())
            .clock(&clock)
            .isolated_ttl(Duration::from_secs(60))
            .build()
            .await
            .unwrap(),
    );
    assert_eq!(reader.stock.get("tea").await.as_deref(), Some(&1));
    clock.advance(Duration::from_secs(10));
    assert_eq!(
        reader.stock.peek("tea"),
        None,
        "not the five minutes of the reader's own default"
    );
}

#[tokio::test]
async fn uncached_values_are_kept_nowhere() {
    let store = FaultyRemote::new();
    let node = Node::on(&store).await;
    let load = async |_| Ok::<_, io::Error>(Loaded::new(1).uncached());
    assert_eq!(*node.stock.get_or_load("tea", load).await.unwrap(), 1);
    eventually("the lease was given back", || {
        store.calls(Call::Release) == 1
    })
    .await;
    assert_eq!(
        (node.stock.peek("tea"), store.calls(Call::Store)),
        (None, 0)
    );
    let _ = node.stock.set("tea", 1).await.unwrap();
    assert_eq!(
        node.stock
            .set("tea", Loaded::new(2).uncached())
            .await
            .unwrap(),
        Ack::Everywhere
    );
    assert_eq!(node.stock.get("tea").await, None);
}

#[tokio::test]
async fn keys_of_ones_own_work() {
    struct Seat(char, u16);
    impl Key for Seat {
        fn write(&self, out: &mut bilten_cache::key::KeyWriter<'_>) {
            out.part(&self.0);
            out.part(&self.1);
        }
    }
    let node = Node::alone().await;
    let seats = node.cache.region::<Seat, bool>("seat").build().unwrap();
    let _ = seats.set(&Seat('C', 7), true).await.unwrap();
    assert_eq!(seats.peek(&Seat('C', 7)).as_deref(), Some(&true));
    let _ = node
        .cache
        .invalidate_pattern(&Pattern::glob("seat:C:*").unwrap())
        .await;
    assert_eq!(seats.peek(&Seat('C', 7)), None);
}

#[tokio::test]
async fn the_longest_budget_there_is_overflows_nothing() {
    let redis = bilten_testbed::shared::redis().unwrap();
    let cache = Cache::builder("longest")
        .redis(redis)
        .remote_budget(Duration::MAX)
        .build()
        .await
        .unwrap();
    let region = cache.region::<i64, i64>("number").build().unwrap();
    assert_eq!(region.set(&1, 7).await.unwrap(), Ack::Everywhere);
    assert_eq!(region.get(&1).await.as_deref(), Some(&7));
}
