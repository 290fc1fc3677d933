//! The live page's address: its files, its stream, and what it must not tell.

use std::net::SocketAddr;
use std::time::Duration;

use allocation_counter::measure;
use axum::Router;
use bilten_monitor::dashboard::{Dashboard, Tap};
use bilten_monitor::metric::listed;
use bilten_monitor::{Naming, Outcome, RequestContext};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tower::ServiceExt;

use crate::scene::{SOON, Scene, eventually, threads};

async fn ask(dashboard: &Dashboard, method: &str, path: &str) -> Response<String> {
    let request = Request::builder().method(method).uri(path).body(());
    let response = dashboard.clone().oneshot(request.expect("a request")).await;
    let (head, body) = response.expect("never fails").into_parts();
    let body = body.collect().await.expect("a body").to_bytes();
    Response::from_parts(head, String::from_utf8(body.to_vec()).expect("text"))
}

/// A real server; the sender tells it to stop, the handle ends when every response has.
async fn serve(router: Router) -> (SocketAddr, oneshot::Sender<()>, tokio::task::JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let (stop, stopped) = oneshot::channel::<()>();
    let server = tokio::spawn(async move {
        let stopped = async move { drop(stopped.await) };
        let serving = axum::serve(listener, router).with_graceful_shutdown(stopped);
        serving.await.expect("served");
    });
    (address, stop, server)
}

async fn open(address: SocketAddr, path: &str) -> Response<Incoming> {
    let stream = TcpStream::connect(address).await.expect("connected");
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .expect("a handshake");
    tokio::spawn(connection);
    let request = Request::get(path)
        .header("host", "test")
        .body(Empty::<Bytes>::new());
    sender
        .send_request(request.expect("a request"))
        .await
        .expect("a response")
}

/// An open stream, and what came of it that was not read yet: a message may arrive in parts.
struct Page {
    response: Response<Incoming>,
    unread: String,
}

impl Page {
    async fn open(address: SocketAddr) -> Self {
        Self {
            response: open(address, "/bilten?live").await,
            unread: String::new(),
        }
    }

    /// The next message, without the empty line at its end.
    async fn message(&mut self) -> Option<String> {
        loop {
            if let Some((message, unread)) = self.unread.split_once("\n\n") {
                let message = message.to_owned();
                self.unread = unread.to_owned();
                return Some(message);
            }
            let frame = tokio::time::timeout(SOON, self.response.body_mut().frame());
            let frame = frame.await.expect("in time")?.expect("no fault");
            let data = frame.into_data().expect("data");
            self.unread += std::str::from_utf8(&data).expect("text");
        }
    }
}

#[tokio::test]
async fn the_page_has_all_its_files_at_its_own_address_and_may_load_no_others() {
    let dashboard = Scene::new().monitor.dashboard();
    for (path, kind) in [
        ("/", "text/html"),
        ("/?style", "text/css"),
        ("/?script", "text/javascript"),
    ] {
        let answer = ask(&dashboard, "GET", path).await;
        assert_eq!(answer.status(), 200);
        let header = |name| answer.headers()[name].to_str().expect("text").to_owned();
        assert!(header("content-type").starts_with(kind), "{path}");
        assert_eq!(
            (
                header("cache-control").as_str(),
                header("x-content-type-options").as_str()
            ),
            ("no-store", "nosniff")
        );
        let policy = header("content-security-policy");
        assert!(
            policy.starts_with("default-src 'none';") && !policy.contains("unsafe"),
            "{policy}"
        );
        // Addresses that are only names: the namespace of SVG.
        let body = answer.body().replace("http://www.w3.org/2000/svg", "");
        assert!(
            !body.contains("http://") && !body.contains("https://") && !body.contains("//cdn"),
            "{path}"
        );
        let head = ask(&dashboard, "HEAD", path).await;
        assert_eq!((head.status(), head.body().as_str()), (answer.status(), ""));
    }
    let head = ask(&dashboard, "HEAD", "/?live").await;
    assert_eq!((head.status().as_u16(), head.body().as_str()), (200, ""));
    let refused = ask(&dashboard, "POST", "/").await;
    assert_eq!(
        (
            refused.status().as_u16(),
            refused.headers()["allow"].as_bytes()
        ),
        (405, &b"GET, HEAD"[..])
    );
}

#[tokio::test]
async fn an_open_page_is_told_of_every_second() {
    let scene = Scene::new();
    scene
        .monitor
        .query("before")
        .start()
        .finish(Outcome::Success);
    let dashboard = scene.monitor.dashboard().title("ticket \"shop\"");
    let (address, _stop, _server) = serve(Router::new().route_service("/bilten", dashboard)).await;
    let mut page = Page::open(address).await;
    let headers = page.response.headers();
    assert_eq!(headers["content-type"], "text/event-stream");
    let first = page.message().await.expect("a message");
    let data = first.strip_prefix("event: full\ndata: ");
    let data = data.expect("everything at first");
    let again = page.message().await;
    assert_eq!(again.as_deref(), Some("retry: 500"), "when to ask again");
    let full: serde_json::Value = serde_json::from_str(data).expect("JSON in one line");
    assert_eq!(full["title"], "ticket \"shop\"");
    assert_eq!(full["now"]["queries"]["rows"][0]["name"], "before");
    scene
        .monitor
        .query("after")
        .start()
        .finish(Outcome::Success);
    let (mut told, mut ticks) = (String::new(), 0);
    while ticks == 0 || !told.contains("\"after\"") {
        // A stream ends after a while, and where the test had no turn for a second everything comes again.
        let Some(next) = page.message().await else {
            page = Page::open(address).await;
            continue;
        };
        ticks += u32::from(next.starts_with("event: tick\ndata: {\"point\":["));
        told = next;
    }
}

#[tokio::test]
async fn closing_ends_open_pages_so_that_a_server_can_end() {
    let dashboard = Scene::new().monitor.dashboard().listeners(1);
    let (address, stop, server) =
        serve(Router::new().route_service("/bilten", dashboard.clone())).await;
    let mut page = Page::open(address).await;
    page.message().await.expect("everything");
    let one_too_many = open(address, "/bilten?live").await;
    assert_eq!(
        (
            one_too_many.status().as_u16(),
            one_too_many.headers()["retry-after"].as_bytes()
        ),
        (503, &b"5"[..])
    );
    dashboard.close();
    stop.send(()).expect("the server waits");
    while page.message().await.is_some() {}
    tokio::time::timeout(SOON, server)
        .await
        .expect("in time")
        .expect("no panic");
    assert_eq!(
        ask(&dashboard, "GET", "/?live").await.status(),
        503,
        "closed for ever"
    );
    assert_eq!(
        ask(&dashboard, "GET", "/").await.status(),
        200,
        "the page can still say so"
    );
}

#[tokio::test]
async fn an_open_page_is_neither_slow_nor_in_flight() {
    let scene = Scene::with(|builder| builder.watchdog(Duration::from_millis(5)));
    let router = Router::new().route_service("/bilten", scene.monitor.dashboard());
    let (address, _stop, _server) = serve(router.layer(scene.monitor.http())).await;
    let mut page = Page::open(address).await;
    page.message().await.expect("everything");
    scene.clock.advance(Duration::from_secs(30));
    assert_eq!(scene.scrape().sum(crate::http_layer::ACTIVE, &[]), 0.0);
    drop(page);
    let page = open(address, "/bilten")
        .await
        .collect()
        .await
        .expect("the page");
    assert!(page.to_bytes().starts_with(b"<!doctype html>"));
    assert!(
        scene.monitor.snapshot().requests.is_empty(),
        "{:?}",
        scene.monitor.snapshot()
    );
    assert_eq!(scene.alerts(), []);
    assert!(!scene.exporter.render().contains("/bilten"));
}

#[tokio::test]
async fn facts_about_users_are_only_for_whom_the_authoriser_lets_in() {
    let scene = Scene::new();
    let slow = async {
        let context = RequestContext::current().expect("within the scope");
        context.set("userId", "u-4711");
        let span = scene.monitor.query("list").start();
        scene.clock.advance(Duration::from_secs(1));
        span.finish(Outcome::Success);
    };
    scene.monitor.scope("nightly", slow).await;
    let page = scene.monitor.dashboard();
    let everyone = ask(&page, "GET", "/?json").await.into_body();
    assert!(
        everyone.contains("slow query") && !everyone.contains("4711"),
        "{everyone}"
    );
    let some = page
        .clone()
        .details_for(|request| request.headers.contains_key("x-operator"));
    assert!(
        !ask(&some, "GET", "/?json")
            .await
            .into_body()
            .contains("4711")
    );
    let mut request = Request::get("/?json").body(()).expect("a request");
    request
        .headers_mut()
        .insert("x-operator", "yes".parse().expect("a value"));
    let body = some
        .oneshot(request)
        .await
        .expect("never fails")
        .into_body();
    let text = body.collect().await.expect("a body").to_bytes();
    assert!(String::from_utf8_lossy(&text).contains("u-4711"));
    let broken = page.details_for(|_| panic!("the authoriser's own fault"));
    let answer = ask(&broken, "GET", "/?json").await;
    assert!(answer.status() == 200 && !answer.body().contains("4711"));
}

#[tokio::test]
async fn the_other_crates_are_there_as_soon_as_they_record() {
    let scene = Scene::new();
    let page = scene.monitor.dashboard();
    metrics::with_local_recorder(&Tap::new(metrics::NoopRecorder), || {
        let labels = [("cache", "shop"), ("region", "price"), ("level", "memory")];
        metrics::counter!("bilten_cache_hits_total", &labels).increment(3);
        metrics::gauge!("bilten_db_node_up", "node" => "replica-1").set(1.0);
        metrics::gauge!("health_check_up", "check" => "redis").set(0.0);
    });
    let told = || async {
        let text = ask(&page, "GET", "/?json").await.into_body();
        serde_json::from_str::<serde_json::Value>(&text).expect("JSON")
    };
    let deadline = std::time::Instant::now() + SOON;
    let mut full = told().await;
    // A look may come between two of the records.
    let is_empty = |part: &serde_json::Value| part.as_array().is_none_or(Vec::is_empty);
    while ["caches", "nodes", "checks"].map(|part| is_empty(&full["now"][part])) != [false; 3] {
        assert!(std::time::Instant::now() < deadline, "{full}");
        tokio::time::sleep(Duration::from_millis(20)).await;
        full = told().await;
    }
    assert_eq!(full["now"]["caches"][0]["regions"][0]["memory"], 3.0);
    assert_eq!(full["now"]["nodes"][0]["up"], true);
    assert_eq!(full["now"]["checks"][0]["up"], false);
}

/// What `bilten-db` does when a node leaves: its levels become no numbers, its counts stay.
#[tokio::test]
async fn a_database_node_that_left_is_neither_in_the_scrape_nor_on_the_page() {
    const LEVELS: [&str; 4] = [
        "bilten_db_node_up",
        "bilten_db_lag_seconds",
        "bilten_db_lag_bytes",
        "bilten_db_pool_connections",
    ];
    let scene = Scene::new();
    let page = scene.monitor.dashboard();
    let tap = Tap::new(scene.exporter.recorder());
    let levels = |node: &'static str, value: f64| {
        metrics::with_local_recorder(&tap, || {
            for level in LEVELS {
                metrics::gauge!(level, "node" => node).set(value);
            }
        });
    };
    let shown = || async {
        let text = ask(&page, "GET", "/?json").await.into_body();
        let full = serde_json::from_str::<serde_json::Value>(&text).expect("JSON");
        let nodes = full["now"]["nodes"].as_array().cloned().unwrap_or_default();
        let names = nodes
            .iter()
            .map(|node| node["name"].as_str().expect("a name").to_owned());
        names
            .filter(|name| ["stays", "leaves"].contains(&name.as_str()))
            .collect::<Vec<_>>()
    };
    let becomes = |expected: &'static [&'static str]| {
        let shown = &shown;
        async move {
            let deadline = std::time::Instant::now() + SOON;
            loop {
                let nodes = shown().await;
                if nodes == expected {
                    return;
                }
                assert!(std::time::Instant::now() < deadline, "{nodes:?}");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    };
    levels("stays", 1.0);
    levels("leaves", 1.0);
    let labels = [("node", "leaves"), ("reason", "read"), ("outcome", "ok")];
    metrics::with_local_recorder(&tap, || {
        metrics::counter!("bilten_db_statements_total", &labels).increment(5);
    });
    becomes(&["stays", "leaves"]).await;
    levels("leaves", f64::NAN);
    becomes(&["stays"]).await;
    let scrape = scene.scrape();
    for level in LEVELS {
        let nodes = scrape
            .matching(level, &[])
            .map(|sample| &sample.labels["node"]);
        assert_eq!(nodes.collect::<Vec<_>>(), ["stays"], "{level}");
    }
    assert!(scrape.series.iter().all(|sample| !sample.value.is_nan()));
    assert_eq!(scrape.sum("bilten_db_statements_total", &labels), 5.0);
    levels("leaves", 1.0);
    becomes(&["stays", "leaves"]).await;
}

/// The page names what the other crates record; it would show nothing for a name that nobody uses.
#[test]
fn every_metric_that_the_page_shows_is_in_the_table() {
    let parts = concat!(env!("CARGO_MANIFEST_DIR"), "/src/dashboard/parts");
    let known: Vec<String> = listed(Naming::OpenTelemetry)
        .into_iter()
        .map(|metric| metric.name)
        .collect();
    // What the board does not keep, the page cannot show.
    let board = concat!(env!("CARGO_MANIFEST_DIR"), "/src/dashboard/board.rs");
    let board = std::fs::read_to_string(board).expect("text");
    let kept = board.split("#[cfg(test)]").next().unwrap_or_default();
    let mut shown = 0;
    for file in std::fs::read_dir(parts).expect("a directory") {
        let text = std::fs::read_to_string(file.expect("a file").path()).expect("text");
        let code = text.split("#[cfg(test)]").next().unwrap_or_default();
        let names = code.split('"').filter(|word| {
            ["bilten_cache_", "bilten_db_", "health_"]
                .iter()
                .any(|prefix| {
                    word.strip_prefix(prefix)
                        .is_some_and(|rest| !rest.is_empty() && !rest.contains(' '))
                })
        });
        for name in names {
            assert!(
                known.iter().any(|one| one == name),
                "{name} is recorded by nobody"
            );
            let quoted = format!("\"{name}\"");
            assert!(kept.contains(&quoted), "{name} is not on the board");
            shown += 1;
        }
    }
    assert!(shown > 20, "{shown} names were found");
}

#[tokio::test]
async fn the_thread_ends_with_the_last_handle() {
    let before = threads("bilten-live");
    let page = Scene::new().monitor.dashboard();
    eventually("the thread is there", || threads("bilten-live") > before).await;
    let other = page.clone();
    drop(page);
    assert!(threads("bilten-live") > before);
    drop(other);
    eventually("the thread is gone", || threads("bilten-live") == before).await;
}

#[test]
fn the_page_adds_no_allocation_to_what_it_watches() {
    let scene = Scene::new();
    let _page = scene.monitor.dashboard();
    let query = || {
        let done = scene
            .monitor
            .query("q")
            .run_sync(|| Ok::<_, std::io::Error>(()));
        done.expect("ok");
    };
    (0..100).for_each(|_| query());
    let queries = measure(|| (0..6_400).for_each(|_| query())).count_total;
    assert!(
        queries <= 320,
        "{queries} allocations in 6,400 queries: one in twenty is allowed"
    );
    let tap = Tap::new(scene.exporter.recorder());
    let (hits, loads) = metrics::with_local_recorder(&tap, || {
        let labels = [("cache", "c"), ("region", "r"), ("level", "memory")];
        (
            metrics::counter!("bilten_cache_hits_total", &labels),
            metrics::gauge!("bilten_db_in_flight", "node" => "a"),
        )
    });
    let counted = measure(|| {
        (0..1000).for_each(|_| {
            hits.increment(1);
            loads.increment(1.0);
        });
    });
    assert_eq!(counted.count_total, 0);
}

#[tokio::test]
async fn the_page_tells_a_notice_that_something_is_over_from_an_alert() {
    let scene = Scene::with(|builder| {
        builder
            .recovery_notices(true)
            .alert_window(Duration::from_secs(60))
            .watchdog(Duration::from_millis(5))
    });
    let span = scene.monitor.query("list").start();
    scene.clock.advance(Duration::from_secs(1));
    span.finish(Outcome::Success);
    scene.clock.advance(Duration::from_secs(61));
    eventually("a notice", || {
        scene.monitor.alerts().iter().any(|alert| alert.recovered)
    })
    .await;
    let answer = ask(&scene.monitor.dashboard(), "GET", "/?json").await;
    let page: serde_json::Value = serde_json::from_str(answer.body()).expect("JSON");
    let alerts = page["alerts"].as_array().expect("alerts");
    // The watchdog may also have looked while it ran.
    let told: Vec<_> = alerts
        .iter()
        .filter(|alert| alert["kind"] == "slow query")
        .map(|alert| alert["recovered"].as_bool())
        .collect();
    assert_eq!(told, [Some(true), Some(false)]);
}
