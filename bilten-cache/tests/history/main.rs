//! Nodes in several processes, random work, real faults, and a checker that finds any read older than the cache
//! promises. `BILTEN_CHAOS_SEED` replays the choices of a run, `BILTEN_CHAOS_SECONDS` makes it longer.

#![allow(clippy::unwrap_used)]

mod checker;
mod driver;
mod event;
mod faults;
mod flawed;
mod healing;
mod many;
mod place;
mod process;
mod shelves;
mod source;

use std::sync::{Arc, Once, OnceLock};
use std::time::{Duration, Instant};

use bilten_cache::test_util::FaultyRemote;
use bilten_cache::{Cache, CacheBuilder, RedisClient};
use fastrand::Rng;
use tokio::sync::mpsc;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::prelude::*;

use crate::checker::{History, Violation, violations};
use crate::driver::{Driver, ISOLATED};
use crate::event::{Event, now};
use crate::flawed::{Flaw, FlawedRemote};
use crate::place::Place;
use crate::process::{CHILD, Process, become_quiet, live};
use crate::source::{Source, Truth};

/// Far longer than anything here takes; only reached when a test fails.
const DEADLINE: Duration = Duration::from_secs(60);

/// After an acknowledged change every node must have learnt of it: it is connected and hears of a lost log within a
/// heartbeat and one read of the log, or trusts itself no longer than `isolated_ttl`. The rest is a busy machine's.
const BOUND: Duration = Duration::from_millis(1_500 + 2_000);

fn seed() -> u64 {
    let given = std::env::var("BILTEN_CHAOS_SEED").ok();
    let seed = given.map_or_else(
        || fastrand::u64(1..1 << 32),
        |seed| seed.parse().expect("BILTEN_CHAOS_SEED is a number"),
    );
    eprintln!("BILTEN_CHAOS_SEED={seed}");
    seed
}

fn seconds(default: u64) -> Duration {
    let given = std::env::var("BILTEN_CHAOS_SECONDS").ok();
    Duration::from_secs(given.map_or(default, |seconds| {
        seconds.parse().expect("BILTEN_CHAOS_SECONDS is a number")
    }))
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap()
}

fn collect(nodes: u32, source: &Source, events: Vec<Event>, settled: u64) -> History {
    History {
        nodes,
        commits: source.commits(),
        events,
        bound: nanos(BOUND + ISOLATED),
        settled: Some(settled),
    }
}

async fn drain(mut events: mpsc::UnboundedReceiver<Event>) -> Vec<Event> {
    let mut all = Vec::new();
    while let Some(event) = events.recv().await {
        all.push(event);
    }
    all
}

fn show(wrong: &[Violation]) -> String {
    let lines = wrong.iter().take(5).map(|one| format!("{one}\n"));
    format!("{} stale reads\n{}", wrong.len(), lines.collect::<String>())
}

/// Stops nodes of this process and lets them read everything until it must have settled.
async fn settle(drivers: &[Arc<Driver>], settled: u64) {
    for driver in drivers {
        driver.read_until(settled).await;
    }
}

/// Three nodes on a second level in memory.
async fn run_in_memory(seed: u64, flaw: Flaw, lasts: Duration) -> History {
    let (mut store, source) = (FaultyRemote::new(), Arc::new(Source::new()));
    // In every other run.
    if seed.is_multiple_of(2) {
        store = store.reading_together();
    }
    let (sender, events) = mpsc::unbounded_channel();
    let events = tokio::spawn(drain(events));
    let nodes = [(); 3].map(|()| store.another_node());
    let (mut drivers, mut workers) = (Vec::new(), Vec::new());
    let widely = !matches!(
        flaw,
        Flaw::LostRecords
            | Flaw::HiddenGap
            | Flaw::LateWrites
            | Flaw::LostExpiry
            | Flaw::StaleRemoval
    );
    for (number, inner) in (0..).zip(nodes.clone()) {
        let remote = FlawedRemote::new(inner, flaw);
        let mut cache = Cache::builder("shop").remote(remote).crowded();
        cache = cache.remote_budget(flaw.budget());
        if number == 2 && matches!(flaw, Flaw::None | Flaw::LateWrites) {
            // It shows what is in the second level, whatever the others keep.
            cache = cache.memory_bytes(0);
        }
        if matches!(
            flaw,
            Flaw::NoTickets
                | Flaw::NoLeases
                | Flaw::EarlyAck
                | Flaw::LateWrites
                | Flaw::LostExpiry
                | Flaw::StaleRemoval
        ) {
            // Else it would not serve what they bring back.
            cache = cache.without_memory_of_changes();
        }
        if flaw == Flaw::NoTickets {
            cache = cache.without_tickets();
        }
        let truth = Truth::Here(Arc::clone(&source));
        let driver = Driver::new((number, 3), cache, truth, sender.clone()).await;
        workers.push(driver.start(seed, widely));
        drivers.push(driver);
    }
    let until = Instant::now() + lasts;
    if flaw == Flaw::None {
        faults::harm_memory(&store, &nodes, Rng::with_seed(seed), until).await;
    } else {
        tokio::time::sleep(lasts).await;
    }
    for driver in &drivers {
        driver.stop();
    }
    for worker in workers {
        worker.join_all().await;
    }
    for driver in &drivers {
        become_quiet(driver).await;
    }
    let settled = now() + nanos(BOUND + ISOLATED);
    settle(&drivers, settled).await;
    drop((drivers, sender));
    collect(3, &source, events.await.unwrap(), settled)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_node_on_a_store_that_fails_reads_older_than_promised() {
    let seed = seed();
    let history = run_in_memory(seed, Flaw::None, seconds(10)).await;
    let wrong = violations(&history);
    assert!(wrong.is_empty(), "seed {seed}: {}", show(&wrong));
    assert!(history.events.len() > 1_000, "{}", history.events.len());
}

/// Runs with a planted bug until the checker finds it.
async fn is_found(flaw: Flaw) {
    let deadline = Instant::now() + Duration::from_secs(90);
    while Instant::now() < deadline {
        let history = run_in_memory(seed(), flaw, Duration::from_secs(2)).await;
        if !violations(&history).is_empty() {
            return;
        }
    }
    panic!("the checker does not find {flaw:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn loads_that_fill_without_a_ticket_are_found() {
    is_found(Flaw::NoTickets).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stores_without_a_lease_are_found() {
    is_found(Flaw::NoLeases).await;
}

/// Beside the next one: what saves a node from lost records is that it looks for gaps.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_that_are_lost_are_noticed() {
    let seed = seed();
    let history = run_in_memory(seed, Flaw::LostRecords, seconds(4)).await;
    let wrong = violations(&history);
    assert!(wrong.is_empty(), "seed {seed}: {}", show(&wrong));
    assert!(history.events.len() > 500, "{}", history.events.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gap_that_is_hidden_is_found() {
    is_found(Flaw::HiddenGap).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_removal_acknowledged_before_it_is_made_is_found() {
    is_found(Flaw::EarlyAck).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_expiry_that_nobody_hears_of_is_found() {
    is_found(Flaw::LostExpiry).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_removal_that_leaves_something_to_serve_stale_is_found() {
    is_found(Flaw::StaleRemoval).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_late_write_that_is_not_refused_is_found() {
    is_found(Flaw::LateWrites).await;
}

/// Nodes of a run on Redis at any time. Who takes the place of one that was killed has its number and this.
const NODES: u32 = 4;

/// Four nodes, two of them in processes of their own which are killed once each, on a Redis that is harmed.
async fn run_on_redis(
    test: &str,
    client: &str,
    place: Place,
    seed: u64,
    lasts: Duration,
) -> (History, Vec<String>) {
    let source = Arc::new(Source::new());
    let (sender, events) = mpsc::unbounded_channel();
    let events = tokio::spawn(drain(events));
    let start = |node: u32, place: &Place| {
        let settings = format!("{node} {NODES} {seed} {client} {}", place.url(node));
        Process::start(test, settings, Arc::clone(&source), sender.clone())
    };
    let mut processes: Vec<Process> = (2..NODES).map(|node| start(node, &place)).collect();
    let place = Arc::new(place);
    let (mut drivers, mut workers) = (Vec::new(), Vec::new());
    for node in 0..2 {
        let cache = on_redis(node, client, place.url(node));
        let truth = Truth::Here(Arc::clone(&source));
        let driver = Driver::new((node, NODES), cache, truth, sender.clone()).await;
        workers.push(driver.start(seed, true));
        drivers.push(driver);
    }
    let until = Instant::now() + lasts;
    let rng = Rng::with_seed(seed);
    let harmed = Arc::clone(&place);
    let harm = tokio::task::spawn_blocking(move || harmed.harm(rng, until));
    let mut rng = Rng::with_seed(!seed);
    let mut undone = Vec::new();
    for (process, node) in processes.iter_mut().zip(2..) {
        tokio::time::sleep(lasts.mul_f64(0.2 + 0.2 * rng.f64())).await;
        eprintln!("node {node} is killed, {:?}", uptime());
        let killed = std::mem::replace(process, start(node + NODES, &place));
        undone.extend(killed.kill().await);
    }
    let harm = harm.await.unwrap();
    eprintln!("what was done until now, {:?}: {harm:#?}", uptime());
    for driver in &drivers {
        driver.stop();
    }
    for process in &processes {
        process.stop();
    }
    for worker in workers {
        worker.join_all().await;
    }
    for driver in &drivers {
        become_quiet(driver).await;
    }
    for process in &mut processes {
        process.quiet().await;
    }
    // Nobody else knows of what the dead had begun.
    drivers[0].make_good(undone).await;
    let settled = now() + nanos(BOUND + ISOLATED);
    settle(&drivers, settled).await;
    for process in processes {
        process.finish(settled).await;
    }
    drop((drivers, sender, place));
    let events = harm.without_fail_overs(events.await.unwrap(), BOUND + ISOLATED);
    (collect(2 * NODES, &source, events, settled), harm.log)
}

/// A node's cache. The last one keeps nothing in memory: it shows what is in Redis, whatever the others keep.
fn on_redis(node: u32, client: &str, url: String) -> CacheBuilder {
    let client = match client {
        "fred" => RedisClient::Fred,
        "redis-rs" => RedisClient::RedisRs,
        other => panic!("no client is called `{other}`"),
    };
    let mut cache = Cache::builder("shop").redis(bilten_cache::Redis::url(url).client(client));
    if node.is_multiple_of(2) {
        // All its reads go with others.
        cache = cache.crowded();
    }
    if node % NODES == 3 {
        cache.memory_bytes(0)
    } else {
        cache
    }
}

/// What the cache logs goes where the test's own words go, with the time since the process began.
fn listen() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        uptime();
        let wanted = Targets::new().with_target("bilten_cache", LevelFilter::DEBUG);
        let lines = tracing_subscriber::fmt::layer()
            .with_writer(std::io::stderr)
            .with_ansi(false)
            .with_timer(tracing_subscriber::fmt::time::uptime());
        tracing_subscriber::registry()
            .with(lines.with_filter(wanted))
            .init();
    });
}

fn uptime() -> Duration {
    static BEGUN: OnceLock<Instant> = OnceLock::new();
    BEGUN.get_or_init(Instant::now).elapsed()
}

async fn no_stale_reads(test: &str, client: &str, place: impl AsyncFnOnce() -> Place) {
    listen();
    if let Ok(settings) = std::env::var(CHILD) {
        return live(&settings).await;
    }
    let seed = seed();
    eprintln!("over {client}");
    let (history, log) = run_on_redis(test, client, place().await, seed, seconds(20)).await;
    let wrong = violations(&history);
    let events = history.events.len();
    assert!(wrong.is_empty(), "seed {seed}: {}{log:#?}", show(&wrong));
    for node in [0, 1, 2, 3, 2 + NODES, 3 + NODES] {
        let some = history.events.iter().filter(|e| e.node == node).count();
        let least = if node < 2 { 200 } else { 50 };
        assert!(some > least, "node {node} did {some} of {events}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_node_of_any_process_reads_older_than_promised() {
    const NAME: &str = "no_node_of_any_process_reads_older_than_promised";
    no_stale_reads(NAME, "fred", Place::server).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_node_over_redis_rs_reads_older_than_promised() {
    const NAME: &str = "no_node_over_redis_rs_reads_older_than_promised";
    no_stale_reads(NAME, "redis-rs", Place::server).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_node_behind_sentinels_reads_older_than_promised() {
    const NAME: &str = "no_node_behind_sentinels_reads_older_than_promised";
    let client = ["fred", "redis-rs"][fastrand::usize(..2)];
    no_stale_reads(NAME, client, async || Place::group()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_node_on_a_cluster_that_fails_over_reads_older_than_promised() {
    const NAME: &str = "no_node_on_a_cluster_that_fails_over_reads_older_than_promised";
    let client = ["fred", "redis-rs"][fastrand::usize(..2)];
    no_stale_reads(NAME, client, async || Place::cluster()).await;
}
