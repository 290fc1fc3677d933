//! When a response has ended, whatever its body does.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::ready;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use tower::{Layer, ServiceExt, service_fn};

use crate::http_layer::{ACTIVE, COUNT, SUM};
use crate::scene::{Scene, Turned};

const SIZE_SUM: &str = "http_server_response_body_size_bytes_sum";
const SIZE_COUNT: &str = "http_server_response_body_size_bytes_count";

/// One step of a body.
#[derive(Clone)]
enum Step {
    Data(usize),
    Trailers,
    Fail,
    Panic,
}

/// A body that takes 100 ms for each step and never says that it is at its end.
#[derive(Clone)]
struct Scripted {
    steps: VecDeque<Step>,
    clock: Turned,
    ended: bool,
}

impl Body for Scripted {
    type Data = Bytes;
    type Error = std::fmt::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, std::fmt::Error>>> {
        let Some(step) = self.steps.pop_front() else {
            return Poll::Ready(None);
        };
        self.clock.advance(Duration::from_millis(100));
        Poll::Ready(Some(match step {
            Step::Data(length) => Ok(Frame::data(Bytes::from(vec![b'x'; length]))),
            Step::Trailers => Ok(Frame::trailers(HeaderMap::new())),
            Step::Fail => Err(std::fmt::Error),
            Step::Panic => panic!("in the body"),
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.ended
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}

type Timed = bilten_monitor::http::TimedBody<Scripted>;

/// A response with this body, after its head.
async fn respond(
    scene: &Scene,
    method: &str,
    head: http::response::Builder,
    steps: &[Step],
    ended: bool,
) -> Timed {
    let body = Scripted {
        steps: steps.iter().cloned().collect(),
        clock: scene.clock.clone(),
        ended,
    };
    let response = std::sync::Mutex::new(Some(head.body(body).expect("a response")));
    let inner = service_fn(|_: Request<()>| {
        let response = response
            .lock()
            .expect("not poisoned")
            .take()
            .expect("asked once");
        ready(Ok::<_, Infallible>(response))
    });
    let request = Request::builder()
        .method(method)
        .uri("/stream")
        .body(())
        .expect("a request");
    scene
        .monitor
        .http()
        .route(|_| Some("/stream"))
        .layer(inner)
        .oneshot(request)
        .await
        .expect("infallible")
        .into_body()
}

fn outcome(scene: &Scene, outcome: &str, status: &str) -> f64 {
    let scrape = scene.scrape();
    assert_eq!(scrape.sum(COUNT, &[]), 1.0, "exactly one observation");
    assert_eq!(scrape.sum(ACTIVE, &[]), 0.0);
    scrape.sum(
        COUNT,
        &[("outcome", outcome), ("http_response_status_code", status)],
    )
}

const CHUNKS: [Step; 4] = [
    Step::Data(100),
    Step::Data(100),
    Step::Data(100),
    Step::Data(100),
];

#[tokio::test]
async fn a_stream_is_timed_to_its_last_byte_and_its_size_is_one_value() {
    let scene = Scene::new();
    let body = respond(&scene, "GET", Response::builder(), &CHUNKS, false).await;
    assert_eq!(scene.scrape().sum(COUNT, &[]), 0.0, "not before its end");
    assert_eq!(body.collect().await.expect("a body").to_bytes().len(), 400);
    assert_eq!(outcome(&scene, "success", "200"), 1.0);
    let scrape = scene.scrape();
    assert_eq!(scrape.sum(SUM, &[]), 0.4);
    assert_eq!(
        scrape.sum("http_server_time_to_first_byte_seconds_sum", &[]),
        0.0
    );
    assert_eq!(
        (scrape.sum(SIZE_COUNT, &[]), scrape.sum(SIZE_SUM, &[])),
        (1.0, 400.0)
    );
}

#[tokio::test]
async fn a_declared_length_ends_with_its_last_byte_though_nobody_asks_further() {
    let scene = Scene::new();
    let head = Response::builder().header("content-length", "400");
    let mut body = respond(&scene, "GET", head, &CHUNKS, false).await;
    for _ in 0..4 {
        assert_eq!(scene.scrape().sum(COUNT, &[]), 0.0);
        body.frame().await.expect("a frame").expect("data");
    }
    assert_eq!(outcome(&scene, "success", "200"), 1.0);
    drop(body);
    assert_eq!(
        outcome(&scene, "success", "200"),
        1.0,
        "and dropping it is no second observation"
    );
}

#[tokio::test]
async fn responses_without_a_body_end_with_their_head() {
    for (method, status, ended) in [
        ("HEAD", 200, false),
        ("GET", 204, false),
        ("GET", 304, false),
        ("GET", 101, false),
        ("GET", 200, true),
        ("CONNECT", 200, false),
    ] {
        let scene = Scene::new();
        let body = respond(
            &scene,
            method,
            match ended {
                true => Response::builder().status(status),
                false => Response::builder()
                    .status(status)
                    .header("content-length", "400"),
            },
            &[],
            ended,
        )
        .await;
        assert_eq!(
            outcome(&scene, "success", &status.to_string()),
            1.0,
            "{method} {status}"
        );
        drop(body);
        assert_eq!(
            outcome(&scene, "success", &status.to_string()),
            1.0,
            "{method} {status}"
        );
    }
}

#[tokio::test]
async fn a_declared_length_of_nothing_ends_with_the_head_though_the_body_does_not_say_so() {
    for (status, expected) in [("200", "success"), ("503", "error")] {
        let scene = Scene::new();
        let head = Response::builder()
            .status(status)
            .header("content-length", "0");
        drop(respond(&scene, "GET", head, &[], false).await);
        assert_eq!(outcome(&scene, expected, status), 1.0, "{status}");
        assert_eq!(scene.scrape().sum(ACTIVE, &[]), 0.0);
    }
}

#[tokio::test]
async fn a_body_that_fails_is_an_error_that_keeps_its_status() {
    let scene = Scene::new();
    let body = respond(
        &scene,
        "GET",
        Response::builder(),
        &[Step::Data(100), Step::Fail],
        false,
    )
    .await;
    assert!(body.collect().await.is_err());
    assert_eq!(outcome(&scene, "error", "200"), 1.0);
    assert_eq!(scene.scrape().sum(COUNT, &[("error_type", "body")]), 1.0);
    assert_eq!(scene.scrape().sum(SIZE_SUM, &[]), 100.0);
}

#[tokio::test]
async fn a_body_dropped_half_way_is_cancelled_with_what_was_sent() {
    let scene = Scene::new();
    let mut body = respond(&scene, "GET", Response::builder(), &CHUNKS, false).await;
    body.frame().await.expect("a frame").expect("data");
    drop(body);
    assert_eq!(outcome(&scene, "cancelled", "200"), 1.0);
    assert_eq!(scene.scrape().sum(SIZE_SUM, &[]), 100.0);
}

#[tokio::test]
async fn a_body_that_panics_is_recorded_once() {
    let scene = Scene::new();
    let body = respond(
        &scene,
        "GET",
        Response::builder(),
        &[Step::Data(1), Step::Panic],
        false,
    )
    .await;
    let failed = tokio::spawn(async move { body.collect().await.map(drop) })
        .await
        .expect_err("it panicked");
    assert!(failed.is_panic());
    assert_eq!(outcome(&scene, "panicked", "200"), 1.0);
}

#[tokio::test]
async fn trailers_end_a_stream() {
    let scene = Scene::new();
    let mut body = respond(
        &scene,
        "GET",
        Response::builder(),
        &[Step::Data(10), Step::Trailers],
        false,
    )
    .await;
    body.frame().await.expect("a frame").expect("data");
    body.frame().await.expect("a frame").expect("trailers");
    assert_eq!(outcome(&scene, "success", "200"), 1.0);
}

#[tokio::test]
async fn a_body_longer_than_declared_ends_with_the_declared_length() {
    let scene = Scene::new();
    let head = Response::builder().header("content-length", "150");
    let body = respond(&scene, "GET", head, &CHUNKS, false).await;
    drop(body.collect().await);
    assert_eq!(outcome(&scene, "success", "200"), 1.0);
    assert_eq!(scene.scrape().sum(SIZE_SUM, &[]), 150.0);
}

#[tokio::test]
async fn a_body_shorter_than_declared_is_an_error_of_its_own_kind() {
    let trailers = [Step::Data(100), Step::Trailers];
    for (steps, ended, sent) in [
        (&CHUNKS[..], false, 400.0),
        (&trailers[..], false, 100.0),
        (&[][..], false, 0.0),
        (&[][..], true, 0.0),
    ] {
        let scene = Scene::new();
        let head = Response::builder().header("content-length", "100000");
        let body = respond(&scene, "GET", head, steps, ended).await;
        drop(body.collect().await);
        assert_eq!(outcome(&scene, "error", "200"), 1.0, "{sent} {ended}");
        let scrape = scene.scrape();
        let short = scrape.sum(COUNT, &[("error_type", "short_body")]);
        assert_eq!(short, 1.0);
        assert_eq!(scrape.sum(SIZE_SUM, &[]), sent);
    }
}
