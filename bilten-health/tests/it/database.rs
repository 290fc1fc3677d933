//! A database as it comes and goes, with a real server.

#[cfg(any(feature = "postgres", feature = "sqlite"))]
use crate::doubles::unhurried;
use crate::doubles::{health, ms, of, patient};
use crate::polling::becomes;
#[cfg(any(feature = "postgres", feature = "sqlite"))]
use crate::polling::until;
#[cfg(any(feature = "postgres", feature = "sqlite"))]
use bilten_health::CheckReport;
use bilten_health::{Reason, Status, checks};
use bilten_testbed::{Postgres, shared};
use sea_orm::{ConnectOptions, ConnectionTrait, Database, DatabaseConnection, TransactionTrait};
use std::time::Duration;

async fn connect(url: String) -> DatabaseConnection {
    let mut options = ConnectOptions::new(url);
    options
        .max_connections(2)
        .acquire_timeout(Duration::from_secs(5))
        .sqlx_logging(false);
    Database::connect(options).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_answers_is_up() {
    let database = shared::postgres().unwrap().database("health").unwrap();
    let connection = connect(database.primary_url()).await;
    let report = patient([checks::database("postgres", &connection)])
        .check()
        .await;
    assert_eq!(report.status, Status::Up, "{}", report.to_json());
}

#[tokio::test]
async fn sqlite_in_memory_is_up() {
    let connection = connect("sqlite::memory:".into()).await;
    assert!(
        patient([checks::database("sqlite", &connection)])
            .check()
            .await
            .healthy
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_is_killed_is_down_and_up_again_when_it_is_back() {
    let server = Postgres::start().unwrap();
    let connection = connect(server.primary().url()).await;
    let health = health([checks::database("postgres", &connection).cache(Duration::ZERO)]);
    becomes(&health, true).await;
    server.primary().kill().unwrap();
    becomes(&health, false).await;
    let report = health.check().await;
    assert!(
        of(&report, "postgres").error.is_some(),
        "{}",
        report.to_json()
    );
    server.primary().restart().unwrap();
    becomes(&health, true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_hangs_is_down_within_the_timeout() {
    let server = Postgres::start().unwrap();
    let connection = connect(server.primary().url()).await;
    let health = health([checks::database("postgres", &connection).cache(Duration::ZERO)]);
    becomes(&health, true).await;
    server.primary().pause().unwrap();
    let report = health.check().await;
    assert_eq!(
        of(&report, "postgres").reason,
        Some(Reason::Timeout),
        "{}",
        report.to_json()
    );
    server.primary().resume().unwrap();
    becomes(&health, true).await;
}

#[tokio::test]
async fn a_connection_that_is_closed_is_down_with_its_error() {
    let connection = connect("sqlite::memory:".into()).await;
    let health = health([checks::database("sqlite", &connection)]);
    connection.close().await.unwrap();
    let report = health.check().await;
    assert_eq!(report.status, Status::Down);
    assert!(of(&report, "sqlite").error.is_some());
}

async fn one_connection(url: String) -> DatabaseConnection {
    let mut options = ConnectOptions::new(url);
    options
        .max_connections(1)
        .acquire_timeout(Duration::from_secs(5))
        .sqlx_logging(false);
    Database::connect(options).await.unwrap()
}

/// Where the machine is busy a run may be over before the check itself has noticed.
#[cfg(any(feature = "postgres", feature = "sqlite"))]
fn is_full(check: &CheckReport) -> bool {
    check.reason == Some(Reason::Saturated)
}

// The order: the only connection is taken by a transaction, then the question comes, then the transaction ends.
#[cfg(feature = "postgres")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_pool_is_degraded_and_not_down() {
    let database = shared::postgres().unwrap().database("full").unwrap();
    let connection = one_connection(database.primary_url()).await;
    let health = unhurried([checks::database("postgres", &connection).cache(Duration::ZERO)]);
    becomes(&health, true).await;
    let transaction = connection.begin().await.unwrap();
    for _ in 0..2 {
        let report = until(&health, "postgres", is_full).await;
        assert_eq!(report.status, Status::Degraded, "{report:?}");
    }
    transaction.rollback().await.unwrap();
    becomes(&health, true).await;
    assert_eq!(health.check().await.status, Status::Up);
}

#[cfg(feature = "sqlite")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_pool_to_sqlite_is_degraded_and_not_down() {
    let connection = one_connection("sqlite::memory:".into()).await;
    let health = unhurried([checks::database("sqlite", &connection).cache(Duration::ZERO)]);
    becomes(&health, true).await;
    let transaction = connection.begin().await.unwrap();
    let report = until(&health, "sqlite", is_full).await;
    assert_eq!(report.status, Status::Degraded, "{report:?}");
    transaction.rollback().await.unwrap();
    becomes(&health, true).await;
}

// The question itself takes the only connection and gets no answer: the pool is full, and that is no excuse.
#[cfg(feature = "postgres")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_hangs_is_down_however_small_its_pool() {
    let server = Postgres::start().unwrap();
    let connection = one_connection(server.primary().url()).await;
    let health = health([checks::database("postgres", &connection).cache(Duration::ZERO)]);
    becomes(&health, true).await;
    server.primary().pause().unwrap();
    for _ in 0..3 {
        let report = health.check().await;
        assert_eq!(report.status, Status::Down, "{}", report.to_json());
    }
    server.primary().resume().unwrap();
    becomes(&health, true).await;
}

// The order: the check is up and its connection back in the pool, the server ends the session behind it, the next question goes into it.
#[cfg(feature = "postgres")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_question_that_fails_is_down_and_leaves_no_broken_connection_behind() {
    let database = shared::postgres().unwrap().database("broken").unwrap();
    let mut options = ConnectOptions::new(database.primary_url());
    options
        .max_connections(1)
        .test_before_acquire(false)
        .sqlx_logging(false);
    let connection = Database::connect(options).await.unwrap();
    let health = patient([checks::database("postgres", &connection).cache(Duration::ZERO)]);
    becomes(&health, true).await;
    let end_all_others = "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity \
                          WHERE datname = current_database() AND pid <> pg_backend_pid()";
    let other = one_connection(database.primary_url()).await;
    let pool = connection.get_postgres_connection_pool();
    let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
    while pool.num_idle() == 0 {
        let now = tokio::time::Instant::now();
        assert!(now < deadline, "the connection never came back");
        tokio::time::sleep(ms(5)).await;
    }
    other.execute_unprepared(end_all_others).await.unwrap();
    let report = health.check().await;
    assert_eq!(
        (report.status, of(&report, "postgres").reason),
        (Status::Down, Some(Reason::Failed)),
        "{}",
        report.to_json()
    );
    becomes(&health, true).await;
}
