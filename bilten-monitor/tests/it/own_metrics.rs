//! Metrics of the program's own, and a second place for them.

use std::sync::mpsc;

use bilten_monitor::Error;
use bilten_monitor::alert::Refused;
use bilten_monitor::metric::{MetricSink, Sample};

use crate::scene::{SOON, Scene};

#[test]
fn counters_gauges_and_histograms_reach_the_recorder() {
    let scene = Scene::new();
    let monitor = &scene.monitor;
    for _ in 0..2 {
        monitor
            .metric("tickets.sold")
            .label("channel", "web")
            .label("new", true)
            .increment(2)
            .expect("counted");
    }
    monitor.metric("queue.length").set(7.0).expect("set");
    monitor
        .metric("basket.value")
        .label("status", 200)
        .observe(59.9)
        .expect("observed");
    let scrape = scene.scrape();
    assert_eq!(
        scrape.sum("tickets_sold_total", &[("channel", "web"), ("new", "true")]),
        4.0
    );
    assert_eq!(scrape.sum("queue_length", &[]), 7.0);
    assert_eq!(scrape.sum("basket_value_sum", &[("status", "200")]), 59.9);
    assert!(
        scrape.matching("basket_value_bucket", &[]).count() > 10,
        "a histogram, not a summary"
    );
}

#[test]
fn values_that_would_spoil_a_sum_are_refused_and_counted() {
    let scene = Scene::new();
    let monitor = &scene.monitor;
    monitor.metric("x").observe(1.0).expect("fine");
    for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -1.0] {
        let refused = monitor.metric("x").observe(bad);
        assert!(
            matches!(refused, Err(Error::Value { name: "x", .. })),
            "{bad}"
        );
    }
    assert!(monitor.metric("g").set(f64::NAN).is_err());
    monitor
        .metric("g")
        .set(-1.0)
        .expect("a gauge may be negative");
    let scrape = scene.scrape();
    assert_eq!(scrape.sum("x_sum", &[]), 1.0);
    assert_eq!(scrape.sum("bilten_monitor_rejected_total", &[]), 5.0);
    assert_eq!(monitor.losses().rejected, 5);
}

#[test]
fn names_that_would_be_exported_alike_are_refused() {
    let scene = Scene::new();
    scene.monitor.metric("a.b").increment(1).expect("the first");
    let refused = scene
        .monitor
        .metric("a_b")
        .increment(1)
        .expect_err("the same name in Prometheus");
    assert!(
        matches!(
            refused,
            Error::NameCollision {
                name: "a_b",
                taken: "a.b",
                ..
            }
        ),
        "{refused}"
    );
    let ours = scene
        .monitor
        .metric("http_request_duration")
        .observe(1.0)
        .expect_err("ours");
    assert!(ours.to_string().contains("http_request_duration"), "{ours}");
    assert_eq!(scene.scrape().sum("a_b_total", &[]), 1.0);
}

/// What a first use is, and what is used after it.
type Use = (
    &'static str,
    fn(bilten_monitor::metric::Metric<'_>) -> Result<(), Error>,
);

const COUNTER: fn(bilten_monitor::metric::Metric<'_>) -> Result<(), Error> = |m| m.increment(1);
const GAUGE: fn(bilten_monitor::metric::Metric<'_>) -> Result<(), Error> = |m| m.set(1.0);
const HISTOGRAM: fn(bilten_monitor::metric::Metric<'_>) -> Result<(), Error> = |m| m.observe(1.0);

#[test]
fn names_that_a_histogram_or_a_counter_is_written_under_are_taken() {
    let taken: [(Use, Use); 9] = [
        (("h", HISTOGRAM), ("h_sum", GAUGE)),
        (("h", HISTOGRAM), ("h.count", COUNTER)),
        (("h", HISTOGRAM), ("h_bucket", GAUGE)),
        (("h_count", GAUGE), ("h", HISTOGRAM)),
        (("h_bucket", COUNTER), ("h", HISTOGRAM)),
        (("c", COUNTER), ("c_total", GAUGE)),
        (("c", COUNTER), ("c.total", COUNTER)),
        (("c_total", COUNTER), ("c", HISTOGRAM)),
        (("c_total", GAUGE), ("c", COUNTER)),
    ];
    for ((first, first_use), (second, second_use)) in taken {
        let scene = Scene::new();
        first_use(scene.monitor.metric(first)).expect("the first");
        let refused = second_use(scene.monitor.metric(second)).expect_err("taken");
        assert!(
            matches!(refused, Error::NameCollision { name, taken, .. } if name == second && taken == first),
            "{refused}"
        );
        let told = refused.to_string();
        assert!(told.ends_with("rename one of the two"), "{told}");
        let text = scene.scrape().text;
        assert!(
            text.contains("bilten_monitor_export_rejected_total 0"),
            "the exporter never sees it: {text}"
        );
        assert!(text.contains("bilten_monitor_rejected_total 1"), "{text}");
    }
}

#[test]
fn the_monitors_own_names_are_taken_under_every_spelling() {
    let scene = Scene::new();
    for name in [
        "http.server.request.duration",
        "http_server_request_duration_seconds",
        "http_server_request_duration_seconds_count",
        "http_request_duration_seconds_bucket",
        "db.client.active_operations",
        "bilten_monitor_alerts_total",
        "bilten.monitor.alerts",
        "bilten_cache_hits_total",
        "health_check_up",
    ] {
        for kind in [COUNTER, GAUGE, HISTOGRAM] {
            let refused = kind(scene.monitor.metric(name)).expect_err("ours");
            assert!(
                matches!(refused, Error::NameCollision { .. }),
                "{name}: {refused}"
            );
        }
    }
}

#[test]
fn a_name_of_a_megabyte_is_refused_and_not_repeated() {
    let scene = Scene::new();
    let long: &'static str = Box::leak("a".repeat(1 << 20).into_boxed_str());
    let as_name = scene.monitor.metric(long).increment(1);
    let as_label = scene.monitor.metric("m").label(long, "v").increment(1);
    for (refused, field) in [(as_name, "metric"), (as_label, "label")] {
        let told = refused.expect_err("refused").to_string();
        assert_eq!(
            told,
            format!("{field} is longer than 200 bytes: give it a short constant name")
        );
    }
}

#[test]
fn more_names_than_are_kept_are_refused_with_what_to_do() {
    let scene = Scene::new();
    let names = (0..1001).map(|n| &*Box::leak(format!("m{n}").into_boxed_str()));
    let refused: Vec<Error> = names
        .filter_map(|name| scene.monitor.metric(name).increment(1).err())
        .collect();
    let told: Vec<_> = refused.iter().map(ToString::to_string).collect();
    assert_eq!(
        told,
        [
            "metric \"m1000\" is one more than the 1000 that are kept: tell its values apart by labels, not by names"
        ]
    );
}

#[test]
fn labels_that_are_written_alike_are_refused() {
    let scene = Scene::new();
    let metric = |name| scene.monitor.metric(name);
    metric("m")
        .label("a.b", "1")
        .increment(1)
        .expect("the first");
    let refused = [
        metric("m").label("a_b", "1").increment(1),
        metric("n").label("a.b", "1").label("a_b", "2").increment(1),
        metric("n").label("x", "1").label("x", "2").increment(1),
        metric("n")
            .label("x", "1")
            .label("y", "1")
            .label("x", "1")
            .increment(1),
    ];
    for refused in refused {
        let refused = refused.expect_err("written alike");
        assert!(
            matches!(refused, Error::LabelCollision { .. })
                && refused.to_string().ends_with("leave out or rename one"),
            "{refused}"
        );
    }
    assert_eq!(scene.monitor.losses().rejected, 4);
    assert_eq!(scene.scrape().sum("m_total", &[("a_b", "1")]), 1.0);
}

#[test]
fn the_order_of_labels_makes_no_other_series() {
    let scene = Scene::new();
    let gauge = || scene.monitor.metric("level");
    gauge()
        .label("a", "1")
        .label("b", "2")
        .label("c", 3)
        .set(1.0)
        .expect("set");
    gauge()
        .label("c", 3)
        .label("a", "1")
        .label("b", "2")
        .set(2.0)
        .expect("set");
    gauge()
        .label("a", "1")
        .label("b", "2")
        .label("d", "")
        .label("c", 3)
        .set(3.0)
        .expect("set");
    let scrape = scene.scrape();
    assert_eq!(scrape.matching("level", &[]).count(), 1);
    assert_eq!(
        scrape.sum("level", &[("a", "1"), ("b", "2"), ("c", "3")]),
        3.0
    );
    assert_eq!(scrape.sum("bilten_monitor_export_rejected_total", &[]), 0.0);
}

#[test]
fn a_counter_at_its_end_stays_there() {
    let scene = Scene::new();
    let count = |by| scene.monitor.metric("c").increment(by).expect("counted");
    let shown = || scene.scrape().sum("c_total", &[]);
    count(u64::MAX);
    let most = shown();
    count(5);
    count(u64::MAX);
    assert_eq!(shown(), most, "it would look like a restart");
    assert_eq!(most, u64::MAX as f64);
}

#[test]
fn one_name_is_one_kind() {
    let scene = Scene::new();
    scene
        .monitor
        .metric("jobs")
        .increment(1)
        .expect("a counter");
    let refused = scene
        .monitor
        .metric("jobs")
        .set(1.0)
        .expect_err("a counter already");
    assert_eq!(
        refused.to_string(),
        "metric \"jobs\" is a counter already and cannot also be a gauge: use another name"
    );
}

#[test]
fn unfit_names_and_labels_are_refused() {
    let scene = Scene::new();
    let metric = |name| scene.monitor.metric(name);
    assert!(matches!(
        metric("").increment(1),
        Err(Error::EmptyName { field: "metric" })
    ));
    assert!(matches!(
        metric("a b").increment(1),
        Err(Error::MetricName { name: "a b" })
    ));
    assert!(matches!(
        metric("ok").label("b\"ad", "v").increment(1),
        Err(Error::MetricName { name: "b\"ad" })
    ));
    assert!(matches!(
        metric("ok").label("__name__", "v").increment(1),
        Err(Error::LabelName { name: "__name__" })
    ));
    assert!(matches!(
        metric("spread").label("le", "v").observe(1.0),
        Err(Error::LabelName { name: "le" })
    ));
    assert!(metric("ok").label("le", "v").increment(1).is_ok());
    let crowded = (0..9).fold(metric("crowded"), |metric, _| metric.label("l", "v"));
    assert!(matches!(
        crowded.increment(1),
        Err(Error::TooManyLabels { most: 8, .. })
    ));
}

#[test]
fn hostile_label_values_arrive_as_different_series() {
    let scene = Scene::new();
    let values = [
        "plain",
        "with \"quotes\"",
        "two\nlines",
        "a\\b",
        "a\\\\b",
        "ends with \\",
        "",
    ];
    for value in values {
        scene
            .monitor
            .metric("m")
            .label("l", value)
            .increment(1)
            .expect("counted");
    }
    let scrape = scene.scrape();
    let kept = scrape.values_of("l");
    // An empty value is no label, in Prometheus and here.
    assert_eq!(kept.len(), values.len() - 1, "{kept:?}");
    let lines = scrape.matching("m_total", &[]);
    assert_eq!(lines.filter(|line| line.labels.is_empty()).count(), 1);
    assert_eq!(scrape.matching("m_total", &[]).count(), values.len());
    assert!(
        kept.contains("with \"quotes\"") && kept.contains("two\nlines") && kept.contains("a%5Cb"),
        "{kept:?}"
    );
    let megabyte: &'static str = Box::leak("x".repeat(1 << 20).into_boxed_str());
    scene
        .monitor
        .metric("m")
        .label("l", megabyte)
        .increment(1)
        .expect("counted");
    assert!(
        scene
            .scrape()
            .values_of("l")
            .iter()
            .all(|value| value.len() < 256)
    );
}

#[test]
fn series_too_many_are_counted_under_other() {
    let scene = Scene::with(|builder| builder.max_label_values(10));
    for n in 0..100_u16 {
        scene
            .monitor
            .metric("m")
            .label("n", n)
            .increment(1)
            .expect("counted");
    }
    let scrape = scene.scrape();
    assert_eq!(scrape.sum("m_total", &[]), 100.0);
    assert_eq!(scrape.sum("m_total", &[("n", "other")]), 90.0);
    assert_eq!(scene.monitor.losses().overflowed, 90);
}

/// Name, value and labels.
type Seen = (String, f64, Vec<(String, String)>);

struct Second(mpsc::Sender<Seen>);

impl MetricSink for Second {
    fn observe(&self, sample: &Sample) -> Result<(), Refused> {
        let labels = sample
            .labels()
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        self.0
            .send((sample.name().to_owned(), sample.value(), labels))
            .map_err(|gone| gone.to_string().into())
    }
}

struct Broken;

impl MetricSink for Broken {
    fn observe(&self, _: &Sample) -> Result<(), Refused> {
        Err("the service is down".into())
    }
}

#[test]
fn a_second_sink_gets_every_value_and_a_broken_one_costs_nothing() {
    let (sender, received) = mpsc::channel();
    let scene = Scene::with(|builder| builder.metric_sink(Second(sender)).metric_sink(Broken));
    scene
        .monitor
        .metric("basket.value")
        .label("channel", "web")
        .observe(12.5)
        .expect("observed");
    scene
        .monitor
        .query("q")
        .run_sync(|| Ok::<_, std::fmt::Error>(()))
        .expect("ok");
    assert!(scene.monitor.flush(SOON));
    let received: Vec<_> = received.try_iter().collect();
    assert_eq!(
        received[0],
        (
            "basket.value".to_owned(),
            12.5,
            vec![("channel".to_owned(), "web".to_owned())]
        )
    );
    assert_eq!(received[1].0, "db.client.operation.duration");
    assert_eq!(
        scene.scrape().sum("basket_value_sum", &[]),
        12.5,
        "the recorder has it all the same"
    );
    assert_eq!(scene.monitor.losses().sink_failures, 2);
}
