//! One scenario, measured again after each thing that is added: the pictures of `docs/cache-steps.md`.
//!
//! `cargo xtask bench steps` runs it. Three instances of a service read the same keys at a fixed rate from a source that can answer
//! 400 calls a second, is slow for a while and fails for a while. Each step adds one thing to the cache in front of it and draws
//! what readers and the source notice into `docs/img/steps-N.svg`, or into the folder that is named as the argument.
#![allow(clippy::print_stdout)]

mod by_hand;
mod drive;
mod ours;
mod picture;
mod source;
mod tally;

use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bilten_benches::runtime;
use bilten_testbed::Redis;

use crate::by_hand::{Local, Nothing, Shared};
use crate::drive::{Instance, run_step};
use crate::ours::{Bilten, Extras};
use crate::source::{Plan, Source};
use crate::tally::Tally;

const PLAN: Plan = Plan {
    seconds: 24,
    slow: 8..11,
    failing: 15..18,
    instances: 3,
    reads_per_second: 150,
    keys: 300,
    slots: 8,
    call: Duration::from_millis(20),
    slow_call: Duration::from_millis(600),
    time_to_live: Duration::from_secs(2),
    patience: Duration::from_secs(2),
};

fn main() -> Result<(), Box<dyn Error>> {
    // Cargo runs this with the repository as the working directory.
    let folder = std::env::args()
        .nth(1)
        .map_or_else(|| PathBuf::from("docs/img"), PathBuf::from);
    if !folder.is_dir() {
        return Err(format!("{} is no folder for the pictures", folder.display()).into());
    }
    println!(
        "eight steps of {} seconds, one after the other; pictures go to {}",
        PLAN.seconds,
        folder.display()
    );
    runtime().block_on(run(&folder))
}

async fn run(folder: &Path) -> Result<(), Box<dyn Error>> {
    let redis = Redis::start()?;
    let url = redis.url();
    let stale = Extras {
        stale: true,
        ..Extras::default()
    };
    let soft = Extras {
        soft_timeout: true,
        ..stale
    };
    let eager = Extras {
        refresh: true,
        ..soft
    };
    let told = Extras {
        tells: true,
        ..eager
    };
    let mut before: Option<Tally> = None;
    println!(
        "step                        p50        p99   failed   calls of the source   oldest answer"
    );
    for (number, name) in NAMES.into_iter().enumerate() {
        let source = Source::new(PLAN);
        let shared = Arc::clone(&source);
        let tally = match number {
            0 => step(&source, async move || Nothing::new(&shared)).await?,
            1 => {
                step(&source, async move || {
                    Local::new(&shared, PLAN.time_to_live)
                })
                .await?
            }
            2 => {
                step(&source, async || {
                    Shared::connect(&shared, &url, PLAN.time_to_live).await
                })
                .await?
            }
            _ => {
                let extras = [Extras::default(), stale, soft, eager, told][number - 3];
                let cache = format!("step-{number}");
                step(&source, async || {
                    Bilten::build(&shared, &cache, &url, PLAN, extras).await
                })
                .await?
            }
        };
        println!("{number} {name:22} {tally}");
        let file = folder.join(format!("steps-{number}.svg"));
        picture::draw(&file, &PLAN, name, &tally, before.as_ref())?;
        before = Some(tally);
    }
    println!("wrote {}/steps-*.svg", folder.display());
    Ok(())
}

const NAMES: [&str; 8] = [
    "no cache",
    "memory",
    "memory and Redis",
    "one load per key",
    "stale if it fails",
    "soft timeout",
    "refresh ahead",
    "told of changes",
];

async fn step<I: Instance>(
    source: &Arc<Source>,
    make: impl AsyncFn() -> Result<I, Box<dyn Error>>,
) -> Result<Tally, Box<dyn Error>> {
    let mut instances = Vec::new();
    for _ in 0..PLAN.instances {
        instances.push(Arc::new(make().await?));
    }
    Ok(run_step(source, &instances).await)
}
