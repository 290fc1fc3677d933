//! The same query again and again within one request.

use std::cell::RefCell;
use std::convert::Infallible;
use std::future::pending;
use std::thread;
use std::time::Duration;

use bilten_monitor::RequestContext;
use bilten_monitor::alert::{Alert, AlertKind};
use bytes::Bytes;
use futures_util::future::join_all;
use http::{Request, Response};
use http_body_util::Full;
use tower::{Layer, ServiceExt, service_fn};

use crate::scene::Scene;

const MILLI: Duration = Duration::from_millis(1);

fn scene() -> Scene {
    Scene::with(|builder| builder.n_plus_one(5, 50 * MILLI))
}

async fn load_author(scene: &Scene, took: Duration) {
    let work = async {
        tokio::task::yield_now().await;
        scene.clock.advance(took);
    };
    scene
        .monitor
        .query("load_author")
        .run_infallible(work)
        .await;
}

async fn in_sequence(scene: &Scene, times: u32, each: Duration) -> Vec<Alert> {
    let work = async {
        for _ in 0..times {
            load_author(scene, each).await;
        }
    };
    scene.monitor.scope("list_events", work).await;
    scene.alerts()
}

#[tokio::test]
async fn six_in_sequence_are_one_alert_with_their_number_and_time() {
    let scene = scene();
    let alerts = in_sequence(&scene, 6, 10 * MILLI).await;
    let [alert] = alerts.as_slice() else {
        panic!("one alert: {alerts:?}")
    };
    assert_eq!(
        (alert.kind, alert.subject.as_str(), alert.duration),
        (AlertKind::NPlusOne, "load_author", 60 * MILLI)
    );
    assert_eq!(
        alert.facts,
        [("in", "list_events".to_owned()), ("count", "6".to_owned())]
    );
    assert_eq!(
        in_sequence(&scene, 6, 10 * MILLI).await,
        [],
        "one for each window"
    );
}

#[tokio::test]
async fn few_quick_and_concurrent_queries_are_none() {
    assert_eq!(in_sequence(&scene(), 4, 20 * MILLI).await, []);
    assert_eq!(in_sequence(&scene(), 6, MILLI).await, []);
    let scene = scene();
    let together = join_all((0..6).map(|_| load_author(&scene, 10 * MILLI)));
    scene.monitor.scope("list_events", together).await;
    assert_eq!(scene.alerts(), []);
}

#[tokio::test]
async fn without_the_rule_or_outside_a_scope_nothing_is_told() {
    let off = Scene::new();
    assert_eq!(in_sequence(&off, 50, 10 * MILLI).await, []);
    let outside = scene();
    for _ in 0..50 {
        load_author(&outside, 10 * MILLI).await;
    }
    assert_eq!(outside.alerts(), []);
}

#[tokio::test]
async fn a_request_is_a_scope_of_its_own() {
    let scene = scene();
    let handler = service_fn(|_: Request<()>| async {
        for _ in 0..3 {
            load_author(&scene, 20 * MILLI).await;
        }
        Ok::<_, Infallible>(Response::new(Full::<Bytes>::default()))
    });
    let service = scene
        .monitor
        .http()
        .route(|_| Some("/events"))
        .layer(handler);
    for _ in 0..3 {
        let response = service
            .clone()
            .oneshot(Request::get("/events").body(()).expect("a request"))
            .await;
        assert_eq!(response.expect("infallible").status(), 200);
    }
    assert_eq!(
        scene.alerts(),
        [],
        "nine in three requests are three in each"
    );
}

#[tokio::test]
async fn a_spawned_task_counts_when_the_context_was_handed_over() {
    for handed_over in [true, false] {
        let scene = scene();
        let work = async {
            for _ in 0..6 {
                let (monitor, clock) = (scene.monitor.clone(), scene.clock.clone());
                let query = async move {
                    let load = async { clock.advance(10 * MILLI) };
                    monitor.query("load_author").run_infallible(load).await;
                };
                let context = RequestContext::current().expect("a scope");
                let task = if handed_over {
                    tokio::spawn(context.enter(query))
                } else {
                    tokio::spawn(query)
                };
                task.await.expect("no panic");
            }
        };
        scene.monitor.scope("job", work).await;
        assert_eq!(scene.alerts().len(), usize::from(handed_over));
    }
}

#[tokio::test]
async fn a_scope_that_is_dropped_still_tells() {
    let scene = scene();
    let work = async {
        for _ in 0..6 {
            load_author(&scene, 10 * MILLI).await;
        }
        pending::<()>().await;
    };
    let scoped = scene.monitor.scope("job", work);
    tokio::time::timeout(50 * MILLI, scoped)
        .await
        .expect_err("it never ends");
    assert_eq!(scene.alerts().len(), 1);
}

#[tokio::test]
async fn a_query_that_is_cut_off_with_its_scope_is_among_the_repeated() {
    let scene = scene();
    let work = async {
        for _ in 0..4 {
            load_author(&scene, 20 * MILLI).await;
        }
        let query = scene.monitor.query("load_author");
        query.run_infallible(pending::<()>()).await;
    };
    let scope = scene.monitor.scope("list_events", work);
    assert!(tokio::time::timeout(20 * MILLI, scope).await.is_err());
    let alerts = scene.alerts();
    let [alert] = alerts.as_slice() else {
        panic!("one alert: {alerts:?}")
    };
    let facts = [("in", "list_events".to_owned()), ("count", "5".to_owned())];
    assert_eq!(
        (alert.kind, &*alert.facts),
        (AlertKind::NPlusOne, &facts[..])
    );
}

#[tokio::test]
async fn different_queries_beyond_the_limit_repeat_nothing() {
    let scene = Scene::with(|builder| builder.n_plus_one(5, 50 * MILLI).max_label_values(1));
    let work = async {
        for name in ["a", "b", "c", "d", "e", "f", "g"] {
            let load = async { scene.clock.advance(20 * MILLI) };
            scene.monitor.query(name).run_infallible(load).await;
        }
    };
    scene.monitor.scope("list_events", work).await;
    let alerts = scene.alerts();
    let kinds: Vec<_> = alerts.iter().map(|alert| alert.kind).collect();
    assert_eq!(kinds, [AlertKind::TooManyLabels]);
}

thread_local! {
    static LEFT: RefCell<Option<tokio::runtime::Runtime>> = const { RefCell::new(None) };
}

#[test]
fn a_query_that_ends_with_its_thread_is_counted_and_ends_nothing_else() {
    let scene = Scene::with(|builder| builder.n_plus_one(5, 50 * MILLI).slow_query(MILLI));
    let (monitor, clock) = (scene.monitor.clone(), scene.clock.clone());
    let work = move || {
        // First come, last gone: when the runtime goes, the thread has no current request any more.
        LEFT.with_borrow(|left| assert!(left.is_none()));
        assert!(RequestContext::current().is_none());
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .expect("a runtime");
        let query = monitor.query("left").run_infallible(pending::<()>());
        runtime.spawn(query);
        runtime.block_on(tokio::task::yield_now());
        clock.advance(5 * MILLI);
        LEFT.set(Some(runtime));
    };
    thread::spawn(work).join().expect("the thread ends");
    let alerts = scene.alerts();
    let [alert] = alerts.as_slice() else {
        panic!("one alert: {alerts:?}")
    };
    assert_eq!(
        (alert.kind, &*alert.subject),
        (AlertKind::SlowQuery, "left")
    );
}
