//! One query that returns at once: by hand, and through the monitor.

use std::convert::Infallible;
use std::hint::black_box;
use std::time::Instant;

use bilten_monitor::Monitor;
use bilten_monitor::prometheus::{Exporter, Options};
use metrics::{Histogram, Key, Level, Metadata, Recorder};
use metrics_exporter_prometheus::PrometheusBuilder;

use crate::contender::{Contender, OURS};
use crate::requests::runtime;

async fn query() -> Result<u64, Infallible> {
    Ok(black_box(7))
}

fn histogram(recorder: &dyn Recorder) -> Histogram {
    let metadata = Metadata::new("bench", Level::INFO, None);
    recorder.register_histogram(&Key::from_static_name("raw_duration"), &metadata)
}

/// What a program would write by hand, with either exporter, then the monitor.
pub(crate) fn contenders() -> Vec<Contender> {
    let exporter = Exporter::local(Options::default()).expect("the defaults are valid");
    let builder = Monitor::builder().recorder(exporter.recorder());
    let monitor = builder.build().expect("the defaults are valid");
    let sampled = Monitor::builder().recorder(exporter.recorder());
    let sampled = sampled
        .sample_query("event_by_id", 16)
        .build()
        .expect("valid");
    let shown = Monitor::builder().recorder(exporter.recorder());
    let shown = shown.build().expect("the defaults are valid");
    let page = shown.dashboard();
    let theirs = PrometheusBuilder::new().build_recorder();
    let handle = theirs.handle();
    std::thread::spawn(move || {
        loop {
            std::thread::sleep(std::time::Duration::from_millis(50));
            handle.run_upkeep();
        }
    });
    vec![
        contender("nothing", query),
        by_hand(
            "two clock reads, metrics-exporter-prometheus",
            histogram(&theirs),
        ),
        by_hand(
            "two clock reads, our exporter",
            histogram(&*exporter.recorder()),
        ),
        contender(OURS, move || monitor.query("event_by_id").run(query())),
        contender("bilten-monitor under a live page", move || {
            let _page = &page;
            shown.query("event_by_id").run(query())
        }),
        contender("bilten-monitor, one in 16", move || {
            sampled.query("event_by_id").run(query())
        }),
    ]
}

fn by_hand(name: &'static str, histogram: Histogram) -> Contender {
    // For as long as the program runs, as a handle in a `static` would be.
    let histogram: &'static Histogram = Box::leak(Box::new(histogram));
    contender(name, move || async move {
        let started = Instant::now();
        let result = query().await;
        histogram.record(started.elapsed().as_secs_f64());
        result
    })
}

fn contender<F: Future>(name: &'static str, mut work: impl FnMut() -> F + 'static) -> Contender {
    let runtime = runtime();
    let run = move |times| {
        runtime.block_on(async {
            for _ in 0..times {
                drop(black_box(work().await));
            }
        });
    };
    Contender {
        name,
        run: Box::new(run),
    }
}
