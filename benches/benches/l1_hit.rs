//! A hit in memory through `get_or_load` beside moka's own `get`.

#![allow(missing_docs)]

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bilten_benches::{CpuTime, Item, Walk, keys, runtime, timed};
use bilten_cache::{Cache, Region};
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};

const TIME_TO_LIVE: Duration = Duration::from_secs(3_600);

fn memory_hit(criterion: &mut Criterion<CpuTime>) {
    let runtime = runtime();
    let mut group = criterion.benchmark_group("l1_hit");
    for count in [1_000_u32, 100_000] {
        let keys = keys("hit", count as usize);
        let mut walk = Walk::over(count);

        let moka = moka::sync::Cache::builder()
            .max_capacity(u64::from(count) * 2)
            .time_to_live(TIME_TO_LIVE)
            .build();
        for (key, id) in keys.iter().zip(0..) {
            moka.insert(key.clone(), Arc::new(Item::new(id)));
        }
        group.bench_function(BenchmarkId::new("moka", count), |bencher| {
            bencher.iter(|| moka.get(&keys[walk.step()]));
        });
        drop(moka);

        let items = runtime.block_on(filled(&keys));
        group.bench_function(BenchmarkId::new("get_or_load", count), |bencher| {
            bencher.iter_custom(|times| {
                let work = || items.get_or_load(&*keys[walk.step()], missing);
                timed(&CpuTime::default(), &runtime, times, work)
            });
        });
        group.bench_function(BenchmarkId::new("peek", count), |bencher| {
            bencher.iter(|| items.peek(&keys[walk.step()]));
        });
        let loads = items.stats().loads;
        assert_eq!(loads, u64::from(count), "every measured read was a hit");
    }
    group.finish();
}

async fn filled(keys: &[String]) -> Region<str, Item> {
    // Twice the room: nothing is evicted.
    let cache = Cache::builder("bench").memory_bytes(keys.len() as u64 * 2_048);
    let cache = cache.build().await.expect("the settings are valid");
    let items = cache.region("item").time_to_live(TIME_TO_LIVE).build();
    let items: Region<str, Item> = items.expect("the settings are valid");
    for (key, id) in keys.iter().zip(0..) {
        let load = async move |_| Ok::<_, Infallible>(Item::new(id));
        items.get_or_load(&**key, load).await.expect("it loads");
    }
    items
}

async fn missing(_: bilten_cache::LoadContext<Item>) -> Result<Item, Infallible> {
    Ok(Item::new(0))
}

criterion_group! {
    name = benches;
    config = CpuTime::criterion();
    targets = memory_hit
}
criterion_main!(benches);
