//! Told to stop, the service finishes what it does and waits for nothing else.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use bilten_events::serve::Limits;
use tokio::sync::Semaphore;

use crate::socket::{PATIENCE, Service};

const REQUEST: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
const AN_HOUR: Duration = Duration::from_secs(3_600);
const SOON: Duration = Duration::from_millis(50);

/// Time for everything but to leave.
const PATIENT: Limits = Limits {
    head: AN_HOUR,
    leave: SOON,
    drain: AN_HOUR,
};

/// A handler that says when it has begun and waits until it may go on.
#[derive(Clone)]
struct Gate {
    begun: Arc<Semaphore>,
    open: Arc<Semaphore>,
}

impl Gate {
    fn new() -> Self {
        Self {
            begun: Arc::new(Semaphore::new(0)),
            open: Arc::new(Semaphore::new(0)),
        }
    }

    fn router(&self) -> Router {
        let Self { begun, open } = self.clone();
        Router::new().route(
            "/",
            get(async move || {
                begun.add_permits(1);
                open.acquire().await.unwrap().forget();
                "finished"
            }),
        )
    }

    async fn has_begun(&self) {
        let begun = tokio::time::timeout(PATIENCE, self.begun.acquire()).await;
        begun
            .expect("the request has not arrived")
            .unwrap()
            .forget();
    }

    /// Lets the request that comes next pass.
    async fn pass_one(&self) {
        self.has_begun().await;
        self.open.add_permits(1);
    }
}

#[tokio::test]
async fn idle_and_half_open_connections_do_not_hold_up_the_end() {
    let gate = Gate::new();
    let mut service = Service::start(gate.router(), PATIENT);
    let _silent = service.connection("").await;
    let _half = service.connection("GET / HTTP/1.1\r\nHost: ").await;
    let mut idle = service.connection(REQUEST).await;
    gate.pass_one().await;
    idle.until("finished").await;
    let mut second_half = service.connection(REQUEST).await;
    gate.pass_one().await;
    second_half.until("finished").await;
    second_half.send("GET / HT").await;
    service.stop();
    service.end().await;
}

#[tokio::test]
async fn a_request_under_way_is_finished() {
    let gate = Gate::new();
    let mut service = Service::start(gate.router(), PATIENT);
    let mut half = service.connection("GET / HTTP/1.1\r\nHost: ").await;
    let mut working = service.connection(REQUEST).await;
    gate.has_begun().await;
    service.stop();
    // Once that one is cut off, the stop has been heard and the time to leave is over.
    assert_eq!(half.rest().await, "");
    assert!(!service.has_ended());
    gate.open.add_permits(1);
    let answer = working.rest().await;
    assert!(
        answer.starts_with("HTTP/1.1 200 OK") && answer.ends_with("finished"),
        "{answer}"
    );
    service.end().await;
}

#[tokio::test]
async fn a_head_that_is_completed_in_time_is_still_answered() {
    let limits = Limits {
        leave: AN_HOUR,
        ..PATIENT
    };
    let gate = Gate::new();
    let mut service = Service::start(gate.router(), limits);
    // The second one shows that the first one's bytes have been read, and ends as soon as the stop is heard.
    let mut half = service.connection("GET / HTTP/1.1\r\nHost: ").await;
    let mut idle = service.connection(REQUEST).await;
    gate.pass_one().await;
    idle.until("finished").await;
    service.stop();
    assert_eq!(idle.rest().await, "");
    half.send("a\r\n\r\n").await;
    gate.pass_one().await;
    let answer = half.rest().await;
    assert!(answer.ends_with("finished"), "{answer}");
    service.end().await;
}

#[tokio::test]
async fn a_request_that_never_ends_is_cut_off() {
    let limits = Limits {
        drain: 2 * SOON,
        ..PATIENT
    };
    let gate = Gate::new();
    let mut service = Service::start(gate.router(), limits);
    let _working = service.connection(REQUEST).await;
    gate.has_begun().await;
    service.stop();
    service.end().await;
}
