//! The live page in a real browser: Chromium without a screen.

use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::Path as Segment;
use axum::routing::get;
use bilten_events::app::App;
use bilten_events::config::Config;
use bilten_health::{Health, Verdict, check};
use bilten_monitor::prometheus::{self, Options};
use bilten_monitor::{Clock, Monitor, RequestContext};
use bilten_testbed::Browser;
use tokio::runtime::Handle;

/// Serves until the test ends; the address.
async fn serve(router: Router) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    let listener = tokio::net::TcpListener::from_std(listener).unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    format!("http://{address}")
}

/// Runs a script of `tests/pages`, which fails with what it found.
async fn browse(script: &str, arguments: Vec<String>) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/pages")
        .join(script);
    let ran = tokio::task::spawn_blocking(move || {
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        Browser::find()?.run(&path, &arguments)
    });
    match ran.await.unwrap() {
        Ok(said) => assert_eq!(said, "fine\n"),
        Err(error) => panic!("{error}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_live_page_moves_and_keeps_nobody_out() {
    let metrics = prometheus::install(Options::default()).unwrap();
    let app = App::start(&Config::default(), Some(metrics)).await.unwrap();
    let base = serve(app.router()).await;
    browse("live.mjs", vec![base]).await;
    app.begin_shutdown();
    app.close().await;
}

/// Tells its end also when the test fails, which else would wait for its worker for ever.
struct Looks(Arc<AtomicBool>);

impl Drop for Looks {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_degraded_check_and_a_busy_runtime_are_told_in_words_and_signs() {
    let metrics = prometheus::install(Options::default()).unwrap();
    let health = Health::builder()
        .check(check("database", async || Verdict::up()))
        .check(check("disk", async || {
            Verdict::degraded("5 % of it is left")
        }))
        .check(check("mail", async || Verdict::down("no answer")))
        // Asked once, and still known when the last browser has looked.
        .cache(Duration::from_secs(600))
        .build()
        .unwrap();
    let monitor = Monitor::builder().build().unwrap();
    monitor.watch_runtime(&Handle::current());
    health.check().await;
    let page = monitor.dashboard();
    let base = serve(Router::new().route_service("/live", page)).await;
    // One of its workers does something else for seconds at a time, as long as the browser looks.
    let looks = Looks(Arc::new(AtomicBool::new(false)));
    let until = Arc::clone(&looks.0);
    let blocked = tokio::spawn(async move {
        while !until.load(Ordering::SeqCst) {
            std::thread::yield_now();
        }
    });
    browse("verdicts.mjs", vec![format!("{base}/live")]).await;
    drop(looks);
    blocked.await.unwrap();
    drop(metrics);
}

/// Stands still until it is turned: nothing is over before the browser has seen that it was slow.
#[derive(Clone, Default)]
struct Turned(Arc<AtomicU64>);

impl Turned {
    fn advance(&self, seconds: u64) {
        self.0.fetch_add(seconds, Ordering::SeqCst);
    }
}

impl Clock for Turned {
    fn now(&self) -> Duration {
        Duration::from_secs(self.0.load(Ordering::SeqCst))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn that_something_slow_is_over_is_told_from_its_alert_without_colours() {
    const QUERIES: [&str; 3] = ["report", "export", "import"];
    let clock = Turned::default();
    let monitor = Monitor::builder()
        .clock(clock.clone())
        // Nor is it told of while it runs.
        .watchdog(None)
        .alert_window(Duration::from_secs(60))
        .recovery_notices(true)
        .build()
        .unwrap();
    let page = monitor.dashboard();
    let turned = clock.clone();
    let slow = async move |Segment(name): Segment<String>| {
        let name = QUERIES.into_iter().find(|query| *query == name).unwrap();
        let query = monitor.query(name);
        query.run_infallible(async { turned.advance(1) }).await;
    };
    let router = Router::new()
        .route("/slow/{query}", get(slow))
        .route("/later", get(async move || clock.advance(61)))
        .route_service("/live", page);
    let base = serve(router).await;
    let arguments = [&*base].into_iter().chain(QUERIES);
    browse("recovery.mjs", arguments.map(str::to_owned).collect()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_user_typed_is_shown_as_text() {
    const MARKUP: &str = "\"><img src=x onerror=ran=1><script>ran=2</script>";
    let monitor = Monitor::builder()
        .slow_query(Duration::from_nanos(1))
        .build()
        .unwrap();
    let page = monitor.dashboard().title(MARKUP).details_for(|_| true);
    let base = serve(Router::new().route_service("/inside/live", page)).await;
    let request = async {
        RequestContext::current().unwrap().set("userId", MARKUP);
        let query = monitor.query("<i>list</i>");
        query
            .run(std::future::ready(Err::<(), _>(std::fmt::Error)))
            .await
    };
    monitor.scope("<b>nightly</b>", request).await.unwrap_err();
    browse(
        "hostile.mjs",
        vec![format!("{base}/inside/live"), MARKUP.to_owned()],
    )
    .await;
}
