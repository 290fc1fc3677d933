//! However many faults there were in a row, once they are over every node is connected again within a bound, with nothing waiting.

use std::time::{Duration, Instant};

use bilten_testbed::{FaultProxy, Redis};
use fastrand::Rng;
use tokio::sync::mpsc;

use crate::driver::Driver;
use crate::source::{Source, Truth};
use crate::{faults, listen, on_redis, seconds, seed};

/// What `docs/redis-clients.md` promises.
const PROMISED: Duration = Duration::from_secs(10);
/// What a busy machine may add: many things have to come to their turn.
const BUSY: Duration = Duration::from_secs(10);
/// How long faults follow each other in one round.
const ROUND: Duration = Duration::from_secs(5);

async fn comes_back_from_any_faults(client: &str) {
    listen();
    let seed = seed();
    let server = Redis::start().unwrap();
    let proxy = FaultProxy::to(server.addr()).await.unwrap();
    let source = std::sync::Arc::new(Source::new());
    let (out, _events) = mpsc::unbounded_channel();
    let (mut drivers, mut workers) = (Vec::new(), Vec::new());
    for (node, url) in (0..).zip([server.url(), proxy.url_like(&server.url()).unwrap()]) {
        let cache = on_redis(node, client, url);
        let truth = Truth::Here(source.clone());
        let driver = Driver::new((node, 2), cache, truth, out.clone()).await;
        workers.push(driver.start(seed, true));
        drivers.push(driver);
    }
    let rounds = seconds(20).as_secs() / ROUND.as_secs();
    let (mut around, mut slowest) = ((server, proxy), Duration::ZERO);
    for round in 0..rounds.max(1) {
        let rng = Rng::with_seed(seed ^ round);
        let harm = move || {
            let until = Instant::now() + ROUND;
            let log = faults::harm_redis(&around.0, &around.1, rng, until);
            (log, around)
        };
        let log;
        (log, around) = tokio::task::spawn_blocking(harm).await.unwrap();
        let healed = Instant::now();
        for driver in &drivers {
            while !driver.is_quiet() {
                assert!(
                    healed.elapsed() < PROMISED + BUSY,
                    "seed {seed}, round {round}: {} after {log:#?}",
                    driver.state()
                );
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
        eprintln!(
            "round {round}: back after {:?} from {log:?}",
            healed.elapsed()
        );
        slowest = slowest.max(healed.elapsed());
    }
    eprintln!("slowest: {slowest:?}");
    for driver in &drivers {
        driver.stop();
    }
    for worker in workers {
        worker.join_all().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_over_fred_comes_back_from_any_faults_within_the_bound() {
    comes_back_from_any_faults("fred").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_over_redis_rs_comes_back_from_any_faults_within_the_bound() {
    comes_back_from_any_faults("redis-rs").await;
}
