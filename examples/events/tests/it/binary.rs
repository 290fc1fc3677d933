//! The program as people start it.

use std::io::{BufRead, BufReader, Read};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use bilten_testbed::{eventually, shared};

fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bilten-events"));
    for name in [
        "PORT",
        "REDIS_URL",
        "DATABASE_URL",
        "REPLICA_URLS",
        "DATA_DIR",
        "POOL_MAX",
    ] {
        command.env_remove(format!("BILTEN_EVENTS_{name}"));
    }
    command
}

fn finds_nothing_wrong(output: &Output, checks_redis: bool) {
    let said = String::from_utf8_lossy(&output.stdout);
    let all = format!("{said}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{all}");
    assert!(
        said.lines().any(|line| line.starts_with("smoke: all ")),
        "{all}"
    );
    assert_eq!(said.contains("redis"), checks_redis, "{all}");
}

#[test]
fn the_smoke_test_passes_without_servers() {
    finds_nothing_wrong(&program().arg("--smoke").output().unwrap(), false);
}

#[test]
fn the_smoke_test_passes_on_servers() {
    let redis = bilten_testbed::Redis::start().unwrap();
    let database = shared::postgres().unwrap().database("events").unwrap();
    let mut command = program();
    command.args([
        "--smoke",
        "--redis",
        &redis.url(),
        "--database",
        &database.primary_url(),
    ]);
    for url in database.replica_urls() {
        command.args(["--replica", &url]);
    }
    finds_nothing_wrong(&command.output().unwrap(), true);
}

#[test]
fn one_line_for_each_url_and_a_clean_end_on_sigterm() {
    let mut service = program()
        .args(["--port", "0"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(service.stdout.take().unwrap());
    let mut first = String::new();
    lines.read_line(&mut first).unwrap();
    assert!(first.starts_with("http://127.0.0.1:"), "{first}");
    let killed = Command::new("kill")
        .args(["-TERM", &service.id().to_string()])
        .status()
        .unwrap();
    assert!(killed.success());
    let mut rest = String::new();
    lines.read_to_string(&mut rest).unwrap();
    assert!(service.wait().unwrap().success());
    let paths: Vec<&str> = rest
        .lines()
        .chain([first.trim_end()])
        .filter_map(|line| line.split('/').next_back())
        .collect();
    for path in [
        "bilten", "events", "metrics", "livez", "readyz", "startupz", "healthz",
    ] {
        assert_eq!(
            paths.iter().filter(|last| **last == path).count(),
            1,
            "{path} in {first}{rest}"
        );
    }
}

#[test]
fn a_service_whose_redis_is_away_serves_and_ends_on_sigterm() {
    let mut service = program()
        .args(["--port", "0", "--redis", "redis://127.0.0.1:1"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut first = String::new();
    BufReader::new(service.stdout.as_mut().unwrap())
        .read_line(&mut first)
        .unwrap();
    assert!(first.starts_with("http://127.0.0.1:"), "{first}");
    let killed = Command::new("kill")
        .args(["-TERM", &service.id().to_string()])
        .status()
        .unwrap();
    assert!(killed.success());
    let mut ended = None;
    eventually(Duration::from_secs(30), || {
        ended = service.try_wait().unwrap();
        ended.is_some()
    });
    assert!(ended.is_some_and(|status| status.success()), "{ended:?}");
}

#[test]
fn mistakes_are_explained_in_one_line_without_the_password() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    for (flags, said) in [
        (vec!["--port", &port], "--port"),
        (
            vec![
                "--port",
                "0",
                "--database",
                "postgres://app:hunter2@127.0.0.1:1/none",
            ],
            "127.0.0.1:1",
        ),
        (
            vec![
                "--port",
                "0",
                "--database",
                "mongodb://app:hunter2@127.0.0.1/x",
            ],
            "postgres://user:password@host",
        ),
        (
            vec!["--port", "0", "--redis", "http://:hunter2@127.0.0.1"],
            "redis",
        ),
        (
            vec!["--port", "0", "--redis", "redis:app:hunter2"],
            "redis.url",
        ),
        (
            vec!["--port", "0", "--data-dir", "/dev/null"],
            "--data-dir /dev/null is there and is no directory",
        ),
    ] {
        let output = program()
            .args(&flags)
            .env("RUST_LOG", "off")
            .output()
            .unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success(), "{flags:?}");
        assert!(
            error.contains(said) && !error.contains("hunter2"),
            "{flags:?}: {error}"
        );
        assert_eq!(error.trim_end().lines().count(), 1, "{flags:?}: {error}");
    }
}
