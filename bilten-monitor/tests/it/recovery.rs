//! Notices that what an alert told of is over.

use std::time::Duration;

use bilten_monitor::Outcome;
use bilten_monitor::alert::{Alert, AlertKind};

use crate::scene::{Scene, eventually};

const WINDOW: Duration = Duration::from_secs(60);

fn scene(notices: bool) -> Scene {
    Scene::with(|builder| {
        builder
            .watchdog(Duration::from_millis(5))
            .alert_window(WINDOW)
            .recovery_notices(notices)
    })
}

fn slow(scene: &Scene, took: Duration) {
    let span = scene.monitor.query("report").start();
    scene.clock.advance(took);
    span.finish(Outcome::Success);
}

/// The next one that tells of the query's end: the watchdog may look while it runs, and tell of that too.
async fn next(scene: &Scene) -> Alert {
    let mut found = None;
    eventually("an alert", || {
        found = scene.alerts.try_next();
        let is_end = |alert: &Alert| alert.kind != AlertKind::StillRunning;
        found.as_ref().is_some_and(is_end)
    })
    .await;
    found.expect("just found")
}

#[tokio::test]
async fn a_quiet_window_is_told_once_with_what_was_held_back() {
    let scene = scene(true);
    slow(&scene, Duration::from_secs(1));
    let raised = next(&scene).await;
    assert_eq!(
        (raised.kind, raised.recovered),
        (AlertKind::SlowQuery, false)
    );
    slow(&scene, Duration::from_secs(3));
    scene.clock.advance(WINDOW + Duration::from_secs(1));
    let over = next(&scene).await;
    assert_eq!((over.kind, over.recovered), (AlertKind::SlowQuery, true));
    assert_eq!((over.subject.as_str(), over.suppressed), ("report", 1));
    assert_eq!(over.worst, Duration::from_secs(3));

    // A second quiet window is no news; the next slow one is.
    scene.clock.advance(WINDOW * 3);
    slow(&scene, Duration::from_secs(2));
    let raised = next(&scene).await;
    assert_eq!((raised.recovered, raised.suppressed), (false, 0));
}

#[tokio::test]
async fn without_the_setting_there_are_none() {
    let scene = scene(false);
    slow(&scene, Duration::from_secs(1));
    assert!(!next(&scene).await.recovered);
    scene.clock.advance(WINDOW * 2);
    slow(&scene, Duration::from_secs(1));
    assert!(
        !next(&scene).await.recovered,
        "the next one is an alert again"
    );
}
