//! What a scraper sees, and what it does not.

use crate::doubles::{Count, Switch, health, passing, patience, patient};
use axum::Router;
use axum::body::Body;
use axum::http::Request;
use axum::routing::get;
use bilten_health::{Health, check};
use bilten_monitor::Monitor;
use bilten_monitor::prometheus::{Exporter, Options};
use http_body_util::BodyExt;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tower::ServiceExt;

#[test]
fn each_run_is_measured_and_each_question_is_not() {
    use metrics_util::debugging::{DebugValue, DebuggingRecorder};
    let recorder = DebuggingRecorder::new();
    let snapshots = recorder.snapshotter();
    metrics::with_local_recorder(&recorder, || {
        // Ten questions within the second for which a result counts.
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(async {
            let health = health([Switch::new(false).check("db"), passing("mail")]);
            for _ in 0..10 {
                health.check().await;
            }
        });
    });
    let read = |value| match value {
        DebugValue::Counter(count) => count.to_string(),
        DebugValue::Gauge(value) => value.to_string(),
        DebugValue::Histogram(values) => format!("{} values", values.len()),
    };
    let mut seen: Vec<String> = snapshots
        .snapshot()
        .into_vec()
        .into_iter()
        .map(|(key, _, _, value)| {
            let label = key.key().labels().next().unwrap().value();
            format!("{} {label} {}", key.key().name(), read(value))
        })
        .collect();
    seen.sort();
    let expected = [
        "health_check_degraded db 0",
        "health_check_degraded mail 0",
        "health_check_duration_seconds db 1 values",
        "health_check_duration_seconds mail 1 values",
        "health_check_up db 0",
        "health_check_up mail 1",
        "health_status_changes_total db 1",
        "health_status_changes_total mail 1",
    ];
    assert_eq!(seen, expected);
}

/// Asks all checks with this exporter as the recorder, and renders.
fn scraped(health: &Health) -> String {
    let exporter = Exporter::local(Options::default()).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    metrics::with_local_recorder(&exporter.recorder(), || runtime.block_on(health.check()));
    exporter.render()
}

// The order: the set is built, then the recorder comes: it must not have missed what the metrics mean.
#[test]
fn every_metric_says_what_it_means_to_a_recorder_that_came_late() {
    let text = scraped(&health([passing("db")]));
    let mut seen = 0;
    for line in text.lines() {
        let Some(name) = line
            .strip_prefix("# TYPE ")
            .and_then(|rest| rest.split(' ').next())
            .filter(|name| name.starts_with("health_"))
        else {
            continue;
        };
        seen += 1;
        let help = text
            .lines()
            .find_map(|line| line.strip_prefix(&format!("# HELP {name} ")));
        assert!(help.is_some_and(|help| help.len() > 20), "{name}: {help:?}");
    }
    assert_eq!(seen, 4, "{text}");
}

/// The lines of the gauge that tells which checks are up.
fn levels(exporter: &Exporter) -> Vec<String> {
    let text = exporter.render();
    let levels = text
        .lines()
        .filter(|line| line.starts_with("health_check_up{"));
    levels.map(str::to_owned).collect()
}

// The order: both checks have run, the second run of one has begun, that check is removed, its run ends.
#[test]
fn a_check_that_is_removed_takes_its_level_with_it_although_its_run_goes_on() {
    let exporter = Exporter::local(Options::default()).unwrap();
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all().build().unwrap();
    let (begun, ended) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let runs = Count::default();
    let gated = {
        let (begun, ended) = (Arc::clone(&begun), Arc::clone(&ended));
        check("mail", move || {
            let (begun, ended, run) = (Arc::clone(&begun), Arc::clone(&ended), runs.add());
            async move {
                if run == 2 {
                    begun.notify_one();
                    ended.notified().await;
                }
            }
        })
    };
    let health = patient([passing("db"), gated.cache(Duration::ZERO)]);
    let db = r#"health_check_up{check="db"} 1"#;
    let mail = r#"health_check_up{check="mail"} 1"#;
    metrics::with_local_recorder(&exporter.recorder(), || {
        runtime.block_on(async {
            health.check().await;
            assert_eq!(levels(&exporter), [db, mail]);
            let asking = tokio::spawn({
                let health = health.clone();
                async move { health.check().await }
            });
            begun.notified().await;
            assert!(health.unregister("mail"));
            assert_eq!(levels(&exporter), [db]);
            ended.notify_one();
            asking.await.unwrap();
            assert_eq!(
                levels(&exporter),
                [db],
                "what the run found is of no interest"
            );
            health.register(passing("mail")).unwrap();
            health.check().await;
            assert_eq!(levels(&exporter), [db, mail]);
        });
    });
}

// Nobody asks any more: what was found then is no news of what is now, good or bad.
#[test]
fn what_nobody_asks_for_any_more_has_no_level_and_has_one_again_when_somebody_does() {
    let exporter = Exporter::local(Options::default()).unwrap();
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all().start_paused(true).build().unwrap();
    let mail = Switch::new(true);
    let db = r#"health_check_up{check="db"} 1"#;
    let changes = || {
        exporter
            .render()
            .matches("health_status_changes_total{")
            .count()
    };
    metrics::with_local_recorder(&exporter.recorder(), || {
        runtime.block_on(async {
            let health = health([
                mail.check("mail").cache(Duration::from_secs(1)),
                passing("db").background(Duration::from_secs(10)),
            ]);
            for works in [true, false, true] {
                mail.set(works);
                health.check().await;
                let level = format!(r#"health_check_up{{check="mail"}} {}"#, u8::from(works));
                tokio::time::sleep(Duration::from_secs(30)).await;
                assert_eq!(levels(&exporter), [db, &level], "it counts still");
                tokio::time::sleep(Duration::from_secs(2)).await;
                assert_eq!(levels(&exporter), [db]);
            }
            let seen = changes();
            tokio::time::sleep(Duration::from_secs(300)).await;
            assert_eq!((levels(&exporter), changes()), (vec![db.to_owned()], seen));
            assert!(health.unregister("mail"));
            assert_eq!(levels(&exporter), [db]);
        });
    });
}

/// When the page last looked, and the checks that it shows.
async fn on_the_page(page: &bilten_monitor::dashboard::Dashboard) -> (u64, Vec<String>) {
    let request = Request::get("/?json").body(Body::empty()).unwrap();
    let answer = page.clone().oneshot(request).await.unwrap();
    let text = answer.into_body().collect().await.unwrap().to_bytes();
    let full: serde_json::Value = serde_json::from_slice(&text).unwrap();
    let checks = full["now"]["checks"].as_array().unwrap().iter();
    let named = checks.map(|check| format!("{} {}", check["name"], check["changes"]));
    (full["now"]["at"].as_u64().unwrap(), named.collect())
}

// More checks than the page has room for: those that it shows stay, and none of them makes room for another one in turn.
#[test]
fn of_a_thousand_checks_the_page_shows_the_same_ones_at_every_look() {
    let monitor = Monitor::builder().build().unwrap();
    let page = monitor.dashboard();
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all().build().unwrap();
    let builder = Health::builder()
        .deadline(Duration::from_secs(60))
        .default_timeout(Duration::from_secs(50));
    let builder = (0..1000).fold(builder, |builder, n| {
        builder.check(passing(&format!("check-{n}")).cache(Duration::ZERO))
    });
    let health = builder.build().unwrap();
    let shown = async || {
        // Two looks of the page that came after the checks had run, whenever it had a turn for them.
        let (mut looked, mut before) = on_the_page(&page).await;
        loop {
            tokio::time::sleep(Duration::from_millis(100)).await;
            let (at, now) = on_the_page(&page).await;
            if at == looked {
                continue;
            }
            if now == before && now.len() > 500 {
                return now;
            }
            (looked, before) = (at, now);
        }
    };
    let tap = bilten_monitor::dashboard::Tap::new(metrics::NoopRecorder);
    let look = async || {
        health.check().await;
        shown().await
    };
    metrics::with_local_recorder(&tap, || {
        runtime.block_on(async {
            let looks = async {
                let first = look().await;
                for _ in 0..3 {
                    assert_eq!(look().await, first);
                }
            };
            let ended = tokio::time::timeout(Duration::from_secs(100), looks).await;
            ended.unwrap();
        });
    });
}

// The probes go through the same layer as the requests of users.
#[tokio::test]
async fn probes_are_not_in_the_metrics_of_requests() {
    let exporter = Exporter::local(Options::default()).unwrap();
    let monitor = Monitor::builder()
        .recorder(exporter.recorder())
        .build()
        .unwrap();
    let health = patience()
        .check(passing("db"))
        .group("edge", ["db"])
        .build()
        .unwrap();
    let app = Router::new()
        .route("/orders", get(async || "none"))
        .merge(health.routes())
        .layer(monitor.http());
    for path in [
        "/livez",
        "/readyz",
        "/startupz",
        "/healthz",
        "/healthz/edge",
        "/orders",
    ] {
        let request = Request::get(path).body(Body::empty()).unwrap();
        let response = app.clone().oneshot(request).await.unwrap();
        assert_eq!(response.status(), 200, "{path}");
        response.into_body().collect().await.unwrap();
    }
    let text = exporter.render();
    assert!(text.contains("/orders"), "{text}");
    for path in ["livez", "readyz", "startupz", "healthz", "unmatched"] {
        assert!(!text.contains(path), "{text}");
    }
}
