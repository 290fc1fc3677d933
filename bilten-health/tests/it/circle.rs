//! Services that ask each other.

use crate::doubles::{Count, Switch, ms, patience};
use crate::port::Port;
use axum::Router;
use axum::extract::Request;

use axum::middleware::{Next, from_fn};
use bilten_health::{Group, Health, HealthBuilder, checks};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

/// A service with an address of its own, which it keeps when it dies and comes back.
struct Service {
    port: Port,
    asked: Count,
    server: JoinHandle<()>,
}

impl Service {
    /// The address comes first: the other one has to know it.
    fn addresses<const N: usize>() -> [(Port, String); N] {
        [(); N].map(|()| {
            let port = Port::keep();
            let url = format!("http://{}", port.address);
            (port, url)
        })
    }

    fn start(port: Port, health: &Health) -> Self {
        let asked = Count::default();
        let server = serve(port.listen(), health, asked.clone());
        Self {
            port,
            asked,
            server,
        }
    }

    async fn die(&mut self) {
        self.server.abort();
        let _ = (&mut self.server).await;
    }

    fn come_back(&mut self, health: &Health) {
        self.server = serve(self.port.listen(), health, self.asked.clone());
    }
}

fn serve(listener: TcpListener, health: &Health, asked: Count) -> JoinHandle<()> {
    let count = from_fn(move |request: Request, next: Next| {
        asked.add();
        next.run(request)
    });
    let app: Router = Router::new().merge(health.routes()).layer(count);
    tokio::spawn(async move {
        axum::serve(listener, app).await.unwrap();
    })
}

/// Each question runs the checks, and a busy machine has time for them.
fn builder() -> HealthBuilder {
    patience().cache(Duration::ZERO)
}

fn readyz(url: &str) -> String {
    format!("{url}/readyz")
}

async fn becomes_ready(health: &Health, ready: bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let report = health.check_group(Group::Readiness).await;
        if report.healthy == ready {
            return;
        }
        assert!(Instant::now() < deadline, "never: {}", report.to_json());
        sleep(ms(10)).await;
    }
}

#[tokio::test]
async fn two_services_that_ask_each_other_are_up_again_when_what_failed_in_both_works_again() {
    let [(a_port, a_url), (b_port, b_url)] = Service::addresses();
    let (a_db, b_db) = (Switch::new(true), Switch::new(true));
    let set = |db: &Switch, other: &str| {
        let other = checks::http("other", readyz(other)).in_readiness();
        let health = builder().check(db.check("db").in_readiness()).check(other);
        health.build().unwrap()
    };
    let (a, b) = (set(&a_db, &b_url), set(&b_db, &a_url));
    let _servers = (Service::start(a_port, &a), Service::start(b_port, &b));
    becomes_ready(&a, true).await;
    becomes_ready(&b, true).await;

    a_db.set(false);
    becomes_ready(&a, false).await;
    becomes_ready(&b, false).await;
    b_db.set(false);
    becomes_ready(&b, false).await;
    becomes_ready(&a, false).await;

    a_db.set(true);
    let report = a.check_group(Group::Readiness).await;
    assert!(!report.healthy, "b still fails: {}", report.to_json());
    b_db.set(true);
    becomes_ready(&a, true).await;
    becomes_ready(&b, true).await;
}

#[tokio::test]
async fn two_services_that_ask_each_other_are_up_again_when_both_had_died() {
    let [(a_port, a_url), (b_port, b_url)] = Service::addresses();
    let set = |other: &str| {
        let other = checks::http("other", readyz(other)).in_readiness();
        builder().check(other).build().unwrap()
    };
    let (a, b) = (set(&b_url), set(&a_url));
    let mut on_a = Service::start(a_port, &a);
    let mut on_b = Service::start(b_port, &b);
    becomes_ready(&a, true).await;
    becomes_ready(&b, true).await;
    on_a.die().await;
    becomes_ready(&b, false).await;
    on_b.die().await;
    becomes_ready(&a, false).await;
    on_a.come_back(&a);
    becomes_ready(&b, true).await;
    on_b.come_back(&b);
    becomes_ready(&a, true).await;
}

#[tokio::test]
async fn a_service_that_only_health_checks_ask_runs_its_own_checks() {
    let [(port, url)] = Service::addresses();
    let db = Switch::new(true);
    let asked = builder().check(db.check("db").in_readiness());
    let asked = asked.build().unwrap();
    let _server = Service::start(port, &asked);
    let asking = checks::http("other", readyz(&url)).in_readiness();
    let asking = builder().check(asking).build().unwrap();
    for works in [true, false, true] {
        db.set(works);
        let runs = db.runs.get();
        becomes_ready(&asking, works).await;
        assert!(db.runs.get() > runs);
    }
}

#[tokio::test]
async fn a_question_ends_at_the_first_service_of_a_circle() {
    let [(a_port, a_url), (b_port, b_url), (c_port, c_url)] = Service::addresses();
    let set = |next: &str| {
        let next = checks::http("next", readyz(next)).in_readiness();
        builder().check(next).build().unwrap()
    };
    let (a, b, c) = (set(&b_url), set(&c_url), set(&a_url));
    let servers = [
        Service::start(a_port, &a),
        Service::start(b_port, &b),
        Service::start(c_port, &c),
    ];
    assert!(a.check_group(Group::Readiness).await.healthy);
    assert_eq!(
        servers.each_ref().map(|server| server.asked.get()),
        [0, 1, 0]
    );
}

#[tokio::test]
async fn two_services_that_wait_for_each_other_to_start_both_start() {
    let [(a_port, a_url), (b_port, b_url)] = Service::addresses();
    let migrations = Switch::new(false);
    let other = |url: &str| checks::http("other", readyz(url)).in_startup();
    let a = builder()
        .check(migrations.check("migrations").in_startup())
        .check(other(&b_url));
    let (a, b) = (
        a.build().unwrap(),
        builder().check(other(&a_url)).build().unwrap(),
    );
    let _servers = (Service::start(a_port, &a), Service::start(b_port, &b));
    for _ in 0..2 {
        assert!(!b.check_group(Group::Readiness).await.healthy);
        assert!(!a.check_group(Group::Readiness).await.healthy);
    }
    migrations.set(true);
    becomes_ready(&b, true).await;
    becomes_ready(&a, true).await;
}
