//! What a recorder of metrics is told: each operation once, and what `stats()` says.

use std::collections::HashMap;
use std::io;

use bilten_cache::test_util::{FaultyRemote, ManualClock};
use bilten_cache::{Ack, Cache, Error, Loaded, Region, Stats};
use metrics_util::debugging::{DebugValue, DebuggingRecorder, Snapshotter};

use crate::harness::{Node, eventually, held};
use crate::staleness::{SECOND, TTL};

/// What a recorder was told so far: a counter's name, with its level or reason behind a slash.
struct Told {
    snapshotter: Snapshotter,
    counts: HashMap<String, u64>,
    samples: usize,
}

impl Told {
    fn by(recorder: &DebuggingRecorder) -> Self {
        Self {
            snapshotter: recorder.snapshotter(),
            counts: HashMap::new(),
            samples: 0,
        }
    }

    /// A look takes what was counted since the last one.
    fn look(&mut self) -> &HashMap<String, u64> {
        for (key, _, _, value) in self.snapshotter.snapshot().into_vec() {
            let label = |label: &&metrics::Label| ["level", "reason"].contains(&label.key());
            let which = key.key().labels().find(label);
            let which = which.map_or(String::new(), |label| format!("/{}", label.value()));
            let name = key.key().name().trim_start_matches("bilten_cache_");
            match value {
                DebugValue::Counter(n) => {
                    *self.counts.entry(format!("{name}{which}")).or_default() += n
                }
                DebugValue::Histogram(samples) => self.samples += samples.len(),
                DebugValue::Gauge(_) => {}
            }
        }
        self.counts.retain(|_, count| *count > 0);
        &self.counts
    }
}

/// The same as the statistics have it.
fn counted(stats: &Stats) -> HashMap<String, u64> {
    let all = [
        ("hits_total/memory", stats.hits_memory),
        ("hits_total/remote", stats.hits_remote),
        ("misses_total", stats.misses),
        ("stale_total", stats.stale),
        ("coalesced_total", stats.coalesced),
        ("cancelled_total", stats.cancelled),
        ("loads_total", stats.loads),
        ("load_errors_total", stats.load_errors),
        ("undecodable_total", stats.undecodable),
        ("outrun_total", stats.outrun),
        ("refused_total/unencodable", stats.unencodable),
        ("refused_total/too_large", stats.too_large),
        ("refused_total/tags", stats.tags_refused),
        ("refused_total/ticket", stats.fills_refused),
        ("refused_total/lease", stats.stores_refused),
        ("refused_total/no_turn", stats.stores_left_out),
        ("refused_total/key_too_long", stats.keys_refused),
        ("refused_total/overloaded", stats.loads_refused),
        ("remote_failures_total", stats.remote_failures),
        ("breaker_opened_total", stats.breaker_opened),
        ("invalidations_total", stats.invalidations),
        ("deferred_total", stats.deferred),
        ("flushes_total", stats.flushes),
        ("evictions_total", stats.evictions),
        ("log_records_total", stats.log_records),
        ("log_gaps_total", stats.log_gaps),
        ("log_unreadable_total", stats.log_unreadable),
    ];
    let named = all.into_iter().map(|(name, n)| (name.to_owned(), n));
    named.filter(|(_, n)| *n > 0).collect()
}

struct Shop {
    store: FaultyRemote,
    clock: ManualClock,
    cache: Cache,
    stock: Region<str, u32>,
    told: Told,
}

impl Shop {
    async fn open() -> Self {
        let clock = ManualClock::new();
        let store = FaultyRemote::new().with_clock(&clock);
        let recorder = DebuggingRecorder::new();
        let told = Told::by(&recorder);
        let _recorder = metrics::set_default_local_recorder(&recorder);
        let cache = Cache::builder("shop")
            .remote(store.another_node())
            .clock(&clock)
            .isolated_ttl(TTL * 100)
            .max_concurrent_loads(1)
            .build()
            .await
            .unwrap();
        let stock = cache.region::<str, u32>("stock").time_to_live(TTL);
        let stock = stock.stale_if_error(TTL).build().unwrap();
        Self {
            store,
            clock,
            cache,
            stock,
            told,
        }
    }

    async fn load(&self, key: &str) -> Result<u32, Error> {
        let load = async |_| Ok::<_, io::Error>(1);
        self.stock.get_or_load(key, load).await.map(|value| *value)
    }

    async fn fail(&self, key: &str) -> Option<u32> {
        let load = async |_| Err::<u32, _>(io::Error::other("away"));
        let found = self.stock.get_or_load(key, load).await;
        found.ok().map(|value| *value)
    }

    /// What was told since the shop opened, which is what `stats()` says too, and these counts of it.
    fn tells(&mut self, due: &[(&str, u64)]) {
        let told = self.told.look().clone();
        assert_eq!(told, counted(&self.cache.stats()));
        for (name, n) in due {
            assert_eq!(
                told.get(*name).copied().unwrap_or(0),
                *n,
                "{name}: {told:?}"
            );
        }
        let loads = told.get("loads_total").copied().unwrap_or(0);
        assert_eq!(self.told.samples as u64, loads, "each load has its time");
    }
}

#[tokio::test]
async fn a_recorder_is_told_of_each_read_and_load_once() {
    let mut shop = Shop::open().await;
    let other = Node::on(&shop.store).await;
    let _ = other.stock.set("far", 1).await.unwrap();
    assert_eq!(shop.stock.get("tea").await, None); // miss
    shop.load("tea").await.unwrap(); // miss, load
    shop.load("tea").await.unwrap(); // memory
    assert!(shop.stock.get("far").await.is_some()); // remote
    shop.stock.get_many(&["tea", "far", "rice"]).await; // memory, memory, miss
    let (loader, mut held) = held();
    let stock = shop.stock.clone();
    let first = tokio::spawn(async move { stock.get_or_load("milk", move |_| loader.run()).await }); // miss, load
    held.started().await;
    let stock = shop.stock.clone();
    let second = async move {
        stock
            .get_or_load("milk", async |_| Ok::<_, io::Error>(2))
            .await
    };
    let second = tokio::spawn(second); // miss, coalesced
    eventually("it waits", || shop.stock.stats().coalesced == 1).await;
    held.finish(7);
    assert_eq!(
        (
            *first.await.unwrap().unwrap(),
            *second.await.unwrap().unwrap()
        ),
        (7, 7)
    );
    assert_eq!(shop.fail("bread").await, None); // miss, load, error
    shop.clock.advance(TTL);
    assert_eq!(shop.fail("tea").await, Some(1)); // memory, stale, load, error
    drop(Box::pin(
        shop.stock.get_or_load("x", async |_| Ok::<_, io::Error>(1)),
    )); // never asked
    shop.tells(&[
        ("hits_total/memory", 4),
        ("hits_total/remote", 1),
        ("misses_total", 6),
        ("stale_total", 1),
        ("coalesced_total", 1),
        ("loads_total", 4),
        ("load_errors_total", 2),
        ("invalidations_total", 0),
        ("remote_failures_total", 0),
    ]);
}

#[tokio::test(start_paused = true)]
async fn a_recorder_is_told_of_everything_that_is_refused_with_its_reason() {
    let mut shop = Shop::open().await;
    let (loader, mut held_load) = held();
    let stock = shop.stock.clone();
    let load = tokio::spawn(async move { stock.get_or_load("tea", move |_| loader.run()).await });
    held_load.started().await;
    let _ = shop.stock.remove("tea").await.unwrap();
    held_load.finish(1);
    load.await.unwrap().unwrap();
    eventually("the store was refused", || {
        shop.stock.stats().stores_refused == 1
    })
    .await;
    shop.store.put_bytes("stock:odd", "of another program");
    assert_eq!(shop.stock.get("odd").await, None);
    let _ = shop.stock.set("gone", 1).await.unwrap();
    let gone = shop.store.bytes("stock:gone").unwrap();
    let _ = shop.stock.remove("gone").await.unwrap();
    eventually("its records came back", || {
        shop.cache.status().log_position == shop.store.log_position()
    })
    .await;
    shop.store.put_bytes("stock:gone", gone);
    assert_eq!(shop.stock.get("gone").await, None, "a fail-over's");
    assert_eq!(shop.load(&"x".repeat(2_000)).await.unwrap(), 1);
    let tags = (0..65).map(|n| n.to_string());
    let tagged = async move |_| Ok::<_, io::Error>(Loaded::new(1).tags(tags));
    shop.stock.get_or_load("tagged", tagged).await.unwrap();
    let recorder = DebuggingRecorder::new();
    let mut more = Told::by(&recorder);
    let (floats, texts, slow) = metrics::with_local_recorder(&recorder, || {
        let floats = shop.cache.region::<str, f64>("float").build().unwrap();
        let texts = shop
            .cache
            .region::<str, String>("text")
            .max_value_bytes(100);
        let slow = shop
            .cache
            .region::<str, u32>("slow")
            .load_timeout(SECOND * 3_600);
        (floats, texts.build().unwrap(), slow.build().unwrap())
    });
    let nan = async |_| Ok::<_, io::Error>(f64::NAN);
    floats.get_or_load("nan", nan).await.unwrap();
    let long = async |_| Ok::<_, io::Error>("x".repeat(1_000));
    texts.get_or_load("long", long).await.unwrap();
    let (loader, mut held_load) = held();
    let reader = tokio::spawn(async move { slow.get_or_load("tea", move |_| loader.run()).await });
    held_load.started().await;
    let error = shop.load("bread").await.unwrap_err();
    assert!(matches!(error, Error::Overloaded { .. }), "{error}");
    held_load.finish(1);
    reader.await.unwrap().unwrap();
    let due = [
        ("refused_total/ticket", 1),
        ("refused_total/lease", 1),
        ("undecodable_total", 1),
        ("outrun_total", 1),
        ("refused_total/key_too_long", 1),
        ("refused_total/tags", 1),
        ("refused_total/unencodable", 1),
        ("refused_total/too_large", 1),
        ("refused_total/overloaded", 1),
        ("invalidations_total", 2),
        ("misses_total", 9),
        ("loads_total", 6),
        ("load_errors_total", 0),
    ];
    // Those of the regions that came later went to the recorder that was there then.
    for (name, n) in more.look() {
        *shop.told.counts.entry(name.clone()).or_default() += n;
    }
    shop.told.samples += more.samples;
    shop.tells(&due);
}

#[tokio::test]
async fn a_recorder_is_told_of_each_change_once_and_of_each_failure() {
    let mut shop = Shop::open().await;
    for _ in 0..2 {
        assert_eq!(shop.stock.set("tea", 1).await.unwrap(), Ack::Everywhere);
    }
    let tea = ["tea", "jam", "rice"];
    assert_eq!(shop.stock.remove("tea").await.unwrap(), Ack::Everywhere);
    assert_eq!(shop.stock.remove_many(tea).await.unwrap(), Ack::Everywhere);
    assert_eq!(shop.stock.expire("tea").await.unwrap(), Ack::Everywhere);
    assert_eq!(shop.cache.invalidate_tag("hot").await, Ack::Everywhere);
    assert_eq!(shop.stock.clear().await, Ack::Everywhere);
    assert_eq!(shop.cache.clear().await, Ack::Everywhere);
    let two = shop.stock.set_many([("milk", 1), ("bread", 2)]);
    assert_eq!(two.await.unwrap(), Ack::Everywhere);
    let write = async { Ok::<_, io::Error>(3) };
    assert_eq!(*shop.stock.write_through("salt", write).await.unwrap(), 3);
    // A write is no invalidation, and each key has its own record.
    let well = [
        ("invalidations_total", 8),
        ("deferred_total", 0),
        ("log_records_total", 13),
        ("remote_failures_total", 0),
        ("flushes_total", 0),
    ];
    eventually("its own records came back", || {
        shop.cache.stats().log_records == 13
    })
    .await;
    shop.tells(&well);
    shop.store.fail(true);
    assert_eq!(shop.stock.remove("tea").await.unwrap(), Ack::Deferred);
    eventually("it is down", || shop.cache.stats().breaker_opened == 1).await;
    let deferred = shop.stock.remove_many(tea).await.unwrap();
    assert_eq!(deferred, Ack::Deferred);
    shop.store.fail(false);
    eventually("they were delivered", || {
        shop.clock.advance(SECOND / 10);
        shop.cache.status().waiting == 0
    })
    .await;
    shop.tells(&[
        ("invalidations_total", 12),
        ("deferred_total", 4),
        ("breaker_opened_total", 1),
        ("log_gaps_total", 0),
    ]);
    assert!(shop.cache.stats().remote_failures > 0);
}
