//! What replicas cost and give when something goes wrong: a slow one, a killed one, and one that lags. Prints three
//! tables; nothing is asserted.

#![allow(missing_docs, clippy::print_stdout)]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bilten_benches::runtime;
use bilten_db::retry::HedgeConfig;
use bilten_db::{Balance, Cluster, ClusterBuilder};
use bilten_testbed::{Postgres, eventually};
use sea_orm::{ConnectionTrait, DbBackend, DbErr, Statement};
use tokio::task::JoinSet;

const SLOW: Duration = Duration::from_millis(500);
const HEDGE: Duration = Duration::from_millis(30);

fn main() {
    let once = bilten_benches::is_trial();
    let reads = if once { 20 } else { 2_000 };
    let runtime = runtime();
    runtime.block_on(async {
        slow_replica(reads).await;
        killed_replica(once).await;
        own_writes(if once { 10 } else { 1_000 }).await;
    });
}

fn servers(options: bilten_testbed::PostgresBuilder) -> Postgres {
    options.replicas(2).start().expect("PostgreSQL starts")
}

fn builder(postgres: &Postgres) -> ClusterBuilder {
    let builder = Cluster::builder().primary(postgres.primary().url());
    let replicas = postgres.replicas().iter().enumerate();
    replicas.fold(builder, |builder, (n, node)| {
        builder.replica(format!("r{n}"), node.url())
    })
}

async fn number(db: &impl ConnectionTrait, sql: &str) -> Result<i64, DbErr> {
    let statement = Statement::from_string(DbBackend::Postgres, sql);
    let row = db.query_one_raw(statement).await?;
    row.map_or(Ok(0), |row| row.try_get_by_index(0))
}

/// Eight readers; how long each read took, in order.
async fn times(db: &Cluster, sql: &str, reads: usize) -> Vec<Duration> {
    let left = Arc::new(AtomicUsize::new(reads));
    let mut readers = JoinSet::new();
    for _ in 0..8 {
        let (db, left, sql) = (db.clone(), Arc::clone(&left), sql.to_owned());
        readers.spawn(async move {
            let mut times = Vec::new();
            while left
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1))
                .is_ok()
            {
                let begun = Instant::now();
                number(&db, &sql).await.expect("a read succeeds");
                times.push(begun.elapsed());
            }
            times
        });
    }
    let mut times = readers.join_all().await.concat();
    times.sort_unstable();
    times
}

async fn slow_replica(reads: usize) {
    let postgres = servers(Postgres::builder());
    let port = postgres.replica(0).port();
    let late = SLOW.as_secs_f64();
    let always = format!(
        "select (pg_sleep(case inet_server_port() when {port} then {late} else 0.001 end) is null)::int4::int8"
    );
    let rarely = format!(
        "select (pg_sleep(case when random() < 0.02 then {late} else 0.001 end) is null)::int4::int8"
    );
    println!(
        "\n{reads} reads by 8 readers, two replicas, a late read takes {SLOW:?}, hedged after {HEDGE:?}\n"
    );
    println!(
        "| which reads are late | balance | hedged | p50 | p99 | longest |\n|---|---|---|---|---|---|"
    );
    for (which, sql) in [
        ("all of one replica", &always),
        ("one in fifty, anywhere", &rarely),
    ] {
        for (balance, hedged) in [
            (Balance::RoundRobin, false),
            (Balance::RoundRobin, true),
            (Balance::PeakEwma, false),
            (Balance::PeakEwma, true),
        ] {
            let mut builder = builder(&postgres).balance(balance);
            if hedged {
                builder = builder.hedge(HedgeConfig::after(HEDGE));
            }
            let db = builder.connect().await.expect("the cluster connects");
            times(&db, "select 1::int8", 40).await;
            let times = times(&db, sql, reads).await;
            let at = |share: usize| times[(times.len() * share / 100).min(times.len() - 1)];
            println!(
                "| {which} | {balance:?} | {hedged} | {:.1?} | {:.1?} | {:.1?} |",
                at(50),
                at(99),
                at(100)
            );
            db.close().await;
        }
    }
}

async fn killed_replica(once: bool) {
    let postgres = servers(Postgres::builder());
    let db = builder(&postgres)
        .connect()
        .await
        .expect("the cluster connects");
    let stop = Arc::new(AtomicBool::new(false));
    let mut readers = JoinSet::new();
    for _ in 0..50 {
        let (db, stop) = (db.clone(), Arc::clone(&stop));
        readers.spawn(async move {
            let (mut reads, mut errors, mut longest) = (0_u64, 0_u64, Duration::ZERO);
            while !stop.load(Ordering::Relaxed) {
                let begun = Instant::now();
                errors += u64::from(number(&db, "select 1::int8").await.is_err());
                longest = longest.max(begun.elapsed());
                reads += 1;
            }
            (reads, errors, longest)
        });
    }
    let is_up = |up: bool| {
        db.status()
            .replicas()
            .any(|node| node.id == "r0" && node.is_up() == up)
    };
    tokio::time::sleep(Duration::from_secs(if once { 0 } else { 2 })).await;
    postgres.replica(0).kill().expect("a replica can be killed");
    eventually(Duration::from_secs(20), || is_up(false));
    tokio::time::sleep(Duration::from_secs(if once { 0 } else { 2 })).await;
    stop.store(true, Ordering::Relaxed);
    let all = readers.join_all().await;
    let sum = |part: fn(&(u64, u64, Duration)) -> u64| all.iter().map(part).sum::<u64>();
    let longest = all
        .iter()
        .map(|(.., longest)| *longest)
        .max()
        .unwrap_or_default();
    println!("\n50 readers while one of two replicas is killed (kill -9)\n");
    println!("| reads | errors | longest read |\n|---|---|---|");
    println!(
        "| {} | {} | {longest:.1?} |",
        sum(|one| one.0),
        sum(|one| one.1)
    );
    db.close().await;
}

async fn own_writes(rounds: u64) {
    let late = Postgres::builder().setting("recovery_min_apply_delay", "200ms");
    let postgres = servers(late);
    let table = "create table seen (id serial primary key)";
    postgres.primary().psql(table).expect("a table can be made");
    postgres.wait_for_replicas().expect("the replicas follow");
    let db = builder(&postgres)
        .connect()
        .await
        .expect("the cluster connects");
    let (mut plain, mut own, mut next) = (0_u64, 0_u64, 0_u64);
    for _ in 0..rounds {
        let session = db.session();
        let id = number(
            &session,
            "insert into seen default values returning id::int8",
        )
        .await;
        let found = format!(
            "select count(*) from seen where id = {}",
            id.expect("a write succeeds")
        );
        let misses = |seen: Result<i64, DbErr>| u64::from(seen.expect("a read succeeds") == 0);
        plain += misses(number(&db, &found).await);
        own += misses(number(&session, &found).await);
        if let Some(token) = session.token().await.expect("the primary tells a token") {
            next += misses(number(&db.session_with(token), &found).await);
        }
    }
    println!("\n{rounds} times insert, then find; replicas 200 ms behind\n");
    println!(
        "| round robin misses | the session misses | the next request's session misses |\n|---|---|---|"
    );
    println!("| {plain} | {own} | {next} |");
    db.close().await;
}
