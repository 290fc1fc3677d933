//! Ten thousand probes a second against checks that hang.

use crate::doubles::{Count, hanging, ms, of, patience};
use bilten_health::{Health, Reason, check};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;
use tokio::runtime::{Handle, Runtime};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

// Time is paused: "a second" costs what its 10,000 answers cost.
#[tokio::test(start_paused = true)]
async fn ten_thousand_probes_a_second_are_answered_in_time_and_leave_no_tasks() {
    let runs = Count::default();
    let counter = runs.clone();
    let counted = check("counted", move || {
        counter.add();
        std::future::pending::<()>()
    });
    let health = Health::builder()
        .check(hanging("hangs"))
        .check(counted)
        .build()
        .unwrap();
    let mut probes = JoinSet::new();
    let mut most_tasks = 0;
    for _ in 0..3000 {
        for _ in 0..10 {
            let health = health.clone();
            probes.spawn(async move {
                let asked = Instant::now();
                let report = health.check().await;
                (asked.elapsed(), report.healthy)
            });
        }
        sleep(ms(1)).await;
        while let Some(answer) = probes.try_join_next() {
            let (took, healthy) = answer.unwrap();
            assert!(took <= ms(900) && !healthy);
        }
        most_tasks = most_tasks.max(Handle::current().metrics().num_alive_tasks() - probes.len());
    }
    while let Some(answer) = probes.join_next().await {
        assert!(answer.unwrap().0 <= ms(900));
    }
    assert!(
        most_tasks <= 6,
        "two tasks per live run, one per check and no more, not {most_tasks}"
    );
    assert!(
        (2..=4).contains(&runs.get()),
        "one run per 1.5 s, not {}",
        runs.get()
    );
    sleep(ms(1)).await;
    let left = Handle::current().metrics().num_alive_tasks();
    assert!(
        left <= 2,
        "one per check, which takes its level back: {left}"
    );
    drop(health);
    sleep(ms(1)).await;
    assert_eq!(Handle::current().metrics().num_alive_tasks(), 0);
}

/// How many bytes one thread holds more after a second of 10,000 probes than before it.
fn grown_in_a_second(runtime: &Runtime, health: &Health) -> i64 {
    let second = async {
        let mut probes = JoinSet::new();
        let mut left = 1000_i32;
        // A run may end in the last of them and answer all.
        while left > 0 || probes.is_empty() {
            for _ in 0..10 {
                let health = health.clone();
                probes.spawn(async move { health.check().await.healthy });
            }
            sleep(ms(1)).await;
            while probes.try_join_next().is_some() {}
            left -= 1;
        }
        // The first half has its answer; the others go away while they wait, and are swept up.
        assert!((1..10_000).contains(&probes.len()), "{}", probes.len());
        drop(probes);
        sleep(ms(1)).await;
    };
    allocation_counter::measure(|| runtime.block_on(second)).bytes_current
}

// Counted and not estimated: the allocator tells what is held. One thread does everything, so nothing escapes.
#[test]
fn ten_thousand_probes_a_second_take_no_memory_to_keep() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .unwrap();
    let health = Health::builder()
        .check(hanging("hangs"))
        .check(hanging("never-cached").cache(Duration::ZERO))
        .check(hanging("ticks").background(ms(50)))
        .build()
        .unwrap();
    // Tables find their size in the first seconds.
    let warm: Vec<_> = (0..3)
        .map(|_| grown_in_a_second(&runtime, &health))
        .collect();
    let total: i64 = (0..4).map(|_| grown_in_a_second(&runtime, &health)).sum();
    // A byte per probe kept would be 40,000.
    assert!(
        total < 20_000,
        "{total} bytes more after 40,000 probes; before: {warm:?}"
    );
    let tasks = runtime.handle().metrics().num_alive_tasks();
    assert!(tasks <= 9, "two per live run, one per check, not {tasks}");
}

// The threads stay blocked for the whole test: only the first probe may wait for them at all.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn probes_against_a_blocked_thread_start_nothing() {
    let (release, gate) = mpsc::channel::<()>();
    let gate = Arc::new(Mutex::new(gate));
    let runs = Count::default();
    let counter = runs.clone();
    let blocked = check("blocked", move || {
        let gate = Arc::clone(&gate);
        counter.add();
        async move {
            let _ = gate.lock().unwrap().recv();
        }
    });
    let health = patience()
        .check(blocked.timeout(ms(400)).cache(Duration::ZERO))
        .build()
        .unwrap();
    health.check().await;
    let mut probes = JoinSet::new();
    for _ in 0..2000 {
        let health = health.clone();
        probes.spawn(async move { of(&*health.check().await, "blocked").reason });
    }
    let reasons = probes.join_all().await;
    assert!(
        reasons
            .iter()
            .all(|reason| *reason == Some(Reason::StillRunning))
    );
    assert_eq!(runs.get(), 1);
    drop(release);
}

// Many threads ask a check without cache time: nobody may be told of a timeout that never was.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn joining_a_run_that_just_ended_is_no_timeout() {
    let health = patience()
        .check(crate::doubles::passing("a"))
        .cache(Duration::ZERO)
        .build()
        .unwrap();
    let mut askers = JoinSet::new();
    for _ in 0..4 {
        let health = health.clone();
        askers.spawn(async move {
            for _ in 0..3000 {
                let report = health.check().await;
                assert!(report.healthy, "{}", report.to_json());
            }
        });
    }
    askers.join_all().await;
}
