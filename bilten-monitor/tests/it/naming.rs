//! OpenTelemetry's names, the short ones, or both.

use bilten_monitor::{Monitor, Naming};
use metrics_util::debugging::DebuggingRecorder;
use std::sync::Arc;

use crate::scene::Scene;

fn run(scene: &Scene) {
    scene
        .monitor
        .query("find_user")
        .run_sync(|| Ok::<_, std::fmt::Error>(()))
        .expect("ok");
}

#[test]
fn the_facade_gets_opentelemetrys_names_by_default() {
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    let monitor = Monitor::builder()
        .recorder(Arc::new(recorder))
        .build()
        .expect("a monitor");
    monitor
        .query("find_user")
        .run_sync(|| Ok::<_, std::fmt::Error>(()))
        .expect("ok");
    let snapshot = snapshotter.snapshot().into_vec();
    let (key, unit, ..) = snapshot
        .iter()
        .find(|(key, ..)| key.key().name() == "db.client.operation.duration")
        .expect("OpenTelemetry's name");
    let labels: Vec<_> = key
        .key()
        .labels()
        .map(|label| (label.key(), label.value()))
        .collect();
    assert_eq!(
        labels,
        [("db.query.summary", "find_user"), ("outcome", "success")]
    );
    assert_eq!(*unit, Some(metrics::Unit::Seconds));
}

#[test]
fn the_short_names_are_those_of_the_preset() {
    let scene = Scene::with(|builder| builder.naming(Naming::Short));
    run(&scene);
    let scrape = scene.scrape();
    let labels = [("query", "find_user"), ("status", "success")];
    assert_eq!(
        scrape.sum("database_query_duration_seconds_count", &labels),
        1.0
    );
    assert!(!scrape.text.contains("db_client"), "{}", scrape.text);
}

#[test]
fn both_families_are_written_during_a_migration() {
    let scene = Scene::with(|builder| builder.naming(Naming::Both));
    run(&scene);
    let scrape = scene.scrape();
    assert_eq!(
        scrape.sum(
            "database_query_duration_seconds_count",
            &[("query", "find_user")]
        ),
        1.0
    );
    assert_eq!(
        scrape.sum(
            "db_client_operation_duration_seconds_count",
            &[("db_query_summary", "find_user")]
        ),
        1.0
    );
}
