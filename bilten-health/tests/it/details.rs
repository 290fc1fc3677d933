//! Who may see names, errors and details.

use crate::doubles::{BombInDrop, Count, Switch, health, ms, passing, patient, slow};
use crate::http::{ask, get};
use axum::Router;
use axum::http::Request;
use axum::http::request::Parts;
use bilten_health::Health;
use std::future::pending;
use tokio::time::Instant;

fn app<F>(health: &Health, authorise: impl Fn(Parts) -> F + Send + Sync + 'static) -> Router
where
    F: Future<Output = bool> + Send + 'static,
{
    Router::new().merge(health.routes().details_for_async(authorise))
}

#[tokio::test(start_paused = true)]
async fn an_authoriser_that_panics_gets_the_public_answer() {
    let health = health([passing("db")]);
    let at_once: Router = Router::new().merge(
        health
            .routes()
            .details_for(|_| panic!("session store is gone")),
    );
    let in_closure = app(&health, |_| -> std::future::Ready<bool> {
        panic!("before there is a future")
    });
    let in_future = app(&health, async |_| panic!("session store is gone"));
    for app in [at_once, in_closure, in_future] {
        let answer = get(&app, "/healthz").await;
        assert_eq!(answer.status, 200);
        assert!(!answer.body.contains("db") && answer.body.contains("up"));
    }
}

#[tokio::test(start_paused = true)]
async fn an_authoriser_that_never_answers_gets_the_public_answer_within_the_deadline() {
    let left = Count::default();
    let counter = left.clone();
    struct Dropped(Count);
    impl Drop for Dropped {
        fn drop(&mut self) {
            self.0.add();
        }
    }
    let app = app(&health([passing("db")]), move |_| {
        let dropped = Dropped(counter.clone());
        async move {
            let _dropped = dropped;
            pending().await
        }
    });
    let asked = Instant::now();
    let answer = get(&app, "/healthz").await;
    assert_eq!(asked.elapsed(), ms(900));
    assert_eq!(answer.status, 200);
    assert!(!answer.body.contains("db"));
    tokio::task::yield_now().await;
    assert_eq!(left.get(), 1, "and its task has ended");
}

// The order: the authoriser blocks the only thread until the deadline is over, and then says yes.
#[tokio::test]
async fn an_authoriser_that_says_yes_too_late_has_not_said_yes() {
    // Not critical: it may be too late as well.
    let health = Health::builder().check(passing("db").non_critical());
    let health = health.deadline(ms(50));
    let app = app(&health.build().unwrap(), async |_| {
        std::thread::sleep(ms(100));
        true
    });
    let answer = get(&app, "/healthz").await;
    assert_eq!(answer.status, 200);
    assert!(!answer.body.contains("db"), "{}", answer.body);
}

#[tokio::test(start_paused = true)]
async fn an_authoriser_is_asked_while_the_checks_run() {
    let app = app(&health([slow("db", ms(400))]), async |_| {
        tokio::time::sleep(ms(400)).await;
        true
    });
    let asked = Instant::now();
    assert!(get(&app, "/healthz").await.body.contains("db"));
    assert!(asked.elapsed() < ms(450), "{:?}", asked.elapsed());
}

#[tokio::test(start_paused = true)]
async fn an_authoriser_that_takes_time_sees_the_request() {
    let switch = Switch::new(false);
    let app = app(&health([switch.check("db")]), async |request: Parts| {
        tokio::task::yield_now().await;
        request.headers.contains_key("x-operator") && request.uri.path() == "/healthz"
    });
    let stranger = get(&app, "/healthz").await;
    let operator = ask(&app, Request::get("/healthz").header("x-operator", "1")).await;
    assert!(!stranger.body.contains("db") && operator.body.contains("switched off"));
    // Who asks changes the body alone.
    assert_eq!(stranger.status, operator.status);
    let (mut seen, mut all) = (stranger.headers, operator.headers);
    assert_ne!(seen.remove("content-length"), all.remove("content-length"));
    assert_eq!(seen, all);
}

#[tokio::test]
async fn an_authoriser_whose_panic_panics_when_dropped_has_not_said_yes() {
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("and once more");
        }
    }
    let app = app(&patient([passing("db")]), async |_| -> bool {
        std::panic::panic_any(Bomb)
    });
    let answer = get(&app, "/healthz").await;
    assert_eq!(answer.status, 200);
    assert!(!answer.body.contains("db"));
}

// The order: the checks have answered, the authoriser has not; the shutdown begins, then the authoriser says yes.
#[tokio::test(start_paused = true)]
async fn a_shutdown_while_the_authoriser_takes_time_is_answered_at_once() {
    for patience in [ms(300), ms(600_000)] {
        let health = health([passing("db").in_readiness()]);
        let app = app(&health, move |_| async move {
            tokio::time::sleep(patience).await;
            true
        });
        for path in ["/readyz", "/healthz"] {
            let asked = Instant::now();
            let (answer, ()) = tokio::join!(get(&app, path), async {
                tokio::time::sleep(ms(100)).await;
                health.begin_shutdown();
            });
            assert_eq!(answer.status, 503, "{path}");
            assert!(asked.elapsed() < ms(110), "{path}");
        }
        let asked = Instant::now();
        assert_eq!(get(&app, "/readyz").await.status, 503);
        assert_eq!(asked.elapsed(), ms(0), "once it has begun");
        assert_eq!(get(&app, "/livez").await.status, 200);
    }
}

// The order: the authoriser itself begins the shutdown and then says yes.
#[tokio::test(start_paused = true)]
async fn a_yes_after_the_shutdown_has_begun_comes_with_503() {
    let health = health([passing("db").in_readiness()]);
    let begun = health.clone();
    let app = app(&health, move |_| {
        let begun = begun.clone();
        async move {
            tokio::task::yield_now().await;
            begun.begin_shutdown();
            true
        }
    });
    assert_eq!(get(&app, "/readyz").await.status, 503);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_authoriser_that_leaves_a_bomb_behind_ends_nothing() {
    let health = Health::builder().check(passing("db").non_critical());
    let health = health.deadline(ms(50));
    let app = app(&health.build().unwrap(), async |_| {
        let _bomb = BombInDrop;
        pending().await
    });
    for _ in 0..3 {
        assert_eq!(get(&app, "/healthz").await.status, 200);
    }
}
