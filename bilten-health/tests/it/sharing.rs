//! Many callers, one run.

use crate::doubles::{Count, Switch, failing, health, ms, of};
use bilten_health::{Group, Health, check};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::advance;

#[tokio::test(start_paused = true)]
async fn a_thousand_callers_cause_one_run() {
    let runs = Count::default();
    let counter = runs.clone();
    let health = health([check("a", move || {
        counter.add();
        tokio::time::sleep(ms(50))
    })]);
    let mut callers = JoinSet::new();
    for _ in 0..1000 {
        let health = health.clone();
        callers.spawn(async move { health.check().await.healthy });
    }
    assert!(callers.join_all().await.into_iter().all(|healthy| healthy));
    assert_eq!(runs.get(), 1);

    advance(ms(999)).await;
    health.check().await;
    assert_eq!(runs.get(), 1);
    advance(ms(2)).await;
    health.check().await;
    assert_eq!(runs.get(), 2);
}

#[tokio::test(start_paused = true)]
async fn failures_are_cached_like_successes() {
    let switch = Switch::new(false);
    let health = health([switch.check("a")]);
    for _ in 0..1000 {
        assert!(!health.check().await.healthy);
    }
    assert_eq!(switch.runs.get(), 1);
}

/// A check that says when it has begun and goes on when told to.
fn gated() -> (bilten_health::CheckBuilder, Count, Arc<Notify>, Arc<Notify>) {
    let (runs, begun, go) = (
        Count::default(),
        Arc::new(Notify::new()),
        Arc::new(Notify::new()),
    );
    let (counter, say, wait) = (runs.clone(), Arc::clone(&begun), Arc::clone(&go));
    let gated = check("gated", move || {
        counter.add();
        let (say, wait) = (Arc::clone(&say), Arc::clone(&wait));
        async move {
            say.notify_one();
            wait.notified().await;
        }
    });
    (gated, runs, begun, go)
}

// The order: the first caller starts the run, goes away in the middle of it, then a second one asks, then the run ends.
#[tokio::test(start_paused = true)]
async fn a_caller_that_goes_away_changes_no_result() {
    let (gated, runs, begun, go) = gated();
    let health = health([gated]);
    let first = tokio::spawn({
        let health = health.clone();
        async move { health.check().await }
    });
    begun.notified().await;
    first.abort();
    assert!(first.await.unwrap_err().is_cancelled());

    let second = tokio::spawn({
        let health = health.clone();
        async move { health.check().await }
    });
    tokio::task::yield_now().await;
    go.notify_one();
    let report = second.await.unwrap();
    assert!(report.healthy);
    assert_eq!(of(&report, "gated").consecutive_failures, 0);
    assert_eq!(runs.get(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_run_nobody_waits_for_ends_and_is_stored() {
    let (gated, runs, begun, go) = gated();
    let health = health([gated]);
    drop(tokio::time::timeout(Duration::ZERO, health.check()).await);
    begun.notified().await;
    go.notify_one();
    tokio::task::yield_now().await;
    tokio::task::yield_now().await;
    assert!(health.last(Group::All).healthy);
    assert_eq!(runs.get(), 1);
    let tasks = || {
        let runtime = tokio::runtime::Handle::current();
        runtime.metrics().num_alive_tasks()
    };
    assert!(tasks() <= 1, "none but what takes the level back");
    drop(health);
    tokio::task::yield_now().await;
    assert_eq!(tasks(), 0, "no task is left");
}

#[tokio::test(start_paused = true)]
async fn without_a_cache_time_each_question_runs_but_never_two_at_once() {
    let (gated, runs, begun, go) = gated();
    let health = Health::builder()
        .check(gated)
        .cache(Duration::ZERO)
        .build()
        .unwrap();
    for round in 1..=3 {
        let mut callers = JoinSet::new();
        for _ in 0..10 {
            let health = health.clone();
            callers.spawn(async move { health.check().await.healthy });
        }
        begun.notified().await;
        tokio::task::yield_now().await;
        go.notify_one();
        assert!(callers.join_all().await.into_iter().all(|healthy| healthy));
        assert_eq!(runs.get(), round);
    }
}

#[tokio::test(start_paused = true)]
async fn a_result_that_runs_out_while_another_check_is_awaited_still_counts() {
    let quick = Switch::new(true);
    let health = health([
        quick.check("quick").cache(ms(100)),
        crate::doubles::slow("slow", ms(400)).cache(ms(50)),
    ]);
    assert!(health.check().await.healthy);
    advance(ms(40)).await;
    let report = health.check().await;
    assert!(report.healthy, "{}", report.to_json());
}

#[tokio::test(start_paused = true)]
async fn a_repeated_report_is_the_same_report() {
    let health = health([failing("a")]);
    let first = health.check().await;
    let second = health.check().await;
    assert!(Arc::ptr_eq(&first, &second));
}

#[tokio::test(start_paused = true)]
async fn what_is_stored_is_told_without_a_run() {
    let switch = Switch::new(true);
    let health = health([switch.check("a")]);
    assert!(!health.last(Group::All).healthy, "never ran");
    assert_eq!(switch.runs.get(), 0);
    health.check().await;
    advance(Duration::from_secs(20)).await;
    assert!(health.last(Group::All).healthy);
    advance(Duration::from_secs(12)).await;
    assert!(!health.last(Group::All).healthy, "too old to be believed");
    assert_eq!(switch.runs.get(), 1);
}

// Four threads ask, register, unregister and flip the check: no answer may mix or miss.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn changes_at_run_time_tear_no_report() {
    let health = crate::doubles::patience()
        .check(crate::doubles::passing("fixed"))
        .cache(Duration::ZERO)
        .build()
        .unwrap();
    let changing = health.clone();
    let changer = tokio::spawn(async move {
        for _ in 0..200 {
            changing.register(failing("extra").non_critical()).unwrap();
            tokio::task::yield_now().await;
            assert!(changing.unregister("EXTRA"));
        }
    });
    let mut askers = JoinSet::new();
    for _ in 0..3 {
        let health = health.clone();
        askers.spawn(async move {
            for _ in 0..200 {
                let report = health.check().await;
                assert_eq!(&*report.checks[0].name, "fixed");
                assert!(report.checks.len() <= 2);
                let worst = report.checks.iter().any(|check| !check.healthy);
                assert_eq!(
                    report.status == bilten_health::Status::Degraded,
                    worst,
                    "{}",
                    report.to_json()
                );
            }
        });
    }
    askers.join_all().await;
    changer.await.unwrap();
}
