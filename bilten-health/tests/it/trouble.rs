//! Checks that hang, block, panic or never stop.

use crate::doubles::{
    BombInDrop, Count, hanging, health, ms, of, passing, patience, patient, slow,
};
use bilten_health::{Check, CheckContext, Group, Health, Reason, Status, Verdict, check, checks};
use std::future::pending;
use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::time::Duration;

#[tokio::test(start_paused = true)]
async fn a_check_that_hangs_times_out_and_leaves_the_others_alone() {
    let report = health([passing("a"), hanging("b"), slow("c", ms(400))])
        .check()
        .await;
    assert!(
        (ms(500)..ms(520)).contains(&report.duration),
        "{:?}",
        report.duration
    );
    assert_eq!(of(&report, "b").reason, Some(Reason::Timeout));
    assert_eq!(
        of(&report, "b").error.as_deref(),
        Some("no answer within 500ms")
    );
    assert!(of(&report, "a").healthy && of(&report, "c").healthy);
    assert!(!report.healthy);
}

#[tokio::test]
async fn a_check_that_panics_is_down_and_leaves_the_others_alone() {
    async fn panics() {
        panic!("inside postgres://u:hunter2@h")
    }
    let in_future = check("future", panics);
    let in_closure = check("closure", || -> std::future::Ready<()> {
        panic!("before there is a future")
    });
    let in_thread = checks::blocking("thread", || -> Verdict { panic!("in a thread") });
    let report = patient([passing("a"), in_future, in_closure, in_thread])
        .check()
        .await;
    for name in ["future", "closure", "thread"] {
        assert_eq!(of(&report, name).reason, Some(Reason::Panicked), "{name}");
    }
    assert_eq!(
        of(&report, "future").error.as_deref(),
        Some("panicked: inside postgres://***@h")
    );
    assert_eq!(
        of(&report, "thread").error.as_deref(),
        Some("panicked: in a thread")
    );
    assert!(of(&report, "a").healthy);
}

#[tokio::test(start_paused = true)]
async fn a_check_that_timed_out_is_dropped() {
    struct Dropped(Count);
    impl Drop for Dropped {
        fn drop(&mut self) {
            self.0.add();
        }
    }
    let dropped = Count::default();
    let counter = dropped.clone();
    let health = health([check("a", move || {
        let connection = Dropped(counter.clone());
        async move {
            let _connection = connection;
            pending::<()>().await;
        }
    })]);
    health.check().await;
    tokio::task::yield_now().await;
    assert_eq!(dropped.get(), 1, "its connection goes back");
}

/// A check that blocks its thread until the test lets it go.
fn blocking_the_thread(
    name: &str,
    runs: &Count,
) -> (bilten_health::CheckBuilder, mpsc::Sender<()>) {
    let (release, gate) = mpsc::channel::<()>();
    let gate = Arc::new(Mutex::new(gate));
    let runs = runs.clone();
    let blocked = check(name, move || {
        let (gate, runs) = (Arc::clone(&gate), runs.clone());
        async move {
            runs.add();
            let _ = gate.lock().unwrap().recv();
        }
    });
    (blocked, release)
}

// The order: ask, get the answer while the thread is still blocked, ask again, and only then let it go.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_blocked_thread_delays_no_answer_and_gets_no_second_run() {
    let runs = Count::default();
    let (blocked, release) = blocking_the_thread("blocked", &runs);
    let health = patience()
        .check(blocked.timeout(ms(400)).cache(Duration::ZERO))
        .check(passing("a"))
        .build()
        .unwrap();
    let first = health.check().await;
    assert_eq!(of(&first, "blocked").reason, Some(Reason::Timeout));
    assert!(of(&first, "a").healthy);
    let second = health.check().await;
    assert_eq!(of(&second, "blocked").reason, Some(Reason::StillRunning));
    assert_eq!(runs.get(), 1);

    drop(release);
    let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
    while !health.check().await.healthy {
        assert!(
            tokio::time::Instant::now() < deadline,
            "the check never recovered"
        );
        tokio::time::sleep(ms(5)).await;
    }
    assert!(runs.get() > 1, "it runs again once the old run has ended");
}

// Nothing else goes on in these runtimes, so nothing else wakes the threads that sleep. The order: ask, get the answer,
// and only then let the thread go.
#[test]
fn a_thread_blocked_by_the_only_check_of_an_idle_runtime_delays_no_answer() {
    for threads in [2, 4] {
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        let runtime = runtime.worker_threads(threads).enable_all();
        let runtime = runtime.build().unwrap();
        let (blocked, release) = blocking_the_thread("blocked", &Count::default());
        let health = health([blocked.timeout(ms(100))]);
        let (answer, answered) = mpsc::channel();
        runtime.spawn(async move {
            // Whoever is woken by the timer has the others asleep.
            tokio::time::sleep(ms(50)).await;
            answer.send(health.check().await)
        });
        let report = answered.recv_timeout(Duration::from_secs(20)).unwrap();
        assert_eq!(of(&report, "blocked").reason, Some(Reason::Timeout));
        drop(release);
    }
}

// The order: the check blocks the only thread until its time is over, and succeeds.
#[tokio::test]
async fn a_success_that_comes_too_late_is_none() {
    let late = check("late", || async { std::thread::sleep(ms(30)) });
    let report = health([late.timeout(ms(10))]).check().await;
    assert_eq!(of(&report, "late").reason, Some(Reason::Timeout));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn blocking_work_that_overruns_keeps_its_run_alive() {
    let runs = Count::default();
    let counter = runs.clone();
    let (release, gate) = mpsc::channel::<()>();
    let gate = Mutex::new(gate);
    let health = patient([checks::blocking("disk", move || {
        counter.add();
        let _ = gate.lock().unwrap().recv();
    })
    .timeout(ms(400))
    .cache(Duration::ZERO)]);
    assert_eq!(
        of(&*health.check().await, "disk").reason,
        Some(Reason::Timeout)
    );
    assert_eq!(
        of(&*health.check().await, "disk").reason,
        Some(Reason::StillRunning)
    );
    assert_eq!(runs.get(), 1);
    drop(release);
}

// The order: tokio's only thread for blocking work is taken and stays so, and so do the threads of two checks.
#[test]
fn hung_blocking_work_touches_neither_other_checks_nor_listeners() {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = builder
        .enable_all()
        .max_blocking_threads(1)
        .build()
        .unwrap();
    let (release, gate) = mpsc::channel::<()>();
    let gate = Arc::new(Mutex::new(gate));
    let hung = |name: &str| {
        let gate = Arc::clone(&gate);
        let work = move || {
            let _ = gate.lock().unwrap().recv();
        };
        checks::blocking(name, work).non_critical().timeout(ms(50))
    };
    let (tell, told) = mpsc::channel();
    let tell = Mutex::new(tell);
    let health = Health::builder()
        .deadline(Duration::from_secs(30))
        .default_timeout(Duration::from_secs(20))
        .check(hung("one"))
        .check(hung("two"))
        .check(checks::blocking("good", || {
            drop(tokio::runtime::Handle::current())
        }))
        .on_change(move |change| tell.lock().unwrap().send(change.check.to_string()).unwrap())
        .build()
        .unwrap();
    let taken = Arc::clone(&gate);
    let report = runtime.block_on(async {
        tokio::task::spawn_blocking(move || {
            let _ = taken.lock().unwrap().recv();
        });
        health.check().await
    });
    assert_eq!(of(&report, "one").reason, Some(Reason::Timeout));
    assert!(of(&report, "good").healthy, "{}", report.to_json());
    let mut names: Vec<_> = (0..3)
        .map(|_| told.recv_timeout(Duration::from_secs(20)).unwrap())
        .collect();
    names.sort_unstable();
    assert_eq!(names, ["good", "one", "two"]);
    drop(release);
}

#[tokio::test(start_paused = true)]
async fn the_deadline_holds_when_a_timeout_is_as_long() {
    let health = Health::builder()
        .check(hanging("a").timeout(ms(300)))
        .deadline(ms(300))
        .build()
        .unwrap();
    let report = health.check().await;
    assert!(report.duration <= ms(301), "{:?}", report.duration);
    assert_eq!(report.status, Status::Down);
}

#[tokio::test(start_paused = true)]
async fn a_short_deadline_shortens_the_default_timeout() {
    let health = Health::builder()
        .check(hanging("a"))
        .deadline(ms(200))
        .build()
        .unwrap();
    assert!(health.check().await.duration <= ms(201));
}

#[tokio::test(start_paused = true)]
async fn ten_thousand_checks_are_answered() {
    let builder = (0..10_000).fold(Health::builder(), |builder, i| {
        builder.check(slow(&format!("check-{i}"), ms(50)))
    });
    let report = builder.build().unwrap().check().await;
    assert!(report.healthy);
    assert_eq!(report.checks.len(), 10_000);
}

// Each report looks for the members: by a search it would be a hundred million comparisons.
#[tokio::test(start_paused = true)]
async fn a_group_of_ten_thousand_checks_is_answered() {
    let names: Vec<_> = (0..10_000).map(|i| format!("Check-{i}")).collect();
    let builder = names.iter().fold(Health::builder(), |builder, name| {
        builder.check(passing(name).tags(["many"]))
    });
    let lower = names.iter().map(|name| name.to_lowercase());
    let health = builder.group("many", lower).build().unwrap();
    for group in [Group::Named("many"), Group::Tag("many")] {
        let report = health.check_group(group).await;
        assert!(report.healthy);
        assert_eq!(report.checks.len(), 10_000);
        assert_eq!(&*report.checks[9_999].name, "Check-9999");
    }
}

#[tokio::test(start_paused = true)]
async fn an_error_text_of_a_megabyte_is_cut() {
    let long = check("a", || async { Err::<(), _>("x".repeat(1 << 20)) });
    let report = health([long]).check().await;
    assert!(of(&report, "a").error.as_deref().unwrap().len() < 1100);
}

#[test]
fn a_runtime_that_ends_within_a_run_leaves_nothing_behind() {
    let first_run = Count::default();
    let runs = first_run.clone();
    let health = patient([check("a", move || {
        let first = runs.add() == 1;
        async move {
            if first {
                pending::<()>().await;
            }
        }
    })]);
    let runtime = || {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap()
    };
    let first = runtime();
    first.block_on(async {
        let asking = health.clone();
        tokio::spawn(async move { asking.check().await });
        while first_run.get() == 0 {
            tokio::task::yield_now().await;
        }
    });
    drop(first);
    assert!(
        runtime().block_on(health.check()).healthy,
        "a new runtime starts a new run"
    );
}

// One run hangs on a blocked thread; a thousand questions come, then one after each further timeout.
#[tokio::test(start_paused = true)]
async fn questions_about_a_run_that_never_ended_are_not_failures_of_their_own() {
    let runs = Count::default();
    let kept = Arc::new(Mutex::new(None));
    let health = health([check("a", Stuck(runs.clone(), Arc::clone(&kept)))
        .thresholds(3, 1)
        .cache(Duration::ZERO)]);
    assert!(health.check().await.healthy);
    for _ in 0..1000 {
        let report = health.check().await;
        let a = of(&report, "a");
        assert_eq!((a.status, a.consecutive_failures), (Status::Up, 1));
        assert_eq!(a.reason, Some(Reason::StillRunning));
    }
    tokio::time::advance(ms(500)).await;
    assert_eq!(of(&*health.check().await, "a").consecutive_failures, 2);
    tokio::time::advance(ms(500)).await;
    let report = health.check().await;
    assert_eq!(of(&report, "a").consecutive_failures, 3);
    assert_eq!(
        report.status,
        Status::Down,
        "but it does not stay up for ever"
    );
    assert_eq!(runs.get(), 1);
    drop(kept.lock().unwrap().take());
    assert!(health.check().await.healthy, "it has ended");
}

/// Answers, but leaves work behind that has not ended.
struct Stuck(Count, Arc<Mutex<Option<CheckContext>>>);

impl Check for Stuck {
    async fn check(&self, context: &CheckContext) -> Verdict {
        self.0.add();
        *self.1.lock().unwrap() = Some(context.clone());
        Verdict::up()
    }
}

// Tokio itself drops the future of an aborted task, and ends the process when what that carries panics again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_check_that_leaves_a_bomb_behind_ends_nothing() {
    let hanging = check("hanging", || async {
        let _bomb = BombInDrop;
        pending::<()>().await;
    });
    let ended = check("ended", || {
        let bomb = BombInDrop;
        async move {
            let _bomb = bomb;
        }
    });
    let health = patient([
        hanging.timeout(ms(20)).cache(Duration::ZERO),
        ended,
        passing("good"),
    ]);
    let report = health.check().await;
    assert_eq!(of(&report, "hanging").reason, Some(Reason::Timeout));
    assert_eq!(of(&report, "ended").reason, Some(Reason::Panicked));
    assert!(of(&report, "good").healthy);
    // Until its future has been dropped, the check counts as running.
    let deadline = std::time::Instant::now() + Duration::from_secs(20);
    while health.check().await.checks[0].reason != Some(Reason::Timeout) {
        assert!(std::time::Instant::now() < deadline);
        tokio::time::sleep(ms(5)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn thresholds_count_a_run_that_takes_the_whole_deadline() {
    for timeout in [500, 899, 900] {
        let works = Arc::new(std::sync::atomic::AtomicBool::new(true));
        let asked = Arc::clone(&works);
        let db = check("db", move || {
            let works = asked.load(std::sync::atomic::Ordering::SeqCst);
            async move {
                if !works {
                    pending::<()>().await;
                }
            }
        });
        let health = health([db
            .thresholds(3, 1)
            .timeout(ms(timeout))
            .cache(Duration::ZERO)]);
        assert_eq!(health.check().await.status, Status::Up);
        works.store(false, std::sync::atomic::Ordering::SeqCst);
        for (failures, status, changes) in
            [(1, Status::Up, 1), (2, Status::Up, 1), (3, Status::Down, 2)]
        {
            // The last run ends in the same moment as its answer is given; this question is about the next one.
            tokio::time::sleep(ms(5)).await;
            let report = health.check().await;
            let db = of(&report, "db");
            let found = (db.consecutive_failures, db.status, db.changes);
            assert_eq!(found, (failures, status, changes), "{timeout} ms");
            assert_eq!(db.reason, Some(Reason::Timeout));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_default_timeout_above_the_deadline_is_for_background_checks_alone() {
    let long = || Health::builder().default_timeout(Duration::from_secs(5));
    let refused = long().check(slow("db", ms(2000))).build().unwrap_err();
    let text = refused.to_string();
    assert!(
        text.contains("`db`") && text.contains("5s") && text.contains("900ms"),
        "{text}"
    );
    let background = slow("db", ms(2000)).background(Duration::from_secs(10));
    let own = slow("own", ms(1)).timeout(ms(500));
    let health = long().check(background).check(own).build().unwrap();
    health.check().await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    let report = health.check().await;
    assert_eq!(report.status, Status::Up, "{}", report.to_json());
    assert!(health.register(slow("later", ms(1))).is_err());
}
