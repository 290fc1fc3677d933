//! From checks to one status and one report.

use crate::doubles::{Switch, failing, health, ms, of, passing, slow};
use bilten_health::{Group, Health, Reason, Status, Verdict, aggregate::Part, check};
use std::time::SystemTime;

#[tokio::test(start_paused = true)]
async fn no_checks_are_up() {
    assert_eq!(health([]).check().await.status, Status::Up);
}

#[tokio::test(start_paused = true)]
async fn critical_failures_are_down_and_others_degrade() {
    let table = [
        (health([passing("a")]), Status::Up, true),
        (health([passing("a"), failing("b")]), Status::Down, false),
        (
            health([passing("a"), failing("b").non_critical()]),
            Status::Degraded,
            true,
        ),
        (
            health([failing("a"), failing("b").non_critical()]),
            Status::Down,
            false,
        ),
    ];
    for (health, status, healthy) in table {
        let report = health.check().await;
        assert_eq!(
            (report.status, report.healthy),
            (status, healthy),
            "{}",
            report.to_json()
        );
    }
}

#[tokio::test(start_paused = true)]
async fn checks_run_at_the_same_time() {
    let report = health([slow("a", ms(100)), slow("b", ms(100)), slow("c", ms(100))])
        .check()
        .await;
    assert!(report.healthy);
    assert!(
        (ms(100)..ms(160)).contains(&report.duration),
        "{:?}",
        report.duration
    );
}

#[tokio::test(start_paused = true)]
async fn a_check_that_is_slow_enough_counts_as_degraded() {
    let report = health([slow("a", ms(200)).degraded_above(ms(100))])
        .check()
        .await;
    assert_eq!(report.status, Status::Degraded);
    assert!(
        of(&report, "a")
            .error
            .as_deref()
            .unwrap()
            .contains("more than 100ms")
    );
}

#[tokio::test(start_paused = true)]
async fn the_report_has_the_shape_that_was_asked_for() {
    let before = SystemTime::now();
    let report = health([
        passing("a"),
        failing("b").tags(["x"]),
        check("c", || async { Verdict::up().detail("lag_ms", 7) }),
    ])
    .check()
    .await;
    let json: serde_json::Value = serde_json::from_str(&report.to_json()).unwrap();
    assert_eq!(json["healthy"], false);
    let time = humantime::parse_rfc3339(json["timestamp"].as_str().unwrap()).unwrap();
    assert!(time >= before - ms(1) && json["timestamp"].as_str().unwrap().ends_with('Z'));
    assert_eq!(json["checks"][0]["name"], "a");
    assert_eq!(json["checks"][0]["healthy"], true);
    assert!(json["checks"][0].get("error").is_none());
    assert_eq!(json["checks"][1]["error"], "it does not work");
    assert_eq!(json["checks"][1]["reason"], "failed");
    assert_eq!(json["checks"][1]["tags"][0], "x");
    assert_eq!(json["checks"][2]["details"]["lag_ms"], 7);
}

#[tokio::test(start_paused = true)]
async fn reports_list_checks_in_the_order_of_registration() {
    let health = health([slow("z", ms(30)), slow("m", ms(10)), slow("a", ms(20))]);
    for _ in 0..3 {
        let names: Vec<_> = health
            .check()
            .await
            .checks
            .iter()
            .map(|check| check.name.to_string())
            .collect();
        assert_eq!(names, ["z", "m", "a"]);
        tokio::time::advance(ms(1001)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn thresholds_hold_a_status_until_they_are_reached() {
    let switch = Switch::new(true);
    let health = health([switch.check("a").thresholds(3, 2)]);
    let mut seen = Vec::new();
    for works in [true, true, false, false, false, true, true] {
        switch.set(works);
        seen.push(health.check().await.status);
        tokio::time::advance(ms(1000)).await;
    }
    use Status::{Down, Unknown, Up};
    assert_eq!(seen, [Unknown, Up, Up, Up, Down, Down, Up]);
}

#[tokio::test(start_paused = true)]
async fn a_check_that_never_succeeded_is_never_up() {
    let report = health([failing("a").thresholds(3, 1)]).check().await;
    assert_eq!(report.status, Status::Unknown);
    assert!(!report.healthy);
}

#[tokio::test(start_paused = true)]
async fn groups_and_tags_ask_only_their_checks() {
    let (inside, outside) = (Switch::new(true), Switch::new(false));
    let health = Health::builder()
        .check(inside.check("inside").tags(["near"]))
        .check(outside.check("outside"))
        .group("edge", ["INSIDE"])
        .build()
        .unwrap();
    assert_eq!(
        health.check_group(Group::Named("edge")).await.status,
        Status::Up
    );
    assert_eq!(
        health.check_group(Group::Tag("near")).await.status,
        Status::Up
    );
    assert_eq!(outside.runs.get(), 0);
    assert_eq!(health.check_group(Group::All).await.status, Status::Down);
    assert_eq!(inside.runs.get(), 1, "groups share results");
}

#[tokio::test(start_paused = true)]
async fn a_group_or_tag_nobody_has_is_not_up() {
    let health = health([passing("a")]);
    assert_eq!(
        health.check_group(Group::Named("typo")).await.status,
        Status::Unknown
    );
    assert_eq!(
        health.check_group(Group::Tag("typo")).await.status,
        Status::Unknown
    );
}

#[tokio::test(start_paused = true)]
async fn an_aggregator_that_panics_is_not_up() {
    let health = Health::builder()
        .check(passing("a"))
        .aggregator(|_: &[Part]| -> Status { panic!("no idea") })
        .build()
        .unwrap();
    assert_eq!(health.check().await.status, Status::Unknown);
}

struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        panic!("and once more");
    }
}

#[tokio::test(start_paused = true)]
async fn a_panic_that_panics_when_it_is_dropped_does_no_more_than_another() {
    let health = Health::builder()
        .check(check("a", || -> std::future::Ready<()> {
            std::panic::panic_any(Bomb)
        }))
        .aggregator(|_: &[Part]| -> Status { std::panic::panic_any(Bomb) })
        .build()
        .unwrap();
    let report = health.check().await;
    assert_eq!(report.status, Status::Unknown);
    assert_eq!(of(&report, "a").reason, Some(Reason::Panicked));
}
