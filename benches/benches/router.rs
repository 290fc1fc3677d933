//! A read through the cluster beside the same read on a plain SeaORM connection, and the choice
//! of the node alone.

#![allow(missing_docs)]

use std::path::{Path, PathBuf};
use std::time::Duration;

use bilten_benches::{CpuTime, runtime, timed};
use bilten_db::{Balance, Cluster, ClusterBuilder, PoolConfig, access};
use criterion::measurement::WallTime;
use criterion::{Criterion, criterion_group, criterion_main};
use futures_util::future::join_all;
use sea_orm::{
    ConnectOptions, ConnectionTrait, Database, DatabaseConnection, DbBackend, Statement,
};
use tokio::runtime::Runtime;

const POOL: u32 = 4;
const SQL: &str = "SELECT $1::int8 AS id, $2::text AS name";
const WIDE: &str = "SELECT \"event\".\"id\", \"event\".\"name\", \"event\".\"city\" FROM \"event\" \
                    WHERE \"event\".\"city\" = $1 ORDER BY \"event\".\"starts_at\" DESC LIMIT $2";
const SECOND: Duration = Duration::from_secs(1);
/// Longer than a connection waits for the next statement before it goes back to its pool.
const BETWEEN: Duration = Duration::from_millis(15);

fn read() -> Statement {
    Statement::from_sql_and_values(DbBackend::Postgres, SQL, [7_i64.into(), "Ada".into()])
}

fn plain(runtime: &Runtime, url: &str, ping: bool) -> DatabaseConnection {
    let mut options = ConnectOptions::new(url);
    options.max_connections(POOL).min_connections(1);
    options.test_before_acquire(ping).sqlx_logging(false);
    runtime
        .block_on(Database::connect(options))
        .expect("PostgreSQL answers")
}

fn routed_read(criterion: &mut Criterion) {
    let runtime = runtime();
    let postgres = bilten_testbed::shared::postgres().expect("PostgreSQL is there");
    let database = postgres.database("bench").expect("a database can be made");
    let url = database.primary_url();
    let mut cluster = Cluster::builder()
        .primary(&url)
        .pool(PoolConfig::default().max(POOL).min(1));
    for (number, url) in database.replica_urls().into_iter().enumerate() {
        cluster = cluster.replica(format!("r{number}"), url);
    }
    let cluster = runtime
        .block_on(cluster.connect())
        .expect("the cluster connects");

    let mut group = criterion.benchmark_group("one_row");
    // SeaORM's default asks the server whether it is there before every statement.
    for (name, ping) in [("plain_with_ping", true), ("plain", false)] {
        let plain = plain(&runtime, &url, ping);
        group.bench_function(name, |bencher| {
            bencher.iter_custom(|times| {
                timed(&WallTime, &runtime, times, || plain.query_one_raw(read()))
            });
        });
    }
    group.bench_function("cluster", |bencher| {
        bencher.iter_custom(|times| {
            timed(&WallTime, &runtime, times, || cluster.query_one_raw(read()))
        });
    });
    group.finish();
    runtime.block_on(cluster.close());
}

/// All that is done before a statement is sent: what it needs, by a text that comes again and by one that comes once, the hints of
/// the task, and a replica.
fn choice(criterion: &mut Criterion) {
    let runtime = runtime();
    let file = scratch("choice");
    let cluster = Cluster::builder().sqlite(&file).readers(POOL);
    let cluster = runtime.block_on(cluster.connect());
    let cluster = cluster.expect("the cluster connects");
    let mut group = criterion.benchmark_group("whole_choice");
    for (name, sql) in [("short", SQL), ("select_of_an_entity", WIDE)] {
        group.bench_function(name, |bencher| {
            bencher.iter(|| cluster.preview(std::hint::black_box(sql)));
        });
    }
    let once = |n: usize| format!("{WIDE} OFFSET {n:09}");
    let once: Vec<String> = (0..100_000).map(once).collect();
    let mut texts = once.iter().cycle();
    group.bench_function("select_of_an_entity_that_comes_once", |bencher| {
        bencher.iter(|| cluster.preview(texts.next().expect("it goes round")));
    });
    group.finish();
    runtime.block_on(cluster.close());
    remove(&file);
}

fn scratch(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("bilten-bench-{name}-{}.db", std::process::id()))
}

fn remove(file: &Path) {
    for end in ["", "-wal", "-shm"] {
        let _ = std::fs::remove_file(format!("{}{end}", file.display()));
    }
}

fn classifier(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("classify");
    for (name, sql) in [("short", SQL), ("select_of_an_entity", WIDE)] {
        group.bench_function(name, |bencher| {
            bencher.iter(|| access::classify(DbBackend::Postgres, std::hint::black_box(sql)));
        });
    }
    group.finish();
}

/// Each balance beside the plain round robin of a counter and a remainder.
fn balance(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("balance");
    for replicas in [2_usize, 8, 32] {
        let in_flight: Vec<u32> = (0..replicas).map(|n| (n % 5) as u32).collect();
        let mut turn = 0_u64;
        group.bench_function(format!("remainder/{replicas}"), |bencher| {
            bencher.iter(|| {
                turn += 1;
                turn % std::hint::black_box(replicas as u64)
            });
        });
        for balance in [
            Balance::RoundRobin,
            Balance::Weighted,
            Balance::LeastInFlight,
            Balance::PeakEwma,
        ] {
            group.bench_function(format!("{balance:?}/{replicas}"), |bencher| {
                bencher.iter(|| {
                    turn += 1;
                    balance.preview(std::hint::black_box(&in_flight), turn)
                });
            });
        }
    }
    group.finish();
}

/// What the cluster adds to a statement, by the CPU time of the calling thread: once on SQLite, which runs on threads of its
/// own and has no network between, and once on PostgreSQL, whose driver runs on this thread. Both sides have as many
/// connections open: one that alternates between two threads of SQLite costs less than one that takes turns with four.
fn added_cpu(criterion: &mut Criterion<CpuTime>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime can be made");
    let file = scratch("cpu");
    let cluster = Cluster::builder().sqlite(&file).readers(POOL);
    let url = format!("sqlite://{}", file.display());
    let sqlite = "SELECT ? AS id, ? AS name";
    compare_cpu(
        criterion,
        &runtime,
        (cluster, &url),
        sqlite,
        "cpu_of_one_statement",
    );
    remove(&file);

    let postgres = bilten_testbed::shared::postgres().expect("PostgreSQL is there");
    let database = postgres
        .database("bench_cpu")
        .expect("a database can be made");
    let url = database.replica_urls().remove(0);
    let cluster = Cluster::builder()
        .primary(database.primary_url())
        .replica("r0", &url)
        .pool(PoolConfig::default().max(POOL).min(POOL));
    compare_cpu(
        criterion,
        &runtime,
        (cluster, &url),
        SQL,
        "cpu_of_one_statement_on_postgres",
    );
}

fn compare_cpu(
    criterion: &mut Criterion<CpuTime>,
    runtime: &Runtime,
    (cluster, url): (ClusterBuilder, &str),
    sql: &str,
    name: &str,
) {
    let cluster = runtime.block_on(cluster.connect());
    let cluster = cluster.expect("the cluster connects");
    let mut options = ConnectOptions::new(url);
    options.max_connections(POOL).min_connections(POOL);
    options.test_before_acquire(false).sqlx_logging(false);
    let plain = runtime.block_on(Database::connect(options));
    let plain = plain.expect("the database opens");
    let backend = plain.get_database_backend();
    let read = || Statement::from_sql_and_values(backend, sql, [7_i64.into(), "Ada".into()]);
    let clock = CpuTime::default();
    runtime.block_on(open_all(&plain, &cluster, &read));
    let mut group = criterion.benchmark_group(name);
    group.bench_function("plain", |bencher| {
        bencher.iter_custom(|times| timed(&clock, runtime, times, || plain.query_one_raw(read())));
    });
    group.bench_function("cluster", |bencher| {
        bencher
            .iter_custom(|times| timed(&clock, runtime, times, || cluster.query_one_raw(read())));
    });
    group.finish();
    // One that no other follows: its way back to the pool, and all that waited for the next in vain.
    let mut group = criterion.benchmark_group(format!("{name}_that_is_alone"));
    group.sample_size(20).measurement_time(8 * SECOND);
    let pause = || tokio::time::sleep(BETWEEN);
    group.bench_function("pause", |bencher| {
        bencher.iter_custom(|times| timed(&clock, runtime, times, pause));
    });
    group.bench_function("plain", |bencher| {
        bencher.iter_custom(|times| {
            timed(&clock, runtime, times, || async {
                plain.query_one_raw(read()).await.expect("it answers");
                pause().await;
            })
        });
    });
    group.bench_function("cluster", |bencher| {
        bencher.iter_custom(|times| {
            timed(&clock, runtime, times, || async {
                cluster.query_one_raw(read()).await.expect("it answers");
                pause().await;
            })
        });
    });
    group.finish();
    runtime.block_on(cluster.close());
}

/// Has each pool open every connection that it may have.
async fn open_all(plain: &DatabaseConnection, cluster: &Cluster, read: &impl Fn() -> Statement) {
    for _ in 0..10 {
        let all = (0..POOL).map(|_| async {
            plain.query_one_raw(read()).await.expect("it answers");
            cluster.query_one_raw(read()).await.expect("it answers");
        });
        join_all(all).await;
    }
}

criterion_group!(benches, choice, classifier, balance, routed_read);
criterion_group! {
    name = cpu;
    config = CpuTime::criterion();
    targets = added_cpu
}
criterion_main!(cpu, benches);
