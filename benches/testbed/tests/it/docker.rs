use std::process::Command;
use std::time::{Duration, Instant};

#[test]
fn an_absent_engine_is_said_within_two_seconds() {
    let start = Instant::now();
    let output = Command::new(env!("CARGO_BIN_EXE_testbed-holder"))
        .env("BILTEN_TEST_SOURCE", "docker")
        .env("DOCKER_HOST", "unix:///nowhere/docker.sock")
        .output()
        .unwrap();
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(
        !output.status.success() && words.contains("no Docker engine answers"),
        "{words}"
    );
    assert!(words.contains("unset BILTEN_TEST_SOURCE"), "{words}");
    assert!(
        start.elapsed() < Duration::from_secs(2),
        "{:?}",
        start.elapsed()
    );
}
