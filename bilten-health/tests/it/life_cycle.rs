//! Started, running, shutting down.

use crate::doubles::{Switch, failing, hanging, health, ms, passing};
use bilten_health::{Group, Health, Status};
use tokio::time::{Instant, advance};

#[tokio::test(start_paused = true)]
async fn liveness_does_not_care_about_dependencies() {
    let health = health([
        failing("db").in_readiness(),
        passing("loop").local().in_liveness(),
    ]);
    assert!(health.check_group(Group::Liveness).await.healthy);
    assert!(!health.check_group(Group::Readiness).await.healthy);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_ready_before_it_is_marked_as_started() {
    let health = Health::builder()
        .check(passing("a").in_readiness())
        .wait_for_start()
        .build()
        .unwrap();
    for _ in 0..2 {
        assert_eq!(
            health.check_group(Group::Startup).await.status,
            Status::Unknown
        );
        assert_eq!(
            health.check_group(Group::Readiness).await.status,
            Status::Unknown
        );
        assert_eq!(health.check_group(Group::Liveness).await.status, Status::Up);
    }
    health.mark_started();
    assert_eq!(health.check_group(Group::Startup).await.status, Status::Up);
    assert_eq!(
        health.check_group(Group::Readiness).await.status,
        Status::Up
    );
}

#[tokio::test(start_paused = true)]
async fn startup_once_true_is_true_for_ever() {
    let switch = Switch::new(false);
    let health = health([switch.check("migrations").in_startup()]);
    assert!(!health.check_group(Group::Startup).await.healthy);
    assert!(
        !health.check_group(Group::Readiness).await.healthy,
        "not before it has started"
    );
    switch.set(true);
    advance(ms(1001)).await;
    assert!(
        health.check_group(Group::Readiness).await.healthy,
        "readiness alone finds out, too"
    );
    switch.set(false);
    advance(ms(1001)).await;
    let runs = switch.runs.get();
    assert!(health.check_group(Group::Startup).await.healthy);
    assert!(health.check_group(Group::Readiness).await.healthy);
    assert_eq!(switch.runs.get(), runs, "the check is not asked again");
    assert!(
        !health.check().await.healthy,
        "but the whole report asks it"
    );
}

#[tokio::test(start_paused = true)]
async fn a_service_without_startup_checks_has_started() {
    let health = health([passing("a").in_readiness()]);
    assert!(health.check_group(Group::Startup).await.healthy);
    assert!(health.check_group(Group::Readiness).await.healthy);
}

#[tokio::test(start_paused = true)]
async fn shutdown_ends_readiness_at_once_and_for_ever() {
    let health = health([passing("a").in_readiness().local().in_liveness()]);
    assert!(
        health.check_group(Group::Readiness).await.healthy,
        "and this answer could be repeated for a second"
    );
    health.begin_shutdown();
    health.begin_shutdown();
    for _ in 0..3 {
        assert_eq!(
            health.check_group(Group::Readiness).await.status,
            Status::ShuttingDown
        );
        assert_eq!(health.check().await.status, Status::ShuttingDown);
        assert_eq!(health.last(Group::Readiness).status, Status::ShuttingDown);
        assert_eq!(health.check_group(Group::Liveness).await.status, Status::Up);
        assert_eq!(health.check_group(Group::Startup).await.status, Status::Up);
        health.mark_started();
        advance(ms(5000)).await;
    }
}

// The order: a question waits for a check that hangs, then the shutdown begins.
#[tokio::test(start_paused = true)]
async fn a_question_that_waits_is_answered_when_the_shutdown_begins() {
    let health = health([hanging("a").in_readiness()]);
    let begun = Instant::now();
    let waiting = tokio::spawn({
        let health = health.clone();
        async move { health.check_group(Group::Readiness).await }
    });
    tokio::task::yield_now().await;
    advance(ms(10)).await;
    health.begin_shutdown();
    assert_eq!(waiting.await.unwrap().status, Status::ShuttingDown);
    assert_eq!(begun.elapsed(), ms(10));
}

// Many threads ask while one begins the shutdown: whoever asks after it returned must not see an old answer.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_answer_after_begin_shutdown_is_ready() {
    for _ in 0..200 {
        let health = health([passing("a").in_readiness()]);
        let asking: Vec<_> = (0..3)
            .map(|_| {
                let health = health.clone();
                tokio::spawn(
                    async move { while health.check_group(Group::Readiness).await.healthy {} },
                )
            })
            .collect();
        tokio::task::yield_now().await;
        health.begin_shutdown();
        assert!(!health.check_group(Group::Readiness).await.healthy);
        for task in asking {
            task.await.unwrap();
        }
        assert!(!health.check_group(Group::Readiness).await.healthy);
    }
}

#[tokio::test(start_paused = true)]
async fn a_startup_check_has_to_succeed_once_even_if_it_is_not_critical() {
    let switch = Switch::new(false);
    let health = health([switch.check("warm").in_startup().non_critical()]);
    assert!(!health.check_group(Group::Startup).await.healthy);
    switch.set(true);
    advance(ms(1001)).await;
    assert!(health.check_group(Group::Startup).await.healthy);
}

// The order: it succeeds for another question, then it fails, and only then somebody asks whether it has started.
#[tokio::test(start_paused = true)]
async fn a_success_nobody_asked_startup_about_counts() {
    let switch = Switch::new(true);
    let health = health([switch.check("migrations").in_startup()]);
    assert!(health.check().await.healthy);
    switch.set(false);
    advance(ms(1001)).await;
    assert!(!health.check().await.healthy);
    assert!(health.check_group(Group::Startup).await.healthy);
}

// The order: each works once, but never both at the same time.
#[tokio::test(start_paused = true)]
async fn start_up_checks_need_not_have_succeeded_together() {
    let (x, y) = (Switch::new(true), Switch::new(false));
    let in_startup = |check: bilten_health::CheckBuilder| check.in_startup().cache(ms(0));
    let health = health([in_startup(x.check("x")), in_startup(y.check("y"))]);
    assert!(!health.check_group(Group::Startup).await.healthy);
    x.set(false);
    y.set(true);
    advance(ms(5)).await;
    assert!(health.check_group(Group::Startup).await.healthy);
}
