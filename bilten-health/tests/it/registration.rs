//! Checks that come and go while the service runs.

use crate::doubles::{Switch, failing, health, ms, passing};
use bilten_health::{BuildError, Group, Health, Status};
use tokio::time::sleep;

#[tokio::test(start_paused = true)]
async fn a_check_that_is_added_shows_in_the_next_report() {
    let health = health([passing("a")]);
    assert!(health.check().await.healthy);
    health.register(failing("b")).unwrap();
    assert!(
        !health.check().await.healthy,
        "although the old report would have counted for a second"
    );
    assert!(health.unregister("B"));
    assert!(!health.unregister("b"));
    assert!(health.check().await.healthy);
}

#[tokio::test(start_paused = true)]
async fn a_name_that_is_taken_or_bad_is_refused() {
    let health = health([passing("a")]);
    assert!(matches!(
        health.register(passing("A")),
        Err(BuildError::DuplicateName { .. })
    ));
    assert!(matches!(
        health.register(passing("a b")),
        Err(BuildError::InvalidName { .. })
    ));
    assert!(matches!(
        health.register(passing("b").in_liveness()),
        Err(BuildError::ExternalInLiveness { .. })
    ));
    assert_eq!(health.check().await.checks.len(), 1);
}

// Nobody would wait for it: it would be in start-up and never hold anything up.
#[tokio::test(start_paused = true)]
async fn a_startup_check_that_comes_after_the_start_is_refused() {
    let started = health([passing("a")]);
    let refused = started.register(passing("migrations").in_startup());
    let message = refused.unwrap_err().to_string();
    assert!(
        message.contains("check `migrations`") && message.contains("wait_for_start"),
        "{message}"
    );
    assert_eq!(started.check().await.checks.len(), 1);

    let waiting = Health::builder().wait_for_start().build().unwrap();
    waiting
        .register(failing("migrations").in_startup())
        .unwrap();
    assert!(!waiting.check_group(Group::Readiness).await.healthy);
    waiting.mark_started();
    assert!(waiting.register(passing("b").in_startup()).is_err());
}

// By a search it would be fifty million comparisons.
#[tokio::test(start_paused = true)]
async fn ten_thousand_checks_are_registered_one_by_one() {
    let health = health([]);
    for i in 0..10_000 {
        health.register(passing(&format!("check-{i}"))).unwrap();
    }
    assert!(health.register(passing("CHECK-9999")).is_err());
    assert!(health.unregister("Check-7"));
    health.register(passing("check-7")).unwrap();
    let report = health.check().await;
    assert_eq!(report.checks.len(), 10_000);
    assert_eq!(&*report.checks[9_999].name, "check-7");
}

#[tokio::test(start_paused = true)]
async fn a_background_check_stops_ticking_when_it_is_removed() {
    let switch = Switch::new(true);
    let health = health([]);
    health
        .register(switch.check("a").background(ms(100)))
        .unwrap();
    sleep(ms(1)).await;
    assert_eq!(switch.runs.get(), 1);
    health.unregister("a");
    sleep(ms(1000)).await;
    assert_eq!(switch.runs.get(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_group_whose_checks_are_gone_is_not_up() {
    let health = Health::builder()
        .check(passing("a"))
        .group("edge", ["a"])
        .build()
        .unwrap();
    assert_eq!(
        health.check_group(Group::Named("edge")).await.status,
        Status::Up
    );
    health.unregister("a");
    assert_eq!(
        health.check_group(Group::Named("edge")).await.status,
        Status::Unknown
    );
}
