//! Checks that run by themselves.

use crate::doubles::{Count, Switch, health, ms, of};
use bilten_health::{Group, Reason, Status, check};
use std::future::pending;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::time::{Instant, advance, sleep};

const TEN: Duration = Duration::from_secs(10);

#[tokio::test(start_paused = true)]
async fn a_question_gets_the_last_result_and_starts_no_run() {
    let switch = Switch::new(true);
    let health = health([switch.check("a").background(TEN)]);
    sleep(ms(1)).await;
    assert_eq!(switch.runs.get(), 1, "the first run needs no question");
    sleep(ms(2999)).await;
    let report = health.check().await;
    assert_eq!(switch.runs.get(), 1);
    assert!(
        (ms(2990)..ms(3010)).contains(&of(&report, "a").age),
        "{:?}",
        of(&report, "a").age
    );
}

#[tokio::test(start_paused = true)]
async fn a_question_before_the_first_result_waits_for_it() {
    let health = health([crate::doubles::slow("a", ms(200)).background(TEN)]);
    assert!(health.check().await.healthy);
}

#[tokio::test(start_paused = true)]
async fn a_background_result_that_is_too_old_is_not_up() {
    let runs = Count::default();
    let counter = runs.clone();
    let hangs_later = check("a", move || {
        let first = counter.add() == 1;
        async move {
            if !first {
                pending::<()>().await;
            }
        }
    });
    let health = health([hangs_later
        .background(TEN)
        .timeout(Duration::from_secs(3600))
        .max_staleness(Duration::from_secs(30))]);
    sleep(Duration::from_secs(29)).await;
    assert!(health.check().await.healthy);
    sleep(Duration::from_secs(2)).await;
    let report = health.check().await;
    assert_eq!(
        (report.status, of(&report, "a").reason),
        (Status::Unknown, Some(Reason::Stale))
    );
    assert_eq!(runs.get(), 2, "one live run, however many intervals pass");
}

#[tokio::test(start_paused = true)]
async fn instances_do_not_march_in_step() {
    let starts = Arc::new(Mutex::new(Vec::new()));
    let begun = Instant::now();
    let instances: Vec<_> = (0..100)
        .map(|_| {
            let starts = Arc::clone(&starts);
            health([check("a", move || {
                starts.lock().unwrap().push(begun.elapsed());
                async {}
            })
            .background(TEN)])
        })
        .collect();
    sleep(Duration::from_secs(12)).await;
    let second_runs: Vec<_> = starts
        .lock()
        .unwrap()
        .iter()
        .copied()
        .filter(|at| *at > ms(100))
        .collect();
    assert_eq!(second_runs.len(), instances.len());
    let spread = *second_runs.iter().max().unwrap() - *second_runs.iter().min().unwrap();
    assert!(spread >= TEN / 10, "{spread:?}");
    assert!(
        second_runs
            .iter()
            .all(|at| (Duration::from_secs(9)..Duration::from_secs(12)).contains(at))
    );
}

#[tokio::test(start_paused = true)]
async fn the_first_run_waits_for_the_initial_delay() {
    let (asked, ticking) = (Switch::new(true), Switch::new(true));
    let health = health([
        asked.check("asked").initial_delay(TEN),
        ticking.check("ticking").initial_delay(TEN).background(TEN),
    ]);
    let report = health.check().await;
    assert_eq!(report.status, Status::Unknown);
    assert_eq!(of(&report, "asked").reason, Some(Reason::NotRun));
    assert_eq!((asked.runs.get(), ticking.runs.get()), (0, 0));
    sleep(TEN + ms(1)).await;
    assert!(health.check().await.healthy);
}

#[tokio::test(start_paused = true)]
async fn a_ticker_ends_with_its_set() {
    let switch = Switch::new(true);
    let health = health([switch.check("a").background(TEN)]);
    sleep(ms(1)).await;
    drop(health);
    advance(TEN * 3).await;
    sleep(ms(1)).await;
    assert_eq!(switch.runs.get(), 1);
    assert_eq!(
        tokio::runtime::Handle::current()
            .metrics()
            .num_alive_tasks(),
        0
    );
}

#[test]
fn a_set_built_outside_a_runtime_ticks_from_the_first_question() {
    let switch = Switch::new(true);
    let health = health([switch.check("a").background(ms(10))]);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(async {
        assert_eq!(health.last(Group::All).status, Status::Unknown);
        assert!(health.check().await.healthy);
        sleep(ms(100)).await;
        assert!(switch.runs.get() > 5);
    });
}

#[tokio::test(start_paused = true)]
async fn a_new_background_result_shows_at_once() {
    let switch = Switch::new(true);
    let health = health([switch.check("a").background(ms(100))]);
    assert!(
        health.check().await.healthy,
        "and this report could be repeated for a third of a second"
    );
    switch.set(false);
    sleep(ms(120)).await;
    assert!(!health.check().await.healthy);
}
