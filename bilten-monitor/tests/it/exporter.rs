//! The Prometheus exporter and its `/metrics` service.

use std::time::Duration;

use bilten_monitor::prometheus::{Exporter, Options};
use bilten_monitor::{Error, Monitor};
use http::{Method, Request};
use http_body_util::BodyExt;
use tower::ServiceExt;

use crate::scene::{Lines, Scene};
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
    assert!(refused(Options::default().threshold(Duration::ZERO)).contains("threshold is zero"));
    assert!(refused(Options::default().buckets("basket.value", [])).contains("basket.value"));
    assert!(
        refused(Options::default().buckets("basket.value", [2.0, 1.0])).contains("do not rise")
    );
    let never = Exporter::local(Options::default().idle_timeout(Duration::ZERO)).expect_err("zero");
    assert!(
        matches!(
            never,
            Error::Zero {
                field: "idle_timeout",
                ..
            }
        ),
        "{never}"
    );
}

/// What hangs longer than an exporter remembers must not look as if it had ended.
#[test]
fn a_number_in_flight_is_shown_for_as_long_as_it_lasts() {
    let options = Options::default().idle_timeout(Duration::from_millis(50));
    let exporter = Exporter::local(options).expect("an exporter");
    let builder = Monitor::builder().recorder(exporter.recorder());
    let monitor = builder.build().expect("a monitor");
    let span = monitor.query("hangs").start();
    let began = std::time::Instant::now();
    while began.elapsed() < Duration::from_millis(300) {
        let text = exporter.render();
        assert!(
            text.contains("db_client_active_operations{db_query_summary=\"hangs\"} 1"),
            "{text}"
        );
        std::thread::sleep(Duration::from_millis(60));
    }
    drop(span);
}

#[test]
fn buckets_without_a_name_or_for_one_name_twice_are_refused() {
    let refused = |options: Options| Exporter::local(options).expect_err("refused");
    let nameless = refused(Options::default().buckets("", [1.0]));
    assert!(
        matches!(nameless, Error::EmptyName { field: "buckets" }),
        "{nameless}"
    );
    for second in ["basket.value", "basket_value"] {
        let options = Options::default().buckets("basket.value", [1.0]);
        let twice = refused(options.buckets(second, [2.0]));
        assert_eq!(
            twice.to_string(),
            format!("buckets was given twice for {second:?}: keep one of the two")
        );
    }
}

#[test]
fn buckets_given_for_queries_still_have_every_threshold() {
    let own = Options::default().buckets("db.client.operation.duration", [0.002, 7.0]);
    let exporter = Exporter::local(own).expect("an exporter");
    let builder = Monitor::builder().recorder(exporter.recorder());
    let monitor = builder.build().expect("a monitor");
    let run = monitor.query("q").run_sync(|| Ok::<_, std::fmt::Error>(()));
    run.expect("ok");
    assert_eq!(
        bounds(&exporter, "db_client_operation_duration_seconds_bucket"),
        [0.002, 0.1, 7.0]
    );
}

#[test]
fn labels_and_series_that_are_written_alike_are_counted_and_the_log_says_which() {
    let exporter = Exporter::local(Options::default()).expect("an exporter");
    let log = Lines::default();
    metrics::with_local_recorder(&exporter.recorder(), || {
        metrics::counter!("apart", "a" => "1", "b" => "2").increment(1);
        metrics::counter!("apart", "b" => "2", "a" => "1").increment(1);
        metrics::counter!("spelled", "a.b" => "1").increment(1);
        metrics::counter!("spelled", "a_b" => "1").increment(10);
        metrics::counter!("within", "a.b" => "1", "a_b" => "2").increment(1);
        metrics::gauge!("hidden", "a" => "1").set(1.0);
        metrics::gauge!("hidden", "a" => "1", "b" => "").set(2.0);
    });
    for _ in 0..2 {
        let scrape = tracing::subscriber::with_default(log.subscriber(), || {
            Scrape::parse(&exporter.render())
        });
        assert_eq!(scrape.sum("apart_total", &[]), 2.0, "one series, whole");
        assert_eq!(scrape.sum("spelled_total", &[("a_b", "1")]), 11.0);
        assert_eq!(scrape.sum("within_total", &[("a_b", "2")]), 1.0);
        let refused = scrape.sum("bilten_monitor_export_rejected_total", &[]);
        assert_eq!(refused, 3.0, "each metric is told once");
    }
    let log = log.text();
    for metric in ["spelled", "within", "hidden"] {
        let told = log.matches(&format!("metric=\"{metric}\"")).count();
        assert_eq!(told, 1, "{log}");
    }
    assert!(
        log.contains("rename a label") && !log.contains("metric=\"apart\""),
        "{log}"
    );
}

#[test]
fn nobodys_gauge_takes_the_place_of_what_prometheus_says_of_its_target() {
    let scene = Scene::new();
    metrics::with_local_recorder(&scene.exporter.recorder(), || {
        metrics::gauge!("up").set(0.0);
        metrics::gauge!("scrape.duration.seconds").set(9.0);
        metrics::counter!("up").increment(1);
    });
    // A histogram is written under names of its own.
    metrics::with_local_recorder(&scene.exporter.recorder(), || {
        metrics::histogram!("scrape.timeout.seconds").record(3.0);
    });
    let scrape = scene.scrape();
    assert_eq!(scrape.sum("scrape_timeout_seconds_sum", &[]), 3.0);
    assert_eq!(scrape.matching("up", &[]).count(), 0);
    assert_eq!(scrape.matching("scrape_duration_seconds", &[]).count(), 0);
    assert_eq!(scrape.sum("up_total", &[]), 1.0, "a name of its own");
    assert_eq!(scrape.sum("bilten_monitor_export_rejected_total", &[]), 2.0);
    // Another exporter may write a counter or a summary under the plain name.
    let metric = || scene.monitor.metric("up");
    for refused in [
        metric().set(1.0),
        metric().increment(1),
        metric().observe(1.0),
    ] {
        let refused = refused.expect_err("taken").to_string();
        assert!(refused.contains("Prometheus's own"), "{refused}");
    }
}

#[test]
fn nobodys_own_metric_takes_the_name_of_one_of_the_table() {
    let scene = Scene::new();
    metrics::with_local_recorder(&scene.exporter.recorder(), || {
        metrics::gauge!("db_client_operation_duration_seconds").set(1.0);
        metrics::gauge!("bilten_monitor_alerts_total").set(1.0);
    });
    let run = scene
        .monitor
        .query("q")
        .run_sync(|| Ok::<_, std::fmt::Error>(()));
    run.expect("ok");
    let scrape = scene.scrape();
    assert_eq!(
        scrape.sum("db_client_operation_duration_seconds_count", &[]),
        1.0
    );
    assert_eq!(scrape.sum("bilten_monitor_alerts_total", &[]), 0.0);
    assert_eq!(scrape.sum("bilten_monitor_export_rejected_total", &[]), 2.0);
}

#[test]
fn counts_at_their_end_stay_there_and_sums_stay_finite() {
    let exporter = Exporter::local(Options::default()).expect("an exporter");
    metrics::with_local_recorder(&exporter.recorder(), || {
        metrics::counter!("c").absolute(u64::MAX);
        metrics::counter!("c").increment(5);
        let spread = metrics::histogram!("h");
        for value in [f64::MAX, f64::MAX, 1.0] {
            spread.record_many(value, usize::MAX);
        }
    });
    let scrape = Scrape::parse(&exporter.render());
    assert_eq!(scrape.sum("c_total", &[]), u64::MAX as f64);
    assert_eq!(scrape.sum("h_count", &[]), u64::MAX as f64);
    assert_eq!(scrape.sum("h_sum", &[]), f64::MAX);
}

#[test]
fn half_a_million_values_without_a_scrape_keep_memory_level_and_none_is_lost() {
    let exporter = Exporter::local(Options::default()).expect("an exporter");
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
        grown < 1 << 20,
        "16 bytes a value would be 6.4 MB; grew by {grown}"
    );
    let count =
        Scrape::parse(&exporter.render()).sum("db_client_operation_duration_seconds_count", &[]);
    assert_eq!(count, 500_000.0);
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

#[test]
fn values_that_are_no_numbers_are_refused_and_the_sum_stays_finite() {
    let exporter = Exporter::local(Options::default()).expect("an exporter");
    metrics::with_local_recorder(&exporter.recorder(), || {
        let histogram = metrics::histogram!("waited");
        for value in [1.5, f64::NAN, f64::INFINITY] {
            histogram.record(value);
        }
        metrics::gauge!("level").set(2.0);
        metrics::gauge!("level").increment(f64::NAN);
    });
    let scrape = Scrape::parse(&exporter.render());
    assert_eq!(scrape.sum("waited_sum", &[]), 1.5);
    assert_eq!(scrape.sum("waited_count", &[]), 1.0);
    assert_eq!(scrape.sum("level", &[]), 2.0);
    assert_eq!(scrape.sum("bilten_monitor_export_rejected_total", &[]), 3.0);
}

#[test]
fn a_gauge_that_is_set_to_nan_is_left_out_until_it_has_a_value_again() {
    let exporter = Exporter::local(Options::default()).expect("an exporter");
    let recorder = exporter.recorder();
    let levels = |change: fn(metrics::Gauge)| {
        metrics::with_local_recorder(&recorder, || change(metrics::gauge!("level")));
        let scrape = Scrape::parse(&exporter.render());
        let samples = scrape.matching("level", &[]).count();
        (samples, scrape.sum("level", &[]))
    };
    assert_eq!(levels(|gauge| gauge.set(2.0)), (1, 2.0));
    assert_eq!(levels(|gauge| gauge.set(f64::NAN)), (0, 0.0));
    assert_eq!(levels(|gauge| gauge.increment(3.0)), (1, 3.0));
    assert_eq!(levels(|gauge| gauge.decrement(1.0)), (1, 2.0));
}

#[test]
fn what_would_keep_prometheus_from_reading_anything_is_left_out_and_told() {
    let exporter = Exporter::local(Options::default()).expect("an exporter");
    let recorder = exporter.recorder();
    metrics::with_local_recorder(&recorder, || {
        metrics::counter!("fine").increment(1);
        metrics::counter!("c1", "" => "v").increment(1);
        metrics::counter!("c2", "__name__" => "v").increment(1);
        metrics::gauge!("").set(1.0);
        metrics::histogram!("h", "le" => "1").record(1.0);
    });
    for _ in 0..2 {
        let text = exporter.render();
        let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
        let rejected = "bilten_monitor_export_rejected_total 4";
        assert_eq!(lines, [rejected, "fine_total 1"], "each is told once");
    }
}

#[test]
fn of_two_names_that_are_written_alike_the_first_stays() {
    let exporter = Exporter::local(Options::default()).expect("an exporter");
    metrics::with_local_recorder(&exporter.recorder(), || {
        metrics::counter!("a.b").increment(1);
        metrics::counter!("a_b").increment(10);
        metrics::histogram!("lag").record(3.0);
        metrics::gauge!("lag").set(7.0);
        metrics::gauge!("lag_count").set(7.0);
    });
    for _ in 0..2 {
        let scrape = Scrape::parse(&exporter.render());
        assert_eq!(scrape.sum("a_b_total", &[]), 1.0);
        assert_eq!(scrape.sum("lag_count", &[]), 1.0);
        assert_eq!(scrape.matching("lag", &[]).count(), 0);
        let refused = scrape.sum("bilten_monitor_export_rejected_total", &[]);
        assert_eq!(
            refused, 3.0,
            "each is told once, however often it is scraped"
        );
    }
}
