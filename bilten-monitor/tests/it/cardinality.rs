//! Labels are bounded, and what is over is counted.

use bilten_monitor::alert::AlertKind;

use crate::scene::Scene;

const COUNT: &str = "db_client_operation_duration_seconds_count";

/// Names that live as long as the program, as a program's own do.
fn names(many: usize) -> impl Iterator<Item = &'static str> {
    (0..many).map(|n| &*Box::leak(format!("query_{n}").into_boxed_str()))
}

fn run(scene: &Scene, name: &'static str) {
    scene
        .monitor
        .query(name)
        .run_sync(|| Ok::<_, std::fmt::Error>(()))
        .expect("ok");
}

#[test]
fn a_name_too_many_is_counted_under_other_and_nothing_is_lost() {
    let scene = Scene::with(|builder| builder.max_label_values(100));
    names(101).for_each(|name| run(&scene, name));
    let scrape = scene.scrape();
    assert_eq!(scrape.sum(COUNT, &[]), 101.0);
    assert_eq!(scrape.sum(COUNT, &[("db_query_summary", "other")]), 1.0);
    assert_eq!(scrape.sum("bilten_monitor_overflowed_total", &[]), 1.0);
    let alerts = scene.alerts();
    assert_eq!(alerts.len(), 1);
    assert_eq!(
        (alerts[0].kind, alerts[0].subject.as_str()),
        (AlertKind::TooManyLabels, "query")
    );
}

#[test]
fn a_hundred_thousand_names_are_a_hundred_series_and_one_alert() {
    let scene = Scene::new();
    names(100_000).for_each(|name| run(&scene, name));
    let scrape = scene.scrape();
    assert_eq!(scrape.sum(COUNT, &[]), 100_000.0);
    assert_eq!(scrape.values_of("db_query_summary").len(), 101);
    assert_eq!(scene.monitor.losses().overflowed, 99_900);
    assert_eq!(scene.alerts().len(), 1);
}

#[test]
fn error_types_are_bounded_for_each_query() {
    let scene = Scene::new();
    for kind in names(50) {
        let judge = |(): &()| bilten_monitor::Outcome::Error(kind);
        scene.monitor.query("q").run_sync_with(|| (), judge);
    }
    let scrape = scene.scrape();
    assert_eq!(scrape.sum(COUNT, &[("outcome", "error")]), 50.0);
    assert_eq!(scrape.values_of("error_type").len(), 17);
    assert_eq!(scrape.sum(COUNT, &[("error_type", "other")]), 34.0);
}

#[test]
fn a_query_named_other_or_not_at_all_has_a_meaning() {
    let scene = Scene::new();
    run(&scene, "other");
    run(&scene, "");
    let scrape = scene.scrape();
    assert_eq!(
        scrape.values_of("db_query_summary"),
        ["other", "unnamed"].into()
    );
    assert_eq!(scene.monitor.losses().overflowed, 0);
}

#[test]
fn a_query_with_a_threshold_of_its_own_keeps_it_however_many_others_there_are() {
    let five = std::time::Duration::from_secs(5);
    let scene = Scene::with(|builder| builder.max_label_values(1).slow_query_for("report", five));
    names(3).for_each(|name| run(&scene, name));
    let span = scene.monitor.query("report").start();
    scene.clock.advance(five / 2);
    span.finish(bilten_monitor::Outcome::Success);
    let alerts = scene.alerts();
    assert!(
        alerts
            .iter()
            .all(|alert| alert.kind == AlertKind::TooManyLabels),
        "{alerts:?}"
    );
    let scrape = scene.scrape();
    assert_eq!(scrape.sum(COUNT, &[("db_query_summary", "report")]), 1.0);
    assert_eq!(scene.monitor.losses().overflowed, 2);
}

#[test]
fn a_query_that_never_begins_takes_no_place_and_is_none_too_many() {
    let scene = Scene::with(|builder| builder.max_label_values(1));
    drop(scene.monitor.query("never_run"));
    let work = std::future::ready(Ok::<_, std::fmt::Error>(()));
    drop(scene.monitor.query("never_polled").run(work));
    run(&scene, "first");
    drop(scene.monitor.query("too_many"));
    assert_eq!(scene.monitor.losses().overflowed, 0);
    assert!(scene.alerts().is_empty());
    let scrape = scene.scrape();
    assert_eq!(scrape.values_of("db_query_summary"), ["first"].into());

    // Two that were made before either began are of one name.
    let scene = Scene::with(|builder| builder.max_label_values(1));
    let [one, other] = [(); 2].map(|()| scene.monitor.query("both"));
    for query in [one, other] {
        query.run_sync(|| Ok::<_, std::fmt::Error>(())).expect("ok");
    }
    let labels = [("db_query_summary", "both")];
    assert_eq!(scene.scrape().sum(COUNT, &labels), 2.0);
    assert_eq!(scene.monitor.losses().overflowed, 0);
}
