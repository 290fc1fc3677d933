//! Who is told of a change, and when.

use crate::doubles::{Count, Switch, health, ms, passing, patience};
use bilten_health::{Group, Health, Status, change::Change, check};
use std::sync::{Arc, Mutex, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::time::{advance, sleep, timeout};
use tracing::field::{Field, Visit};

type Seen = Arc<Mutex<Vec<(Status, Status)>>>;

fn listening(switch: &Switch, failures: u32, successes: u32) -> (Health, Seen) {
    let seen = Seen::default();
    let listener = Arc::clone(&seen);
    let health = Health::builder()
        .check(switch.check("a").thresholds(failures, successes))
        .on_change(move |change: &Change| listener.lock().unwrap().push((change.from, change.to)))
        .build()
        .unwrap();
    (health, seen)
}

async fn alternate(health: &Health, switch: &Switch) {
    for works in [true, false, true, false] {
        switch.set(works);
        health.check().await;
        health.check().await;
        advance(ms(1001)).await;
    }
}

async fn eventually(what: impl Fn() -> bool) {
    // By the real clock: listeners have a thread of their own, for which a paused one does not wait.
    let begun = std::time::Instant::now();
    while !what() {
        assert!(
            begun.elapsed() < Duration::from_secs(20),
            "it should have happened by now"
        );
        std::thread::sleep(ms(1));
        sleep(ms(1)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_listener_is_told_once_per_change_and_in_order() {
    use Status::{Down, Unknown, Up};
    let switch = Switch::new(true);
    let (health, seen) = listening(&switch, 1, 1);
    alternate(&health, &switch).await;
    // The listener runs on a real thread, which a paused clock does not wait for.
    tokio::time::resume();
    eventually(|| seen.lock().unwrap().len() >= 4).await;
    assert_eq!(
        *seen.lock().unwrap(),
        [(Unknown, Up), (Up, Down), (Down, Up), (Up, Down)]
    );
    assert_eq!(
        health.last(Group::All).checks[0].changes,
        4,
        "flapping is counted"
    );
}

#[tokio::test(start_paused = true)]
async fn thresholds_spare_the_listener_the_flapping() {
    let switch = Switch::new(true);
    let (health, seen) = listening(&switch, 2, 2);
    alternate(&health, &switch).await;
    assert_eq!(health.last(Group::All).checks[0].changes, 0);
    // A change that does come is told after all that would have come before it.
    health.check().await;
    advance(ms(1001)).await;
    health.check().await;
    tokio::time::resume();
    eventually(|| !seen.lock().unwrap().is_empty()).await;
    assert_eq!(*seen.lock().unwrap(), [(Status::Unknown, Status::Down)]);
}

// The order: the listener blocks on the first change, all answers come, and only then is it let go.
#[tokio::test(start_paused = true)]
async fn a_listener_that_blocks_or_panics_delays_no_answer() {
    let switch = Switch::new(true);
    let (release, gate) = mpsc::channel::<()>();
    let gate = Mutex::new(gate);
    let told = Count::default();
    let counter = told.clone();
    let health = Health::builder()
        .check(switch.check("a"))
        .on_change(|_| panic!("this listener is broken"))
        .on_change(move |_| {
            let _ = gate.lock().unwrap().recv();
            counter.add();
        })
        .build()
        .unwrap();
    alternate(&health, &switch).await;
    assert_eq!(told.get(), 0, "all answers came while it was blocked");
    drop(release);
    tokio::time::resume();
    eventually(|| told.get() == 4).await;
}

#[tokio::test(start_paused = true)]
async fn a_watch_tells_each_status_once() {
    let switch = Switch::new(true);
    let health = health([switch.check("a").in_readiness()]);
    let mut watch = health.watch(Group::Readiness);
    assert_eq!(watch.next().await, Status::Up);
    assert!(
        timeout(ms(10_000), watch.next()).await.is_err(),
        "nothing has changed"
    );
    switch.set(false);
    assert_eq!(watch.next().await, Status::Down, "it asks by itself");
    health.begin_shutdown();
    assert_eq!(watch.next().await, Status::ShuttingDown);
}

// The order: the watch waits, then the change comes: it must be woken and not find out a second later.
#[tokio::test(start_paused = true)]
async fn a_watch_is_woken_by_a_change() {
    let health = health([passing("a").in_readiness()]);
    let mut watch = health.watch(Group::Readiness);
    watch.next().await;
    let begun = tokio::time::Instant::now();
    let waiting = tokio::spawn(async move { watch.next().await });
    sleep(ms(5)).await;
    health.begin_shutdown();
    assert_eq!(waiting.await.unwrap(), Status::ShuttingDown);
    assert_eq!(begun.elapsed(), ms(5));
}

// The order: the only thread for blocking work is taken, a change comes, the runtime ends, another one goes on.
#[test]
fn a_runtime_that_ends_before_a_delivery_silences_nobody() {
    let switch = Switch::new(true);
    let told = Count::default();
    let counter = told.clone();
    let health = patience()
        .check(switch.check("a").cache(Duration::ZERO))
        .on_change(move |_| {
            counter.add();
        })
        .build()
        .unwrap();
    let runtime = || {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        builder
            .enable_all()
            .max_blocking_threads(1)
            .build()
            .unwrap()
    };
    let (release, gate) = mpsc::channel::<()>();
    let first = runtime();
    first.block_on(async {
        tokio::task::spawn_blocking(move || gate.recv());
        health.check().await;
    });
    first.shutdown_background();
    drop(release);
    switch.set(false);
    runtime().block_on(async {
        health.check().await;
        eventually(|| told.get() == 2).await;
    });
}

// Each of its questions runs the check, and each result could wake it and the other watch for the next question.
#[tokio::test(start_paused = true)]
async fn a_watch_on_a_check_without_cache_time_does_not_chase_itself() {
    let runs = Count::default();
    let counter = runs.clone();
    let health = health([check("a", move || {
        let run = counter.add();
        async move {
            if run > 1000 {
                // Otherwise a paused clock would never go on.
                std::future::pending::<()>().await;
            }
        }
    })
    .cache(Duration::ZERO)]);
    let watching: Vec<_> = (0..2)
        .map(|_| {
            let mut watch = health.watch(Group::All);
            tokio::spawn(async move {
                while watch.next().await == Status::Up {}
                panic!("the check has always worked");
            })
        })
        .collect();
    sleep(Duration::from_secs(3)).await;
    assert!((3..=70).contains(&runs.get()), "{} runs", runs.get());
    for watch in watching {
        assert!(!watch.is_finished());
        watch.abort();
    }
}

/// Holds the thread at the first event, until the test lets it go. Counts what is said to be left out.
struct Holding {
    held: mpsc::Sender<()>,
    gate: Mutex<mpsc::Receiver<()>>,
    left_out: Mutex<LeftOut>,
}

#[derive(Clone, Debug, Default, PartialEq)]
struct LeftOut(Vec<u64>);

impl Visit for LeftOut {
    fn record_u64(&mut self, field: &Field, value: u64) {
        if field.name() == "left_out" {
            self.0.push(value);
        }
    }

    fn record_debug(&mut self, _: &Field, _: &dyn std::fmt::Debug) {}
}

impl<S: tracing::Subscriber> tracing_subscriber::Layer<S> for &'static Holding {
    fn on_event(&self, event: &tracing::Event<'_>, _: tracing_subscriber::layer::Context<'_, S>) {
        if event.metadata().target().starts_with("bilten_health") {
            event.record(&mut *self.left_out.lock().unwrap());
            let _ = self.held.send(());
            let _ = self.gate.lock().unwrap().recv();
        }
    }
}

fn runtime() -> tokio::runtime::Runtime {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_all().build().unwrap()
}

/// Asks on a thread of its own, and gives control back while the log of that thread is held.
fn held(health: &Health) -> (&'static Holding, JoinHandle<()>, mpsc::Sender<()>) {
    use tracing_subscriber::layer::SubscriberExt;
    let (held, is_held) = mpsc::channel();
    let (release, gate) = mpsc::channel::<()>();
    let holding: &'static Holding = Box::leak(Box::new(Holding {
        held,
        gate: Mutex::new(gate),
        left_out: Mutex::default(),
    }));
    let health = health.clone();
    let asking = std::thread::spawn(move || {
        let log = tracing_subscriber::registry().with(holding);
        tracing::subscriber::with_default(log, || runtime().block_on(health.check()));
    });
    is_held.recv().unwrap();
    (holding, asking, release)
}

// The order: the first change is held while it is logged, the second run starts, ends and is answered, then the first goes on.
#[test]
fn a_change_that_is_held_up_is_still_told_first() {
    use Status::{Down, Unknown, Up};
    let switch = Switch::new(true);
    let seen = Seen::default();
    let listener = Arc::clone(&seen);
    let health = patience()
        .check(switch.check("a").cache(Duration::ZERO))
        .on_change(move |change: &Change| listener.lock().unwrap().push((change.from, change.to)))
        .build()
        .unwrap();
    let (_, first, release) = held(&health);
    switch.set(false);
    runtime().block_on(async {
        assert_eq!(health.check().await.status, Down);
        drop(release);
        first.join().unwrap();
        eventually(|| seen.lock().unwrap().len() == 2).await;
    });
    assert_eq!(*seen.lock().unwrap(), [(Unknown, Up), (Up, Down)]);
}

// The order: the first change is held while it is logged, more changes come than wait for it, then it goes on.
#[test]
fn changes_that_do_not_wait_for_a_log_that_blocks_are_counted_in_it() {
    let switch = Switch::new(true);
    let health = patience()
        .check(switch.check("a").cache(Duration::ZERO))
        .on_change(|_| {})
        .build()
        .unwrap();
    let (holding, first, release) = held(&health);
    first.join().unwrap();
    runtime().block_on(async {
        for change in 0..1024 + 76 {
            switch.set(change % 2 == 1);
            assert_eq!(health.check().await.healthy, change % 2 == 1);
        }
        drop(release);
        let told = || !holding.left_out.lock().unwrap().0.is_empty();
        eventually(told).await;
    });
    assert_eq!(*holding.left_out.lock().unwrap(), LeftOut(vec![76]));
}
