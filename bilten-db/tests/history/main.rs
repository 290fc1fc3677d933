//! Users at work while servers lag and fail, and a checker that finds each read older than its session promised.
//! `BILTEN_CHAOS_SEED` replays the choices of a run, `BILTEN_CHAOS_SECONDS` makes it longer.
#![allow(clippy::unwrap_used, reason = "helpers of tests may panic like tests")]

mod checker;
mod driver;
mod faults;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bilten_db::Cluster;
use bilten_db::sea_orm::ConnectionTrait;
use bilten_testbed::{Postgres, PostgresNode, eventually_async};
use fastrand::Rng;

use crate::checker::{Event, violations};
use crate::driver::{Flaw, Histories, TABLE, Users};

const LIMIT: Duration = Duration::from_secs(60);

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

/// A primary, a replica that shows each commit a little later, and one that does not.
fn servers() -> Postgres {
    let postgres = Postgres::builder().replicas(2).start().unwrap();
    postgres.primary().psql(TABLE).unwrap();
    postgres.wait_for_replicas().unwrap();
    let late = postgres.replica(0);
    late.psql("alter system set recovery_min_apply_delay = '60ms'")
        .unwrap();
    late.psql("select pg_reload_conf()").unwrap();
    postgres
}

async fn connect(postgres: &Postgres) -> Cluster {
    let urls: Vec<String> = postgres.replicas().iter().map(PostgresNode::url).collect();
    Cluster::builder()
        .primary(postgres.primary().url())
        .replica("late", &urls[0])
        .replica("early", &urls[1])
        .connect()
        .await
        .unwrap()
}

/// The first ten wrong reads, each with what its user did before.
fn show(histories: &Histories) -> Vec<String> {
    let each = histories.iter().flat_map(|history| {
        violations(history).into_iter().map(|wrong| {
            let before = &history[wrong.at.saturating_sub(12)..=wrong.at];
            format!("{wrong:?} after {before:?}")
        })
    });
    each.take(10).collect()
}

fn reads_by_port(histories: &Histories) -> BTreeMap<i32, usize> {
    let mut reads = BTreeMap::new();
    for event in histories.iter().flatten() {
        if let Event::Read { port, .. } = event {
            *reads.entry(*port).or_default() += 1;
        }
    }
    reads
}

/// How many writes were acknowledged, tokens given, and sessions begun with one.
fn writes_tokens_and_their_use(histories: &Histories) -> [usize; 3] {
    let count = |is: fn(&Event) -> bool| histories.iter().flatten().filter(|e| is(e)).count();
    [
        count(|event| matches!(event, Event::Write { .. })),
        count(|event| matches!(event, Event::Token)),
        count(|event| matches!(event, Event::Begin { token: true })),
    ]
}

/// All of them have something to show, or nothing was tried.
fn assert_all_happened(what: &str, histories: &Histories) {
    let happened = writes_tokens_and_their_use(histories);
    assert!(
        happened.iter().all(|n| *n > 0),
        "{what}: {happened:?} writes, tokens, and sessions with one"
    );
}

/// The cluster takes `id` for its primary, and writes go there.
async fn until_primary(db: &Cluster, id: &str) {
    let is_primary = || async {
        let write = db.execute_unprepared("update item set version = version where key = 6");
        db.status().primary().id == id && write.await.is_ok()
    };
    eventually_async(LIMIT, is_primary).await;
}

// `cargo xtask test --chaos` finds it by its name.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_session_reads_older_than_promised() {
    let seed = seed();
    let postgres = servers();
    let db = connect(&postgres).await;
    let users = Users::start(&db, seed, Flaw::None);
    let until = Instant::now() + seconds(20);
    let harm = move || {
        let log = faults::harm(&postgres, Rng::with_seed(seed), until);
        (log, postgres)
    };
    let (log, postgres) = tokio::task::spawn_blocking(harm).await.unwrap();
    let histories = users.stop().await;
    let wrong = show(&histories);
    assert!(wrong.is_empty(), "seed {seed}: {wrong:#?} {log:#?}");
    assert_all_happened("under faults", &histories);
    let reads = reads_by_port(&histories);
    for replica in postgres.replicas() {
        let some = reads.get(&i32::from(replica.port())).copied();
        assert!(
            some > Some(0),
            "{} served {some:?} of {reads:?}",
            replica.name()
        );
    }
}

/// The tokens and the rows of before a promotion count after it, also while the old primary is there and takes writes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_session_across_a_promotion_reads_older_than_promised() {
    let seed = seed();
    let postgres = servers();
    let db = connect(&postgres).await;
    let users = Users::start(&db, seed, Flaw::None);
    // Long enough for everybody to have a token of before.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let switch = move || {
        faults::switch_over(&postgres, postgres.replica(1));
        postgres
    };
    let postgres = tokio::task::spawn_blocking(switch).await.unwrap();
    until_primary(&db, "early").await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let restart = move || {
        postgres.primary().restart().unwrap();
        postgres
    };
    let postgres = tokio::task::spawn_blocking(restart).await.unwrap();
    tokio::time::sleep(Duration::from_secs(2)).await;
    let histories = users.stop().await;
    let wrong = show(&histories);
    assert!(wrong.is_empty(), "seed {seed}: {wrong:#?}");
    assert_all_happened("across a promotion", &histories);

    // Whoever comes behind it.
    let users = Users::start(&db, seed.wrapping_add(1), Flaw::None);
    tokio::time::sleep(Duration::from_secs(2)).await;
    let histories = users.stop().await;
    let wrong = show(&histories);
    assert!(wrong.is_empty(), "seed {seed}: {wrong:#?}");
    assert_all_happened("behind a promotion", &histories);
    let early = i32::from(postgres.replica(1).port());
    let reads = reads_by_port(&histories);
    assert!(
        reads.contains_key(&early),
        "the new primary served none of {reads:?}"
    );
    let old = i32::from(postgres.primary().port());
    assert!(
        !reads.contains_key(&old),
        "the old primary is fenced: {reads:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_planted_bug_is_found() {
    let postgres = servers();
    let db = connect(&postgres).await;
    for flaw in [
        Flaw::ForgetsWrites,
        Flaw::ChangesReplicas,
        Flaw::LosesToken,
        Flaw::EarlyToken,
    ] {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            let users = Users::start(&db, seed(), flaw);
            tokio::time::sleep(Duration::from_secs(1)).await;
            if !show(&users.stop().await).is_empty() {
                break;
            }
            assert!(
                Instant::now() < deadline,
                "the checker does not find {flaw:?}"
            );
        }
    }
}
