//! Redis as it comes and goes, with a real server.

use crate::doubles::{health, ms, of, patient};
use crate::polling::{becomes, until};
use bilten_health::{CheckReport, Health, Reason, Status, checks};
use bilten_testbed::{Redis, shared};
use fred::prelude::*;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// As the documentation of the check advises: it goes on trying, from the start.
fn patiently(url: &str) -> Builder {
    let mut config = Config::from_url(url).unwrap();
    config.fail_fast = false;
    let mut builder = Builder::from_config(config);
    builder
        .with_connection_config(|connection| connection.connection_timeout = ms(1000))
        .set_policy(ReconnectPolicy::new_constant(0, 50));
    builder
}

fn unconnected(url: &str) -> Client {
    patiently(url).build().unwrap()
}

async fn client(url: &str) -> Client {
    let client = unconnected(url);
    client.init().await.unwrap();
    client
}

fn checking(client: &Client) -> Health {
    health([checks::redis("redis", client).cache(Duration::ZERO)])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_answers_is_up() {
    let client = client(&shared::redis().unwrap()).await;
    let report = patient([checks::redis("redis", &client)]).check().await;
    assert_eq!(report.status, Status::Up, "{}", report.to_json());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_killed_is_down_and_up_again_when_it_is_back() {
    let server = Redis::start().unwrap();
    let client = client(&server.url()).await;
    let health = health([checks::redis("redis", &client).cache(Duration::ZERO)]);
    becomes(&health, true).await;
    server.kill().unwrap();
    becomes(&health, false).await;
    let report = health.check().await;
    assert!(of(&report, "redis").error.is_some(), "{}", report.to_json());
    server.restart().unwrap();
    becomes(&health, true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_hangs_is_down_within_the_timeout() {
    let server = Redis::start().unwrap();
    let client = client(&server.url()).await;
    let health = health([checks::redis("redis", &client).cache(Duration::ZERO)]);
    becomes(&health, true).await;
    server.pause().unwrap();
    let report = health.check().await;
    assert_eq!(
        of(&report, "redis").reason,
        Some(Reason::Timeout),
        "{}",
        report.to_json()
    );
    server.resume().unwrap();
    becomes(&health, true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_primary_and_a_replica_tell_their_role_and_a_lost_primary_shows() {
    let (primary, replica) = (Redis::start().unwrap(), Redis::start().unwrap());
    let port = primary.port().to_string();
    replica.cli(&["REPLICAOF", "127.0.0.1", &port]).unwrap();
    let health_of_primary = checking(&client(&primary.url()).await);
    let health_of_replica = checking(&client(&replica.url()).await);
    let one_replica = |check: &CheckReport| check.details.get("replicas") == Some(&1.into());
    let report = until(&health_of_primary, "redis", one_replica).await;
    assert_eq!(
        (report.status, &report.details["role"]),
        (Status::Up, &"primary".into())
    );

    let linked = |check: &CheckReport| check.details.get("link") == Some(&"connected".into());
    let report = until(&health_of_replica, "redis", linked).await;
    assert_eq!(
        (report.status, &report.details["role"]),
        (Status::Up, &"replica".into())
    );

    primary.kill().unwrap();
    let report = until(&health_of_replica, "redis", |check| {
        check.status == Status::Degraded
    })
    .await;
    let error = report.error.as_deref().unwrap();
    assert!(error.contains("lost its primary"), "{error}");
}

// The order: the data set is slow to load, the load begins, the check says so, the load becomes quick and ends.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_loads_its_data_is_down_and_says_so() {
    let server = Redis::builder()
        .argument("loading-process-events-interval-bytes", "1024")
        .start()
        .unwrap();
    server
        .cli(&["DEBUG", "POPULATE", "20000", "key", "64"])
        .unwrap();
    let health = checking(&client(&server.url()).await);
    becomes(&health, true).await;
    // A millisecond for each key: twenty seconds, unless it is told to hurry.
    server
        .cli(&["CONFIG", "SET", "key-load-delay", "1000"])
        .unwrap();
    std::thread::scope(|scope| {
        // Its answer comes with the end of the load, and nobody waits so long for an answer.
        let reload = scope.spawn(|| server.cli(&["DEBUG", "RELOAD"]));
        let runtime = tokio::runtime::Handle::current();
        let report = tokio::task::block_in_place(|| {
            runtime.block_on(until(&health, "redis", |check| {
                check.reason == Some(Reason::Loading)
            }))
        });
        assert_eq!(report.status, Status::Down);
        let error = report.error.as_deref().unwrap();
        assert!(error.contains("loading its data"), "{error}");
        server
            .cli(&["CONFIG", "SET", "key-load-delay", "0"])
            .unwrap();
        let _ = reload.join().unwrap();
    });
    becomes(&health, true).await;
}

// The order: the client is there before the server, the check is asked, the server starts.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_was_never_there_is_not_connected_yet() {
    let server = Redis::start().unwrap();
    server.kill().unwrap();
    let client = unconnected(&server.url());
    let health = checking(&client);
    let not_yet =
        "not connected yet: the server is not there, or the client's `connect` was never called";
    // Where the machine is busy a run may be over before the check itself has noticed.
    let says_so = |check: &CheckReport| check.error.as_deref() == Some(not_yet);
    until(&health, "redis", says_so).await;
    client.connect();
    for _ in 0..3 {
        until(&health, "redis", says_so).await;
    }
    server.restart().unwrap();
    becomes(&health, true).await;
    server.kill().unwrap();
    let lost = until(&health, "redis", |check| !check.healthy).await;
    assert_ne!(lost.error.as_deref(), Some(not_yet), "it was connected");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_who_may_not_ask_for_the_role_gets_an_answer_without_it() {
    let server = Redis::builder()
        .user("app", "secret", "~* &* +@all -role")
        .start()
        .unwrap();
    let report = until(&checking(&client(&server.url()).await), "redis", |check| {
        check.healthy
    })
    .await;
    assert_eq!(report.status, Status::Up);
    assert!(report.details.is_empty(), "{:?}", report.details);
}

const NOT_ACCEPTED: &str =
    "authentication failed, the server does not accept the client's user name and password";

fn not_accepted(check: &CheckReport) -> bool {
    let error = check.error.as_deref().unwrap_or_default();
    assert!(!error.contains("secret"), "{error}");
    error.starts_with(NOT_ACCEPTED) && error.contains("WRONGPASS")
}

// The order: wrong from the start, then right, then changed while connected, then right again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_does_not_accept_the_password_says_so_and_the_password_is_not_told() {
    let server = Redis::builder()
        .user("app", "other-secret", "~* &* +@all")
        .start()
        .unwrap();
    let url = server.url().replace("other-secret", "my-secret");
    let client = unconnected(&url);
    let pool = patiently(&url).build_pool(2).unwrap();
    let of_both = [
        checking(&client),
        health([checks::redis("redis", &pool).cache(Duration::ZERO)]),
    ];
    let _tasks = (client.connect(), pool.connect());
    for health in &of_both {
        assert_eq!(
            until(health, "redis", not_accepted).await.status,
            Status::Down
        );
    }
    server
        .cli(&["ACL", "SETUSER", "app", ">my-secret"])
        .unwrap();
    for health in &of_both {
        becomes(health, true).await;
    }
    server
        .cli(&["ACL", "SETUSER", "app", "resetpass", ">a-third-secret"])
        .unwrap();
    server.cli(&["CLIENT", "KILL", "USER", "app"]).unwrap();
    for health in &of_both {
        until(health, "redis", not_accepted).await;
    }
    server
        .cli(&["ACL", "SETUSER", "app", ">my-secret"])
        .unwrap();
    for health in &of_both {
        becomes(health, true).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_wants_a_password_and_gets_none_says_so() {
    let server = Redis::builder().password("secret").start().unwrap();
    let client = unconnected(&format!("redis://{}", server.addr()));
    let _task = client.connect();
    let wanted = |check: &CheckReport| {
        let error = check.error.as_deref().unwrap_or_default();
        error.starts_with(NOT_ACCEPTED) && error.contains("NOAUTH")
    };
    until(&checking(&client), "redis", wanted).await;
}

/// Something that speaks the protocol and is no Redis: whatever it is told, it answers `+HELLO`.
async fn impostor(listener: TcpListener) {
    while let Ok((stream, _)) = listener.accept().await {
        tokio::spawn(answer_hello(stream));
    }
}

async fn answer_hello(stream: TcpStream) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    loop {
        line.clear();
        if stream.read_line(&mut line).await? == 0 {
            return Ok(());
        }
        let words: usize = line.trim_start_matches('*').trim().parse().unwrap();
        for _ in 0..words {
            line.clear();
            stream.read_line(&mut line).await?;
            let length: usize = line.trim_start_matches('$').trim().parse().unwrap();
            stream.read_exact(&mut vec![0; length + 2]).await?;
        }
        stream.write_all(b"+HELLO\r\n").await?;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_answers_something_else_is_down() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("redis://{}", listener.local_addr().unwrap());
    tokio::spawn(impostor(listener));
    let client = unconnected(&url);
    client.connect();
    let health = checking(&client);
    let other = |check: &CheckReport| {
        let error = check.error.as_deref();
        error.is_some_and(|error| error.contains("something else than PONG"))
    };
    assert_eq!(until(&health, "redis", other).await.status, Status::Down);
}
