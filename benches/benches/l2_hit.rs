//! A hit in Redis through `get_or_load`, with nothing in memory, beside raw fred.

#![allow(missing_docs)]

use std::convert::Infallible;
use std::time::{Duration, Instant};

use bilten_benches::{Item, keys, runtime, timed};
use bilten_cache::{Cache, Redis, Region};
use bytes::Bytes;
use criterion::measurement::WallTime;
use criterion::{Criterion, criterion_group, criterion_main};
use fred::prelude::*;
use tokio::runtime::Runtime;

/// Read by one cache, which then has them in memory, before the next cache is built.
const KEYS: usize = 10_000;

fn redis_hit(criterion: &mut Criterion) {
    let runtime = runtime();
    let url = bilten_testbed::shared::redis().expect("Redis is there");
    let keys = keys("l2", KEYS);
    let mut group = criterion.benchmark_group("l2_hit");

    let fred = runtime.block_on(raw(&url, &keys));
    let mut next = (0..KEYS).cycle();
    group.bench_function("fred_get", |bencher| {
        bencher.iter_custom(|times| {
            let work = || fred.get::<Bytes, _>(&keys[next.next().unwrap_or(0)]);
            timed(&WallTime, &runtime, times, work)
        });
    });
    group.bench_function("fred_get_and_decode", |bencher| {
        bencher.iter_custom(|times| {
            let work = || {
                let found = fred.get(&keys[next.next().unwrap_or(0)]);
                async { decode(found.await) }
            };
            timed(&WallTime, &runtime, times, work)
        });
    });

    // Caches that share entries have one name; this one is of this run only.
    let name = format!("bench-{}", std::process::id());
    runtime.block_on(fill(&name, &url, &keys));
    group.bench_function("get_or_load", |bencher| {
        bencher.iter_custom(|times| fresh_reads(&runtime, &name, &url, &keys, times));
    });
    group.finish();
}

async fn raw(url: &str, keys: &[String]) -> Client {
    let config = Config::from_url(url).expect("the URL is valid");
    let client = Builder::from_config(config)
        .build()
        .expect("the defaults are valid");
    client.init().await.expect("Redis answers");
    for (key, id) in keys.iter().zip(0..) {
        let json = serde_json::to_vec(&Item::new(id)).expect("an item is JSON");
        let hour = Some(Expiration::EX(3_600));
        let set = client.set::<(), _, _>(key, Bytes::from(json), hour, None, false);
        set.await.expect("Redis stores");
    }
    client
}

fn decode(found: Result<Bytes, Error>) -> Item {
    let json = found.expect("Redis answers");
    serde_json::from_slice(&json).expect("it is an item")
}

async fn region(name: &str, url: &str) -> Region<str, Item> {
    let redis = Redis::url(url);
    let cache = Cache::builder(name).redis(redis).build().await;
    let cache = cache.expect("the settings are valid");
    let items = cache
        .region("item")
        .time_to_live(Duration::from_secs(3_600));
    items.build().expect("the settings are valid")
}

/// Stores all keys and waits until a cache without anything in memory finds the last of them.
async fn fill(name: &str, url: &str, keys: &[String]) {
    let writer = region(name, url).await;
    for (key, id) in keys.iter().zip(0..) {
        let load = async move |_| Ok::<_, Infallible>(Item::new(id));
        writer.get_or_load(&**key, load).await.expect("it loads");
    }
    let reader = region(name, url).await;
    let deadline = Instant::now() + Duration::from_secs(5);
    for key in keys {
        while reader.get(key).await.is_none() {
            assert!(Instant::now() < deadline, "{key} has not arrived in Redis");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

/// Reads each key at most once per cache, so that every read goes to Redis; building caches is
/// not timed.
fn fresh_reads(runtime: &Runtime, name: &str, url: &str, keys: &[String], times: u64) -> Duration {
    let mut left = usize::try_from(times).unwrap_or(usize::MAX);
    let mut spent = Duration::ZERO;
    while left > 0 {
        let items = runtime.block_on(region(name, url));
        let some = &keys[..left.min(keys.len())];
        spent += runtime.block_on(async {
            let started = Instant::now();
            for key in some {
                let load = async |_| Ok::<_, Infallible>(Item::new(0));
                std::hint::black_box(items.get_or_load(&**key, load).await.expect("it is there"));
            }
            started.elapsed()
        });
        assert_eq!(
            items.stats().loads,
            0,
            "every measured read was a hit in Redis"
        );
        left -= some.len();
    }
    spent
}

criterion_group!(benches, redis_hit);
criterion_main!(benches);
