//! Every example runs without servers, ends by itself, and shows what its first line promises.

#![allow(clippy::unwrap_used)]

use std::path::PathBuf;
use std::process::{Command, Output};

#[test]
fn two_level_cache_shows_the_second_process_hearing_of_the_change() {
    let said = run("two_level_cache");
    let told: Vec<&str> = said.lines().skip(1).collect();
    assert_eq!(
        told,
        [
            "here  3",
            "here  3",
            "there Some(4)",
            "Everywhere",
            "there None",
            "there 5"
        ]
    );
}

#[test]
fn http_cache_tells_what_it_did_for_each_request() {
    let said = run("http_cache");
    let said = said.replace("ttl=59", "ttl=60"); // a slow machine
    let told: Vec<&str> = said.lines().map(str::trim_end).collect();
    assert_eq!(
        told,
        [
            "GET 200 events          shop; fwd=uri-miss; fwd-status=200; stored",
            "GET 200 events          shop; hit; ttl=60",
            "GET 304                 shop; hit; ttl=60",
            "GET 200 Veranstaltungen shop; fwd=vary-miss; fwd-status=200; stored",
            "POST 200 created         shop; fwd=method; fwd-status=200",
            "GET 200 events          shop; fwd=uri-miss; fwd-status=200; stored",
            "Local",
            "GET 200 events          shop; fwd=uri-miss; fwd-status=200; stored",
        ]
    );
}

#[test]
fn read_replicas_prints_a_counted_page_and_both_nodes() {
    let said = run("read_replicas");
    for part in [
        r#""totalPages": 2"#,
        "page 0: page is 0",
        "primary is Primary, Up",
        "readers is Replica, Up",
    ] {
        assert!(said.contains(part), "{part} is missing:\n{said}");
    }
}

#[test]
fn query_metrics_counts_success_error_and_cancellation() {
    let said = run("query_metrics");
    let series = |name: &str, outcome: &str| {
        said.lines()
            .any(|line| line.contains(name) && line.contains(outcome) && line.ends_with(" 1"))
    };
    assert!(
        series("INSERT events", "success") && series("SELECT events", "error"),
        "{said}"
    );
    assert!(
        series("event_by_id", "success") && series("event_by_id", "cancelled"),
        "{said}"
    );
    assert!(said.contains("slow query"), "{said}");
}

#[test]
fn axum_health_hides_the_details_and_drains() {
    let said = run("axum_health");
    assert_eq!(
        said.matches("no route to host").count(),
        1,
        "for operators alone:\n{said}"
    );
    assert_eq!(said.matches("503 Service Unavailable").count(), 1, "{said}");
    assert_eq!(
        said.matches("/livez 200 OK").count(),
        2,
        "a shutdown never fails liveness:\n{said}"
    );
}

#[test]
fn rolling_stop_loses_no_request() {
    let said = run("rolling_stop");
    assert!(said.ends_with("\n0 requests lost\n"), "{said}");
    for name in ["one", "two", "three", "four"] {
        let steps = [
            "listens, /readyz 503",
            "has started, /readyz 200",
            "gets traffic",
            "stops, /readyz 503, /livez 200",
            "gets no traffic",
            "drained, 0 in flight",
            "is gone",
        ];
        for step in steps {
            let line = format!("{name:>5} {step}");
            assert!(said.lines().any(|said| said == line), "{line}:\n{said}");
        }
    }
}

#[test]
fn rolling_stop_without_a_drain_loses_requests_and_says_so() {
    let output = start("rolling_stop", &["--without-drain"]);
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(!said.contains("\n0 requests lost"), "{said}");
}

/// What the example prints.
fn run(example: &str) -> String {
    let output = start(example, &[]);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{said}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    said
}

/// Runs the example to its end. Cargo puts examples beside the folder of the tests.
fn start(example: &str, arguments: &[&str]) -> Output {
    let test = std::env::current_exe().unwrap();
    let mut program: PathBuf = test
        .parent()
        .and_then(|deps| deps.parent())
        .unwrap()
        .join("examples")
        .join(example);
    program.set_extension(std::env::consts::EXE_EXTENSION);
    let output = Command::new(&program)
        .args(arguments)
        .env_remove("REDIS_URL")
        .output();
    output.unwrap_or_else(|error| {
        panic!(
            "{}: {error}; build it with `cargo build --examples`",
            program.display()
        )
    })
}
