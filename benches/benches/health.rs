//! A health answer from stored results: what a probe costs while nothing has to be checked.

#![allow(missing_docs)]

use std::convert::Infallible;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use bilten_benches::{CpuTime, runtime, timed};
use bilten_health::{Health, check};
use criterion::{Criterion, criterion_group, criterion_main};
use http::Request;
use http_body_util::BodyExt;
use tower::ServiceExt;

const CHECKS: usize = 5;

fn health() -> Health {
    let checks = (0..CHECKS).map(|number| {
        check(format!("check_{number}"), || async {
            Ok::<(), Infallible>(())
        })
        .in_readiness()
        .cache(Duration::from_secs(3_600))
    });
    checks
        .fold(Health::builder(), bilten_health::HealthBuilder::check)
        .build()
        .expect("the checks are valid")
}

async fn get(router: Router, path: &'static str) -> usize {
    let request = Request::get(path)
        .body(Body::empty())
        .expect("the request is valid");
    let Ok(response) = router.oneshot(request).await;
    let body = response.into_body().collect().await;
    body.expect("the body is whole").to_bytes().len()
}

fn cached_answer(criterion: &mut Criterion<CpuTime>) {
    let runtime = runtime();
    let health = health();
    let first = runtime.block_on(health.check());
    assert!(first.healthy, "every check is up");

    let mut group = criterion.benchmark_group("health");
    group.bench_function("cached_report", |bencher| {
        bencher.iter_custom(|times| timed(&CpuTime::default(), &runtime, times, || health.check()));
    });
    let bare: Router = Router::new().route("/bare", axum::routing::get(async || "ok"));
    group.bench_function("bare_route", |bencher| {
        bencher.iter_custom(|times| {
            timed(&CpuTime::default(), &runtime, times, || {
                get(bare.clone(), "/bare")
            })
        });
    });
    let routes: Router = health.routes().into_router();
    for (name, path) in [("cached_readyz", "/readyz"), ("cached_healthz", "/healthz")] {
        group.bench_function(name, |bencher| {
            bencher.iter_custom(|times| {
                timed(&CpuTime::default(), &runtime, times, || {
                    get(routes.clone(), path)
                })
            });
        });
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = CpuTime::criterion();
    targets = cached_answer
}
criterion_main!(benches);
