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
