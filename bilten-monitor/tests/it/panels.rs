//! The dashboard as Grafana would read it: its structure, and every expression asked of a real Prometheus.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use axum::Router;
use axum::routing::get;
use bilten_monitor::metric::{Listed, listed};
use bilten_monitor::prometheus::{Exporter, Options, dashboard};
use bilten_monitor::{Monitor, Naming, Outcome};
use bilten_testbed::Prometheus;
use bytes::Bytes;
use http_body_util::Full;
use metrics::{Key, Label, Level, Metadata, Recorder as _};
use serde_json::Value;

use crate::scene::SOON;

fn read(naming: Naming) -> Value {
    serde_json::from_str(&dashboard(naming)).expect("JSON")
}

fn panels(dashboard: &Value) -> Vec<&Value> {
    let all = dashboard["panels"].as_array().expect("panels");
    all.iter().filter(|panel| panel["type"] != "row").collect()
}

/// Title and expression of everything that the dashboard asks.
fn questions(dashboard: &Value) -> Vec<(String, String)> {
    let targets = panels(dashboard).into_iter().flat_map(|panel| {
        let title = panel["title"].as_str().expect("a title").to_owned();
        let targets = panel["targets"].as_array().expect("targets");
        targets.iter().map(move |target| {
            let expression = target["expr"].as_str().expect("an expression");
            (title.clone(), expression.to_owned())
        })
    });
    targets.collect()
}

#[test]
fn the_dashboard_has_what_grafana_asks_of_a_provisioned_one() {
    for naming in [Naming::OpenTelemetry, Naming::Short, Naming::Both] {
        let dashboard = read(naming);
        let uid = dashboard["uid"].as_str().expect("a uid");
        assert!(!uid.is_empty() && uid.len() <= 40);
        assert!(dashboard["title"].is_string() && dashboard["schemaVersion"].is_u64());
        assert!(dashboard["id"].is_null(), "the id is Grafana's to give");
        let variables = dashboard["templating"]["list"].as_array().expect("a list");
        assert_eq!(variables.len(), 2);
        assert_eq!(variables[0]["type"], "datasource");
        assert_eq!(variables[0]["query"], "prometheus");
        let source = format!("${{{}}}", variables[0]["name"].as_str().expect("a name"));
        let services = &variables[1];
        assert_eq!(
            (&services["name"], &services["type"]),
            (&"job".into(), &"query".into())
        );
        assert_eq!(services["datasource"]["uid"], source.as_str());
        let mut ids = BTreeSet::new();
        for panel in dashboard["panels"].as_array().expect("panels") {
            assert!(ids.insert(panel["id"].as_u64().expect("an id")), "{panel}");
            assert!(!panel["title"].as_str().expect("a title").is_empty());
        }
        for panel in panels(&dashboard) {
            assert_eq!(panel["type"], "timeseries");
            assert_eq!(panel["datasource"]["type"], "prometheus");
            assert_eq!(panel["datasource"]["uid"], source.as_str());
            let mut names = BTreeSet::new();
            for target in panel["targets"].as_array().expect("targets") {
                assert!(names.insert(target["refId"].as_str().expect("a name")));
                assert!(target["legendFormat"].is_string());
            }
            assert!(!names.is_empty(), "{panel}");
        }
    }
}

/// Of two services in one Prometheus each is shown by itself: a metric that is not asked for by its service adds both up.
#[test]
fn every_metric_of_every_panel_is_that_of_the_services_that_were_chosen() {
    for naming in [Naming::OpenTelemetry, Naming::Short] {
        let known = listed(naming);
        for (title, expression) in questions(&read(naming)) {
            let asked = known.iter().map(|one| {
                let named = expression.split(|c: char| c != '_' && !c.is_ascii_alphanumeric());
                named
                    .filter(|word| {
                        let rest = word.strip_prefix(one.name.as_str());
                        rest.is_some_and(|rest| ["", "_count", "_sum", "_bucket"].contains(&rest))
                    })
                    .count()
            });
            let asked: usize = asked.sum();
            let chosen = expression.matches("{job=~\"$job\"").count();
            assert!(asked > 0 && asked == chosen, "{title}: {expression}");
        }
    }
}

#[test]
fn no_two_panels_lie_on_each_other_and_none_sticks_out() {
    let dashboard = read(Naming::OpenTelemetry);
    let mut taken = BTreeSet::new();
    for panel in dashboard["panels"].as_array().expect("panels") {
        let [x, y, width, height] =
            ["x", "y", "w", "h"].map(|side| panel["gridPos"][side].as_u64().expect("a number"));
        assert!(x + width <= 24, "{panel}");
        for cell in (0..width * height).map(|at| (x + at % width, y + at / width)) {
            assert!(taken.insert(cell), "{panel}");
        }
    }
}

/// The example's files name each other: what the compose file mounts is where the provider looks.
#[test]
fn the_examples_provider_looks_where_the_compose_file_mounts() {
    let example = |name: &str| {
        let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/observability/");
        std::fs::read_to_string(format!("{root}{name}")).expect("a file")
    };
    let compose = example("compose.yml");
    let provider = example("grafana/provisioning/dashboards/bilten.yml");
    let path = provider
        .lines()
        .find_map(|line| line.trim().strip_prefix("path: "));
    let path = path.expect("a path");
    assert!(
        compose.contains(&format!("./grafana/dashboards:{path}:ro")),
        "{compose}"
    );
    assert!(compose.contains("./grafana/provisioning:/etc/grafana/provisioning:ro"));
    let source = example("grafana/provisioning/datasources/prometheus.yml");
    assert!(source.contains("type: prometheus") && source.contains("isDefault: true"));
    assert!(source.contains("url: http://prometheus:9090") && compose.contains("  prometheus:"));
}

/// A service of which every metric moves, those of the other crates included.
struct Service {
    monitor: Monitor,
    exporter: Exporter,
    others: Vec<Listed>,
}

impl Service {
    fn new(naming: Naming) -> Self {
        let exporter = Exporter::local(Options::default()).expect("an exporter");
        let builder = Monitor::builder()
            .recorder(exporter.recorder())
            .naming(naming);
        let monitor = builder.max_label_values(2).build().expect("a monitor");
        monitor.watch_runtime(&tokio::runtime::Handle::current());
        let others = listed(naming).into_iter();
        Self {
            others: others
                .filter(|one| one.emitted_by != "bilten-monitor")
                .collect(),
            monitor,
            exporter,
        }
    }

    fn router(&self) -> Router {
        Router::new()
            .route(
                "/events",
                get(async || "a concert").post(async |body: String| body),
            )
            .layer(self.monitor.http())
            .route_service("/metrics", self.exporter.service())
    }

    /// Lets everything happen once more.
    fn live(&self) {
        for (name, outcome) in [
            ("one", Outcome::Success),
            ("two", Outcome::Error("Error")),
            ("three", Outcome::Cancelled),
        ] {
            let mut span = self.monitor.query(name).start();
            span.rows(3);
            span.finish(outcome);
        }
        let nonsense = self.monitor.metric("x").observe(f64::NAN);
        nonsense.expect_err("refused");
        self.others.iter().for_each(|metric| self.record(metric));
    }

    fn record(&self, metric: &Listed) {
        let metadata = Metadata::new("test", Level::INFO, None);
        let labels = metric
            .labels
            .iter()
            .map(|name| Label::new(name.clone(), "some"));
        let key = Key::from_parts(metric.name.clone(), labels.collect::<Vec<_>>());
        let recorder = self.exporter.recorder();
        match metric.kind {
            "counter" => recorder.register_counter(&key, &metadata).increment(1),
            "gauge" => recorder.register_gauge(&key, &metadata).set(1.0),
            _ => recorder.register_histogram(&key, &metadata).record(0.01),
        }
    }
}

/// The values of an instant query that are numbers.
fn numbers(answer: &str) -> usize {
    let answer: Value = serde_json::from_str(answer).expect("JSON");
    let result = answer["data"]["result"].as_array().expect("a result");
    let values = result.iter().filter_map(|one| one["value"][1].as_str());
    values
        .filter(|value| value.parse().is_ok_and(f64::is_finite))
        .count()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_panel_shows_numbers_of_a_real_prometheus() {
    for naming in [Naming::OpenTelemetry, Naming::Short] {
        let service = Service::new(naming);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
            .await
            .expect("a port");
        let address = listener.local_addr().expect("an address");
        let router = service.router();
        tokio::spawn(async move { axum::serve(listener, router).await });
        let start = move || Prometheus::scraping(&address.to_string(), None);
        let prometheus = tokio::task::spawn_blocking(start).await.expect("no panic");
        let prometheus = prometheus.expect("started");

        let mut open = questions(&read(naming));
        assert!(open.len() > 40, "{}", open.len());
        let deadline = Instant::now() + 2 * SOON;
        while !open.is_empty() {
            assert!(Instant::now() < deadline, "without numbers: {open:#?}");
            service.live();
            crate::http_server::fetch(address, "GET", "/events").await;
            let body = Full::new(Bytes::from("one more"));
            crate::http_server::send(address, "POST", "/events", body).await;
            open.retain(|(_, expression)| {
                let asked = expression
                    .replace("$__rate_interval", "10s")
                    .replace("$job", ".*");
                numbers(&prometheus.query(&asked).expect("a valid expression")) == 0
            });
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}
