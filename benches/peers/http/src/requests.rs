//! One request to an axum service, to the last byte of its body, through each layer.

use std::convert::Infallible;

use autometrics::autometrics;
use axum::Router;
use axum::body::Body;
use axum::routing::get;
use axum_prometheus::PrometheusMetricLayer;
use bilten_monitor::Monitor;
use bilten_monitor::prometheus::{Exporter, Options};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use opentelemetry_instrumentation_tower::http::server::{Layer as HTTPLayer, LayerBuilder};
use opentelemetry_sdk::metrics::{ManualReader, SdkMeterProvider};
use tokio::runtime::Runtime;
use tower::layer::util::Identity;
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_http::map_response_body::MapResponseBodyLayer;
use tower_http::trace::TraceLayer;

use crate::contender::{Contender, OURS};

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

/// Every layer, once for all services.
pub(crate) struct Layers {
    monitor: Monitor,
    prometheus: PrometheusMetricLayer<'static>,
    otel: HTTPLayer,
}

impl Layers {
    pub(crate) fn new() -> Self {
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
        Self {
            monitor,
            prometheus,
            otel: otel.expect("the defaults are valid"),
        }
    }

    /// An axum service as it is, then with each layer around it.
    pub(crate) fn around_axum(&self) -> Vec<Contender> {
        let watched = Router::new().route("/events/{id}", get(watched_handler));
        let trace = TraceLayer::new_for_http();
        vec![
            contender("nothing", plain()),
            // axum boxes a layered route once more, whatever the layer does.
            contender("a layer that does nothing", plain().layer(Identity::new())),
            // And the body, when the layer makes another of it.
            contender(
                "a layer that wraps the body",
                plain().layer(MapResponseBodyLayer::new(|body: Body| {
                    body.map_err(|error| error)
                })),
            ),
            contender(OURS, plain().layer(self.monitor.http())),
            contender("tower-http trace", plain().layer(trace)),
            contender("autometrics", watched),
            contender(
                "opentelemetry-instrumentation-tower",
                plain().layer(self.otel.clone()),
            ),
            contender("axum-prometheus", plain().layer(self.prometheus.clone())),
        ]
    }

    /// The same layers around a service that is no router: what a layer costs by itself.
    pub(crate) fn around_a_function(&self) -> Vec<Contender> {
        let function = service_fn(async |_: Request<Body>| {
            Ok::<_, Infallible>(Response::new(Full::<Bytes>::from("twelve bytes")))
        });
        let ours = self.monitor.http().route(|_| Some("/events/{id}"));
        vec![
            called("nothing", function),
            called(OURS, ours.layer(function)),
            called(
                "tower-http trace",
                TraceLayer::new_for_http().layer(function),
            ),
            called(
                "opentelemetry-instrumentation-tower",
                self.otel.clone().layer(function),
            ),
            called("axum-prometheus", self.prometheus.clone().layer(function)),
        ]
    }
}

fn called<S, B>(name: &'static str, service: S) -> Contender
where
    S: Service<Request<Body>, Response = Response<B>, Error = Infallible> + Clone + 'static,
    B: http_body::Body<Data = Bytes>,
    B::Error: std::fmt::Debug,
{
    let runtime = runtime();
    let run = move |times| {
        runtime.block_on(async {
            for _ in 0..times {
                ask(service.clone()).await;
            }
        });
    };
    Contender {
        name,
        run: Box::new(run),
    }
}

async fn ask<S, B>(service: S)
where
    S: Service<Request<Body>, Response = Response<B>, Error = Infallible>,
    B: http_body::Body<Data = Bytes>,
    B::Error: std::fmt::Debug,
{
    let request = Request::get("/events/7")
        .body(Body::empty())
        .expect("a request");
    let Ok(answer) = service.oneshot(request).await;
    let body = answer.into_body().collect().await.expect("a body");
    assert_eq!(body.to_bytes().len(), 12);
}

/// A router as a server has it: one that still waits for its state wraps its handlers anew for each request.
fn contender(name: &'static str, service: Router) -> Contender {
    called(name, service.with_state::<()>(()))
}

pub(crate) fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .expect("a runtime")
}
