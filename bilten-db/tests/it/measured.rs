//! Each metric of which an alert or a page is made, by its value. What is counted is compared with what was done.

use std::sync::Arc;
use std::time::Duration;

use bilten_db::discovery::{Discover, Discovery, Failure};
use bilten_db::retry::{HedgeConfig, RetryConfig};
use bilten_db::sea_orm::{ConnectionTrait, DatabaseBackend, Statement};
use bilten_db::{Cluster, Error, Fallback, Replica};
use bilten_testbed::{PostgresNode, eventually_async};
use futures_util::future::join_all;
use metrics_util::debugging::{DebugValue, DebuggingRecorder, Snapshotter};
use tokio::runtime::Builder;

use crate::fixture::{
    HELD, LIMIT, Shop, ask, builder_for, cluster, hold, patient, port, private, seen, until_open,
    until_up, who_reads,
};

type Labels = Vec<(String, String)>;

/// One look at everything: a snapshot sets back what it has shown.
struct Measured(Vec<(String, Labels, DebugValue)>);

impl Measured {
    fn by(snapshotter: &Snapshotter) -> Self {
        let all = snapshotter.snapshot().into_vec().into_iter();
        let all = all.map(|(key, _, _, value)| {
            let labels = key.key().labels();
            let labels = labels.map(|l| (l.key().to_owned(), l.value().to_owned()));
            (key.key().name().to_owned(), labels.collect(), value)
        });
        Self(all.collect())
    }

    fn of<'a>(
        &'a self,
        name: &'a str,
        wanted: &'a [(&str, &str)],
    ) -> impl Iterator<Item = &'a DebugValue> {
        let fits = move |labels: &[(String, String)]| {
            let has = |(k, v): &(&str, &str)| labels.iter().any(|(key, val)| key == k && val == v);
            wanted.iter().all(has)
        };
        let name = format!("bilten_db_{name}");
        let ours = self
            .0
            .iter()
            .filter(move |(key, labels, _)| *key == name && fits(labels));
        ours.map(|(_, _, value)| value)
    }

    fn count(&self, name: &str, wanted: &[(&str, &str)]) -> u64 {
        let counts = self.of(name, wanted).map(|value| match value {
            DebugValue::Counter(count) => *count,
            other => panic!("{name} is no counter: {other:?}"),
        });
        counts.sum()
    }

    fn level(&self, name: &str, wanted: &[(&str, &str)]) -> f64 {
        let found: Vec<_> = self.of(name, wanted).collect();
        match found[..] {
            [DebugValue::Gauge(level)] => level.0,
            _ => panic!("{name} of {wanted:?}: {found:?}"),
        }
    }

    fn seconds(&self, name: &str, wanted: &[(&str, &str)]) -> Vec<f64> {
        let all = self.of(name, wanted).flat_map(|value| match value {
            DebugValue::Histogram(all) => all.iter().map(|one| one.0).collect::<Vec<_>>(),
            other => panic!("{name} is no histogram: {other:?}"),
        });
        all.collect()
    }
}

/// Runs a test whose cluster tells this recorder.
fn measured<T>(test: impl AsyncFnOnce(&Snapshotter) -> T) -> T {
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    metrics::with_local_recorder(&recorder, || runtime.block_on(test(&snapshotter)))
}

const R1: (&str, &str) = ("node", "r1");
const R2: (&str, &str) = ("node", "r2");
const PRIMARY: (&str, &str) = ("node", "primary");

#[test]
fn a_hidden_write_is_counted_once_as_misread() {
    measured(async |snapshotter| {
        let shop = Shop::open("measured_misread").await;
        let db = shop.connect().await;
        for _ in 0..3 {
            ask::<i32>(&db, "select hidden_write()").await.unwrap();
        }
        who_reads(&db).await.unwrap();
        let told = Measured::by(snapshotter);
        assert_eq!(told.count("misread_total", &[]), 1, "known afterwards");
        assert_eq!(told.count("misread_total", &[PRIMARY]), 1);
    });
}

#[test]
fn the_seconds_of_a_statement_are_those_that_it_took() {
    measured(async |snapshotter| {
        let shop = Shop::open("measured_seconds").await;
        let db = shop.connect().await;
        until_open(&db).await;
        Measured::by(snapshotter);
        ask::<bool>(&db, "select pg_sleep(0.3) is null")
            .await
            .unwrap();
        who_reads(&db).await.unwrap();
        db.execute_unprepared("no sql").await.unwrap_err();
        let told = Measured::by(snapshotter);
        let seconds = told.seconds("statement_seconds", &[]);
        let counted = told.count("statements_total", &[]);
        assert_eq!((seconds.len(), counted), (3, 3), "each once: {seconds:?}");
        assert_eq!(told.seconds("statement_seconds", &[PRIMARY]).len(), 1);
        let slow: Vec<_> = seconds.iter().filter(|took| **took >= 0.3).collect();
        assert!(!slow.is_empty(), "{seconds:?}");
        assert!(seconds.iter().all(|took| (0.0..60.0).contains(took)));
    });
}

#[test]
fn ejections_and_fail_overs_are_counted_where_they_happened() {
    measured(async |snapshotter| {
        let postgres = private(2);
        let db = builder_for(&postgres).connect().await.unwrap();
        let (mut ejections, mut failovers) = ([0; 3], [0; 3]);
        let mut add = || {
            let told = Measured::by(snapshotter);
            for (n, node) in [PRIMARY, R1, R2].into_iter().enumerate() {
                ejections[n] += told.count("ejections_total", &[node]);
                failovers[n] += told.count("failovers_total", &[node]);
            }
            let status = ["primary", "r1", "r2"].map(|id| seen(&db, id).ejections);
            assert_eq!(ejections, status, "the status tells the same");
            (ejections, failovers)
        };
        assert_eq!(add().1, [0; 3]);
        postgres.replica(1).kill().unwrap();
        until_up(&db, "r2", false).await;
        let (ejections, failovers) = add();
        assert!(ejections[2] > 0, "{ejections:?}");
        assert_eq!(failovers, [0; 3], "a replica that dies is none");
        postgres.primary().kill().unwrap();
        postgres.replica(0).promote().unwrap();
        eventually_async(LIMIT, || async { db.status().primary().id == "r1" }).await;
        assert_eq!(add().1, [0, 1, 0]);
    });
}

#[test]
fn a_hedge_that_won_is_counted_on_the_node_that_answered() {
    measured(async |snapshotter| {
        let postgres = private(2);
        let hedge = HedgeConfig::after(Duration::from_millis(100)).percent(100);
        let db = builder_for(&postgres).hedge(hedge).connect().await.unwrap();
        until_open(&db).await;
        // Held up on the first replica only.
        let holder = hold(&postgres.replica(0).url()).await;
        Measured::by(snapshotter);
        let first = postgres.replica(0).port();
        let sql = format!(
            "select inet_server_port() from (select case inet_server_port() when {first} then held() end) as slow"
        );
        for _ in 0..4 {
            let from: i32 = ask(&db, &sql).await.unwrap();
            assert_eq!(from, port(postgres.replica(1)));
        }
        let told = Measured::by(snapshotter);
        let won = told.count("hedges_won_total", &[R2]);
        let answered = [R2, ("reason", "hedge"), ("outcome", "ok")];
        assert_eq!(won, told.count("statements_total", &answered));
        assert!(won > 0);
        assert_eq!(told.count("hedges_won_total", &[R1]), 0);
        drop(holder);
    });
}

#[test]
fn without_a_setting_nothing_is_hedged() {
    measured(async |snapshotter| {
        let shop = Shop::open("measured_no_hedge").await;
        let db = shop.connect().await;
        until_open(&db).await;
        Measured::by(snapshotter);
        ask::<bool>(&db, "select pg_sleep(2) is null")
            .await
            .unwrap();
        let told = Measured::by(snapshotter);
        assert_eq!(told.count("statements_total", &[]), 1);
        assert_eq!(told.count("statements_total", &[("reason", "hedge")]), 0);
    });
}

#[test]
fn what_the_lexer_has_never_seen_is_sent_to_the_primary() {
    measured(async |snapshotter| {
        let shop = Shop::open("measured_unseen").await;
        let db = shop.connect().await;
        until_open(&db).await;
        for sql in [
            "",
            ";;",
            "\0",
            "🦀",
            "sélect 1",
            "selec 1",
            "frobnicate the event",
            "select 1 /* never ends",
            "select $$ never ends",
            "select 'never ends",
            "select \"never ends",
            "select (1",
            "select 1; select 2; drop",
            "explain (frobnicate) select 1",
        ] {
            Measured::by(snapshotter);
            let stmt = || Statement::from_string(DatabaseBackend::Postgres, sql);
            let outcomes = [
                db.execute_unprepared(sql).await.map(drop),
                db.execute_raw(stmt()).await.map(drop),
                db.query_one_raw(stmt()).await.map(drop),
                db.query_all_raw(stmt()).await.map(drop),
            ];
            let told = Measured::by(snapshotter);
            let sent = told.count("statements_total", &[]);
            let to_primary = told.count("statements_total", &[PRIMARY, ("reason", "write")]);
            assert_eq!((sent, to_primary), (4, 4), "{sql:?}: {outcomes:?}");
            // To say nothing is no error, whoever hears it.
            let is_fine = sql.trim_matches(';').is_empty();
            let refused = outcomes.iter().filter(|outcome| outcome.is_err()).count();
            assert!(is_fine || refused == 4, "{sql:?}: {outcomes:?}");
        }
        assert!(db.status().nodes.iter().all(|node| node.is_up()));
    });
}

/// Ends what is held up on a node, and tells how much that was.
fn cut(node: &PostgresNode) -> usize {
    let sql = "select count(pg_terminate_backend(pid)) from pg_stat_activity where wait_event = 'advisory'";
    node.psql(sql).unwrap().parse().unwrap()
}

#[test]
fn a_second_try_that_the_budget_refused_is_counted() {
    measured(async |snapshotter| {
        let postgres = private(2);
        let builder = builder_for(&postgres).retry(RetryConfig::off());
        let db = builder.connect().await.unwrap();
        until_open(&db).await;
        let holders = [
            hold(&postgres.replica(0).url()).await,
            hold(&postgres.replica(1).url()).await,
        ];
        let read = ask::<i32>(&db, "select held()");
        let ended = async {
            let nodes = postgres.replicas();
            let is_cut = || async { nodes.iter().map(cut).sum::<usize>() > 0 };
            eventually_async(LIMIT, is_cut).await;
        };
        let (read, ()) = tokio::join!(read, ended);
        read.unwrap_err();
        let told = Measured::by(snapshotter);
        assert_eq!(told.count("retries_refused_total", &[]), 1);
        let failed = told.count("statements_total", &[("outcome", "error")]);
        assert_eq!(failed, 1, "it was not sent again");
        let on_primary = told.count("retries_refused_total", &[PRIMARY]);
        assert_eq!(on_primary, 0, "the node on which it failed");
        drop(holders);
    });
}

#[test]
fn each_read_refused_for_the_cap_of_the_primary_is_counted() {
    measured(async |snapshotter| {
        let postgres = private(1);
        let fallback = Fallback::Primary { max_in_flight: 2 };
        let db = builder_for(&postgres).fallback(fallback).connect().await;
        let db = db.unwrap();
        postgres.replica(0).kill().unwrap();
        until_up(&db, "r1", false).await;
        let holder = hold(&postgres.primary().url()).await;
        let reads = join_all((0..2).map(|_| ask::<i32>(&db, "select held()")));
        let refused = async {
            let held = || async { postgres.primary().psql(HELD).unwrap() == "2" };
            eventually_async(LIMIT, held).await;
            for _ in 0..5 {
                let error = who_reads(&db).await.unwrap_err();
                let told = Error::of(&error);
                assert!(matches!(told, Some(Error::Overloaded { .. })), "{error}");
            }
            drop(holder);
        };
        let (reads, ()) = tokio::join!(reads, refused);
        assert!(reads.iter().all(Result::is_ok), "{reads:?}");
        let told = Measured::by(snapshotter);
        assert_eq!(told.count("overloaded_total", &[PRIMARY]), 5);
        assert_eq!(told.count("overloaded_total", &[]), 5);
    });
}

#[test]
fn the_lag_of_a_replica_is_told_in_bytes_and_seconds() {
    measured(async |snapshotter| {
        let postgres = private(2);
        let db = builder_for(&postgres).connect().await.unwrap();
        postgres.replica(0).pause_replay().unwrap();
        let insert = "insert into event (name) select 'a' from generate_series(1, 2000)";
        db.execute_unprepared(insert).await.unwrap();
        let lags = |id: &str| {
            let node = seen(&db, id);
            node.lag_bytes.zip(node.lag)
        };
        let three = Duration::from_secs(3);
        let is_behind = |(bytes, time): (u64, Duration)| bytes > 0 && time > three;
        // A snapshot sets the levels back, so both are looked at where a probe has told of them since.
        let told = async || {
            Measured::by(snapshotter);
            let before = lags("r1");
            eventually_async(LIMIT, || async { lags("r1") != before }).await;
            let told = Measured::by(snapshotter);
            let at = |name| told.level(name, &[R1]);
            (at("lag_bytes"), at("lag_seconds"), lags("r1"))
        };
        eventually_async(LIMIT, || async { lags("r1").is_some_and(is_behind) }).await;
        let (bytes, seconds, status) = told().await;
        let (known, time) = status.unwrap();
        assert_eq!(bytes, f64::from(u32::try_from(known).unwrap()));
        assert!(bytes >= 100_000.0, "2000 rows: {bytes}");
        assert_eq!(seconds, time.as_secs_f64());
        assert!(seconds > 3.0);

        postgres.replica(0).resume_replay().unwrap();
        eventually_async(LIMIT, || async {
            lags("r1").is_some_and(|(bytes, _)| bytes == 0)
        })
        .await;
        postgres.replica(0).kill().unwrap();
        eventually_async(LIMIT, || async {
            let told = Measured::by(snapshotter);
            let at = |name| told.level(name, &[R1]);
            at("lag_bytes").is_nan() && at("lag_seconds").is_nan()
        })
        .await;
    });
}

#[test]
fn the_connections_of_a_pool_are_told_by_what_they_do() {
    measured(async |snapshotter| {
        let postgres = private(1);
        let pool = patient().min(3).max(5);
        let db = builder_for(&postgres).pool(pool).connect().await.unwrap();
        let level = |state: &str| {
            let told = Measured::by(snapshotter);
            let [used, idle] = ["used", "idle"]
                .map(|state| told.level("pool_connections", &[R1, ("state", state)]));
            match state {
                "idle" => (idle, used),
                _ => (used, idle),
            }
        };
        eventually_async(LIMIT, || async { level("idle") == (3.0, 0.0) }).await;
        let holder = hold(&postgres.replica(0).url()).await;
        let reads = join_all((0..5).map(|_| ask::<i32>(&db, "select held()")));
        let told = async {
            eventually_async(LIMIT, || async { level("used") == (5.0, 0.0) }).await;
            drop(holder);
        };
        let (reads, ()) = tokio::join!(reads, told);
        assert!(reads.iter().all(Result::is_ok), "{reads:?}");
        eventually_async(LIMIT, || async { level("idle") == (5.0, 0.0) }).await;
    });
}

/// Names replicas of which all but one could never be.
#[derive(Clone)]
struct Names(Arc<str>);

impl Discover for Names {
    async fn discover(&self) -> Result<Vec<(String, Replica)>, Failure> {
        let named = [
            ("good", &*self.0),
            ("kind", "mysql://app@db/shop"),
            ("port", "postgres://app@db:99999/shop"),
        ];
        let named = named.map(|(id, url)| (id.to_owned(), Replica::new(url)));
        Ok(named.into())
    }
}

#[test]
fn what_a_discovery_names_in_vain_is_counted() {
    measured(async |snapshotter| {
        let shop = Shop::open("measured_refused").await;
        let names = Names(Arc::from(&*shop.replicas[0]));
        let asked = Discovery::new(names).every(LIMIT);
        let built = cluster().primary(&shop.primary).discovery(asked).connect();
        let db: Cluster = built.await.unwrap();
        assert_eq!(who_reads(&db).await.unwrap(), shop.replica_ports()[0]);
        let told = Measured::by(snapshotter);
        assert_eq!(told.level("discovery_refused", &[]), 2.0);
        let ok = told.count("discoveries_total", &[("outcome", "ok")]);
        assert_eq!(ok, 1);
    });
}
