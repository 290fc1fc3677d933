//! Values that do not survive the way through Redis, and types whose code panics.

use std::io;

use bilten_cache::test_util::FaultyRemote;
use bilten_cache::{Cache, Error, Region, RegionBuilder};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::harness::{Node, eventually};
use crate::logged;

/// A number whose codec panics at 13, on the way in, and at 14, on the way out.
#[derive(Debug, PartialEq)]
struct Touchy(u32);

impl Serialize for Touchy {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        assert_ne!(self.0, 13, "thirteen");
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Touchy {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = u32::deserialize(deserializer)?;
        assert_ne!(number, 14, "fourteen");
        Ok(Self(number))
    }
}

async fn cache(store: &FaultyRemote) -> Cache {
    let cache = Cache::builder("shop").remote(store.another_node());
    cache.build().await.unwrap()
}

type Format = fn(RegionBuilder<str, Touchy>) -> RegionBuilder<str, Touchy>;

/// What holds for one format holds for all.
const FORMATS: [Format; 2] = [|json| json, RegionBuilder::message_pack];

fn touchy(cache: &Cache, format: Format) -> Region<str, Touchy> {
    format(cache.region("touchy")).build().unwrap()
}

#[tokio::test]
async fn a_serialize_that_panics_is_an_error_that_names_region_and_type() {
    for format in FORMATS {
        a_serialize_that_panics(format).await;
    }
}

async fn a_serialize_that_panics(format: Format) {
    let store = FaultyRemote::new();
    let region = touchy(&cache(&store).await, format);
    let _ = region.set("tea", Touchy(1)).await.unwrap();
    let error = region.set("tea", Touchy(13)).await.unwrap_err();
    assert!(matches!(error, Error::Encode { .. }));
    let message = error.to_string();
    assert!(
        message.contains("`touchy`") && message.contains("Touchy"),
        "{message}"
    );
    let source = std::error::Error::source(&error).unwrap().to_string();
    assert!(
        source.contains("panicked") && source.contains("thirteen"),
        "{source}"
    );
    assert_eq!(
        region.get("tea").await,
        None,
        "nor is the older value there"
    );
    assert_eq!(store.bytes("touchy:tea"), None);
    let loaded = region
        .get_or_load("jam", async |_| Ok::<_, io::Error>(Touchy(13)))
        .await;
    assert_eq!(
        *loaded.unwrap(),
        Touchy(13),
        "a load is served all the same"
    );
    eventually("it is counted", || region.stats().unencodable == 2).await;
    assert_eq!(store.bytes("touchy:jam"), None);
    assert_eq!(region.peek("jam").as_deref(), Some(&Touchy(13)));
}

#[tokio::test]
async fn a_deserialize_that_panics_is_a_miss_and_the_load_goes_on() {
    for format in FORMATS {
        a_deserialize_that_panics(format).await;
    }
}

async fn a_deserialize_that_panics(format: Format) {
    let store = FaultyRemote::new();
    let [one, two] = [cache(&store).await, cache(&store).await].map(|node| touchy(&node, format));
    // The first one is read back before it is stored.
    let error = one.set("tea", Touchy(14)).await.unwrap_err();
    let source = std::error::Error::source(&error).unwrap().to_string();
    assert!(
        source.contains("read back") && source.contains("fourteen"),
        "{source}"
    );
    let _ = one.set("tea", Touchy(1)).await.unwrap();
    let _ = one.set("tea", Touchy(14)).await.unwrap();
    assert_eq!(two.get("tea").await, None);
    assert_eq!(two.stats().undecodable, 1);
    let loaded = two
        .get_or_load("tea", async |_| Ok::<_, io::Error>(Touchy(2)))
        .await;
    assert_eq!(*loaded.unwrap(), Touchy(2));
    assert!(two.stats().undecodable >= 2);
}

/// Written as a number with 128 bits, which serde does not read within a tagged enum.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind")]
enum Wide {
    Sum { cents: u128 },
}

#[tokio::test]
async fn a_type_that_cannot_be_read_back_is_an_error_of_its_first_value_and_told_once_by_who_reads()
{
    logged::listen();
    let store = FaultyRemote::new();
    let name = format!("wide-{}", std::process::id());
    let cache = Cache::builder(&name).remote(store.another_node());
    let cache = cache.build().await.unwrap();
    for packed in [false, true] {
        let sums = cache.region::<str, Wide>(if packed { "packed" } else { "json" });
        let sums = if packed { sums.message_pack() } else { sums };
        let sums = sums.build().unwrap();
        for _ in 0..2 {
            let error = sums.set("tea", Wide::Sum { cents: 1 }).await.unwrap_err();
            let source = std::error::Error::source(&error).unwrap().to_string();
            assert!(source.contains("read back"), "{source}");
        }
        let load = async |_| Ok::<_, io::Error>(Wide::Sum { cents: 2 });
        assert_eq!(
            *sums.get_or_load("jam", load).await.unwrap(),
            Wide::Sum { cents: 2 }
        );
        eventually("it is counted", || sums.stats().unencodable == 3).await;
    }
    // Of a type that was changed since.
    let text = cache.region::<str, String>("price").build().unwrap();
    let _ = text.set("tea", "three".to_owned()).await.unwrap();
    let other = Cache::builder(&name).remote(store.another_node());
    let other = other.build().await.unwrap();
    let number = other.region::<str, u32>("price").build().unwrap();
    assert_eq!(
        (number.get("tea").await, number.get("tea").await),
        (None, None)
    );
    let told = logged::lines("WARN", &name);
    let told: Vec<_> = told
        .iter()
        .filter(|line| line.contains("an entry of the second level"))
        .collect();
    assert!(
        told.len() == 1 && told[0].contains("schema_version"),
        "{told:?}"
    );
}

/// An error of a loader whose conversion panics.
struct Bomb;

impl From<Bomb> for Box<dyn std::error::Error + Send + Sync> {
    fn from(_: Bomb) -> Self {
        panic!("bomb")
    }
}

#[tokio::test]
async fn an_error_whose_conversion_panics_is_a_load_that_panicked_also_of_many() {
    let node = Node::alone().await;
    let one = node.stock.get_or_load("tea", async |_| Err::<u32, _>(Bomb));
    let many = node.stock.get_or_load_many(["tea", "jam"], async |_| {
        Err::<Vec<(&'static str, u32)>, _>(Bomb)
    });
    for error in [one.await.unwrap_err(), many.await.unwrap_err()] {
        assert!(matches!(error, Error::LoadPanicked { .. }), "{error}");
        assert!(error.to_string().contains("bomb"));
    }
}

#[tokio::test]
async fn a_conversion_or_weigher_that_panics_ends_no_load_unheard() {
    let node = Node::alone().await;
    struct Odd;
    impl From<Odd> for bilten_cache::Loaded<u32> {
        fn from(_: Odd) -> Self {
            panic!("odd")
        }
    }
    let odd = async |_| Ok::<_, io::Error>(Odd);
    let error = node.stock.get_or_load("tea", odd).await.unwrap_err();
    assert!(matches!(error, Error::LoadPanicked { .. }), "{error}");
    let heavy = node.cache.region::<str, u32>("heavy");
    let heavy = heavy.weigher(|_| panic!("too heavy")).build().unwrap();
    let loaded = heavy.get_or_load("tea", async |_| Ok::<_, io::Error>(1));
    assert_eq!(*loaded.await.unwrap(), 1);
}

#[tokio::test]
async fn a_float_that_json_cannot_hold_is_held_by_message_pack() {
    let store = FaultyRemote::new();
    let prices = |node: &Cache| {
        let prices = node.region::<str, Option<f64>>("price").message_pack();
        prices.build().unwrap()
    };
    let one = prices(&cache(&store).await);
    let _ = one.set("tea", Some(f64::NAN)).await.unwrap();
    let two = prices(&cache(&store).await);
    let read = two.get("tea").await.expect("it is there");
    assert!(read.is_some_and(f64::is_nan));
}

#[tokio::test]
async fn a_some_that_would_come_back_as_none_is_an_error_and_never_says_that_nothing_is_there() {
    type Unit = RegionBuilder<str, Option<()>>;
    let formats: [fn(Unit) -> Unit; 2] = [|json| json, RegionBuilder::message_pack];
    for format in formats {
        let store = FaultyRemote::new();
        let [one, two] = [cache(&store).await, cache(&store).await]
            .map(|node| format(node.region("flag")).build().unwrap());
        let error = one.set("tea", Some(())).await.unwrap_err();
        assert!(matches!(error, Error::Encode { .. }), "{error}");
        let source = std::error::Error::source(&error).unwrap().to_string();
        assert!(source.contains("come back as `None`"), "{source}");
        let load = async |_| Ok::<_, io::Error>(Some(()));
        assert_eq!(*one.get_or_load("jam", load).await.unwrap(), Some(()));
        eventually("it is counted", || one.stats().unencodable == 2).await;
        assert_eq!((two.get("tea").await, two.get("jam").await), (None, None));
        let _ = one.set("tea", None).await.unwrap();
        assert_eq!(two.get("tea").await.as_deref(), Some(&None));
    }
}

#[tokio::test]
async fn a_float_that_json_cannot_hold_is_an_error_and_is_never_stored() {
    let store = FaultyRemote::new();
    let prices: Region<str, Option<f64>> = cache(&store).await.region("price").build().unwrap();
    for number in [f64::NAN, f64::INFINITY] {
        let error = prices.set("tea", Some(number)).await.unwrap_err();
        let source = std::error::Error::source(&error).unwrap().to_string();
        assert!(source.contains("NaN"), "{source}");
        let loaded = prices.get_or_load("jam", async move |_| Ok::<_, io::Error>(Some(number)));
        assert!(loaded.await.unwrap().is_some_and(|n| !n.is_finite()));
        let _ = prices.remove("jam").await.unwrap();
    }
    eventually("it is counted", || prices.stats().unencodable == 4).await;
    assert_eq!(
        (store.bytes("price:tea"), store.bytes("price:jam")),
        (None, None)
    );
    let _ = prices.set("tea", None).await.unwrap();
    assert!(
        store.bytes("price:tea").is_some(),
        "a null that is meant is stored"
    );
}
