//! No recorder, a late one, one that forgets.

use std::time::Duration;

use bilten_monitor::prometheus::{Exporter, Options};
use bilten_monitor::{Monitor, prometheus};

use crate::scene::{Scene, Turned};
use crate::scrape::Scrape;

const COUNT: &str = "db_client_operation_duration_seconds_count";

fn run(monitor: &Monitor) {
    assert_eq!(
        monitor.query("q").run_sync(|| Ok::<_, std::fmt::Error>(7)),
        Ok(7)
    );
}

// One test: the process has only one recorder.
#[test]
fn without_a_recorder_all_goes_on_and_one_that_comes_late_gets_everything_after() {
    let monitor = Monitor::builder().build().expect("a monitor");
    let open = monitor.query("open").start();
    run(&monitor);
    let metrics = prometheus::install(&monitor).expect("the first recorder");
    run(&monitor);
    open.finish(bilten_monitor::Outcome::Success);
    let scrape = Scrape::parse(&metrics.render());
    assert_eq!(
        scrape.sum(COUNT, &[("db_query_summary", "q")]),
        1.0,
        "the one before is gone, the one after is not"
    );
    assert_eq!(scrape.sum(COUNT, &[("db_query_summary", "open")]), 1.0);
    assert_eq!(
        scrape.sum("db_client_active_operations", &[]),
        0.0,
        "never below zero"
    );
    assert!(
        scrape
            .text
            .contains("# HELP db_client_operation_duration_seconds Time of a database operation")
    );

    let refused = prometheus::install(Options::default()).expect_err("there is one already");
    assert!(
        refused.to_string().contains("already installed"),
        "{refused}"
    );
}

#[tokio::test]
async fn a_series_that_the_exporter_forgot_comes_back_with_the_next_observation() {
    let clock = Turned::default();
    let idle = Duration::from_millis(100);
    let exporter = Exporter::local(Options::default().idle_timeout(Duration::from_secs(11)))
        .expect("an exporter");
    drop(exporter);
    // The exporter's own clock cannot be turned, so its timeout is short and the monitor's clock jumps.
    let quick = Monitor::builder()
        .refresh_handles(Duration::from_millis(50))
        .build()
        .expect("a monitor");
    let exporter = Exporter::local(Options::from(&quick).idle_timeout(idle)).expect("an exporter");
    let monitor = Monitor::builder()
        .recorder(exporter.recorder())
        .refresh_handles(Duration::from_millis(50))
        .clock(clock.clone())
        .build()
        .expect("a monitor");
    run(&monitor);
    crate::scene::eventually("the exporter forgets the idle series", || {
        !exporter.render().contains("db_query_summary")
    })
    .await;
    clock.advance(idle);
    for _ in 0..10 {
        run(&monitor);
    }
    assert_eq!(Scrape::parse(&exporter.render()).sum(COUNT, &[]), 10.0);
}

#[test]
fn a_shared_recorder_keeps_what_two_exporters_would_split() {
    let scene = Scene::new();
    let second = Monitor::builder()
        .recorder(scene.exporter.recorder())
        .build()
        .expect("a monitor");
    run(&scene.monitor);
    run(&second);
    assert_eq!(scene.scrape().sum(COUNT, &[]), 2.0);
}
