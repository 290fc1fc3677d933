use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bilten_db::Cluster;
use bilten_db::retry::HedgeConfig;
use bilten_db::scope::with_deadline;
use bilten_db::sea_orm::{ConnectionTrait, TransactionTrait};
use bilten_testbed::{FaultProxy, eventually_async};
use metrics_util::debugging::{DebugValue, DebuggingRecorder, Snapshotter};
use tokio::runtime::Builder;

use crate::fixture::{
    LIMIT, Shop, ask, builder_for, cluster, patient, port, private, tally, until_open, until_up,
    who_reads,
};

/// The statements with this label, or all of them.
pub(crate) fn counted(snapshotter: &Snapshotter, label: Option<(&str, &str)>) -> u64 {
    let mut sum = 0;
    for (key, _, _, value) in snapshotter.snapshot().into_vec() {
        let key = key.key();
        let labels = key.labels();
        let fits = |wanted| labels.clone().any(|l| (l.key(), l.value()) == wanted);
        if let DebugValue::Counter(count) = value
            && key.name() == "bilten_db_statements_total"
            && label.is_none_or(fits)
        {
            sum += count;
        }
    }
    sum
}

#[test]
fn every_statement_is_counted_once() {
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    // A snapshot takes the counts away, so each is looked at once.
    let told = metrics::with_local_recorder(&recorder, || {
        runtime.block_on(async {
            let shop = Shop::open("counted").await;
            let db = shop.connect().await;
            until_open(&db).await;
            counted(&snapshotter, None);
            tally(&db, 60).await;
            let reads = counted(&snapshotter, Some(("reason", "read")));
            for _ in 0..10 {
                let insert = "insert into event (name) values ('a')";
                db.execute_unprepared(insert).await.unwrap();
            }
            db.execute_unprepared("no sql").await.unwrap_err();
            let writes = counted(&snapshotter, Some(("reason", "write")));
            let tx = db.begin().await.unwrap();
            who_reads(&tx).await.unwrap();
            tx.commit().await.unwrap();
            let transactions = counted(&snapshotter, Some(("reason", "transaction")));
            let session = db.session();
            for _ in 0..7 {
                who_reads(&session).await.unwrap();
            }
            ask::<i32>(&session, "select hidden_write()").await.unwrap();
            (reads, writes, transactions, counted(&snapshotter, None))
        })
    });
    // A hidden write is two statements: the one that was refused, and the one that was done.
    assert_eq!(told, (60, 11, 1, 9));
}

#[test]
fn a_wait_for_a_connection_that_was_in_vain_is_a_wait() {
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let limit = Duration::from_millis(200);
    metrics::with_local_recorder(&recorder, || {
        runtime.block_on(async {
            let shop = Shop::open("waited_in_vain").await;
            let pool = patient().max(1).acquire_timeout(limit);
            let db = cluster().primary(&shop.primary).pool(pool);
            let db = db.connect().await.unwrap();
            let tx = db.begin().await.unwrap();
            who_reads(&db).await.unwrap_err();
            assert!(db.begin().await.is_err(), "the pool is full");
            let left = with_deadline(limit / 2, who_reads(&db)).await;
            left.unwrap_err();
            drop(tx);
        });
    });
    let waits = snapshotter.snapshot().into_vec().into_iter();
    let waits = waits.filter(|(key, ..)| key.key().name() == "bilten_db_acquire_seconds");
    let waits: Vec<_> = waits.map(|(_, _, _, value)| value).collect();
    let seconds = |wait: &DebugValue| match wait {
        DebugValue::Histogram(waits) => waits.iter().map(|wait| **wait).collect(),
        _ => Vec::new(),
    };
    let seconds: Vec<f64> = waits.iter().flat_map(seconds).collect();
    let as_long_as = |limit: Duration| {
        let limit = limit.as_secs_f64();
        seconds.iter().filter(|wait| **wait >= limit).count()
    };
    assert!(as_long_as(limit) >= 2, "a read and a beginning: {waits:?}");
    assert!(as_long_as(limit / 2) >= 3, "and who went away: {waits:?}");
}

/// The levels by node and metric, those of the pool as one sum. A snapshot leaves zeros behind.
fn levels(snapshotter: &Snapshotter) -> BTreeMap<(String, String), f64> {
    let mut levels = BTreeMap::new();
    for (key, _, _, value) in snapshotter.snapshot().into_vec() {
        let key = key.key();
        let node = key.labels().find(|label| label.key() == "node");
        if let (DebugValue::Gauge(level), Some(node)) = (value, node) {
            let at = (node.value().to_owned(), key.name().to_owned());
            *levels.entry(at).or_default() += level.0;
        }
    }
    levels
}

#[test]
fn a_node_that_left_has_no_level_that_an_alert_could_wait_for() {
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let now = |node: &str, metrics: &[&str]| {
        let levels = levels(&snapshotter);
        let at = |metric: &&str| levels[&(node.to_owned(), format!("bilten_db_{metric}"))];
        metrics.iter().map(at).collect::<Vec<_>>()
    };
    metrics::with_local_recorder(&recorder, || {
        runtime.block_on(async {
            let postgres = private(1);
            let db = builder_for(&postgres).connect().await.unwrap();
            // What runs there when it leaves ends elsewhere.
            let sleep = "select pg_sleep(1) is null";
            let slow = futures_util::future::join_all((0..3).map(|_| ask::<bool>(&db, sleep)));
            let leave = async {
                let busy = || async { db.status().nodes[1].in_flight == 3 };
                eventually_async(LIMIT, busy).await;
                postgres.replica(0).kill().unwrap();
                until_up(&db, "r1", false).await;
                db.remove_replica("r1", Duration::ZERO).await.unwrap();
            };
            let (outcomes, ()) = tokio::join!(slow, leave);
            assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
            let left = [
                "in_flight",
                "node_up",
                "node_fenced",
                "lag_seconds",
                "lag_bytes",
                "pool_connections",
            ];
            let left = now("r1", &left);
            assert_eq!(left[0], 0.0, "nothing runs there");
            let levels = &left[1..];
            assert!(levels.iter().all(|level| level.is_nan()), "{levels:?}");

            // It is away when it joins, and that is what is told.
            let watched = db.watch();
            let url = postgres.replica(0).url();
            db.add_replica("r1", url).await.unwrap();
            assert_eq!(now("r1", &["node_up"]), [0.0]);
            eventually_async(LIMIT, || async {
                let reason = watched.borrow().replicas().next().map(|r| r.reason.clone());
                reason
                    .flatten()
                    .is_some_and(|reason| !reason.contains("joins"))
            })
            .await;
            postgres.replica(0).restart().unwrap();
            until_up(&db, "r1", true).await;
            assert_eq!(now("r1", &["node_up"]), [1.0]);
            db.close().await;
            assert!(now("primary", &["node_up"])[0].is_nan());
        });
    });
}

#[test]
fn nodes_without_end_do_not_make_series_without_end() {
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    metrics::with_local_recorder(&recorder, || {
        runtime.block_on(async {
            let shop = Shop::open("names").await;
            let db = cluster().primary(&shop.primary);
            let db = db.connect().await.unwrap();
            for n in 0..150 {
                let id = format!("n{n}");
                db.add_replica(&*id, &shop.replicas[0]).await.unwrap();
                ask::<i32>(&db, "select 1").await.unwrap();
                db.remove_replica(&id, LIMIT).await.unwrap();
            }
        });
    });
    let mut reads = BTreeMap::new();
    let mut gauges = std::collections::BTreeSet::new();
    for (key, _, _, value) in snapshotter.snapshot().into_vec() {
        let key = key.key();
        let Some(node) = key.labels().find(|label| label.key() == "node") else {
            continue;
        };
        match value {
            DebugValue::Counter(count) => {
                *reads.entry(node.value().to_owned()).or_insert(0) += count;
            }
            DebugValue::Gauge(_) if node.value() == "other" => {
                gauges.insert(key.name().to_owned());
            }
            _ => {}
        }
    }
    // The primary and 127 of the replicas have names of their own, and nothing is lost of the others.
    assert_eq!(reads.len(), 129);
    assert_eq!((reads["n126"], reads["other"]), (1, 23), "{reads:?}");
    assert_eq!(gauges, ["bilten_db_in_flight".to_owned()].into());
}

#[test]
fn what_nobody_waited_for_is_counted_too() {
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let cancelled = metrics::with_local_recorder(&recorder, || {
        runtime.block_on(async {
            let shop = Shop::open("cancelled").await;
            let deadline = Duration::from_millis(200);
            let db = shop.builder().deadline(deadline).connect().await.unwrap();
            for _ in 0..3 {
                let slow = ask::<bool>(&db, "select pg_sleep(60) is null").await;
                slow.unwrap_err();
            }
            counted(&snapshotter, Some(("outcome", "cancelled")))
        })
    });
    assert_eq!(cancelled, 3);
}

#[test]
fn what_the_server_ended_for_its_time_is_sent_once() {
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let sent = metrics::with_local_recorder(&recorder, || {
        runtime.block_on(async {
            let shop = Shop::open("ended_once").await;
            let pool = patient().statement_timeout(Duration::from_secs(1));
            // With a second one a slow login would send the statement there.
            let db = cluster()
                .primary(&shop.primary)
                .replica("r1", &shop.replicas[0])
                .pool(pool)
                .connect()
                .await
                .unwrap();
            let slow = ask::<bool>(&db, "select pg_sleep(60) is null").await;
            assert!(slow.unwrap_err().to_string().contains("statement timeout"));
            counted(&snapshotter, None)
        })
    });
    assert_eq!(sent, 1);
}

/// Of 300 reads in turn over two replicas of which one is 500 ms late.
#[test]
fn a_hedge_brings_the_tail_down_with_few_statements_more() {
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let delay = Duration::from_millis(500);
    let (took, slowed, hedges) = metrics::with_local_recorder(&recorder, || {
        runtime.block_on(async {
            let postgres = private(2);
            let proxy = FaultProxy::to_blocking(postgres.replica(0).addr()).unwrap();
            let db = cluster()
                .primary(postgres.primary().url())
                .replica("late", proxy.url_like(&postgres.replica(0).url()).unwrap())
                .replica("quick", postgres.replica(1).url())
                .hedge(HedgeConfig::after(Duration::from_millis(60)).reserve(2))
                .connect()
                .await
                .unwrap();
            until_up(&db, "late", true).await;
            until_up(&db, "quick", true).await;
            let both = async || while tally(&db, 40).await.len() < 2 {};
            tokio::time::timeout(LIMIT, both()).await.unwrap();
            proxy.delay(delay);
            let mut took = Vec::new();
            let slowed = Instant::now();
            for _ in 0..300 {
                let begun = Instant::now();
                who_reads(&db).await.unwrap();
                took.push(begun.elapsed());
            }
            let slowed = slowed.elapsed().as_secs();
            // Well again, it is found out by one read and has its share.
            proxy.heal();
            let late = port(postgres.replica(0));
            let back = async || while tally(&db, 10).await.get(&late) != Some(&5) {};
            tokio::time::timeout(LIMIT, back()).await.unwrap();
            (
                took,
                slowed,
                counted(&snapshotter, Some(("reason", "hedge"))),
            )
        })
    });
    // Late on the way there and on the way back.
    let late = took.iter().filter(|took| **took >= 2 * delay).count();
    assert!(late <= 3, "{late} of 300 reads waited for the late replica");
    // The reserve fills up with the time too, by one in five seconds.
    let most = 18 + slowed / 5;
    assert!((1..=most).contains(&hedges), "{hedges} more statements");
}

#[test]
fn an_old_primary_that_comes_back_is_told_by_an_alarm_and_asked_nothing() {
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let node_up = || {
        let at = ("primary".to_owned(), "bilten_db_node_up".to_owned());
        levels(&snapshotter).get(&at).copied()
    };
    metrics::with_local_recorder(&recorder, || {
        runtime.block_on(async {
            let postgres = private(2);
            let db = builder_for(&postgres).connect().await.unwrap();
            assert_eq!(node_up(), Some(1.0));
            postgres.primary().kill().unwrap();
            postgres.replica(0).promote().unwrap();
            eventually_async(LIMIT, || async { db.status().primary().id == "r1" }).await;
            postgres.primary().restart().unwrap();
            let fenced = || async {
                let status = db.status();
                let old = status.replicas().find(|node| node.id == "primary").unwrap();
                old.reason
                    .as_deref()
                    .is_some_and(|r| r.contains("takes writes"))
            };
            eventually_async(LIMIT, fenced).await;
            let levels = levels(&snapshotter);
            let level = |node: &str, metric: &str| levels[&(node.to_owned(), metric.to_owned())];
            let told = ["primary", "r1", "r2"].map(|node| level(node, "bilten_db_node_fenced"));
            assert_eq!(told, [1.0, 0.0, 0.0]);
            assert_eq!(level("primary", "bilten_db_node_up"), 0.0);
            counted(&snapshotter, None);
            for _ in 0..40 {
                who_reads(&db).await.unwrap();
                let insert = "insert into event (name) values ('a')";
                db.execute_unprepared(insert).await.unwrap();
            }
            assert_eq!(counted(&snapshotter, Some(("node", "primary"))), 0);
            let rows = "select count(*) from event";
            assert_eq!(postgres.primary().psql(rows).unwrap(), "0");
        });
    });
}

#[test]
fn a_replica_that_was_refused_is_not_told_to_be_up() {
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    metrics::with_local_recorder(&recorder, || {
        runtime.block_on(async {
            let db = Cluster::builder().primary("sqlite::memory:").connect();
            let db = db.await.unwrap();
            for (id, url) in [
                ("other", "postgres://app@127.0.0.1:1/shop"),
                ("wrong", "sqlite://a.db?mode=none"),
            ] {
                db.add_replica(id, url).await.unwrap_err();
                let levels = levels(&snapshotter);
                let up = levels.get(&(id.to_owned(), "bilten_db_node_up".to_owned()));
                assert!(up.is_none_or(|up| up.is_nan()), "{id}: {up:?}");
            }
        });
    });
}
