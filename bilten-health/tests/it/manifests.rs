//! The numbers in the guide are those of the code.

use crate::doubles::{built, hanging, passing};
use axum::Router;
use axum::body::Body;
use axum::http::Request;
use bilten_health::{BuildError, Health};
use std::time::Duration;
use tower::ServiceExt;

const GUIDE: &str = include_str!("../../../docs/health.md");
const PAGES: [(&str, &str); 3] = [
    ("guide", include_str!("../../../docs/probes.md")),
    ("routes", include_str!("../../src/routes/probes.md")),
    ("readme", include_str!("../../README.md")),
];

/// The number after `key` in the block of lines that begins with `name`.
fn number(page: &str, name: &str, key: &str) -> Option<u64> {
    let (_, block) = page.split_once(&format!("{name}:\n"))?;
    let depth = |line: &str| line.len() - line.trim_start().len();
    let first = block.lines().next()?;
    let lines = block.lines().take_while(|line| depth(line) >= depth(first));
    let line = lines.map(str::trim).find(|line| line.starts_with(key))?;
    let value = line.split_once(": ")?.1;
    value.split(' ').next()?.parse().ok()
}

/// The seconds of `drain(Duration::from_secs(5), Duration::from_secs(20))`.
fn drain(page: &str) -> Option<(u64, u64)> {
    let (_, rest) = page.split_once(".drain(Duration::from_secs(")?;
    let (min, rest) = rest.split_once("), Duration::from_secs(")?;
    Some((min.parse().ok()?, rest.split_once(')')?.0.parse().ok()?))
}

fn deadline() -> Duration {
    match built([passing("a").timeout(Duration::from_secs(60))]) {
        Err(BuildError::TimeoutBeyondDeadline { deadline, .. }) => deadline,
        other => panic!("{other:?}"),
    }
}

fn default_timeout() -> Duration {
    match built([passing("a").degraded_above(Duration::from_secs(60))]) {
        Err(BuildError::NeverDegraded { timeout, .. }) => timeout,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn the_probes_in_the_manifests_match_the_defaults() {
    let health = built([passing("a").in_readiness(), hanging("b")]).unwrap();
    let app: Router = Router::new().merge(health.routes());
    for (page, text) in PAGES.into_iter().filter(|(page, _)| *page != "readme") {
        for (probe, path) in [
            ("startupProbe", "/startupz"),
            ("livenessProbe", "/livez"),
            ("readinessProbe", "/readyz"),
        ] {
            let wanted = format!("{probe}:\n");
            let block = text.split_once(&wanted).expect("the probe is there").1;
            let first = block.lines().next().unwrap().trim();
            assert!(
                first.starts_with(&format!("httpGet: {{ path: {path}, ")),
                "{page}: {first}"
            );
            let request = Request::get(path).body(Body::empty()).unwrap();
            assert_eq!(app.clone().oneshot(request).await.unwrap().status(), 200);

            let seconds = |key| number(text, probe, key).map(Duration::from_secs);
            // A second is what Kubernetes takes when nothing is said.
            let patience = seconds("timeoutSeconds").unwrap_or(Duration::from_secs(1));
            assert!(
                patience > deadline(),
                "{page}: {probe} gives up before the answer"
            );
            let period = seconds("periodSeconds").unwrap();
            assert!(
                period > Duration::from_secs(1),
                "{page}: {probe} would see cached results"
            );
        }
        let startup = number(text, "startupProbe", "periodSeconds").unwrap()
            * number(text, "startupProbe", "failureThreshold").unwrap();
        assert_eq!(startup, 60, "{page} says one minute to start");
    }
}

#[test]
fn the_drains_in_the_guide_fit_into_the_grace_period() {
    let (_, guide) = PAGES[0];
    let grace = guide
        .split_once("terminationGracePeriodSeconds: ")
        .unwrap()
        .1;
    let grace: u64 = grace.split(' ').next().unwrap().parse().unwrap();
    for (page, text) in PAGES.into_iter().filter(|(page, _)| *page != "routes") {
        let (min, max) = drain(text).expect("the page shows a drain");
        assert!(
            min < max && max < grace,
            "{page}: {min} s to {max} s within {grace} s"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn the_table_of_defaults_is_true() {
    let row = |setting: &str| {
        let line = GUIDE
            .lines()
            .find(|line| line.starts_with(&format!("| `{setting}`")));
        line.expect("the setting is in the table")
            .split('|')
            .nth(2)
            .unwrap()
            .trim()
    };
    assert_eq!(
        row("deadline"),
        format!("{:?}", deadline()).replace("ms", " ms")
    );
    assert_eq!(
        row("default_timeout"),
        format!("{:?}", default_timeout()).replace("ms", " ms")
    );

    assert_eq!(row("cache"), "1 s");
    let switch = crate::doubles::Switch::new(true);
    let health = Health::builder().check(switch.check("a")).build().unwrap();
    let mut runs = Vec::new();
    for wait in [0, 999, 1] {
        tokio::time::advance(Duration::from_millis(wait)).await;
        health.check().await;
        runs.push(switch.runs.get());
    }
    assert_eq!(runs, [1, 1, 2], "a result counts for a second");

    assert_eq!(row("max_staleness"), "3 intervals");
    let ten = Duration::from_secs(10);
    let first = crate::doubles::Count::default();
    let hangs_later = bilten_health::check("a", move || {
        let is_first = first.add() == 1;
        async move {
            if !is_first {
                std::future::pending::<()>().await;
            }
        }
    });
    let five = Duration::from_secs(5);
    let health = built([hangs_later.background(ten).timeout(five)]).unwrap();
    assert!(health.check().await.healthy);
    // The clock jumps, so that the second run begins only now and is not over when its result is due.
    tokio::time::advance(ten * 3 - Duration::from_millis(1)).await;
    assert!(health.check().await.healthy);
    tokio::time::advance(Duration::from_millis(2)).await;
    assert!(!health.check().await.healthy, "three intervals old");
}
