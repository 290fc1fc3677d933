use metrics_util::debugging::{DebugValue, DebuggingRecorder, Snapshotter};

use super::*;

/// Which nodes are told to take writes beside the primary. A snapshot leaves zeros behind.
fn fenced(snapshotter: &Snapshotter) -> Vec<String> {
    let mut fenced = Vec::new();
    for (key, _, _, value) in snapshotter.snapshot().into_vec() {
        let key = key.key();
        let node = key.labels().find(|label| label.key() == "node");
        if let (DebugValue::Gauge(level), Some(node)) = (value, node)
            && key.name() == "bilten_db_node_fenced"
            && level.0 > 0.5
        {
            fenced.push(node.value().to_owned());
        }
    }
    fenced
}

#[test]
fn who_takes_writes_beside_the_primary_is_told_until_it_stands_by() {
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    let told = || fenced(&snapshotter);
    metrics::with_local_recorder(&recorder, || {
        let (roster, nodes) = failed_over(2);
        assert!(told().is_empty(), "the old primary is down");
        roster.observe(&nodes[0], Instant::now(), on(1, false));
        // It came back and takes writes; silent again, it may take them all the same.
        roster.missed(&nodes[0], &Fault::Silent(Duration::from_secs(1)), false);
        assert_eq!(told(), ["primary"]);
        roster.observe(&nodes[0], Instant::now(), on(1, false));
        roster.observe(&nodes[0], Instant::now(), on(2, true));
        assert!(told().is_empty(), "a standby again");
        roster.observe(&nodes[2], Instant::now(), node(8, false));
        assert!(told().is_empty(), "a stranger takes nobody's writes");
        roster.observe(&nodes[2], Instant::now(), on(2, false));
        assert_eq!(told(), ["r2"]);
    });
}

/// A name that moves to the new primary with a fail-over, or a name for reads where no replica is.
#[test]
fn the_primary_under_a_second_name_writes_beside_nobody() {
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    let told = || fenced(&snapshotter);
    metrics::with_local_recorder(&recorder, || {
        let (roster, nodes) = failed_over(2);
        let since = |started: i64| Sample {
            started: Some(started),
            ..on(2, false)
        };
        roster.observe(&nodes[1], Instant::now(), since(10));
        roster.observe(&nodes[0], Instant::now(), since(10));
        assert!(told().is_empty(), "one server under two names");
        let reason = nodes[0].health.reason().unwrap();
        assert!(reason.contains("itself"), "{reason}");
        // In doubt for a moment, it is the same server still.
        nodes[1].doubt();
        roster.observe(&nodes[0], Instant::now(), since(10));
        assert!(told().is_empty(), "one server under two names");
        roster.observe(&nodes[1], Instant::now(), since(10));
        roster.observe(&nodes[0], Instant::now(), since(11));
        assert_eq!(told(), ["primary"], "another server");
    });
}
