use std::time::Duration;

use bilten_testbed::{Error, Redis, eventually};

#[test]
fn a_server_answers_and_keeps_what_it_is_told() {
    let redis = Redis::start().unwrap();
    assert_eq!(redis.cli(&["SET", "k", "v w"]).unwrap(), "OK");
    assert_eq!(redis.cli(&["GET", "k"]).unwrap(), "v w");
    assert_eq!(redis.url(), format!("redis://127.0.0.1:{}", redis.port()));
    let error = redis.cli(&["INCR", "k"]).unwrap_err();
    assert!(
        matches!(&error, Error::Refused { answer, .. } if answer.contains("not an integer")),
        "{error}"
    );
    assert!(
        redis.log_tail().contains("Ready to accept connections"),
        "{}",
        redis.log_tail()
    );
}

#[test]
fn a_killed_server_refuses_and_comes_back_empty_on_its_port() {
    let redis = Redis::start().unwrap();
    let run = |redis: &Redis| {
        let info = redis.cli(&["INFO", "server"]).unwrap();
        info.lines()
            .find(|line| line.starts_with("run_id:"))
            .unwrap()
            .to_owned()
    };
    let (port, first) = (redis.port(), run(&redis));
    redis.cli(&["SET", "k", "v"]).unwrap();
    redis.kill().unwrap();
    assert!(matches!(redis.cli(&["PING"]), Err(Error::Io { .. })));
    redis.kill().unwrap();
    redis.restart().unwrap();
    assert_eq!(redis.port(), port);
    assert_ne!(run(&redis), first);
    assert_eq!(redis.cli(&["EXISTS", "k"]).unwrap(), "0");
}

#[test]
fn a_paused_server_accepts_and_is_silent_until_it_goes_on() {
    let redis = Redis::start().unwrap();
    redis.cli(&["SET", "k", "v"]).unwrap();
    redis.pause().unwrap();
    let stream = std::net::TcpStream::connect(redis.addr()).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_millis(300)))
        .unwrap();
    std::io::Write::write_all(&mut &stream, b"PING\r\n").unwrap();
    let read = std::io::Read::read(&mut &stream, &mut [0; 8]).unwrap_err();
    assert!(
        matches!(
            read.kind(),
            std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut
        ),
        "{read}"
    );
    redis.resume().unwrap();
    eventually(Duration::from_secs(5), || {
        redis.cli(&["GET", "k"]).is_ok_and(|value| value == "v")
    });
}

#[test]
fn a_password_with_special_characters_is_asked_for_and_in_the_url() {
    let redis = Redis::builder()
        .password("p@ss \"w\\ö/#rd")
        .start()
        .unwrap();
    assert_eq!(redis.cli(&["PING"]).unwrap(), "PONG");
    assert_eq!(
        redis.url(),
        format!(
            "redis://:p%40ss%20%22w%5C%C3%B6%2F%23rd@127.0.0.1:{}",
            redis.port()
        )
    );
    let mut stream = std::net::TcpStream::connect(redis.addr()).unwrap();
    std::io::Write::write_all(&mut stream, b"PING\r\n").unwrap();
    let mut answer = [0; 7];
    std::io::Read::read_exact(&mut stream, &mut answer).unwrap();
    assert_eq!(&answer, b"-NOAUTH");
    assert!(
        !format!("{redis:?}").contains("p@ss"),
        "a password shows in Debug"
    );
}

#[test]
fn an_acl_user_has_only_the_rights_it_was_given() {
    let redis = Redis::builder()
        .user("app", "se cret", "~app:* +@read +@write")
        .start()
        .unwrap();
    assert!(
        redis.url().starts_with("redis://app:se%20cret@"),
        "{}",
        redis.url()
    );
    redis.cli(&["SET", "other", "v"]).unwrap();
    let rights = redis
        .cli(&["ACL", "DRYRUN", "app", "GET", "other"])
        .unwrap();
    assert!(
        rights.contains("no permissions") || rights.contains("No permissions"),
        "{rights}"
    );
    assert_eq!(
        redis
            .cli(&["ACL", "DRYRUN", "app", "GET", "app:1"])
            .unwrap(),
        "OK"
    );
}

#[test]
fn memory_has_the_limit_that_was_set() {
    let redis = Redis::builder().max_memory_bytes(3 << 20).start().unwrap();
    let large = "x".repeat(1 << 20);
    let outcome: Vec<_> = (0..8)
        .map(|i| redis.cli(&["SET", &i.to_string(), &large]))
        .collect();
    let refused = outcome
        .iter()
        .filter(|o| matches!(o, Err(Error::Refused { answer, .. }) if answer.starts_with("OOM")));
    assert!(refused.count() > 0, "{outcome:?}");
}

#[test]
fn a_unix_socket_is_there_when_asked_for() {
    let redis = Redis::builder().unix_socket().start().unwrap();
    let path = redis.unix_path().unwrap();
    assert_eq!(
        redis.unix_url().unwrap(),
        format!("redis+unix://{}", path.display())
    );
    let mut stream = std::os::unix::net::UnixStream::connect(&path).unwrap();
    std::io::Write::write_all(&mut stream, b"PING\r\n").unwrap();
    let mut answer = [0; 7];
    std::io::Read::read_exact(&mut stream, &mut answer).unwrap();
    assert_eq!(&answer, b"+PONG\r\n");
}

#[test]
fn a_wrong_option_fails_at_once_with_the_servers_words() {
    let error = Redis::builder()
        .argument("no-such-option", "1")
        .start()
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("it ended") && error.contains("no-such-option"),
        "{error}"
    );
}

#[test]
fn with_tls_only_those_who_speak_it_are_heard() {
    let redis = Redis::builder().tls().password("secret").start().unwrap();
    assert_eq!(
        redis.cli(&["PING"]).unwrap(),
        "PONG",
        "our own commands work"
    );
    assert_eq!(
        redis.url(),
        format!("rediss://:secret@127.0.0.1:{}", redis.port())
    );
    let authority = redis.tls_files().unwrap().authority();
    let speak = |trusted: &std::path::Path| {
        let port = redis.port().to_string();
        let words = [
            "--tls",
            "--no-auth-warning",
            "-a",
            "secret",
            "-h",
            "localhost",
            "-p",
            &port,
            "--cacert",
        ];
        std::process::Command::new("redis-cli")
            .args(words)
            .arg(trusted)
            .arg("PING")
            .output()
            .unwrap()
    };
    assert_eq!(
        String::from_utf8_lossy(&speak(&authority).stdout).trim(),
        "PONG"
    );
    let other = Redis::builder().tls().start().unwrap();
    assert!(
        !speak(&other.tls_files().unwrap().authority())
            .status
            .success(),
        "another authority is not trusted"
    );
    let mut plain = std::net::TcpStream::connect(redis.addr()).unwrap();
    plain
        .set_read_timeout(Some(Duration::from_secs(5)))
        .unwrap();
    std::io::Write::write_all(&mut plain, b"PING\r\n").unwrap();
    let mut heard = Vec::new();
    let _ = std::io::Read::read_to_end(&mut plain, &mut heard);
    assert!(
        !heard.starts_with(b"+PONG") && !heard.starts_with(b"-NOAUTH"),
        "{heard:?}"
    );
}
