//! What Prometheus itself says of the text, the rules and a scrape.

use std::path::{Path, PathBuf};
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use bilten_monitor::prometheus::{Exporter, Options, dashboard, rules};
use bilten_monitor::{Monitor, Naming};
use bilten_testbed::{Prometheus, promtool};
use serde_json::{Value, json};

use crate::scene::SOON;

fn example() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/observability")
}

#[tokio::test]
async fn promtool_finds_nothing_to_say_about_the_metrics() {
    let scene = crate::emitted::everything(Naming::OpenTelemetry).await;
    let text = scene.exporter.render();
    let told = promtool(&["check", "metrics"], Path::new("."), &text).expect("no fault");
    assert_eq!(told.trim(), "");
}

#[test]
fn promtool_reads_the_rules_under_both_names() {
    for naming in [Naming::OpenTelemetry, Naming::Short, Naming::Both] {
        let text = rules(naming, 0.999).expect("rules");
        let directory = std::env::temp_dir().join(format!("bilten-rules-{}", std::process::id()));
        std::fs::create_dir_all(&directory).expect("a directory");
        std::fs::write(directory.join("rules.yml"), text).expect("a file");
        let told = promtool(&["check", "rules", "rules.yml"], &directory, "");
        std::fs::remove_dir_all(&directory).expect("removed");
        assert!(told.expect("no fault").contains("SUCCESS"));
    }
}

#[test]
fn the_rules_fire_and_fall_silent_when_they_should() {
    promtool(&["test", "rules", "rules_test.yml"], &example(), "").expect("every test passes");
}

/// 60 satisfied, 30 tolerating, 10 frustrated, of whom half failed at once.
#[test]
fn an_apdex_of_sixty_thirty_and_ten_is_three_quarters_and_failures_are_frustrated() {
    let dashboard: Value = serde_json::from_str(&dashboard(Naming::OpenTelemetry)).expect("JSON");
    let mut panels = dashboard["panels"].as_array().expect("panels").iter();
    let apdex = |panel: &&Value| panel["title"] == "Apdex at 0.25 s";
    let panel = panels.find(apdex).expect("the panel");
    let expression = panel["targets"][0]["expr"].as_str().expect("one");
    let name = "http_server_request_duration_seconds";
    let series = |part: &str, labels: &str, each_minute: u32| {
        json!({
            "series": format!("{name}_{part}{{http_route=\"/\",{labels}}}"),
            "values": format!("0+{each_minute}x10"),
        })
    };
    let (ok, failed) = ("outcome=\"success\"", "outcome=\"error\"");
    let tests = json!({"evaluation_interval": "1m", "tests": [{
        "interval": "1m",
        "input_series": [
            series("bucket", &format!("{ok},le=\"0.25\""), 60),
            series("bucket", &format!("{ok},le=\"1\""), 90),
            series("count", ok, 95),
            series("bucket", &format!("{failed},le=\"0.25\""), 5),
            series("bucket", &format!("{failed},le=\"1\""), 5),
            series("count", failed, 5),
        ],
        "promql_expr_test": [{
            "expr": expression.replace("$__rate_interval", "5m").replace("$job", ".*"),
            "eval_time": "10m",
            "exp_samples": [{"labels": "{}", "value": 0.75}],
        }],
    }]});
    let directory = std::env::temp_dir().join(format!("bilten-apdex-{}", std::process::id()));
    std::fs::create_dir_all(&directory).expect("a directory");
    std::fs::write(directory.join("apdex.yml"), tests.to_string()).expect("a file");
    let told = promtool(&["test", "rules", "apdex.yml"], &directory, "");
    std::fs::remove_dir_all(&directory).expect("removed");
    assert!(told.expect("no fault").contains("SUCCESS"));
}

#[test]
fn the_examples_prometheus_configuration_is_valid() {
    let told = promtool(&["check", "config", "prometheus.yml"], &example(), "");
    assert!(told.expect("no fault").contains("SUCCESS"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_prometheus_scrapes_a_service_and_fires_an_alert() {
    let exporter = Exporter::local(Options::default()).expect("an exporter");
    let monitor = Monitor::builder()
        .recorder(exporter.recorder())
        .max_label_values(2)
        .build()
        .expect("a monitor");
    let app = Router::new()
        .route("/events/{id}", get(async || "a concert"))
        .layer(monitor.http())
        .route_service("/metrics", exporter.service());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move { axum::serve(listener, app).await });
    let rules = rules(Naming::OpenTelemetry, 0.999).expect("rules");
    let start = move || Prometheus::scraping(&address.to_string(), Some(&rules));
    let prometheus = tokio::task::spawn_blocking(start)
        .await
        .expect("no panic")
        .expect("started");
    let asked = ask(&prometheus, "up", |answer| answer.contains("\"1\""));
    assert!(asked.contains(&address.to_string()), "{asked}");

    // Label values that an exporter can get wrong, and one name too many for an alert.
    let hostile = "a\"b\nc";
    monitor
        .metric("tickets.sold")
        .label("channel", hostile)
        .increment(3)
        .expect("recorded");
    for name in ["one", "two", "three"] {
        let _ = monitor
            .query(name)
            .run_sync(|| Ok::<_, std::fmt::Error>(()));
    }
    crate::http_server::fetch(address, "GET", "/events/7").await;
    let wanted = r#"http_server_request_duration_seconds_count{http_route="/events/{id}"}"#;
    ask(&prometheus, wanted, |answer| answer.contains("\"1\""));
    ask(&prometheus, "tickets_sold_total", |answer| {
        answer.contains(r#""channel":"a\"b\nc""#)
    });
    let fired = |answer: &str| answer.contains("\"firing\"");
    // One more, so that the counter rises between two scrapes.
    let overflow = || {
        let _ = monitor
            .query("three")
            .run_sync(|| Ok::<_, std::fmt::Error>(()));
    };
    let alert = r#"ALERTS{alertname="MonitorLabelsOverflow"}"#;
    ask(&prometheus, alert, |answer| {
        overflow();
        fired(answer)
    });
}

/// Asks until the answer is as wanted.
fn ask(prometheus: &Prometheus, query: &str, mut wanted: impl FnMut(&str) -> bool) -> String {
    let mut last = String::new();
    let deadline = std::time::Instant::now() + SOON;
    while std::time::Instant::now() < deadline {
        last = prometheus.query(query).expect("an answer");
        if wanted(&last) {
            return last;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    panic!("{query}: {last}");
}
