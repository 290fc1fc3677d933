//! The numbers in the guide are those of the code.

use crate::doubles::{built, hanging, passing};
use axum::Router;
use axum::body::Body;
use axum::http::Request;
use bilten_health::{BuildError, Health};
use saphyr::{LoadableYamlNode, Yaml};
use std::time::Duration;
use tower::ServiceExt;

const GUIDE: &str = include_str!("../../../docs/health.md");
const GUIDE_TO_PROBES: &str = include_str!("../../../docs/probes.md");
const PAGES: [(&str, &str); 3] = [
    ("guide", GUIDE_TO_PROBES),
    ("routes", include_str!("../../src/routes/probes.md")),
    ("readme", include_str!("../../README.md")),
];

/// What stands in the fenced blocks of one language.
fn blocks<'a>(page: &'a str, language: &str) -> Vec<&'a str> {
    let fence = format!("```{language}\n");
    let parts = page.split(&fence).skip(1);
    parts
        .map(|part| part.split("```").next().unwrap_or_default())
        .collect()
}

/// A place in a manifest; a key that is not there is told with what is.
fn at<'a, 'y>(yaml: &'a Yaml<'y>, path: &[&str]) -> &'a Yaml<'y> {
    path.iter().fold(yaml, |yaml, key| {
        let found = yaml.as_mapping_get(key);
        found.unwrap_or_else(|| panic!("no `{key}` in {yaml:?}"))
    })
}

fn number(yaml: &Yaml<'_>, path: &[&str]) -> u64 {
    let number = at(yaml, path).as_integer();
    number
        .unwrap_or_else(|| panic!("{path:?} is no number"))
        .try_into()
        .unwrap()
}

/// The pod and its container in a page; the short one shows both without what is around them.
fn pod(page: &str, text: &str) -> (Yaml<'static>, Yaml<'static>) {
    let blocks = blocks(text, "yaml");
    let mut manifests = blocks
        .iter()
        .map(|block| Yaml::load_from_str(block).unwrap_or_else(|error| panic!("{page}: {error}")));
    let manifest = manifests.next().expect("the page shows one").remove(0);
    assert!(manifests.next().is_none(), "{page} shows one");
    if manifest.as_mapping_get("kind").is_none() {
        return (manifest.clone(), manifest);
    }
    assert_eq!(at(&manifest, &["kind"]).as_str(), Some("Deployment"));
    let labels = at(&manifest, &["spec", "selector", "matchLabels"]);
    assert_eq!(
        labels,
        at(&manifest, &["spec", "template", "metadata", "labels"])
    );
    let pod = at(&manifest, &["spec", "template", "spec"]).clone();
    let container = at(&pod, &["containers"])[0].clone();
    (pod, container)
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
        let (_, container) = pod(page, text);
        for (name, path) in [
            ("startupProbe", "/startupz"),
            ("livenessProbe", "/livez"),
            ("readinessProbe", "/readyz"),
        ] {
            let probe = at(&container, &[name]);
            let asked = at(probe, &["httpGet", "path"]).as_str();
            assert_eq!(asked, Some(path), "{page}: {name}");
            let request = Request::get(path).body(Body::empty()).unwrap();
            assert_eq!(app.clone().oneshot(request).await.unwrap().status(), 200);
            // The port of the server in the same guide, which the container opens.
            assert_eq!(number(probe, &["httpGet", "port"]), 8080);
            assert!(GUIDE_TO_PROBES.contains("TcpListener::bind(\"0.0.0.0:8080\")"));
            if let Some(ports) = container.as_mapping_get("ports") {
                assert_eq!(number(&ports[0], &["containerPort"]), 8080);
            }
            let seconds = |key: &str| Duration::from_secs(number(probe, &[key]));
            assert!(
                seconds("timeoutSeconds") > deadline(),
                "{page}: {name} gives up before the answer"
            );
            assert!(
                seconds("periodSeconds") > Duration::from_secs(1),
                "{page}: {name} would see cached results"
            );
        }
        let startup = at(&container, &["startupProbe"]);
        let patience = number(startup, &["periodSeconds"]) * number(startup, &["failureThreshold"]);
        assert_eq!(patience, 60, "{page} says one minute to start");
    }
}

#[test]
fn the_drains_in_the_guide_fit_into_the_grace_period() {
    let (pod, container) = pod("guide", GUIDE_TO_PROBES);
    let grace = number(&pod, &["terminationGracePeriodSeconds"]);
    let readiness = at(&container, &["readinessProbe"]);
    let noticed = number(readiness, &["periodSeconds"]) * number(readiness, &["failureThreshold"]);
    for (page, text) in PAGES.into_iter().filter(|(page, _)| *page != "routes") {
        let (min, max) = drain(text).expect("the page shows a drain");
        assert!(
            min < max && max < grace,
            "{page}: {min} s to {max} s within {grace} s"
        );
        // Kubernetes takes the pod out when the stop begins; the probe only confirms it before the end.
        assert!(noticed < max, "{page}: {noticed} s");
    }
}

/// The value of a setting of the unit in the guide.
fn unit(setting: &str) -> &'static str {
    let [unit] = blocks(GUIDE_TO_PROBES, "ini")[..] else {
        panic!("the guide shows one unit");
    };
    let lines: Vec<_> = unit.lines().collect();
    let plain = |line: &&&str| {
        line.split_once('=').is_some_and(|(key, value)| {
            key.chars().all(|c| c.is_ascii_alphanumeric()) && !value.is_empty()
        })
    };
    assert_eq!(lines[0], "[Service]");
    assert_eq!(lines.iter().skip(1).filter(plain).count(), lines.len() - 1);
    let line = lines
        .iter()
        .find_map(|line| line.strip_prefix(setting)?.strip_prefix('='));
    line.unwrap_or_else(|| panic!("the unit has no {setting}"))
}

#[test]
fn the_unit_for_systemd_leaves_time_for_signs_of_life_and_for_the_drain() {
    assert_eq!(unit("Type"), "notify");
    let watchdog: u64 = unit("WatchdogSec").parse().unwrap();
    let (_, loops) = PAGES[1].1.split_once("sleep(Duration::from_secs(").unwrap();
    let every: u64 = loops.split(')').next().unwrap().parse().unwrap();
    assert!(every * 3 <= watchdog, "{every} s within {watchdog} s");
    let (_, max) = drain(GUIDE_TO_PROBES).unwrap();
    let stop: u64 = unit("TimeoutStopSec").parse().unwrap();
    assert!(max < stop, "{max} s within {stop} s");
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
