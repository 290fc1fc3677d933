//! The table of metrics is right about this crate: what it names is emitted, and nothing else is.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::future::ready;

use bilten_monitor::metric::{Listed, MetricSink, Sample, listed};
use bilten_monitor::{Naming, Outcome};
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use tower::{Layer, ServiceExt, service_fn};

use crate::scene::Scene;

/// Refuses everything, so that this is counted too.
struct Broken;

impl MetricSink for Broken {
    fn observe(&self, _: &Sample) -> Result<(), bilten_monitor::alert::Refused> {
        Err("broken".into())
    }
}

/// Runs into everything that has a metric.
pub(crate) async fn everything(naming: Naming) -> Scene {
    let scene = Scene::with(|builder| {
        builder
            .naming(naming)
            .max_label_values(1)
            .metric_sink(Broken)
            .slow_query(std::time::Duration::from_millis(100))
    });
    let monitor = &scene.monitor;
    monitor.watch_runtime(&tokio::runtime::Handle::current());
    for name in ["one", "two"] {
        let mut span = monitor.query(name).start();
        span.rows(3);
        scene.clock.advance(std::time::Duration::from_secs(1));
        span.finish(Outcome::Error("Error"));
    }
    let failing = service_fn(|_: Request<()>| {
        let mut response = Response::new(Full::<Bytes>::from("why"));
        *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
        ready(Ok::<_, Infallible>(response))
    });
    let request = Request::post("/x").header("content-length", "0").body(());
    let answer = monitor
        .http()
        .layer(failing)
        .oneshot(request.expect("a request"))
        .await;
    let body = answer.expect("infallible").into_body().collect().await;
    assert_eq!(body.expect("a body").to_bytes(), "why");
    monitor.metric("x").observe(f64::NAN).expect_err("refused");
    let _ = monitor.flush(crate::scene::SOON);
    crate::scene::eventually("the watchdog looks at the runtime", || {
        scene
            .scrape()
            .text
            .contains("bilten_runtime_schedule_delay_seconds_count")
    })
    .await;
    scene
}

/// What a scrape shows: each metric's kind, help and labels.
fn shown(text: &str) -> BTreeMap<String, (String, String, BTreeSet<String>)> {
    let mut shown: BTreeMap<String, (String, String, BTreeSet<String>)> = BTreeMap::new();
    let mut current = String::new();
    for line in text.lines() {
        if let Some((name, help)) = line.strip_prefix("# HELP ").and_then(|l| l.split_once(' ')) {
            current = name.to_owned();
            shown.entry(current.clone()).or_default().1 = help.to_owned();
        } else if let Some(kind) = line.strip_prefix(&format!("# TYPE {current} ")) {
            shown.entry(current.clone()).or_default().0 = kind.to_owned();
        } else {
            let scrape = crate::scrape::Scrape::parse(line);
            let labels = scrape
                .series
                .iter()
                .flat_map(|series| series.labels.keys().cloned());
            shown
                .entry(current.clone())
                .or_default()
                .2
                .extend(labels.filter(|label| label != "le"));
        }
    }
    shown
}

#[tokio::test]
async fn what_the_table_lists_is_emitted_and_nothing_else() {
    for naming in [Naming::OpenTelemetry, Naming::Short, Naming::Both] {
        let scene = everything(naming).await;
        let shown = shown(&scene.exporter.render());
        let own: Vec<Listed> = listed(naming)
            .into_iter()
            .filter(|metric| metric.emitted_by == "bilten-monitor")
            .collect();
        let names: BTreeSet<&String> = own.iter().map(|metric| &metric.name).collect();
        assert_eq!(shown.keys().collect::<BTreeSet<_>>(), names);
        for metric in &own {
            let (kind, help, labels) = &shown[&metric.name];
            assert_eq!((kind.as_str(), help.as_str()), (metric.kind, metric.help));
            let listed: BTreeSet<_> = metric.labels.iter().cloned().collect();
            assert_eq!(*labels, listed, "{}", metric.name);
        }
    }
}
