//! Of the same reads, with room for as many entries of the same weight, as many are hits as in moka by itself.

use std::io;

use bilten_cache::Cache;

use crate::memory::POLICIES;

const KEYS: usize = 10_000;
const ROOM: usize = 1_000;
const READS: usize = 50_000;

/// Keys as people ask for them: the second one half as often as the first, nearly.
fn zipf() -> Vec<String> {
    let mut sum = 0.0;
    let sums = (1..=KEYS).map(|rank| {
        sum += (rank as f64).powf(-0.99);
        sum
    });
    let sums: Vec<f64> = sums.collect();
    let mut random = fastrand::Rng::with_seed(7);
    let reads = (0..READS).map(|_| {
        let at = random.f64() * sum;
        // Of one length, so that all weigh the same.
        format!("{:05}", sums.partition_point(|below| *below < at))
    });
    reads.collect()
}

/// As a user of moka would bound it by bytes.
fn of_moka(reads: &[String]) -> usize {
    const WEIGHT: u32 = 500;
    let cache = moka::sync::Cache::builder()
        .max_capacity(u64::from(WEIGHT) * ROOM as u64)
        .weigher(|_: &String, _: &u32| WEIGHT)
        .build();
    let is_hit = |key: &&String| {
        let found = cache.get(*key).is_some();
        if !found {
            cache.insert((*key).clone(), 1);
        }
        found
    };
    reads.iter().filter(is_hit).count()
}

#[tokio::test]
async fn as_many_reads_are_hits_as_in_moka() {
    let reads = zipf();
    let theirs = of_moka(&reads);
    assert!(theirs > READS / 2, "{theirs}");
    for (name, policy) in POLICIES {
        let one = policy(Cache::builder("one")).build().await.unwrap();
        let region = one.region::<str, u32>("n").build().unwrap();
        let _ = region.set("00000", 1).await.unwrap();
        let each = one.status().memory_bytes;
        let cache = policy(Cache::builder("shop").memory_bytes(each * ROOM as u64));
        let cache = cache.build().await.unwrap();
        let region = cache.region::<str, u32>("n").build().unwrap();
        for key in &reads {
            let load = async |_| Ok::<_, io::Error>(1);
            region.get_or_load(key, load).await.unwrap();
        }
        let ours = usize::try_from(cache.stats().hits_memory).unwrap();
        println!("{name}: {ours} hits, moka {theirs}, of {READS}");
        assert!(cache.status().memory_entries <= ROOM as u64, "{name}");
        assert!(
            ours + READS / 100 >= theirs,
            "{name}: {ours}, moka {theirs}"
        );
    }
}
