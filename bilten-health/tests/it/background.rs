//! Checks that run by themselves.

use crate::doubles::{Count, Switch, health, ms, of, patient};
use bilten_health::{Group, Health, Reason, Status, change::Change, check};
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
async fn a_success_that_is_too_old_is_not_up_however_many_failures_are_spared() {
    let switch = Switch::new(true);
    let health = health([switch
        .check("a")
        .background(TEN)
        .max_staleness(Duration::from_secs(30))
        .thresholds(100, 1)]);
    sleep(ms(1)).await;
    switch.set(false);
    sleep(Duration::from_secs(29)).await;
    assert!(health.check().await.healthy, "failures are spared");
    sleep(Duration::from_secs(2)).await;
    let report = health.check().await;
    assert_eq!(report.status, Status::Unknown, "{}", report.to_json());
    switch.set(true);
    sleep(TEN + TEN).await;
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

// The report of the first runtime could still be repeated in the second, where nobody would notice that nothing runs any more.
#[test]
fn a_background_check_goes_on_where_it_is_asked_for_once_its_runtime_has_ended() {
    let switch = Switch::new(true);
    let health = patient([switch.check("a").background(TEN * 6)]);
    let runtime = || {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        builder.enable_all().build().unwrap()
    };
    for _ in 0..3 {
        let before = switch.runs.get();
        runtime().block_on(async {
            assert!(health.check().await.healthy);
            let again = async {
                while switch.runs.get() == before {
                    sleep(ms(1)).await;
                }
            };
            tokio::time::timeout(TEN * 2, again).await.unwrap();
        });
    }
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

// The order: the first run is up, the second hangs, the result becomes too old, the second ends.
#[tokio::test(start_paused = true)]
async fn going_stale_is_a_change_and_coming_back_another() {
    use Status::{Unknown, Up};
    let runs = Count::default();
    let counter = runs.clone();
    let hangs_once = check("a", move || {
        let second = counter.add() == 2;
        async move {
            if second {
                sleep(TEN * 4).await;
            }
        }
    });
    let seen = Arc::new(Mutex::new(Vec::new()));
    let listener = Arc::clone(&seen);
    let health = Health::builder()
        .check(
            hangs_once
                .background(TEN)
                .timeout(TEN * 360)
                .max_staleness(TEN * 3),
        )
        .on_change(move |change: &Change| listener.lock().unwrap().push((change.from, change.to)))
        .build()
        .unwrap();
    sleep(TEN * 3 - ms(10)).await;
    assert_eq!(health.last(Group::All).checks[0].changes, 1);
    sleep(ms(20)).await;
    let stale = health.last(Group::All);
    assert_eq!(stale.checks[0].changes, 2, "without any question");
    assert_eq!(stale.checks[0].reason, Some(Reason::Stale));
    sleep(TEN * 3).await;
    assert!(health.last(Group::All).healthy);
    tokio::time::resume();
    let told = async {
        while seen.lock().unwrap().len() < 3 {
            sleep(ms(1)).await;
        }
    };
    tokio::time::timeout(TEN * 2, told).await.unwrap();
    assert_eq!(
        *seen.lock().unwrap(),
        [(Unknown, Up), (Up, Unknown), (Unknown, Up)]
    );
}
