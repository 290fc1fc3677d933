//! A request through the monitor's layer beside the bare service, to the last byte of the body.

#![allow(missing_docs)]

use std::convert::Infallible;

use bilten_benches::{CpuTime, runtime, timed};
use bilten_monitor::Monitor;
use bilten_monitor::prometheus::{Exporter, Options};
use bytes::Bytes;
use criterion::{Criterion, criterion_group, criterion_main};
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use tower::{Service, ServiceBuilder, service_fn};

async fn handler(_: Request<()>) -> Result<Response<Full<Bytes>>, Infallible> {
    Ok(Response::new(Full::from("twelve bytes")))
}

async fn send<S, B>(mut service: S) -> usize
where
    S: Service<Request<()>, Response = Response<B>, Error = Infallible>,
    B: http_body::Body<Data = Bytes, Error: std::fmt::Debug>,
{
    let request = Request::get("/events")
        .body(())
        .expect("the request is valid");
    let Ok(response) = service.call(request).await;
    let body = response.into_body().collect().await;
    body.expect("the body is whole").to_bytes().len()
}

fn layered_request(criterion: &mut Criterion<CpuTime>) {
    let runtime = runtime();
    let exporter = Exporter::local(Options::default()).expect("the options are valid");
    let monitor = Monitor::builder()
        .recorder(exporter.recorder())
        .build()
        .expect("the defaults are valid");
    let layer = monitor
        .http()
        .route(|uri| (uri.path() == "/events").then_some("/events"));
    let bare = service_fn(handler);
    let layered = ServiceBuilder::new().layer(layer).service(bare);

    let mut group = criterion.benchmark_group("http_request");
    group.bench_function("bare", |bencher| {
        bencher.iter_custom(|times| timed(&CpuTime::default(), &runtime, times, || send(bare)));
    });
    group.bench_function("layered", |bencher| {
        bencher.iter_custom(|times| {
            timed(&CpuTime::default(), &runtime, times, || {
                send(layered.clone())
            })
        });
    });
    group.finish();
}

criterion_group! {
    name = benches;
    config = CpuTime::criterion();
    targets = layered_request
}
criterion_main!(benches);
