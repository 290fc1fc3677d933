//! Slow alerts: when, how many, and what a sink can do wrong.

use std::sync::{Mutex, mpsc};
use std::time::Duration;

use bilten_monitor::alert::{Alert, AlertKind, AlertSink, ChannelSink, Refused, TracingSink};
use bilten_monitor::{Monitor, Outcome};

use crate::scene::{Lines, SOON, Scene, Turned, eventually};

const MILLI: Duration = Duration::from_millis(1);

fn query(scene: &Scene, name: &'static str, took: Duration) {
    let work = || {
        scene.clock.advance(took);
        Ok::<_, std::fmt::Error>(())
    };
    scene.monitor.query(name).run_sync(work).expect("ok");
}

#[test]
fn only_what_is_longer_than_the_threshold_is_slow() {
    let scene = Scene::new();
    query(&scene, "at", 100 * MILLI);
    assert_eq!(scene.alerts(), []);
    query(&scene, "over", 100 * MILLI + Duration::from_micros(1));
    let alerts = scene.alerts();
    let [alert] = alerts.as_slice() else {
        panic!("one alert: {alerts:?}")
    };
    assert_eq!(
        (alert.kind, alert.subject.as_str()),
        (AlertKind::SlowQuery, "over")
    );
    assert_eq!(
        (alert.duration, alert.threshold),
        (Duration::from_micros(100_001), 100 * MILLI)
    );
    assert_eq!((alert.outcome, alert.suppressed), (Outcome::Success, 0));
}

#[test]
fn a_slow_failure_is_one_alert_that_says_so() {
    let scene = Scene::new();
    let failing = || {
        scene.clock.advance(Duration::from_secs(1));
        Err::<(), _>(std::fmt::Error)
    };
    assert!(scene.monitor.query("q").run_sync(failing).is_err());
    let alerts = scene.alerts();
    assert_eq!(alerts.len(), 1);
    assert_eq!(alerts[0].outcome, Outcome::Error("Error"));
}

#[test]
fn a_query_can_have_a_threshold_of_its_own_or_none_at_all() {
    let scene = Scene::with(|builder| builder.slow_query(None).slow_query_for("report", 5 * MILLI));
    query(&scene, "other", Duration::from_secs(3600));
    query(&scene, "report", 6 * MILLI);
    let subjects: Vec<_> = scene
        .alerts()
        .into_iter()
        .map(|alert| alert.subject)
        .collect();
    assert_eq!(subjects, ["report"]);
}

#[test]
fn a_storm_is_one_alert_and_the_next_window_tells_the_rest() {
    let scene = Scene::new();
    query(&scene, "q", 101 * MILLI);
    for _ in 0..9_998 {
        let span = scene.monitor.query("q").start();
        scene.clock.advance(Duration::ZERO);
        span.finish(Outcome::Success);
    }
    // All of them began together and end late, within one window.
    let spans: Vec<_> = (0..9_999)
        .map(|_| scene.monitor.query("q").start())
        .collect();
    scene.clock.advance(150 * MILLI);
    spans
        .into_iter()
        .for_each(|span| span.finish(Outcome::Success));
    assert_eq!(scene.alerts().len(), 1, "the first one only");
    scene.clock.advance(Duration::from_secs(60));
    query(&scene, "q", 120 * MILLI);
    let alerts = scene.alerts();
    assert_eq!(alerts.len(), 1);
    assert_eq!(
        (alerts[0].suppressed, alerts[0].worst, alerts[0].duration),
        (9_999, 150 * MILLI, 120 * MILLI)
    );
    assert_eq!(scene.monitor.losses().alerts_suppressed, 9_999);
}

#[test]
fn many_slow_names_together_keep_the_burst() {
    const NAMES: [&str; 30] = [
        "a0", "a1", "a2", "a3", "a4", "a5", "a6", "a7", "a8", "a9", "b0", "b1", "b2", "b3", "b4",
        "b5", "b6", "b7", "b8", "b9", "c0", "c1", "c2", "c3", "c4", "c5", "c6", "c7", "c8", "c9",
    ];
    let scene = Scene::with(|builder| builder.alert_burst(7));
    let spans: Vec<_> = NAMES
        .iter()
        .map(|name| scene.monitor.query(name).start())
        .collect();
    scene.clock.advance(Duration::from_secs(1));
    spans
        .into_iter()
        .for_each(|span| span.finish(Outcome::Success));
    let alerts = scene.alerts();
    let slow = |alert: &&Alert| alert.kind == AlertKind::SlowQuery;
    assert_eq!(alerts.iter().filter(slow).count(), 7);
    assert_eq!(scene.monitor.losses().alerts_suppressed, 23);
}

#[test]
fn ten_thousand_slow_names_keep_the_burst_and_are_a_bounded_number_of_subjects() {
    const NAMES: u64 = 10_000;
    let scene = Scene::new();
    let name = |n| &*Box::leak(format!("slow{n}").into_boxed_str());
    let spans: Vec<_> = (0..NAMES)
        .map(|n| scene.monitor.query(name(n)).start())
        .collect();
    scene.clock.advance(Duration::from_secs(1));
    let finish = |span: bilten_monitor::query::Span| span.finish(Outcome::Success);
    spans.into_iter().for_each(finish);
    let (mut alerts, held) = (scene.alerts(), scene.monitor.losses().alerts_suppressed);
    let crowd = alerts.pop().expect("the last one tells of the others");
    assert_eq!(crowd.kind, AlertKind::TooManyAlerts);
    assert_eq!(alerts.len(), 20);
    let slow = alerts
        .iter()
        .filter(|alert| alert.kind == AlertKind::SlowQuery);
    let overflowed = scene.monitor.losses().overflowed;
    assert_eq!(
        slow.count() as u64 + held,
        NAMES + overflowed - 1,
        "each is one or the other"
    );
    assert_eq!(scene.monitor.snapshot().queries.len(), 101);
    let named = crowd.facts[0].1.matches("slow query").count();
    assert_eq!(named, 16, "{crowd:?}");
}

/// Sixty names that are slow twice each in one window, which has room for five.
fn crowd(scene: &Scene) {
    for _ in 0..2 {
        for n in 0..60 {
            let name = Box::leak(format!("crowded{n:02}").into_boxed_str());
            let span = scene.monitor.query(name).start();
            scene.clock.advance(101 * MILLI);
            span.finish(Outcome::Success);
        }
    }
}

#[tokio::test]
async fn subjects_that_found_no_room_are_named_once_their_window_is_over() {
    let scene = Scene::with(|builder| {
        builder
            .alert_burst(5)
            .alert_window(Duration::from_secs(600))
    });
    crowd(&scene);
    let mut alerts = Vec::new();
    eventually("five pass", || {
        alerts.extend(std::iter::from_fn(|| scene.alerts.try_next()));
        alerts.len() == 5
    })
    .await;
    scene.clock.advance(Duration::from_secs(600));
    let told = scene.alerts.next_within(SOON).expect("one more");
    assert_eq!(
        (told.kind, told.subject.as_str()),
        (AlertKind::TooManyAlerts, "alerts")
    );
    assert_eq!((told.suppressed, told.worst), (110, 101 * MILLI));
    let [(_, subjects), further] = &told.facts[..] else {
        panic!("{told:?}")
    };
    assert_eq!(subjects.matches("slow query \"crowded").count(), 16);
    assert_eq!(*further, ("further subjects", "39".to_owned()));
    let passed = alerts.iter().map(|alert| &alert.subject);
    assert!(passed.into_iter().all(|name| !subjects.contains(&**name)));
    assert_eq!(scene.alerts(), [], "told once");
    // What was told there is not told again with the subject's next alert.
    query(&scene, "crowded59", Duration::from_secs(1));
    query(&scene, "crowded00", Duration::from_secs(1));
    let next: Vec<_> = scene
        .alerts()
        .iter()
        .map(|alert| alert.suppressed)
        .collect();
    assert_eq!(next, [0, 1]);
    let counted = [("kind", "too many alerts")];
    let shown = scene.scrape().sum("bilten_monitor_alerts_total", &counted);
    assert_eq!(shown, 1.0);
}

#[test]
fn a_program_that_ends_tells_whose_alerts_it_held_back() {
    let scene = Scene::with(|builder| {
        builder
            .alert_burst(1)
            .alert_window(Duration::from_secs(600))
            .max_label_values(2)
    });
    query(&scene, "passes", Duration::from_secs(1));
    query(&scene, "held back", Duration::from_secs(1));
    query(&scene, "one too many", Duration::from_secs(1));
    for n in 0..3_u16 {
        let own = scene.monitor.metric("own").label("n", n).increment(1);
        own.expect("counted");
    }
    let alerts = scene.alerts();
    let told = alerts.last().expect("told by the flush");
    assert_eq!(told.kind, AlertKind::TooManyAlerts);
    for subject in [
        "slow query \"held back\": 1",
        "slow query \"other\": 1",
        "too many labels \"query\": 1",
        "too many labels \"own\": 1",
    ] {
        assert!(told.facts[0].1.contains(subject), "{subject}: {told:?}");
    }
}

/// Hangs until the test lets go.
struct Stuck(Mutex<mpsc::Receiver<()>>);

impl AlertSink for Stuck {
    fn deliver(&self, _: &Alert) -> Result<(), Refused> {
        self.0.lock().expect("not poisoned").recv().ok();
        Ok(())
    }
}

#[test]
fn a_sink_that_hangs_costs_only_its_own_alerts() {
    let (release, stuck) = mpsc::channel();
    let scene = Scene::with(|builder| {
        builder
            .alert_sink(Stuck(Mutex::new(stuck)))
            .alert_queue(2)
            .alert_window(MILLI)
            .alert_burst(1000)
    });
    for _ in 0..50 {
        query(&scene, "q", Duration::from_secs(1));
        // The sink that works is never behind, so every drop below is the stuck one's.
        assert!(scene.alerts.next_within(SOON).is_some());
    }
    let dropped = scene.monitor.losses().alerts_dropped;
    assert!(
        (47..=48).contains(&dropped),
        "one in its hands, two in its queue: {dropped}"
    );
    drop(release);
}

/// Panics on the first alert and fails on the second.
struct Clumsy(mpsc::Sender<String>, Mutex<u8>);

impl AlertSink for Clumsy {
    fn deliver(&self, alert: &Alert) -> Result<(), Refused> {
        let mut seen = self.1.lock().expect("not poisoned");
        *seen += 1;
        let turn = *seen;
        drop(seen);
        match turn {
            1 => panic!("a sink's own fault"),
            2 => Err("the pager is off".into()),
            _ => self
                .0
                .send(alert.subject.clone())
                .map_err(|gone| gone.to_string().into()),
        }
    }
}

#[test]
fn a_sink_that_panics_or_fails_is_counted_and_gets_the_next_one() {
    let (sender, delivered) = mpsc::channel();
    let scene = Scene::with(|builder| builder.alert_sink(Clumsy(sender, Mutex::new(0))));
    for name in ["first", "second", "third"] {
        query(&scene, name, Duration::from_secs(1));
    }
    assert_eq!(scene.alerts().len(), 3, "the other sink has them all");
    assert_eq!(delivered.try_iter().collect::<Vec<_>>(), ["third"]);
    assert_eq!(scene.monitor.losses().sink_failures, 2);
    assert_eq!(
        scene
            .scrape()
            .sum("bilten_monitor_sink_failures_total", &[]),
        2.0
    );
}

#[test]
fn a_full_channel_refuses_and_is_counted() {
    let (sink, kept) = ChannelSink::new(1);
    let scene = Scene::with(|builder| builder.alert_sink(sink));
    query(&scene, "one", Duration::from_secs(1));
    query(&scene, "two", Duration::from_secs(1));
    assert!(scene.monitor.flush(SOON));
    assert_eq!(
        kept.try_next().map(|alert| alert.subject).as_deref(),
        Some("one")
    );
    assert_eq!(scene.monitor.losses().sink_failures, 1);
}

/// The rule in Prometheus says that the alert tells which label it is, and of a route that is a fact.
#[test]
fn the_tracing_sink_writes_the_facts_of_too_many_labels_too() {
    let lines = Lines::default();
    let scene = Scene::with(|builder| builder.max_label_values(1));
    for name in ["one", "two"] {
        let done = scene.monitor.query(name).run_sync(|| Ok::<_, Refused>(()));
        done.expect("ok");
    }
    let alert = scene.alerts().pop().expect("an alert");
    assert_eq!(alert.kind, AlertKind::TooManyLabels);
    tracing::subscriber::with_default(lines.subscriber(), || TracingSink.deliver(&alert))
        .expect("delivered");
    let text = lines.text();
    assert!(
        text.contains("kept=") && text.contains("suppressed=0"),
        "{text}"
    );
}

#[test]
fn the_tracing_sink_writes_a_warning_with_the_facts() {
    let lines = Lines::default();
    let (sink, alerts) = ChannelSink::new(1);
    let clock = Turned::default();
    let monitor = Monitor::builder()
        .clock(clock.clone())
        .alert_sink(sink)
        .build()
        .expect("a monitor");
    let mut span = monitor.query("yearly_report").start();
    span.rows(12);
    clock.advance(250 * MILLI);
    span.finish(Outcome::Cancelled);
    let alert = alerts.next_within(SOON).expect("an alert");
    tracing::subscriber::with_default(lines.subscriber(), || TracingSink.deliver(&alert))
        .expect("delivered");
    let text = lines.text();
    for part in [
        "WARN",
        "bilten_monitor::alert",
        "slow query",
        "yearly_report",
        "duration_ms=250",
        "threshold_ms=100",
        "cancelled",
        "rows",
    ] {
        assert!(text.contains(part), "{part} is missing: {text}");
    }
}
