//! The second level in a folder: a hit with nothing in memory, a change, and what it costs to open.

#![allow(missing_docs)]

use std::path::Path;
use std::time::{Duration, Instant};

use bilten_benches::{Item, is_trial, runtime, timed};
use bilten_cache::remote::DiskOptions;
use bilten_cache::{Cache, Region};
use criterion::measurement::WallTime;
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use futures_util::future::join_all;
use tokio::runtime::Runtime;

fn number_of_keys() -> i64 {
    if is_trial() { 200 } else { 10_000 }
}

/// Changes that are under way at once, as in a service.
const TOGETHER: usize = 64;

async fn cache(folder: &Path, sync: bool) -> Cache {
    let disk = DiskOptions::folder(folder).bytes(1 << 30).sync(sync);
    // Nothing in memory: every read goes to the disk.
    let cache = Cache::builder("bench").memory_bytes(0).disk(disk);
    let cache = cache.remote_budget(Duration::from_secs(60)).build().await;
    cache.expect("the folder can be used")
}

fn items(cache: &Cache) -> Region<i64, Item> {
    let items = cache
        .region("item")
        .time_to_live(Duration::from_secs(3_600));
    items.build().expect("the settings are valid")
}

async fn change(items: &Region<i64, Item>, keys: std::ops::Range<i64>) {
    let changes = keys.map(|key| async move {
        let item = Item::new(u64::try_from(key).unwrap_or(0));
        items.set(&key, item).await
    });
    for answer in join_all(changes).await {
        let _ = answer.expect("an item serialises");
    }
}

async fn fill(items: &Region<i64, Item>, keys: i64) {
    for from in (0..keys).step_by(500) {
        change(items, from..(from + 500).min(keys)).await;
    }
}

fn hit_and_change(criterion: &mut Criterion) {
    let runtime = runtime();
    let mut group = criterion.benchmark_group("disk");
    for sync in [false, true] {
        let folder = tempfile::tempdir().expect("a folder");
        let cache = runtime.block_on(cache(folder.path(), sync));
        let items = items(&cache);
        runtime.block_on(fill(&items, number_of_keys()));
        let mut next = (0..number_of_keys()).cycle();
        if !sync {
            group.bench_function("get", |bencher| {
                bencher.iter_custom(|times| {
                    let work = || {
                        let (items, key) = (&items, next.next().unwrap_or(0));
                        async move { items.get(&key).await.expect("it is there") }
                    };
                    timed(&WallTime, &runtime, times, work)
                });
            });
        }
        let name = if sync { "64 sets, synced" } else { "64 sets" };
        group.bench_function(name, |bencher| {
            bencher.iter_custom(|times| {
                let work = || {
                    let keys = 0..TOGETHER as i64;
                    let items = &items;
                    async move { change(items, keys).await }
                };
                timed(&WallTime, &runtime, times, work)
            });
        });
        runtime.block_on(cache.shutdown(Duration::from_secs(10)));
    }
    group.finish();
}

/// A folder with this many items, closed in order.
fn closed(runtime: &Runtime, keys: i64) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    runtime.block_on(async {
        let cache = cache(folder.path(), false).await;
        fill(&items(&cache), keys).await;
        cache.shutdown(Duration::from_secs(10)).await;
    });
    folder
}

fn opening(criterion: &mut Criterion) {
    let runtime = runtime();
    let mut group = criterion.benchmark_group("disk open");
    group.sample_size(10);
    for keys in [0, number_of_keys(), number_of_keys() * 5] {
        let folder = closed(&runtime, keys);
        let mib =
            std::fs::metadata(folder.path().join("bench.redb")).map_or(0, |file| file.len() >> 20);
        group.bench_function(
            BenchmarkId::from_parameter(format!("{keys} items, {mib} MiB")),
            |bencher| {
                bencher.iter_custom(|times| {
                    let mut took = Duration::ZERO;
                    for _ in 0..times {
                        let begun = Instant::now();
                        let cache = runtime.block_on(cache(folder.path(), false));
                        took += begun.elapsed();
                        runtime.block_on(cache.shutdown(Duration::from_secs(10)));
                    }
                    took
                });
            },
        );
    }
    group.finish();
}

criterion_group!(benches, hit_and_change, opening);
criterion_main!(benches);
