//! Sizes and formats of values: what is kept, in which form, and what another node can read of it.

use std::io;
use std::time::Duration;

use bilten_cache::test_util::FaultyRemote;
use bilten_cache::{Cache, Error, Region, RegionBuilder};
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::harness::eventually;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Event {
    id: u64,
    title: String,
    #[serde(default)]
    rating: f64,
}

fn event(title_bytes: usize) -> Event {
    let title = "tea and biscuits, ".chars().cycle().take(title_bytes);
    Event {
        id: 42,
        title: title.collect(),
        rating: 4.5,
    }
}

async fn node(store: &FaultyRemote) -> Cache {
    let cache = Cache::builder("shop").remote(store.another_node());
    cache.build().await.unwrap()
}

type Settings = fn(RegionBuilder<u64, Event>) -> RegionBuilder<u64, Event>;

/// The same region of a node of its own.
async fn events(store: &FaultyRemote, settings: Settings) -> Region<u64, Event> {
    let region = node(store).await.region("event");
    settings(region).build().unwrap()
}

fn json(region: RegionBuilder<u64, Event>) -> RegionBuilder<u64, Event> {
    region
}

fn packed(region: RegionBuilder<u64, Event>) -> RegionBuilder<u64, Event> {
    region.message_pack()
}

fn compressed(region: RegionBuilder<u64, Event>) -> RegionBuilder<u64, Event> {
    region.compress_above(1_000)
}

fn small(region: RegionBuilder<u64, Event>) -> RegionBuilder<u64, Event> {
    region.max_value_bytes(10_000)
}

const FORMATS: [Settings; 4] = [json, packed, compressed, |region| {
    region.message_pack().compress_above(1_000)
}];

#[tokio::test]
async fn each_format_comes_back_on_another_node() {
    for settings in FORMATS {
        let store = FaultyRemote::new();
        let (one, two) = (
            events(&store, settings).await,
            events(&store, settings).await,
        );
        for bytes in [0, 999, 100_000] {
            let _ = one.set(&42, event(bytes)).await.unwrap();
            let _ = two.remove(&7).await.unwrap();
            eventually("the other node has seen the write", || {
                two.peek(&42).is_none()
            })
            .await;
            let read = two.get(&42).await;
            assert_eq!(read.as_deref(), Some(&event(bytes)));
        }
        assert_eq!(two.stats().undecodable, 0);
    }
}

/// The program before [`Event`] got its last fields.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Before {
    id: u64,
}

/// The same as [`Event`], but for programs that can do without a title.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct After {
    id: u64,
    #[serde(default)]
    title: String,
}

#[tokio::test]
async fn a_field_that_was_added_is_no_miss_to_the_program_before_nor_after() {
    for packs in [false, true] {
        let store = FaultyRemote::new();
        let (before, after) = (node(&store).await, node(&store).await);
        let (before, after) = (before.region("event"), after.region("event"));
        let (before, after) = match packs {
            true => (before.message_pack(), after.message_pack()),
            false => (before, after),
        };
        let before: Region<u64, Before> = before.build().unwrap();
        let after: Region<u64, After> = after.build().unwrap();
        let _ = before.set(&1, Before { id: 1 }).await.unwrap();
        let title = "tea".to_owned();
        let _ = after.set(&2, After { id: 2, title }).await.unwrap();
        let title = String::new();
        assert_eq!(
            after.get(&1).await.as_deref(),
            Some(&After { id: 1, title })
        );
        assert_eq!(before.get(&2).await.as_deref(), Some(&Before { id: 2 }));
        assert_eq!(
            (before.stats().undecodable, after.stats().undecodable),
            (0, 0)
        );
    }
}

#[tokio::test]
async fn message_pack_is_smaller_than_json_and_zstd_smaller_still() {
    let mut sizes = Vec::new();
    for settings in FORMATS {
        let store = FaultyRemote::new();
        let region = events(&store, settings).await;
        let _ = region.set(&1, event(20_000)).await.unwrap();
        let _ = region.set(&2, event(900)).await.unwrap();
        let size = |key| store.bytes(key).unwrap().len();
        sizes.push((size("event:1"), size("event:2")));
    }
    let [json, packed, compressed, both] = sizes[..] else {
        panic!("four formats")
    };
    assert!(packed.0 < json.0 && packed.1 < json.1, "{sizes:?}");
    assert!(
        compressed.0 < json.0 / 20 && both.0 < packed.0 / 20,
        "{sizes:?}"
    );
    assert_eq!(
        (compressed.1, both.1),
        (json.1, packed.1),
        "below the threshold"
    );
}

#[tokio::test]
async fn bytes_of_another_format_or_schema_are_a_miss_and_never_another_value() {
    let store = FaultyRemote::new();
    let json: Region<str, u8> = node(&store).await.region("n").build().unwrap();
    let packed = node(&store).await.region::<str, u8>("n").message_pack();
    let packed = packed.build().unwrap();
    let newer = node(&store).await.region::<str, u8>("n").schema_version(2);
    let newer = newer.build().unwrap();
    // The JSON `7` is the MessagePack 55, and the MessagePack 55 the JSON `7`.
    for (writer, reader, value) in [
        (&json, &packed, 7),
        (&packed, &json, 55),
        (&json, &newer, 7),
    ] {
        let _ = writer.set("tea", value).await.unwrap();
        eventually("the write is known", || reader.peek("tea").is_none()).await;
        let before = reader.stats().undecodable;
        assert_eq!(reader.get("tea").await, None);
        assert_eq!(reader.stats().undecodable, before + 1);
        let why = reader.explain("tea").await.to_string();
        assert!(why.contains("this region reads"), "{why}");
        let loaded = reader.get_or_load("tea", async |_| Ok::<_, io::Error>(1));
        assert_eq!(*loaded.await.unwrap(), 1);
        let _ = writer.remove("tea").await.unwrap();
        let _ = reader.remove("tea").await.unwrap();
    }
}

#[tokio::test]
async fn a_value_that_is_too_large_is_served_and_kept_by_neither_level() {
    let store = FaultyRemote::new();
    let region = events(&store, small).await;
    for round in 1..=3 {
        let load = async |_| Ok::<_, io::Error>(event(10_001));
        let loaded = region.get_or_load(&42, load).await.unwrap();
        assert_eq!(*loaded, event(10_001));
        assert_eq!(region.peek(&42), None);
        assert_eq!(region.stats().too_large, round);
        assert_eq!(region.stats().loads, round);
    }
    assert_eq!(store.bytes("event:42"), None);
    let _ = region.set(&42, event(9_000)).await.unwrap();
    let error = region.set(&42, event(10_001)).await.unwrap_err();
    assert!(matches!(error, Error::TooLarge { .. }));
    let message = error.to_string();
    assert!(
        message.contains("`event`") && message.contains("10000 bytes of `max_value_bytes`"),
        "{message}"
    );
    assert_eq!(region.get(&42).await, None, "nor is the older value there");
    assert_eq!(store.bytes("event:42"), None);
    // The lease was given back: nobody has to wait for it.
    let load = async |_| Ok::<_, io::Error>(event(1));
    let loaded = tokio::time::timeout(Duration::from_secs(2), region.get_or_load(&42, load));
    assert_eq!(*loaded.await.expect("at once").unwrap(), event(1));
}

#[tokio::test]
async fn a_gigabyte_is_given_up_while_it_is_serialised() {
    /// Writes a gigabyte that it does not have.
    struct Huge;
    impl Serialize for Huge {
        fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            let kilobyte = "x".repeat(1 << 10);
            serializer.collect_seq(std::iter::repeat_n(kilobyte, 1 << 20))
        }
    }
    impl<'de> Deserialize<'de> for Huge {
        fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            serde::de::IgnoredAny::deserialize(deserializer).map(|_| Self)
        }
    }
    let cache = Cache::builder("shop").build().await.unwrap();
    for region in [
        cache.region::<str, Huge>("huge"),
        cache.region::<str, Huge>("huge.packed").message_pack(),
    ] {
        let region = region.max_value_bytes(1 << 20).build().unwrap();
        let mut done = None;
        let peak = allocation_counter::measure(|| {
            done = futures_util::FutureExt::now_or_never(region.set("tea", Huge));
        });
        let error = done
            .expect("without a second level it is done at once")
            .unwrap_err();
        assert!(matches!(error, Error::TooLarge { .. }), "{error}");
        assert!(peak.bytes_max < 4 << 20, "{peak:?}");
    }
}

#[tokio::test]
async fn a_weigher_of_zero_is_a_small_entry_and_one_that_overflows_a_value_that_is_not_kept() {
    let cache = Cache::builder("shop")
        .memory_bytes(100_000)
        .build()
        .await
        .unwrap();
    let nothing = cache
        .region::<u64, u64>("nothing")
        .weigher(|_| 0)
        .build()
        .unwrap();
    for n in 0..10_000 {
        let _ = nothing.set(&n, n).await.unwrap();
    }
    eventually("the budget holds all the same", || {
        cache.status().memory_bytes <= 100_000
    })
    .await;
    let status = cache.status();
    assert!((100..600).contains(&status.memory_entries), "{status:?}");
    let endless = cache.region::<u64, u64>("endless").weigher(|_| usize::MAX);
    let endless = endless.build().unwrap();
    let loaded = endless.get_or_load(&1, async |_| Ok::<_, io::Error>(7));
    assert_eq!(*loaded.await.unwrap(), 7);
    assert_eq!((endless.peek(&1), endless.stats().too_large), (None, 1));
}

/// The same envelope around another payload.
fn repacked(store: &FaultyRemote, key: &str, flags: u8, payload: &[u8]) {
    let envelope = store.bytes(key).unwrap();
    let names = usize::from(envelope[49]) + usize::from(envelope[51]);
    let mut bytes = envelope[..56 + names].to_vec();
    bytes[55] = flags;
    bytes.extend_from_slice(payload);
    let checksum = crc32fast::hash(&bytes[16..]).to_be_bytes();
    bytes[12..16].copy_from_slice(&checksum);
    store.put_bytes(key, Bytes::from(bytes));
}

const COMPRESSED: u8 = 2;

#[tokio::test]
async fn bombs_in_the_second_level_are_misses_and_counted() {
    let zip_bomb = zstd::bulk::compress(&vec![b' '; 64 << 20], 1).unwrap();
    let honest = zstd::bulk::compress(&vec![b' '; 20_000], 1).unwrap();
    let mut liar = honest.clone();
    // The frame's own word about its length: two bytes, less 256.
    assert_eq!(liar[4] >> 6, 1);
    liar[5..7].fill(0);
    let depth_bomb = [b"[".repeat(1_000_000), b"]".repeat(1_000_000)].concat();
    for (what, flags, payload) in [
        ("zip bomb", COMPRESSED, &zip_bomb[..]),
        ("over the limit", COMPRESSED, &honest),
        ("more than it says", COMPRESSED, &liar),
        ("no frame", COMPRESSED, b"{\"id\":42,\"title\":\"\"}"),
        ("JSON depth bomb", 0, &depth_bomb[..9_000]),
        ("large", 0, &b" ".repeat(10_001)),
        ("empty", 0, b""),
    ] {
        let store = FaultyRemote::new();
        let region = events(&store, small).await;
        let _ = region.set(&42, event(9)).await.unwrap();
        repacked(&store, "event:42", flags, payload);
        let reader = events(&store, small).await;
        assert_eq!(reader.get(&42).await, None, "{what}");
        assert_eq!(reader.stats().undecodable, 1, "{what}");
        let loaded = reader.get_or_load(&42, async |_| Ok::<_, io::Error>(event(1)));
        assert_eq!(*loaded.await.unwrap(), event(1), "{what}");
    }
}

#[tokio::test]
async fn a_json_depth_bomb_within_the_limit_is_a_miss_too() {
    /// As deep as the bytes are.
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Deep(Vec<Self>);
    let store = FaultyRemote::new();
    let deep: Region<str, Deep> = node(&store).await.region("deep").build().unwrap();
    let _ = deep.set("tea", Deep(Vec::new())).await.unwrap();
    let depth = 1_000_000;
    repacked(
        &store,
        "deep:tea",
        0,
        &[b"[".repeat(depth), b"]".repeat(depth)].concat(),
    );
    let reader: Region<str, Deep> = node(&store).await.region("deep").build().unwrap();
    assert_eq!(reader.get("tea").await, None);
    assert_eq!(reader.stats().undecodable, 1);
}

#[tokio::test]
async fn a_setting_of_size_that_makes_no_sense_is_named() {
    let cache = Cache::builder("shop").build().await.unwrap();
    let named = |region: RegionBuilder<str, u8>, field: &str| {
        let error = region.build().unwrap_err().to_string();
        assert!(error.starts_with(field), "{error}");
    };
    named(
        cache.region("a").max_value_bytes(0),
        "max_value_bytes: it is zero",
    );
    named(
        cache.region("b").compress_above(16 << 20),
        "compress_above: ",
    );
    named(
        cache.memory_region("c").compress_above(100),
        "compress_above: ",
    );
    cache.region::<str, u8>("d").build().unwrap();
    named(
        cache.region("d").message_pack(),
        "region name: `d` exists already",
    );
}
