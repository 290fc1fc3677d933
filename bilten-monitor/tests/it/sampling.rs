//! One in so many of a very frequent query is measured.

use std::time::Duration;

use bilten_monitor::Outcome;

use crate::scene::Scene;

fn count(scene: &Scene, query: &str, outcome: &str) -> f64 {
    let labels = [("db_query_summary", query), ("outcome", outcome)];
    scene
        .scrape()
        .sum("db_client_operation_duration_seconds_count", &labels)
}

#[test]
fn the_one_that_is_measured_stands_for_the_others() {
    let scene = Scene::with(|builder| builder.sample_query("hot", 10));
    for _ in 0..1000 {
        for name in ["hot", "usual"] {
            let span = scene.monitor.query(name).start();
            scene.clock.advance(Duration::from_millis(2));
            span.finish(Outcome::Success);
        }
    }
    assert_eq!(count(&scene, "hot", "success"), 1000.0);
    assert_eq!(count(&scene, "usual", "success"), 1000.0);
    let sum = scene.scrape().sum(
        "db_client_operation_duration_seconds_sum",
        &[("db_query_summary", "hot")],
    );
    assert!((sum - 2.0).abs() < 1e-6, "{sum}");
    let snapshot = scene.monitor.snapshot();
    let hot = snapshot
        .queries
        .iter()
        .find(|stats| stats.name == "hot")
        .expect("seen");
    assert_eq!(
        (hot.count, hot.recent.count, hot.in_flight),
        (1000, 1000, 0)
    );
}

#[test]
fn what_is_not_measured_raises_no_alert_and_is_not_in_flight() {
    let scene = Scene::with(|builder| builder.sample_query("hot", 1000));
    drop(scene.monitor.query("hot").start()); // the first one is measured
    let span = scene.monitor.query("hot").start();
    assert_eq!(scene.monitor.queries_in_flight(), 0);
    scene.clock.advance(Duration::from_secs(9));
    span.finish(Outcome::Error("Error"));
    assert!(scene.alerts().is_empty());
    assert_eq!(count(&scene, "hot", "cancelled"), 1000.0);
}

#[test]
fn one_in_none_is_refused() {
    let refused = bilten_monitor::Monitor::builder()
        .sample_query("hot", 0)
        .build();
    assert!(
        refused
            .expect_err("zero")
            .to_string()
            .contains("sample_query is zero")
    );
}
