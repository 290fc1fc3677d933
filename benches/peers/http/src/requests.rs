//! One request to an axum service, to the last byte of its body, through each layer.

use autometrics::autometrics;
use axum::Router;
use axum::body::Body;
use axum::routing::get;
use axum_prometheus::PrometheusMetricLayer;
use bilten_monitor::Monitor;
use bilten_monitor::prometheus::{Exporter, Options};
use http::Request;
use http_body_util::BodyExt;
use opentelemetry_instrumentation_tower::http::server::LayerBuilder;
use opentelemetry_sdk::metrics::{ManualReader, SdkMeterProvider};
use tokio::runtime::Runtime;
use tower::ServiceExt;
use tower::layer::util::Identity;
use tower_http::trace::TraceLayer;

use crate::measure::Contender;

async fn handler() -> &'static str {
    "twelve bytes"
}

#[autometrics]
async fn watched_handler() -> &'static str {
    "twelve bytes"
}

fn plain() -> Router {
    Router::new().route("/events/{id}", get(handler))
}

/// The service as it is, then with each layer around it.
pub(crate) fn contenders() -> Vec<Contender> {
    let exporter = Exporter::local(Options::default()).expect("the defaults are valid");
    let monitor = Monitor::builder()
        .recorder(exporter.recorder())
        .build()
        .expect("the defaults are valid");
    // Installs the process's recorder, which autometrics then uses too, and starts its upkeep on a runtime.
    let background = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_time()
        .build();
    let background = Box::leak(Box::new(background.expect("a runtime")));
    let inside = background.enter();
    let (prometheus, handle) = PrometheusMetricLayer::pair();
    drop(inside);
    std::thread::spawn(move || {
        loop {
            std::thread::sleep(std::time::Duration::from_millis(50));
            handle.run_upkeep();
        }
    });
    let provider = SdkMeterProvider::builder()
        .with_reader(ManualReader::default())
        .build();
    opentelemetry::global::set_meter_provider(provider);
    let otel = LayerBuilder::builder().with_tracing(false).build();
    let watched = Router::new().route("/events/{id}", get(watched_handler));
    vec![
        contender("nothing", plain()),
        // axum boxes a layered route once more, whatever the layer does.
        contender("a layer that does nothing", plain().layer(Identity::new())),
        contender("bilten-monitor", plain().layer(monitor.http())),
        contender(
            "tower-http trace",
            plain().layer(TraceLayer::new_for_http()),
        ),
        contender("autometrics", watched),
        contender(
            "opentelemetry-instrumentation-tower",
            plain().layer(otel.expect("the defaults are valid")),
        ),
        contender("axum-prometheus", plain().layer(prometheus)),
    ]
}

fn contender(name: &'static str, service: Router) -> Contender {
    let runtime = runtime();
    let ask = async |service: &Router| {
        let request = Request::get("/events/7")
            .body(Body::empty())
            .expect("a request");
        let Ok(answer) = service.clone().oneshot(request).await;
        let body = answer.into_body().collect().await.expect("a body");
        assert_eq!(body.to_bytes().len(), 12);
    };
    let run = move |times| {
        runtime.block_on(async {
            for _ in 0..times {
                ask(&service).await;
            }
        });
    };
    Contender {
        name,
        run: Box::new(run),
    }
}

pub(crate) fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .expect("a runtime")
}
