//! What cannot work is refused by name; nothing starts.

use std::time::Duration;

use bilten_monitor::{Error, Monitor, MonitorBuilder};

fn refused(configure: impl FnOnce(MonitorBuilder) -> MonitorBuilder) -> String {
    let error = configure(Monitor::builder()).build().expect_err("refused");
    error.to_string()
}

#[test]
fn a_zero_is_refused_with_the_setter_and_the_remedy() {
    let zero = Duration::ZERO;
    let told = [
        ("slow_query", refused(|b| b.slow_query(zero))),
        ("slow_request", refused(|b| b.slow_request(zero))),
        ("slow_query_for", refused(|b| b.slow_query_for("q", zero))),
        (
            "slow_request_for",
            refused(|b| b.slow_request_for("/q", zero)),
        ),
        ("alert_window", refused(|b| b.alert_window(zero))),
        ("refresh_handles", refused(|b| b.refresh_handles(zero))),
        ("alert_burst", refused(|b| b.alert_burst(0))),
        ("alert_queue", refused(|b| b.alert_queue(0))),
        ("metric_queue", refused(|b| b.metric_queue(0))),
        ("max_label_values", refused(|b| b.max_label_values(0))),
        ("watchdog", refused(|b| b.watchdog(zero))),
        ("n_plus_one", refused(|b| b.n_plus_one(0, zero))),
    ];
    for (field, message) in told {
        assert!(
            message.starts_with(&format!("{field} is zero: give a positive")),
            "{message}"
        );
    }
}

#[test]
fn numbers_beyond_reason_are_refused() {
    for message in [
        refused(|b| b.max_label_values(usize::MAX)),
        refused(|b| b.alert_queue(usize::MAX)),
        refused(|b| b.metric_queue(usize::MAX)),
    ] {
        assert!(message.contains("give a smaller number"), "{message}");
    }
}

#[test]
fn empty_and_repeated_names_are_refused() {
    let second = Duration::from_secs(1);
    assert!(refused(|b| b.slow_query_for("", second)).contains("slow_query_for has an empty name"));
    assert!(
        refused(|b| b.slow_request_for("", second)).contains("slow_request_for has an empty name")
    );
    let twice = Monitor::builder()
        .slow_query_for("q", second)
        .slow_query_for("q", second)
        .build();
    assert!(matches!(
        twice,
        Err(Error::Duplicate {
            field: "slow_query_for",
            name: "q"
        })
    ));
}

#[test]
fn the_longest_threshold_never_alerts_and_never_overflows() {
    let scene =
        crate::scene::Scene::with(|b| b.slow_query(Duration::MAX).alert_window(Duration::MAX));
    let monitor = &scene.monitor;
    monitor
        .query("q")
        .run_sync(|| Ok::<_, std::fmt::Error>(()))
        .expect("ok");
    assert_eq!(monitor.losses(), bilten_monitor::Losses::default());
}
