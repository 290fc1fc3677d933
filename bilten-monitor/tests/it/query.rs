//! One observation for each query, whatever happens to it.

use std::future::{pending, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bilten_monitor::{Clock, Monitor, Outcome};

use crate::scene::Scene;

const COUNT: &str = "db_client_operation_duration_seconds_count";
const SUM: &str = "db_client_operation_duration_seconds_sum";
const ACTIVE: &str = "db_client_active_operations";

fn count(scene: &Scene, query: &str, outcome: &str) -> f64 {
    scene
        .scrape()
        .sum(COUNT, &[("db_query_summary", query), ("outcome", outcome)])
}

fn all(scene: &Scene) -> f64 {
    scene.scrape().sum(COUNT, &[])
}

/// An error that can be told from every other one.
#[derive(Debug, PartialEq)]
struct Marked(u64);

#[tokio::test]
async fn a_success_is_counted_once_with_its_time_and_comes_back_untouched() {
    let scene = Scene::new();
    let clock = scene.clock.clone();
    let work = async move {
        clock.advance(Duration::from_millis(5));
        Ok::<_, Marked>("found")
    };
    assert_eq!(
        scene.monitor.query("find_user").run(work).await,
        Ok("found")
    );
    assert_eq!(count(&scene, "find_user", "success"), 1.0);
    assert_eq!(scene.scrape().sum(SUM, &[]), 0.005);
    assert_eq!(all(&scene), 1.0);
}

#[tokio::test]
async fn an_error_comes_back_as_it_was_and_is_told_by_its_type() {
    let scene = Scene::new();
    let failed = scene
        .monitor
        .query("find_user")
        .run(async { Err::<(), _>(Marked(7)) })
        .await;
    assert_eq!(failed, Err(Marked(7)));
    let labels = [("outcome", "error"), ("error_type", "Marked")];
    assert_eq!(scene.scrape().sum(COUNT, &labels), 1.0);
    assert_eq!(all(&scene), 1.0);
}

#[tokio::test]
async fn a_judge_gives_a_finer_error_type() {
    let scene = Scene::new();
    let judge = |found: &Option<u32>| {
        if found.is_some() {
            Outcome::Success
        } else {
            Outcome::Error("not_found")
        }
    };
    assert_eq!(
        scene
            .monitor
            .query("q")
            .run_with(async { None }, judge)
            .await,
        None
    );
    assert_eq!(
        scene
            .monitor
            .query("q")
            .run_with(async { Some(1) }, judge)
            .await,
        Some(1)
    );
    assert_eq!(
        scene.scrape().sum(COUNT, &[("error_type", "not_found")]),
        1.0
    );
    assert_eq!(count(&scene, "q", "success"), 1.0);
}

#[tokio::test]
async fn a_future_that_cannot_fail_is_a_success() {
    let scene = Scene::new();
    assert_eq!(
        scene.monitor.query("q").run_infallible(async { 42 }).await,
        42
    );
    assert_eq!(count(&scene, "q", "success"), 1.0);
}

#[test]
fn a_dropped_future_is_cancelled_with_the_time_it_had_taken() {
    let scene = Scene::new();
    let mut timed = Box::pin(
        scene
            .monitor
            .query("slow")
            .run(pending::<Result<(), Marked>>()),
    );
    assert!(
        timed
            .as_mut()
            .poll(&mut Context::from_waker(Waker::noop()))
            .is_pending()
    );
    assert_eq!(scene.monitor.queries_in_flight(), 1);
    assert_eq!(scene.scrape().sum(ACTIVE, &[]), 1.0);
    scene.clock.advance(Duration::from_millis(30));
    drop(timed);
    assert_eq!(count(&scene, "slow", "cancelled"), 1.0);
    assert_eq!(scene.scrape().sum(SUM, &[]), 0.03);
    assert_eq!(scene.monitor.queries_in_flight(), 0);
    assert_eq!(scene.scrape().sum(ACTIVE, &[]), 0.0);
    assert_eq!(all(&scene), 1.0);
}

#[test]
fn a_future_that_was_never_polled_never_began() {
    let scene = Scene::new();
    drop(
        scene
            .monitor
            .query("never")
            .run(pending::<Result<(), Marked>>()),
    );
    assert_eq!(all(&scene), 0.0);
    assert_eq!(scene.monitor.queries_in_flight(), 0);
}

#[tokio::test]
async fn a_panic_is_counted_as_one_and_goes_on_its_way() {
    let scene = Scene::new();
    let timed = scene
        .monitor
        .query("bad")
        .run_infallible(async { panic!("as written") });
    // The executor catches the panic and drops the future afterwards, when nothing unwinds any more.
    let failed = tokio::spawn(timed).await.expect_err("it panicked");
    assert_eq!(
        *failed.into_panic().downcast::<&str>().expect("its message"),
        "as written"
    );
    assert_eq!(count(&scene, "bad", "panicked"), 1.0);
    assert_eq!(scene.scrape().sum(COUNT, &[("error_type", "panic")]), 1.0);
    assert_eq!(all(&scene), 1.0);
    assert_eq!(scene.monitor.queries_in_flight(), 0);
    assert_eq!(
        scene.monitor.query("bad").run_infallible(async { 1 }).await,
        1,
        "later queries work"
    );
}

#[test]
fn another_futures_panic_cancels_and_does_not_panic_the_bystander() {
    let scene = Scene::new();
    let mut bystander = Box::pin(
        scene
            .monitor
            .query("bystander")
            .run(pending::<Result<(), Marked>>()),
    );
    let caught = catch_unwind(AssertUnwindSafe(move || {
        assert!(
            bystander
                .as_mut()
                .poll(&mut Context::from_waker(Waker::noop()))
                .is_pending()
        );
        panic!("somebody else");
    }));
    assert!(caught.is_err());
    assert_eq!(count(&scene, "bystander", "cancelled"), 1.0);
    assert_eq!(all(&scene), 1.0);
}

#[test]
fn closures_have_the_same_outcomes() {
    let scene = Scene::new();
    let query = || scene.monitor.query("sync");
    assert_eq!(query().run_sync(|| Ok::<_, Marked>(1)), Ok(1));
    assert_eq!(query().run_sync(|| Err::<(), _>(Marked(2))), Err(Marked(2)));
    assert!(
        catch_unwind(AssertUnwindSafe(
            || query().run_sync(|| -> Result<(), Marked> { panic!("thrown") })
        ))
        .is_err()
    );
    for outcome in ["success", "error", "panicked"] {
        assert_eq!(count(&scene, "sync", outcome), 1.0, "{outcome}");
    }
    assert_eq!(scene.monitor.queries_in_flight(), 0);
}

#[test]
fn a_span_that_is_dropped_is_cancelled_and_a_finished_one_is_not() {
    let scene = Scene::new();
    drop(scene.monitor.query("span").start());
    let mut span = scene.monitor.query("span").start();
    span.rows(250);
    span.finish(Outcome::Success);
    assert_eq!(count(&scene, "span", "cancelled"), 1.0);
    assert_eq!(count(&scene, "span", "success"), 1.0);
    assert_eq!(
        scene
            .scrape()
            .sum("db_client_response_returned_rows_sum", &[]),
        250.0
    );
}

#[tokio::test]
async fn a_query_inside_a_query_is_counted_beside_it() {
    let scene = Scene::new();
    let monitor = scene.monitor.clone();
    let outer = async {
        let inner = async { monitor.queries_in_flight() };
        monitor.query("inner").run_infallible(inner).await
    };
    assert_eq!(scene.monitor.query("outer").run_infallible(outer).await, 2);
    assert_eq!(scene.monitor.queries_in_flight(), 0);
    assert_eq!(
        count(&scene, "outer", "success") + count(&scene, "inner", "success"),
        2.0
    );
}

#[tokio::test]
async fn a_future_polled_many_times_is_one_observation() {
    let scene = Scene::new();
    let mut left = 5;
    let stubborn = poll_fn(|cx| {
        left -= 1;
        cx.waker().wake_by_ref();
        if left == 0 {
            Poll::Ready(Ok::<_, Marked>(()))
        } else {
            Poll::Pending
        }
    });
    scene.monitor.query("q").run(stubborn).await.expect("ready");
    assert_eq!(all(&scene), 1.0);
}

#[tokio::test]
async fn many_tasks_at_once_lose_nothing() {
    let scene = Scene::new();
    let tasks: Vec<_> = (0..64)
        .map(|n| {
            let monitor = scene.monitor.clone();
            tokio::spawn(async move {
                for _ in 0..50 {
                    let work = async {
                        tokio::task::yield_now().await;
                        if n % 2 == 0 { Ok(()) } else { Err(Marked(n)) }
                    };
                    monitor.query("busy").run(work).await.ok();
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.expect("no panic");
    }
    assert_eq!(count(&scene, "busy", "success"), 1600.0);
    assert_eq!(count(&scene, "busy", "error"), 1600.0);
    assert_eq!(scene.scrape().sum(ACTIVE, &[]), 0.0);
}

#[tokio::test(start_paused = true)]
async fn a_simulated_clock_is_recorded_exactly() {
    struct Simulated(tokio::time::Instant);
    impl Clock for Simulated {
        fn now(&self) -> Duration {
            self.0.elapsed()
        }
    }
    let epoch = tokio::time::Instant::now();
    let scene = Scene::with(|builder| builder.clock(Simulated(epoch)));
    let slept = tokio::time::sleep(Duration::from_secs(2));
    scene.monitor.query("q").run_infallible(slept).await;
    assert_eq!(scene.scrape().sum(SUM, &[]), 2.0);
}

#[test]
fn two_monitors_do_not_mix() {
    let (one, other) = (Scene::new(), Scene::new());
    one.monitor
        .query("q")
        .run_sync(|| Ok::<_, Marked>(()))
        .expect("ok");
    assert_eq!(all(&one), 1.0);
    assert_eq!(all(&other), 0.0);
}

#[test]
fn a_timed_future_can_be_spawned() {
    fn is_spawnable(_: &(impl Send + 'static)) {}
    let monitor = Monitor::builder().build().expect("a monitor");
    is_spawnable(&monitor.query("q").run(async { Ok::<_, Marked>(()) }));
}
