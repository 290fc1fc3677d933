//! The built-in checks that need no server of ours.

use crate::doubles::{health, ms, of};
use bilten_health::{Group, Status, checks};
use tokio::time::advance;

#[tokio::test(start_paused = true)]
async fn a_task_that_stops_beating_is_down() {
    let (heartbeat, check) = checks::heartbeat("worker", ms(5000));
    let health = health([check.in_liveness()]);
    assert_eq!(
        health.check_group(Group::Liveness).await.status,
        Status::Unknown,
        "no heartbeat yet"
    );
    heartbeat.beat();
    advance(ms(5000)).await;
    assert_eq!(health.check_group(Group::Liveness).await.status, Status::Up);
    advance(ms(1001)).await;
    let report = health.check_group(Group::Liveness).await;
    assert_eq!(report.status, Status::Down);
    assert!(
        of(&report, "worker")
            .error
            .as_deref()
            .unwrap()
            .contains("more than 5s")
    );
    heartbeat.beat();
    advance(ms(1001)).await;
    assert!(health.check_group(Group::Liveness).await.healthy);
}

#[cfg(feature = "net")]
#[tokio::test]
async fn a_port_is_up_while_somebody_listens() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let health = health([checks::tcp("smtp", &*address).cache(std::time::Duration::ZERO)]);
    assert!(health.check().await.healthy);
    drop(listener);
    let report = health.check().await;
    assert_eq!(report.status, Status::Down);
    assert!(
        of(&report, "smtp")
            .error
            .as_deref()
            .unwrap()
            .contains("refused")
    );
}

#[cfg(feature = "net")]
#[tokio::test]
async fn an_address_that_makes_no_sense_is_down_with_its_error() {
    let report = health([checks::tcp("smtp", "no port here")]).check().await;
    assert!(of(&report, "smtp").error.is_some());
}
