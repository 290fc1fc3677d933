//! One in so many of a very frequent query is measured.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bilten_monitor::Outcome;
use bilten_monitor::alert::Refused;
use bilten_monitor::metric::{MetricSink, Sample};

use crate::scene::{SOON, Scene};

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

#[derive(Clone, Default)]
struct Weighed(Arc<Mutex<HashMap<String, (u32, f64)>>>);

impl MetricSink for Weighed {
    fn observe(&self, sample: &Sample) -> Result<(), Refused> {
        let mut seen = self.0.lock().expect("no panic");
        let (observations, sum) = seen.entry(sample.name().to_owned()).or_default();
        *observations += sample.weight();
        *sum += sample.value() * f64::from(sample.weight());
        Ok(())
    }
}

#[test]
fn a_second_sink_is_told_how_many_a_sampled_value_stands_for() {
    let sink = Weighed::default();
    let scene = Scene::with(|builder| {
        let builder = builder.sample_query("hot", 10);
        builder.metric_sink(sink.clone())
    });
    for name in ["hot", "usual"] {
        for _ in 0..1000 {
            let mut span = scene.monitor.query(name).start();
            scene.clock.advance(Duration::from_millis(1));
            span.rows(5);
            span.finish(Outcome::Success);
        }
    }
    scene
        .monitor
        .metric("tickets")
        .increment(3)
        .expect("counted");
    assert!(scene.monitor.flush(SOON));
    let seen = sink.0.lock().expect("no panic");
    let (observations, seconds) = seen["db.client.operation.duration"];
    assert_eq!(observations, 2000);
    assert!((seconds - 2.0).abs() < 1e-6, "{seconds}");
    assert_eq!(seen["db.client.response.returned_rows"], (2000, 10_000.0));
    assert_eq!(seen["tickets"], (1, 3.0));
    assert_eq!(scene.monitor.losses().samples_dropped, 0);
}

#[test]
fn one_in_more_than_a_recorder_can_take_is_refused() {
    let refused = bilten_monitor::Monitor::builder()
        .sample_query("hot", 20_000_000)
        .build();
    let told = refused.expect_err("too rare").to_string();
    assert!(told.contains("sample_query is above 10000"), "{told}");
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

#[test]
fn a_failure_with_its_retry_again_and_again_is_counted_right_on_average() {
    let outcomes = [Outcome::Error("Error"), Outcome::Success];
    for order in [outcomes, [outcomes[1], outcomes[0]]] {
        let scene = Scene::with(|builder| builder.sample_query("hot", 16));
        for _ in 0..8000 {
            for outcome in order {
                scene.monitor.query("hot").start().finish(outcome);
            }
        }
        let (failed, succeeded) = (
            count(&scene, "hot", "error"),
            count(&scene, "hot", "success"),
        );
        assert!((failed - 8000.0).abs() < 1000.0, "{failed} of 8000");
        assert_eq!(failed + succeeded, 16_000.0);
    }
}

#[test]
fn a_sampled_query_without_a_name_is_refused() {
    let refused = bilten_monitor::Monitor::builder()
        .sample_query("", 5)
        .build();
    let told = refused.expect_err("no name").to_string();
    assert!(told.contains("sample_query"), "{told}");
}
