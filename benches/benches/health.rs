//! A health answer from stored results: what a probe costs while nothing has to be checked.

#![allow(missing_docs, clippy::print_stdout)]

use std::convert::Infallible;
use std::future::pending;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use bilten_benches::{CpuTime, Latencies, is_trial, runtime, timed};
use bilten_health::hop::HOP_HEADER;
use bilten_health::{CheckBuilder, Health, HealthBuilder, check};
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
    built(checks)
}

fn built(checks: impl Iterator<Item = CheckBuilder>) -> Health {
    checks
        .fold(Health::builder(), HealthBuilder::check)
        .build()
        .expect("the checks are valid")
}

/// Checks that never answer.
fn hanging(checks: usize) -> impl Iterator<Item = CheckBuilder> {
    (0..checks).map(|number| check(format!("hangs_{number}"), pending::<()>).in_readiness())
}

async fn get(router: Router, path: &'static str) -> usize {
    send(router, Request::get(path)).await
}

async fn send(router: Router, request: http::request::Builder) -> usize {
    let request = request.body(Body::empty()).expect("the request is valid");
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
    group.bench_function("cached_readyz_for_another_service", |bencher| {
        bencher.iter_custom(|times| {
            timed(&CpuTime::default(), &runtime, times, || {
                send(
                    routes.clone(),
                    Request::get("/readyz").header(HOP_HEADER, "1"),
                )
            })
        });
    });
    let late = hanging(CHECKS).map(|check| check.cache(Duration::from_secs(3_600)));
    let late = built(late);
    let first = runtime.block_on(late.check());
    assert!(!first.healthy, "every check hangs");
    let routes: Router = late.routes().into_router();
    group.bench_function("cached_readyz_of_checks_that_hang", |bencher| {
        bencher.iter_custom(|times| {
            timed(&CpuTime::default(), &runtime, times, || {
                get(routes.clone(), "/readyz")
            })
        });
    });
    group.finish();
}

/// Ten thousand probes a second, of which none may wait beyond the deadline. Prints a table.
fn probes_against_checks_that_hang(_: &mut Criterion<CpuTime>) {
    let (seconds, a_second) = if is_trial() { (1, 100) } else { (5, 10_000) };
    let runtime = runtime();
    let health = built(hanging(CHECKS));
    let (answers, late) = runtime.block_on(paced(&health, seconds, a_second));
    let tasks = runtime.metrics().num_alive_tasks();
    println!("\n{a_second} probes a second for {seconds} s, {CHECKS} checks that hang\n");
    println!("| an answer | beyond 950 ms | tasks at the end |\n|---|---|---|");
    println!("| {answers} | {late} | {tasks} |");
}

/// Each probe comes at its own time, however long the others wait.
async fn paced(health: &Health, seconds: u64, a_second: u64) -> (Latencies, usize) {
    let routes: Router = health.routes().into_router();
    let mut tick = tokio::time::interval(Duration::from_millis(1));
    let begun = Instant::now();
    let mut probes = Vec::new();
    while begun.elapsed() < Duration::from_secs(seconds) {
        tick.tick().await;
        let elapsed = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        while (probes.len() as u64) < elapsed * a_second / 1000 {
            let routes = routes.clone();
            probes.push(tokio::spawn(async move {
                let asked = Instant::now();
                get(routes, "/readyz").await;
                asked.elapsed()
            }));
        }
    }
    let (mut answers, mut late) = (Latencies::default(), 0);
    for probe in probes {
        let took = probe.await.expect("a probe is answered");
        late += usize::from(took > Duration::from_millis(950));
        answers.add(took);
    }
    (answers, late)
}

/// How long the first question takes that starts so many checks, none of which answers. Prints a table.
fn first_answer(_: &mut Criterion<CpuTime>) {
    let runtime = runtime();
    println!("\nThe first answer of checks that hang, given up after 500 ms each\n");
    println!("| checks | answered after | CPU of the process |\n|---|---|---|");
    let all = match is_trial() {
        true => vec![100],
        false => vec![1, 100, 10_000],
    };
    for checks in all {
        let health = built(hanging(checks));
        let (asked, cpu) = (Instant::now(), cpu_of_the_process());
        let report = runtime.block_on(health.check());
        assert_eq!((report.healthy, report.checks.len()), (false, checks));
        let (took, cpu) = (asked.elapsed(), cpu_of_the_process() - cpu);
        println!("| {checks} | {took:.1?} | {cpu:.1?} |");
    }
}

fn cpu_of_the_process() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or(0))
}

criterion_group! {
    name = benches;
    config = CpuTime::criterion();
    targets = cached_answer, probes_against_checks_that_hang, first_answer
}
criterion_main!(benches);
