use std::time::{Duration, Instant};

use bilten_testbed::{Error, Postgres, eventually};

#[test]
fn replicas_stream_and_refuse_writes() {
    let postgres = Postgres::builder().replicas(2).start().unwrap();
    let database = postgres.create_database("Stream test").unwrap();
    postgres
        .primary()
        .psql_in(
            &database,
            "create table t as select generate_series(1, 3) as n, null as empty",
        )
        .unwrap();
    postgres.wait_for_replicas().unwrap();
    for replica in postgres.replicas() {
        assert_eq!(
            replica
                .psql_in(&database, "select * from t order by n")
                .unwrap(),
            "1|\n2|\n3|"
        );
        let error = replica.psql_in(&database, "delete from t").unwrap_err();
        assert!(
            matches!(&error, Error::Refused { answer, .. } if answer.starts_with("25006: ")),
            "{error}"
        );
    }
    assert!(database.starts_with("t_stream_test_"), "{database}");
    assert!(
        postgres
            .replica(1)
            .url_for(&database)
            .ends_with(&format!(":{}/{database}", postgres.replica(1).port()))
    );
}

#[test]
fn a_paused_replay_lags_exactly_until_it_goes_on() {
    let postgres = Postgres::builder().replicas(1).start().unwrap();
    let replica = postgres.replica(0);
    replica.pause_replay().unwrap();
    postgres.primary().psql("create table t (n int)").unwrap();
    let received = "select pg_last_wal_receive_lsn() > pg_last_wal_replay_lsn()";
    eventually(Duration::from_secs(10), || {
        replica.psql(received).unwrap() == "t"
    });
    assert!(
        replica.psql("select * from t").is_err(),
        "received and not applied"
    );
    replica.resume_replay().unwrap();
    postgres.wait_for_replicas().unwrap();
    assert_eq!(replica.psql("select count(*) from t").unwrap(), "0");
}

#[test]
fn a_stopped_walsender_holds_back_one_replica_only() {
    let postgres = Postgres::builder().replicas(2).start().unwrap();
    postgres.replica(0).stop_walsender().unwrap();
    postgres.primary().psql("create table t (n int)").unwrap();
    eventually(Duration::from_secs(10), || {
        postgres.replica(1).psql("select * from t").is_ok()
    });
    assert!(postgres.replica(0).psql("select * from t").is_err());
    postgres.replica(0).continue_walsender().unwrap();
    postgres.wait_for_replicas().unwrap();
    assert!(postgres.replica(0).psql("select * from t").is_ok());
}

#[test]
fn a_killed_primary_comes_back_with_its_data_and_replicas() {
    let postgres = Postgres::builder().replicas(1).start().unwrap();
    let primary = postgres.primary();
    let port = primary.port();
    primary.psql("create table t as select 7 as n").unwrap();
    primary.kill().unwrap();
    assert!(matches!(primary.psql("select 1"), Err(Error::Io { .. })));
    primary.restart().unwrap();
    assert_eq!(primary.port(), port);
    assert_eq!(primary.psql("select n from t").unwrap(), "7");
    postgres.wait_streaming().unwrap();
    primary.restart().unwrap();
    assert_eq!(
        primary.psql("select n from t").unwrap(),
        "7",
        "after a restart without a kill"
    );
}

#[test]
fn a_promoted_replica_takes_writes() {
    let postgres = Postgres::builder().replicas(1).start().unwrap();
    postgres.primary().psql("create table t (n int)").unwrap();
    postgres.wait_for_replicas().unwrap();
    postgres.primary().kill().unwrap();
    postgres.replica(0).promote().unwrap();
    postgres
        .replica(0)
        .psql("insert into t values (1)")
        .unwrap();
    assert_eq!(postgres.replica(0).psql("select n from t").unwrap(), "1");
}

#[test]
fn a_paused_node_is_silent_with_its_open_connections() {
    let postgres = Postgres::start().unwrap();
    let node = postgres.primary();
    std::thread::scope(|scope| {
        let sleeper = scope.spawn(|| {
            let start = Instant::now();
            node.psql("select pg_sleep(0.2)").map(|_| start.elapsed())
        });
        let busy = "select count(*) from pg_stat_activity where query like 'select pg_sleep%'";
        eventually(Duration::from_secs(5), || node.psql(busy).unwrap() != "0");
        node.pause().unwrap();
        assert!(
            std::net::TcpStream::connect(node.addr()).is_ok(),
            "the kernel still accepts"
        );
        std::thread::sleep(Duration::from_millis(600));
        assert!(!sleeper.is_finished(), "a backend still runs");
        node.resume().unwrap();
        assert!(sleeper.join().unwrap().unwrap() >= Duration::from_millis(500));
    });
}

#[test]
fn a_few_connections_fill_a_small_server() {
    let postgres = Postgres::builder()
        .replicas(1)
        .max_connections(12)
        .start()
        .unwrap();
    assert_eq!(
        postgres.replica(0).psql("show max_connections").unwrap(),
        "12"
    );
    assert_eq!(
        postgres.primary().psql("show synchronous_commit").unwrap(),
        "on"
    );
}

#[test]
fn a_member_of_needs_password_must_give_the_right_one() {
    let postgres = Postgres::start().unwrap();
    let node = postgres.primary();
    node.psql("create role app login password 'right'; grant needs_password to app")
        .unwrap();
    let psql = |password: &str| {
        let url = node.url_as("app", password);
        std::process::Command::new("psql")
            .args([&url, "-Atc", "select 1"])
            .output()
            .unwrap()
    };
    assert!(psql("right").status.success());
    let wrong = psql("wrong");
    assert!(String::from_utf8_lossy(&wrong.stderr).contains("password authentication failed"));
}

#[test]
fn a_wrong_setting_fails_at_once_with_the_servers_words() {
    let error = Postgres::builder()
        .setting("shared_buffers", "many")
        .start()
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("it ended") && error.contains("shared_buffers"),
        "{error}"
    );
}
