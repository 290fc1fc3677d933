//! A password goes nowhere: not into a body, not to a listener, not into the log.

use crate::doubles::{failing, ms};
use bilten_health::change::Change;
use bilten_health::{Health, Verdict, check};
use serde_json::json;
use std::io::Write;
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;
use tokio::time::advance;

/// What is logged on this thread.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Captures everything down to `trace` until the guard is dropped.
fn logging() -> (Log, tracing::subscriber::DefaultGuard) {
    use tracing_subscriber::util::SubscriberInitExt;
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter("trace")
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .finish();
    (log, subscriber.set_default())
}

const SECRET: &str = "hunter2";

fn leaky() -> [bilten_health::CheckBuilder; 3] {
    let error = check("error", || async {
        Err::<(), _>(format!("no route to postgres://bob:{SECRET}@db7/shop"))
    });
    let details = check("details", || async {
        Verdict::down(format!("password={SECRET} is wrong"))
            .detail("url", format!("redis://:{SECRET}@db7"))
            .detail("password", SECRET)
            .detail(
                "nodes",
                json!([{ "reason": format!("token: {SECRET}"), "dbPassword": SECRET }, [format!("x://u:{SECRET}@h")]]),
            )
    });
    async fn panics() {
        panic!("cannot connect to amqp://bob:{SECRET}@queue")
    }
    [error, details, check("panic", panics)]
}

#[tokio::test(start_paused = true)]
async fn a_password_is_in_no_report_no_event_and_no_log() {
    let (log, _guard) = logging();
    let (tell, told) = mpsc::channel();
    let tell = Mutex::new(tell);
    let health = leaky()
        .into_iter()
        .fold(Health::builder(), |builder, check| builder.check(check))
        .on_change(move |change: &Change| {
            tell.lock().unwrap().send(format!("{change:?}")).unwrap();
        })
        .build()
        .unwrap();
    let report = health.check().await;
    for body in [
        report.to_json(),
        report.to_health_json(),
        report.to_plain(),
        report.public_json(),
        format!("{report:?} {health:?}"),
    ] {
        assert!(!body.contains(SECRET), "{body}");
    }
    assert!(report.to_json().contains("postgres://***@db7/shop"));
    for _ in 0..3 {
        let change = told.recv_timeout(Duration::from_secs(20)).unwrap();
        assert!(
            change.contains("***") && !change.contains(SECRET),
            "{change}"
        );
    }
    let log = log.text();
    assert!(log.contains("postgres://***@db7/shop"), "{log}");
    assert!(!log.contains(SECRET), "{log}");
}

// The operator finds the error in the log, once per change and not once per probe.
#[tokio::test(start_paused = true)]
async fn an_error_is_in_the_log_once_per_change() {
    let (log, _guard) = logging();
    let health = crate::doubles::health([failing("db")]);
    for _ in 0..5 {
        health.check().await;
        advance(ms(1001)).await;
    }
    // The log has a thread of its own, which the paused clock does not wait for.
    let begun = std::time::Instant::now();
    while !log.text().contains("it does not work") && begun.elapsed() < Duration::from_secs(20) {
        std::thread::sleep(ms(1));
    }
    let log = log.text();
    assert_eq!(log.matches("it does not work").count(), 1, "{log}");
    assert!(
        log.contains("WARN") && log.contains("check=\"db\""),
        "{log}"
    );
}
