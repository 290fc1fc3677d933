//! A database that speaks MySQL's protocol, as it comes and goes: a real MariaDB.

use crate::doubles::{health, of, unhurried};
use crate::polling::{becomes, until};
use bilten_health::{CheckReport, Health, Reason, Status, checks};
use bilten_testbed::MariaDb;
use sea_orm::{ConnectOptions, Database, DatabaseConnection, TransactionTrait};
use std::time::Duration;
use tokio::time::{Instant, sleep};

const DATABASE: &str = "shop";

fn start() -> MariaDb {
    let server = MariaDb::start().unwrap();
    let create = format!("create database {DATABASE}");
    server.primary().sql(&create).unwrap();
    server
}

async fn connect(url: String, connections: u32) -> DatabaseConnection {
    let mut options = ConnectOptions::new(url);
    options
        .max_connections(connections)
        .acquire_timeout(Duration::from_secs(5))
        .sqlx_logging(false);
    Database::connect(options).await.unwrap()
}

async fn checking(server: &MariaDb, connections: u32) -> (Health, DatabaseConnection) {
    let connection = connect(server.primary().url_for(DATABASE), connections).await;
    let check = checks::database("mariadb", &connection).cache(Duration::ZERO);
    let health = unhurried([check]);
    becomes(&health, true).await;
    (health, connection)
}

/// The answer to the last question has come, and its connection lies in the pool again.
async fn rests(connection: &DatabaseConnection) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while connection.get_mysql_connection_pool().num_idle() == 0 {
        assert!(Instant::now() < deadline, "the connection never came back");
        sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mariadb_that_is_killed_is_down_and_up_again_when_it_is_back() {
    let server = start();
    let (health, _connection) = checking(&server, 2).await;
    server.primary().kill().unwrap();
    let check = until(&health, "mariadb", |check| !check.healthy).await;
    assert_eq!(check.status, Status::Down);
    assert!(check.error.is_some(), "{check:?}");
    server.primary().restart().unwrap();
    becomes(&health, true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mariadb_that_hangs_is_down_within_the_timeout_however_small_its_pool() {
    let server = start();
    let (health, connection) = checking(&server, 1).await;
    rests(&connection).await;
    server.primary().pause().unwrap();
    for _ in 0..2 {
        let report = health.check().await;
        assert_eq!(report.status, Status::Down, "{}", report.to_json());
        let reason = of(&report, "mariadb").reason;
        assert_eq!(reason, Some(Reason::Timeout), "{}", report.to_json());
    }
    server.primary().resume().unwrap();
    becomes(&health, true).await;
}

// The order: the only connection is taken by a transaction, then the question comes, then the transaction ends.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_pool_to_a_mariadb_is_degraded_and_not_down() {
    let server = start();
    let (health, connection) = checking(&server, 1).await;
    let transaction = connection.begin().await.unwrap();
    // Where the machine is busy a run may be over before the check itself has noticed.
    let is_full = |check: &CheckReport| check.reason == Some(Reason::Saturated);
    let report = until(&health, "mariadb", is_full).await;
    assert_eq!(report.status, Status::Degraded, "{report:?}");
    transaction.rollback().await.unwrap();
    becomes(&health, true).await;
}

// The order: the check is up, the password is changed and the session ended, the next question has to log in again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mariadb_that_does_not_accept_the_login_any_more_is_down_and_the_password_is_not_told() {
    let server = start();
    let root = server.primary();
    root.sql("create user late@'%' identified by 'hunter2'")
        .unwrap();
    root.sql(&format!("grant all on {DATABASE}.* to late@'%'"))
        .unwrap();
    let connection = connect(root.url_as("late", "hunter2", DATABASE), 1).await;
    let health = health([checks::database("mariadb", &connection).cache(Duration::ZERO)]);
    becomes(&health, true).await;
    rests(&connection).await;
    root.sql("alter user late@'%' identified by 'other'; kill user late@'%'")
        .unwrap();
    let denied = |error: &str| error.contains("Access denied");
    let check = until(&health, "mariadb", |check| {
        !check.healthy && check.error.as_deref().is_some_and(denied)
    })
    .await;
    let report = health.check().await;
    assert_eq!(check.status, Status::Down);
    assert!(
        !report.to_json().contains("hunter2"),
        "{}",
        report.to_json()
    );
}
