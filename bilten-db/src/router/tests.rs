use std::collections::HashSet;
use std::hint::black_box;
use std::time::Duration;

use futures_util::FutureExt as _;

use super::*;
use crate::Cluster;
use crate::call::ExecuteUnprepared;
use crate::driver::nowhere::{Nowhere, Part};
use crate::metrics::{Names, NodeMetrics};
use crate::retry::RetryConfig;
use crate::scope::{Freshness, with_freshness};
use crate::traits::Traits;

#[tokio::test]
async fn the_choice_of_a_node_allocates_nothing() {
    let file = std::env::temp_dir().join(format!("bilten-choice-{}.db", std::process::id()));
    for balance in [Balance::RoundRobin, Balance::PeakEwma] {
        let db = Cluster::builder().sqlite(&file).readers(2);
        let db = db.balance(balance).connect().await.unwrap();
        let router = db.router();
        let sql = "SELECT \"event\".\"id\" FROM \"event\" WHERE \"event\".\"city\" = ? LIMIT 20";
        let choose = || {
            let access = router.access(black_box(Wants::Statement(sql)));
            let course = router.course(false);
            (access, course, router.pick(&scope::hinted()).is_some())
        };
        // A text is kept when it comes again.
        for _ in 0..3 {
            assert_eq!(choose(), (Access::Read, Course::Replicas, true));
        }
        let counted = allocation_counter::measure(|| {
            (0..1000).for_each(|_| assert!(black_box(choose()).2));
        });
        assert_eq!(counted.count_total, 0, "{balance:?}");
        db.close().await;
    }
    for end in ["", "-wal", "-shm"] {
        let _ = std::fs::remove_file(format!("{}{end}", file.display()));
    }
}

#[derive(Debug)]
struct Unknown;

impl Part for Unknown {}

#[tokio::test]
async fn a_read_that_demands_something_is_not_sent_where_it_is_not_proven_any_more() {
    let db = Cluster::builder().primary("sqlite::memory:").connect();
    let db = db.await.unwrap();
    let id = Arc::from("r1");
    let metrics = NodeMetrics::new(&id, &Names::default());
    let [suspicion, changed] = [(); 2].map(|()| Arc::default());
    let backend = Arc::new(Nowhere(Arc::new(Unknown)));
    let traits = Traits::default();
    let node = Node::new(id, backend, metrics, suspicion, changed, traits);
    let node = Arc::new(node);
    let (router, topology) = (db.router(), db.router().topology());
    let call = ExecuteUnprepared("select 1");
    let read = || router.run_kept(&topology, &node, &call, Reason::Read);
    // What is sent there fails, and asks for a look.
    let was_sent = || node.suspicion.notified().now_or_never().is_some();
    let hour = Freshness::MaxLag(Duration::from_secs(3600));
    let fault = with_freshness(hour, read()).await.unwrap_err();
    assert!(matches!(fault, Fault::Discarded) && !was_sent());
    read().await.unwrap_err();
    assert!(was_sent());
}

#[tokio::test]
async fn a_read_that_was_answered_in_vain_needs_the_budget_for_another_try() {
    let retry = RetryConfig::default().percent(0).reserve(1);
    let db = Cluster::builder().primary("sqlite::memory:").retry(retry);
    let db = db.connect().await.unwrap();
    let node = Arc::clone(&db.router().topology().primary);
    let tries = [(); 2].map(|()| db.router().may_try_again(&node, &Fault::Unsure));
    assert_eq!(tries, [true, false]);
}

#[tokio::test]
async fn each_process_begins_with_a_turn_of_its_own() {
    let mut turns = HashSet::new();
    for _ in 0..8 {
        let db = Cluster::builder().primary("sqlite::memory:").connect();
        let db = db.await.unwrap();
        turns.insert(db.router().turn.load(Ordering::Relaxed));
    }
    assert_eq!(turns.len(), 8, "{turns:?}");
}
