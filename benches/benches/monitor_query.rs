//! A monitored query beside the least that timing can cost: two clock reads and one record into a
//! cached histogram of the same recorder.

#![allow(missing_docs)]

use std::convert::Infallible;
use std::hint::black_box;
use std::time::Instant;

use bilten_benches::{CpuTime, runtime, timed};
use bilten_monitor::Monitor;
use bilten_monitor::dashboard::Tap;
use bilten_monitor::prometheus::{Exporter, Options};
use criterion::{Criterion, criterion_group, criterion_main};
use metrics::{Key, Level, Metadata, Recorder as _};

async fn query() -> Result<u64, Infallible> {
    Ok(black_box(7))
}

fn monitored_query(criterion: &mut Criterion<CpuTime>) {
    let runtime = runtime();
    let exporter = || Exporter::local(Options::default()).expect("the options are valid");

    let mut group = criterion.benchmark_group("query");
    group.bench_function("bare", |bencher| {
        bencher.iter_custom(|times| timed(&CpuTime::default(), &runtime, times, query));
    });

    let raw = exporter();
    let key = Key::from_static_name("raw_duration");
    let metadata = Metadata::new("bench", Level::INFO, None);
    let histogram = raw.recorder().register_histogram(&key, &metadata);
    group.bench_function("two_clock_reads_and_a_record", |bencher| {
        bencher.iter_custom(|times| {
            timed(&CpuTime::default(), &runtime, times, async || {
                let started = Instant::now();
                let result = query().await;
                histogram.record(started.elapsed().as_secs_f64());
                result
            })
        });
    });

    let ours = exporter();
    let monitor = Monitor::builder()
        .recorder(ours.recorder())
        .build()
        .expect("the defaults are valid");
    group.bench_function("monitored", |bencher| {
        bencher.iter_custom(|times| {
            timed(&CpuTime::default(), &runtime, times, || {
                monitor.query("event_by_id").run(query())
            })
        });
    });
    let page = monitor.dashboard();
    group.bench_function("monitored_under_a_live_page", |bencher| {
        bencher.iter_custom(|times| {
            timed(&CpuTime::default(), &runtime, times, || {
                monitor.query("event_by_id").run(query())
            })
        });
    });
    drop(page);
    group.bench_function("monitored_closure", |bencher| {
        bencher.iter(|| {
            monitor
                .query("event_parse")
                .run_sync(|| Ok::<_, Infallible>(black_box(7)))
        });
    });
    group.finish();
}

/// What the live page costs the other crates: a counter that it shows beside one that it does not.
fn tapped_counter(criterion: &mut Criterion<CpuTime>) {
    let exporter = Exporter::local(Options::default()).expect("the options are valid");
    let tap = Tap::new(exporter.recorder());
    let metadata = Metadata::new("bench", Level::INFO, None);
    let mut group = criterion.benchmark_group("counter");
    for name in ["elsewhere_total", "bilten_cache_loads_total"] {
        let counter = tap.register_counter(&Key::from_static_name(name), &metadata);
        group.bench_function(name, |bencher| {
            bencher.iter(|| counter.increment(black_box(1)));
        });
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = CpuTime::criterion();
    targets = monitored_query, tapped_counter
}
criterion_main!(benches);
