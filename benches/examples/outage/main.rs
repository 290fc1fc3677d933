//! Ten seconds without Redis, seen from the callers: bilten beside what people write by hand.
//!
//! `cargo xtask bench outage` runs it. Two caches read the same keys at the same rate; Redis is stopped (SIGSTOP: its
//! port still accepts, nobody answers) and set going again. The slowest of each second's reads become two lines in
//! `docs/img/outage.svg`, or in the file that is named as the argument.
#![allow(clippy::print_stdout)]

mod by_hand;
mod plot;
mod reader;

use std::error::Error;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bilten_benches::{Item, runtime};
use bilten_cache::{Cache, Region};
use bilten_testbed::Redis;

use crate::by_hand::ByHand;
use crate::reader::{Plan, Reader, read};

/// Both memories forget this quickly, so that the second level has something to do.
const MEMORY: Duration = Duration::from_secs(1);
/// What both wait for an answer from Redis: bilten's default.
const BUDGET: Duration = Duration::from_millis(250);

fn main() -> Result<(), Box<dyn Error>> {
    // Cargo runs this with the repository as the working directory.
    let file = std::env::args()
        .nth(1)
        .map_or_else(|| PathBuf::from("docs/img/outage.svg"), PathBuf::from);
    runtime().block_on(run(file))
}

async fn run(file: PathBuf) -> Result<(), Box<dyn Error>> {
    let redis = Redis::start()?;
    let plan = Plan {
        seconds: 30,
        away: 10..20,
        reads_per_second: 400,
        keys: 2_000,
    };
    let by_hand = Arc::new(ByHand::connect(&redis.url()).await?);
    let cache = Cache::builder("outage").redis(redis.url()).build().await?;
    let region = cache.region("item").memory_time_to_live(MEMORY).build()?;

    println!(
        "{} s at {} reads a second each; Redis is away from {:?} s",
        plan.seconds, plan.reads_per_second, plan.away
    );
    let outage = async {
        tokio::time::sleep(Duration::from_secs(plan.away.start)).await;
        redis.pause()?;
        tokio::time::sleep(Duration::from_secs(plan.away.end - plan.away.start)).await;
        redis.resume()
    };
    let (ours, theirs, outage) = tokio::join!(
        read(Arc::new(Bilten(region)), &plan),
        read(by_hand, &plan),
        outage
    );
    outage?;

    println!("second   by hand p99   bilten p99");
    for (second, (theirs, ours)) in theirs.iter().zip(&ours).enumerate() {
        println!(
            "{second:>6} {:>10.1} ms {:>9.1} ms",
            theirs.as_secs_f64() * 1e3,
            ours.as_secs_f64() * 1e3
        );
    }
    plot::draw(&file, &plan, &theirs, &ours)?;
    println!("wrote {}", file.display());
    Ok(())
}

struct Bilten(Region<String, Item>);

impl Reader for Bilten {
    async fn get(&self, key: &str) -> bool {
        let load = |_| async { Ok::<_, std::io::Error>(reader::load().await) };
        self.0.get_or_load(&key.to_owned(), load).await.is_ok()
    }
}
