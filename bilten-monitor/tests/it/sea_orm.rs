//! The observer on a real SQLite database.

use std::future::Future;
use std::task::{Context, Waker};

use bilten_monitor::observe::Observed;
use futures_util::TryStreamExt;
use sea_orm::entity::prelude::*;
use sea_orm::{
    ActiveValue::Set, ConnectOptions, ConnectionTrait, Database, DatabaseConnection, DbBackend,
    Statement, StreamTrait, TransactionSession, TransactionTrait,
};

use crate::scene::Scene;

const COUNT: &str = "db_client_operation_duration_seconds_count";
const ACTIVE: &str = "db_client_active_operations";

mod event {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
    #[sea_orm(table_name = "events")]
    pub(super) struct Model {
        #[sea_orm(primary_key)]
        pub id: i32,
        #[sea_orm(unique)]
        pub title: String,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub(super) enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

async fn database(scene: &Scene) -> Observed<DatabaseConnection> {
    let mut options = ConnectOptions::new("sqlite::memory:");
    options.max_connections(1).sqlx_logging(false);
    let db = scene
        .monitor
        .observe(Database::connect(options).await.expect("a database"));
    db.execute_unprepared(
        "CREATE TABLE events (id integer primary key, title text not null unique)",
    )
    .await
    .expect("a table");
    db
}

async fn insert(db: &impl ConnectionTrait, title: &str) -> Result<event::Model, DbErr> {
    event::ActiveModel {
        title: Set(title.to_owned()),
        ..Default::default()
    }
    .insert(db)
    .await
}

/// The observations of statements whose name begins like this.
fn count(scene: &Scene, name: &str, outcome: &str) -> f64 {
    let scrape = scene.scrape();
    let named = scrape
        .matching(COUNT, &[])
        .filter(|series| series.labels["db_query_summary"].starts_with(name));
    named
        .filter(|series| series.labels["outcome"] == outcome)
        .map(|series| series.value)
        .sum()
}

#[tokio::test]
async fn every_statement_is_named_by_what_it_does_and_to_which_table() {
    let scene = Scene::new();
    let db = database(&scene).await;
    let event = insert(&db, "a secret concert").await.expect("inserted");
    assert_eq!(event.title, "a secret concert");
    assert_eq!(
        event::Entity::find_by_id(event.id)
            .one(&db)
            .await
            .expect("found"),
        Some(event.clone())
    );
    assert_eq!(
        event::Entity::find().all(&db).await.expect("listed"),
        std::slice::from_ref(&event)
    );
    event.delete(&db).await.expect("deleted");
    // Without RETURNING, SeaORM reads the inserted row back with the statement of `find_by_id`; another package of the
    // same build can have switched RETURNING on.
    let selects = if db.support_returning() { 2.0 } else { 3.0 };
    for name in ["CREATE ", "INSERT events ", "DELETE events "] {
        assert_eq!(count(&scene, name, "success"), 1.0, "{name}");
    }
    assert_eq!(count(&scene, "SELECT events ", "success"), selects);
    let names: Vec<_> = scene
        .scrape()
        .values_of("db_query_summary")
        .into_iter()
        .map(str::to_owned)
        .collect();
    assert_eq!(names.len(), 5, "two different selects: {names:?}");
    assert!(!scene.scrape().text.contains("secret"));
    assert_eq!(
        scene
            .scrape()
            .sum("db_client_response_returned_rows_count", &[]),
        3.0
    );
}

#[tokio::test]
async fn a_violated_constraint_is_an_error_of_its_own_kind() {
    let scene = Scene::new();
    let db = database(&scene).await;
    insert(&db, "once").await.expect("inserted");
    let refused = insert(&db, "once").await.expect_err("unique");
    assert!(
        refused.sql_err().is_some(),
        "the error is the database's own: {refused}"
    );
    assert_eq!(
        scene
            .scrape()
            .sum(COUNT, &[("error_type", "unique_violation")]),
        1.0
    );
}

#[tokio::test]
async fn a_statement_that_does_not_parse_is_an_error() {
    let scene = Scene::new();
    let db = database(&scene).await;
    assert!(db.execute_unprepared("SELEKT 'password'").await.is_err());
    assert_eq!(count(&scene, "SELEKT ", "error"), 1.0);
    assert!(!scene.scrape().text.contains("password"));
}

#[tokio::test]
async fn a_transaction_is_timed_from_begin_to_commit() {
    let scene = Scene::new();
    let db = database(&scene).await;
    let transaction = db.begin().await.expect("begun");
    insert(&transaction, "kept").await.expect("inserted");
    transaction.commit().await.expect("committed");
    let rolled_back = db.begin().await.expect("begun");
    insert(&rolled_back, "gone").await.expect("inserted");
    rolled_back.rollback().await.expect("rolled back");
    let titles: Vec<_> = event::Entity::find()
        .all(&db)
        .await
        .expect("listed")
        .into_iter()
        .map(|event| event.title)
        .collect();
    assert_eq!(titles, ["kept"]);
    assert_eq!(count(&scene, "BEGIN", "success"), 2.0);
    assert_eq!(count(&scene, "COMMIT", "success"), 1.0);
    assert_eq!(count(&scene, "ROLLBACK", "success"), 1.0);
    assert_eq!(count(&scene, "INSERT events ", "success"), 2.0);
}

#[tokio::test]
async fn a_transaction_closure_commits_and_rolls_back_as_without_the_observer() {
    let scene = Scene::new();
    let db = database(&scene).await;
    let kept = db
        .transaction::<_, i32, DbErr>(|tx| {
            Box::pin(async move { Ok(insert(tx, "kept").await?.id) })
        })
        .await;
    assert!(kept.is_ok());
    let failed = db
        .transaction::<_, (), DbErr>(|tx| {
            Box::pin(async move {
                insert(tx, "gone").await?;
                Err(DbErr::Custom("changed my mind".to_owned()))
            })
        })
        .await;
    assert!(failed.is_err());
    assert_eq!(
        event::Entity::find().all(&db).await.expect("listed").len(),
        1
    );
    assert_eq!(count(&scene, "COMMIT", "success"), 1.0);
    assert_eq!(count(&scene, "ROLLBACK", "success"), 1.0);
}

#[tokio::test]
async fn a_stream_is_timed_to_its_last_row_and_cancelled_when_dropped() {
    let scene = Scene::new();
    let db = database(&scene).await;
    for title in ["a", "b", "c"] {
        insert(&db, title).await.expect("inserted");
    }
    let select = || Statement::from_string(DbBackend::Sqlite, "SELECT title FROM events");
    let read_back = count(&scene, "SELECT events ", "success");
    {
        let mut rows = db.stream_raw(select()).await.expect("a stream");
        let mut seen = 0;
        while rows.try_next().await.expect("a row").is_some() {
            assert_eq!(
                count(&scene, "SELECT events ", "success"),
                read_back,
                "not before its end"
            );
            seen += 1;
        }
        assert_eq!(seen, 3);
    }
    assert_eq!(count(&scene, "SELECT events ", "success"), read_back + 1.0);
    let told = || {
        let scrape = scene.scrape();
        scrape.sum("db_client_response_returned_rows_sum", &[])
    };
    let before = told();
    {
        let mut rows = db.stream_raw(select()).await.expect("a stream");
        rows.try_next().await.expect("a row");
    }
    assert_eq!(count(&scene, "SELECT events ", "cancelled"), 1.0);
    assert_eq!(told(), before + 1.0, "the row that came before");
    assert_eq!(scene.scrape().sum(ACTIVE, &[]), 0.0);
    let broken = db
        .stream_raw(Statement::from_string(
            DbBackend::Sqlite,
            "SELECT nothing FROM nowhere",
        ))
        .await;
    let failed = match broken {
        Ok(mut rows) => rows.try_next().await.is_err(),
        Err(_) => true,
    };
    assert!(failed);
    assert_eq!(count(&scene, "SELECT nowhere ", "error"), 1.0);
}

#[tokio::test]
async fn a_statement_dropped_under_way_is_cancelled() {
    let scene = Scene::new();
    let db = database(&scene).await;
    // The only connection is taken, so the next statement waits for it.
    let holding = db.begin().await.expect("begun");
    let mut waiting = Box::pin(event::Entity::find().all(&db));
    assert!(
        waiting
            .as_mut()
            .poll(&mut Context::from_waker(Waker::noop()))
            .is_pending()
    );
    assert_eq!(scene.scrape().sum(ACTIVE, &[]), 1.0);
    drop(waiting);
    assert_eq!(count(&scene, "SELECT events ", "cancelled"), 1.0);
    assert_eq!(scene.scrape().sum(ACTIVE, &[]), 0.0);
    holding.rollback().await.expect("rolled back");
}

#[tokio::test]
async fn a_statement_dropped_by_the_panic_of_another_future_is_cancelled() {
    let scene = Scene::new();
    let db = database(&scene).await;
    insert(&db, "a").await.expect("inserted");
    let select = || Statement::from_string(DbBackend::Sqlite, "SELECT title FROM events");
    let mut rows = db.stream_raw(select()).await.expect("a stream");
    rows.try_next().await.expect("a row");
    // The only connection is the stream's, so this one waits.
    let other = db.clone();
    let both = async move {
        let sibling = async {
            tokio::task::yield_now().await;
            panic!("the sibling's own fault")
        };
        let waiting = event::Entity::find().all(&other);
        let opening = other.stream_raw(select());
        futures_util::future::join3(waiting, opening, sibling).await
    };
    let both = std::panic::AssertUnwindSafe(both);
    let panicked = futures_util::FutureExt::catch_unwind(both).await;
    assert!(panicked.is_err());
    assert_eq!(count(&scene, "SELECT events ", "panicked"), 0.0);
    assert_eq!(count(&scene, "SELECT events ", "cancelled"), 2.0);
}

#[tokio::test]
async fn statements_without_number_stay_bounded() {
    let scene = Scene::with(|builder| builder.max_label_values(20));
    let db = database(&scene).await;
    for n in 0..200 {
        db.execute_unprepared(&format!("SELECT 1 AS column_{n}"))
            .await
            .expect("run");
        db.execute_unprepared(&format!("SELECT title FROM events WHERE id = {n}"))
            .await
            .expect("run");
    }
    let scrape = scene.scrape();
    assert_eq!(scrape.values_of("db_query_summary").len(), 21);
    assert_eq!(
        count(&scene, "SELECT events ", "success"),
        200.0,
        "only the value differs"
    );
    assert_eq!(scrape.sum(COUNT, &[]), 401.0);
    assert!(scene.monitor.losses().overflowed > 100);
}
