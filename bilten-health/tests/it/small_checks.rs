//! The built-in checks that need no server of ours.

use crate::doubles::{health, ms, of, patience, patient};
#[cfg(feature = "net")]
use crate::port::Port;
use bilten_health::{Group, Reason, Status, check, checks};
use std::process::Command;
use tokio::time::advance;

#[tokio::test(start_paused = true)]
async fn a_task_that_stops_beating_is_down() {
    let (heartbeat, check) = checks::heartbeat("worker", ms(5000));
    let health = health([check.in_liveness()]);
    assert_eq!(
        health.check_group(Group::Liveness).await.status,
        Status::Unknown,
        "no heartbeat yet"
    );
    heartbeat.beat();
    advance(ms(5000)).await;
    assert_eq!(health.check_group(Group::Liveness).await.status, Status::Up);
    advance(ms(1001)).await;
    let report = health.check_group(Group::Liveness).await;
    assert_eq!(report.status, Status::Down);
    assert!(
        of(&report, "worker")
            .error
            .as_deref()
            .unwrap()
            .contains("more than 5s")
    );
    heartbeat.beat();
    advance(ms(1001)).await;
    assert!(health.check_group(Group::Liveness).await.healthy);
}

#[cfg(feature = "net")]
#[tokio::test]
async fn a_port_is_up_while_somebody_listens() {
    let port = Port::keep();
    let listener = port.listen();
    let address = port.address.to_string();
    let health = patient([checks::tcp("smtp", &*address).cache(std::time::Duration::ZERO)]);
    assert!(health.check().await.healthy);
    drop(listener);
    let report = health.check().await;
    assert_eq!(report.status, Status::Down);
    assert!(
        of(&report, "smtp")
            .error
            .as_deref()
            .unwrap()
            .contains("refused")
    );
}

#[cfg(feature = "net")]
#[test]
fn an_address_that_can_never_work_is_refused_at_build() {
    for address in [
        "no port here",
        "bob:hunter2@host",
        "http://bob:hunter2@host:1",
    ] {
        let error = crate::doubles::built([checks::tcp("smtp", address)])
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("check `smtp`")
                && error.contains("host:port")
                && !error.contains("hunter2"),
            "{error}"
        );
    }
}

#[cfg(feature = "net")]
#[tokio::test]
async fn a_name_is_up_while_it_has_an_address() {
    let report = patient([
        checks::dns("here", "localhost"),
        checks::dns("nowhere", "name.invalid"),
    ])
    .check()
    .await;
    assert!(of(&report, "here").healthy, "{}", report.to_json());
    assert!(of(&report, "nowhere").error.is_some());
}

#[cfg(feature = "disk")]
#[tokio::test]
async fn a_disk_is_up_while_it_has_room() {
    let report = patient([
        checks::disk("roomy", "/", 1),
        checks::disk("full", "/", u64::MAX),
        checks::disk("missing", "/no/such/path", 1),
    ])
    .check()
    .await;
    assert!(of(&report, "roomy").healthy, "{}", report.to_json());
    assert!(
        of(&report, "full")
            .error
            .as_deref()
            .unwrap()
            .contains("less than")
    );
    assert!(of(&report, "missing").error.is_some());
}

#[cfg(feature = "memory")]
#[tokio::test]
async fn a_process_is_up_while_it_takes_little_memory() {
    let report = patient([
        checks::memory("little", u64::MAX),
        checks::memory("much", 1),
    ])
    .check()
    .await;
    assert!(of(&report, "little").healthy, "{}", report.to_json());
    assert!(
        of(&report, "much")
            .error
            .as_deref()
            .unwrap()
            .contains("more than 1")
    );
}

// The runtime has one thread, which the test blocks while the check sleeps.
#[tokio::test]
async fn a_runtime_that_is_blocked_lags() {
    let health = patient([checks::runtime_lag("runtime", ms(150))
        .in_liveness()
        .cache(std::time::Duration::ZERO)]);
    // A machine that is busy may let the check sleep, and end, before the test blocks: then once more.
    for _ in 0..20 {
        let asking = tokio::spawn({
            let health = health.clone();
            async move { health.check().await }
        });
        tokio::time::sleep(ms(5)).await;
        std::thread::sleep(ms(300));
        let report = asking.await.unwrap();
        if let Some(error) = of(&report, "runtime").error.as_deref() {
            assert!(error.contains("late"), "{error}");
            return;
        }
    }
    panic!("a blocked runtime was never late");
}

/// Says to a test that it is the child in which no thread can be started.
const WITHOUT_THREADS: &str = "BILTEN_WITHOUT_THREADS";

// In a process of its own, in which each new thread wants more memory for its stack than there is.
#[test]
fn a_system_that_gives_no_thread_is_an_error_of_the_check_and_of_nothing_else() {
    if std::env::var_os(WITHOUT_THREADS).is_some() {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_all().build().unwrap();
        return runtime.block_on(without_threads());
    }
    let name =
        "small_checks::a_system_that_gives_no_thread_is_an_error_of_the_check_and_of_nothing_else";
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", name, "--test-threads=1"])
        .env(WITHOUT_THREADS, "yes")
        .env("RUST_MIN_STACK", (1_u64 << 60).to_string())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&child.stdout);
    assert!(
        child.status.success() && said.contains("1 passed"),
        "{child:?}"
    );
}

async fn without_threads() {
    let blocking = checks::blocking("blocking", || ());
    let health = patience()
        .check(blocking)
        .check(check("plain", || async {}))
        .on_change(|change| panic!("told without a thread: {change:?}"))
        .build()
        .unwrap();
    let report = health.check().await;
    let refused = of(&report, "blocking");
    assert_eq!(refused.status, Status::Down);
    assert_eq!(refused.reason, Some(Reason::Failed));
    let error = std::thread::Builder::new().spawn(|| ()).unwrap_err();
    assert_eq!(refused.error.as_deref(), Some(&*error.to_string()));
    assert_eq!(of(&report, "plain").status, Status::Up);
}
