//! The generated rules name what is emitted, and nothing else.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::future::ready;

use bilten_monitor::{Naming, prometheus};
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use tower::{Layer, ServiceExt, service_fn};

use crate::scene::Scene;

/// Runs into everything that a rule asks about.
async fn emitted(naming: Naming) -> Scene {
    let scene = Scene::with(|builder| builder.naming(naming).max_label_values(1));
    for name in ["one", "two"] {
        scene
            .monitor
            .query(name)
            .run_sync(|| Err::<(), _>(std::fmt::Error))
            .expect_err("as told");
    }
    let failing = service_fn(|_: Request<()>| {
        let mut response = Response::new(Full::<Bytes>::default());
        *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
        ready(Ok::<_, Infallible>(response))
    });
    let request = Request::get("/x").body(()).expect("a request");
    drop(scene.monitor.http().layer(failing).oneshot(request).await);
    scene
}

/// Words of the expressions that could be a metric.
fn metrics_in(rules: &str) -> BTreeSet<String> {
    let expressions = rules
        .lines()
        .filter_map(|line| line.trim().strip_prefix("expr: "));
    let words =
        expressions.flat_map(|line| line.split(|c: char| !c.is_ascii_alphanumeric() && c != '_'));
    words
        .filter(|word| word.ends_with("_count") || word.ends_with("_total"))
        .map(str::to_owned)
        .collect()
}

#[tokio::test]
async fn every_metric_and_label_of_the_rules_is_emitted() {
    for naming in [Naming::OpenTelemetry, Naming::Short] {
        let scene = emitted(naming).await;
        let scrape = scene.scrape();
        let rules = prometheus::rules(naming, 0.999).expect("rules");
        let named = metrics_in(&rules);
        for metric in named {
            // What did not happen here shares its making with the overflow's counter, or is another crate's.
            let silent = metric.starts_with("bilten_")
                && metric != "bilten_monitor_overflowed_total"
                || metric.starts_with("health_");
            assert!(
                silent || scrape.matching(&metric, &[]).count() > 0,
                "{metric} is not emitted: {}",
                scrape.text
            );
        }
        let label = if naming == Naming::Short {
            "status"
        } else {
            "outcome"
        };
        let queries = if naming == Naming::Short {
            "database_query"
        } else {
            "db_client_operation"
        };
        assert_eq!(
            scrape.sum(
                &format!("{queries}_duration_seconds_count"),
                &[(label, "error")]
            ),
            2.0
        );
        assert!(
            rules.contains(&format!("{queries}_duration_seconds_count{{{label}=~")),
            "{rules}"
        );
    }
}
