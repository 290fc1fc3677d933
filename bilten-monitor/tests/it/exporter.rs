//! The Prometheus exporter and its `/metrics` service.

use std::time::Duration;

use bilten_monitor::prometheus::{Exporter, Options};
use bilten_monitor::{Error, Monitor};
use http::{Method, Request};
use http_body_util::BodyExt;
use tower::ServiceExt;

use crate::scene::{Scene, threads};
use crate::scrape::Scrape;

fn bounds(exporter: &Exporter, metric: &str) -> Vec<f64> {
    let scrape = Scrape::parse(&exporter.render());
    let bounds = scrape
        .matching(metric, &[])
        .map(|series| series.labels["le"].parse().expect("a bound"));
    bounds.filter(|bound: &f64| bound.is_finite()).collect()
}

#[test]
fn every_threshold_is_a_bound_once_and_in_order() {
    let millis = Duration::from_millis;
    let thresholds = Monitor::builder()
        .slow_query(millis(300))
        .slow_query_for("report", millis(5_000))
        .build()
        .expect("a monitor");
    let options = Options::from(&thresholds)
        .threshold(millis(42))
        .buckets("basket.value", [5.0, 20.0]);
    let exporter = Exporter::local(options).expect("an exporter");
    let monitor = Monitor::builder()
        .recorder(exporter.recorder())
        .build()
        .expect("a monitor");
    monitor
        .query("q")
        .run_sync(|| Ok::<_, std::fmt::Error>(()))
        .expect("ok");
    monitor
        .metric("basket.value")
        .observe(7.0)
        .expect("observed");
    let expected = [
        0.001, 0.005, 0.01, 0.042, 0.05, 0.1, 0.3, 0.5, 1.0, 5.0, 10.0,
    ];
    assert_eq!(
        bounds(&exporter, "db_client_operation_duration_seconds_bucket"),
        expected
    );
    assert_eq!(bounds(&exporter, "basket_value_bucket"), [5.0, 20.0]);
}

#[test]
fn a_value_on_the_bound_counts_as_within() {
    let scene = Scene::new();
    let span = scene.monitor.query("q").start();
    scene.clock.advance(Duration::from_millis(100));
    span.finish(bilten_monitor::Outcome::Success);
    assert_eq!(
        scene.scrape().sum(
            "db_client_operation_duration_seconds_bucket",
            &[("le", "0.1")]
        ),
        1.0
    );
    assert_eq!(
        scene.scrape().sum(
            "db_client_operation_duration_seconds_bucket",
            &[("le", "0.05")]
        ),
        0.0
    );
}

#[tokio::test]
async fn metrics_are_served_to_get_and_head_only() {
    let scene = Scene::new();
    scene
        .monitor
        .query("q")
        .run_sync(|| Ok::<_, std::fmt::Error>(()))
        .expect("ok");
    let ask = |method: Method| {
        let request = Request::builder()
            .method(method)
            .uri("/metrics")
            .body(())
            .expect("a request");
        scene.exporter.service().oneshot(request)
    };
    let answer = ask(Method::GET).await.expect("infallible");
    assert_eq!(answer.status(), 200);
    assert_eq!(
        answer.headers()["content-type"],
        "text/plain; version=0.0.4; charset=utf-8"
    );
    let text = answer
        .into_body()
        .collect()
        .await
        .expect("a body")
        .to_bytes();
    assert!(
        std::str::from_utf8(&text)
            .expect("text")
            .contains("db_query_summary=\"q\"")
    );
    let head = ask(Method::HEAD).await.expect("infallible");
    assert_eq!(head.status(), 200);
    assert!(
        head.into_body()
            .collect()
            .await
            .expect("a body")
            .to_bytes()
            .is_empty()
    );
    let refused = ask(Method::POST).await.expect("infallible");
    assert_eq!(
        (refused.status().as_u16(), &refused.headers()["allow"]),
        (405, &"GET, HEAD".parse().expect("a value"))
    );
}

#[test]
fn options_that_cannot_work_are_refused_by_name() {
    let refused = |options: Options| Exporter::local(options).expect_err("refused").to_string();
    assert!(refused(Options::default().upkeep(Duration::ZERO)).contains("upkeep is zero"));
    assert!(refused(Options::default().threshold(Duration::ZERO)).contains("threshold is zero"));
    assert!(refused(Options::default().buckets("basket.value", [])).contains("basket.value"));
    assert!(
        refused(Options::default().buckets("basket.value", [2.0, 1.0])).contains("do not rise")
    );
    let short = Exporter::local(Options::default().idle_timeout(Duration::from_secs(10)))
        .expect_err("refused");
    assert!(
        matches!(
            short,
            Error::TooShort {
                field: "idle_timeout",
                ..
            }
        ),
        "{short}"
    );
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn the_upkeep_thread_ends_with_the_last_handle() {
    let before = threads("bilten-metrics");
    let exporter = Exporter::local(Options::default()).expect("an exporter");
    let clone = exporter.clone();
    crate::scene::eventually("the thread runs", || {
        threads("bilten-metrics") == before + 1
    })
    .await;
    drop(exporter);
    assert_eq!(threads("bilten-metrics"), before + 1);
    drop(clone);
    crate::scene::eventually("the thread ends", || threads("bilten-metrics") == before).await;
}

#[test]
fn upkeep_keeps_half_a_million_values_small() {
    let exporter =
        Exporter::local(Options::default().upkeep(Duration::from_millis(20))).expect("an exporter");
    let monitor = Monitor::builder()
        .recorder(exporter.recorder())
        .build()
        .expect("a monitor");
    let query = || {
        monitor
            .query("q")
            .run_sync(|| Ok::<_, std::fmt::Error>(()))
            .expect("ok")
    };
    (0..100_000).for_each(|_| query());
    let before = resident_bytes();
    (0..400_000).for_each(|_| query());
    let grown = resident_bytes().saturating_sub(before);
    assert!(
        grown < 3 << 20,
        "16 bytes a value would be 6.4 MB; grew by {grown}"
    );
    let count =
        Scrape::parse(&exporter.render()).sum("db_client_operation_duration_seconds_count", &[]);
    // The exporter can miss the value that is written at the very moment of folding: one in some hundred folds.
    assert!((499_900.0..=500_000.0).contains(&count), "{count}");
}

fn resident_bytes() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("Linux");
    statm
        .split(' ')
        .nth(1)
        .and_then(|pages| pages.parse::<usize>().ok())
        .expect("pages")
        * 4096
}
