//! A discovery that misbehaves.

use std::future::Future;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bilten_db::discovery::{Discover, Discovery, Dns, Failure};
use bilten_db::status::DiscoveryStatus;
use bilten_db::{Cluster, Error, Replica};
use bilten_testbed::eventually_async;
use metrics_util::debugging::{DebugValue, DebuggingRecorder, Snapshotter};
use tokio::runtime::Builder;

use crate::fixture::{LIMIT, Shop, cluster, is_up, until_up, who_reads};
use crate::warnings::Warnings;

const GOOD: u8 = 0;
const PANIC_AT_ONCE: u8 = 1;
const PANIC_LATER: u8 = 2;

/// Knows one replica, and panics when it is told to.
#[derive(Clone)]
struct Moody {
    mood: Arc<AtomicU8>,
    replica: String,
}

impl Moody {
    fn turn(&self, mood: u8) {
        self.mood.store(mood, Ordering::SeqCst);
    }
}

impl Discover for Moody {
    fn discover(&self) -> impl Future<Output = Result<Vec<(String, Replica)>, Failure>> + Send {
        let mood = self.mood.load(Ordering::SeqCst);
        assert!(mood != PANIC_AT_ONCE, "in postgres://app:s3cret@db/shop");
        async move {
            tokio::task::yield_now().await;
            assert!(mood != PANIC_LATER, "in line 7");
            Ok(vec![("r1".to_owned(), Replica::new(&self.replica))])
        }
    }
}

fn found(db: &Cluster) -> DiscoveryStatus {
    db.status().discovery.unwrap()
}

/// Waits until that many more questions had no answer.
async fn until_failed(db: &Cluster, times: u64) {
    let before = found(db).failures;
    eventually_async(LIMIT, || async { found(db).failures >= before + times }).await;
}

fn failures_counted(snapshotter: &Snapshotter) -> u64 {
    let is_ours = |key: &metrics::Key| {
        key.name() == "bilten_db_discoveries_total"
            && key.labels().any(|label| label.value() == "error")
    };
    let all = snapshotter.snapshot().into_vec().into_iter();
    let counts = all.filter_map(|(key, _, _, value)| match value {
        DebugValue::Counter(count) if is_ours(key.key()) => Some(count),
        _ => None,
    });
    counts.sum()
}

#[test]
fn a_discovery_that_panics_is_asked_again_and_told_once() {
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    metrics::with_local_recorder(&recorder, || {
        runtime.block_on(async {
            let warnings = Warnings::of("bilten_db::scout");
            let _told = tracing::subscriber::set_default(warnings.clone());
            let shop = Shop::open("scout_panics").await;
            let moody = Moody {
                mood: Arc::new(AtomicU8::new(PANIC_AT_ONCE)),
                replica: shop.replicas[0].clone(),
            };
            let discovery = Discovery::new(moody.clone()).every(Duration::from_millis(20));
            let db = cluster()
                .primary(&shop.primary)
                .discovery(discovery)
                .connect()
                .await
                .unwrap();
            until_failed(&db, 2).await;
            let problem = found(&db).problem.unwrap();
            assert!(problem.contains("panicked: in postgres://"), "{problem}");
            assert!(!problem.contains("s3cret"), "{problem}");
            assert_eq!(who_reads(&db).await.unwrap(), shop.primary_port());
            moody.turn(PANIC_LATER);
            until_failed(&db, 2).await;
            assert_eq!(warnings.told(), 1, "one warning for one outage");

            moody.turn(GOOD);
            until_up(&db, "r1", true).await;
            eventually_async(LIMIT, || async { found(&db).problem.is_none() }).await;
            moody.turn(PANIC_AT_ONCE);
            until_failed(&db, 2).await;
            assert!(is_up(&db, "r1"), "the replicas known so far stay");
            assert_eq!(warnings.told(), 2);
            let failures = found(&db).failures;
            assert!(failures_counted(&snapshotter) >= failures);
        });
    });
}

/// Tells what it was given.
#[derive(Clone)]
struct Listed(Arc<Mutex<Vec<(String, String)>>>);

impl Discover for Listed {
    async fn discover(&self) -> Result<Vec<(String, Replica)>, Failure> {
        let list = self.0.lock().unwrap().clone();
        Ok(list
            .into_iter()
            .map(|(id, url)| (id, Replica::new(url)))
            .collect())
    }
}

#[tokio::test]
async fn a_wrong_url_among_the_discovered_is_told_once_and_the_others_serve() {
    let warnings = Warnings::of("bilten_db::scout");
    let _told = tracing::subscriber::set_default(warnings.clone());
    let shop = Shop::open("scout_urls").await;
    let list = [
        ("port", "postgres://app:s3cret@db:99999/shop"),
        ("kind", "mysql://app:s3cret@db/shop"),
        (
            "postgres://app:s3cret@db/shop",
            "postgres://app:s3cret@db/shop",
        ),
        ("good", &shop.replicas[0]),
        ("good", &shop.replicas[0]),
    ];
    let list = list.map(|(id, url)| (id.to_owned(), url.to_owned()));
    let listed = Listed(Arc::new(Mutex::new(list.into())));
    let asking = Arc::clone(&listed.0);
    let db = cluster()
        .primary(&shop.primary)
        .discovery(Discovery::new(listed).every(Duration::from_millis(20)))
        .connect()
        .await
        .unwrap();
    assert_eq!(who_reads(&db).await.unwrap(), shop.replica_ports()[0]);
    let refused = found(&db).refused;
    assert_eq!(refused.len(), 3, "{refused:?}");
    assert!(refused["port"].contains("from 1 to 65535"), "{refused:?}");
    assert!(refused["kind"].contains("another kind"), "{refused:?}");
    assert!(!format!("{refused:?}").contains("s3cret"), "{refused:?}");
    assert_eq!(found(&db).problem, None);

    let mut watched = db.watch();
    asking.lock().unwrap()[0].1 = shop.replicas[1].clone();
    until_up(&db, "port", true).await;
    let is_told = |status: &bilten_db::status::ClusterStatus| {
        status
            .discovery
            .as_ref()
            .is_some_and(|found| found.refused.len() == 2)
    };
    tokio::time::timeout(LIMIT, watched.wait_for(is_told))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(warnings.told(), 3, "each once, however often it is asked");
}

#[tokio::test]
async fn a_name_that_could_never_be_looked_up_is_an_error_at_the_start() {
    for url in [
        "s3cret",
        "sqlite://s3cret.db",
        "postgres:///shop?host=s3cret",
        "postgres://app:s3cret@replicas:99999/shop",
        "postgres://app:s3cret@replicas/shop?sslmode=on",
    ] {
        let built = Cluster::builder()
            .primary("sqlite::memory:")
            .discovery(Dns::new(url))
            .connect();
        let error = built.await.unwrap_err();
        let text = format!("{error} {error:?}");
        let Error::Invalid { field, .. } = error else {
            panic!("{text}");
        };
        assert!(field == "discovery" && !text.contains("s3cret"), "{text}");
    }
}
