//! Each of the seven indexes is used by the query it is for.

use bilten_events::entity::event::Status;
use bilten_events::events::queries;
use bilten_events::events::request::Cursor;
use bilten_events::{schema, seed_data};
use sea_orm::{ConnectionTrait, Database, DbBackend, QuerySelect, QueryTrait, Statement};
use time::macros::datetime;

#[tokio::test]
async fn sqlite_uses_each_index_for_its_query() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!(
        "sqlite://{}?mode=rwc",
        folder.path().join("events.db").display()
    );
    let db = Database::connect(url).await.unwrap();
    schema::create(&db).await.unwrap();
    assert!(seed_data::plant(&db).await.unwrap());
    every_index_is_used(&db).await;
    let count = "select count(*) from sqlite_master where type = 'index' and name like 'idx_%'";
    the_migration_goes_both_ways(&db, count).await;
}

#[tokio::test]
async fn postgres_uses_each_index_for_its_query() {
    let database = bilten_testbed::shared::postgres()
        .unwrap()
        .database("events")
        .unwrap();
    let db = Database::connect(database.primary_url()).await.unwrap();
    schema::create(&db).await.unwrap();
    assert!(seed_data::plant(&db).await.unwrap());
    every_index_is_used(&db).await;
    let count =
        "select count(*) from pg_indexes where schemaname = 'public' and indexname like 'idx_%'";
    the_migration_goes_both_ways(&db, count).await;
}

/// Up, up again, down, down again, and up.
async fn the_migration_goes_both_ways(db: &impl ConnectionTrait, count: &str) {
    let indexes = async || {
        let counted = Statement::from_string(db.get_database_backend(), count);
        let row = db.query_one_raw(counted).await.unwrap().unwrap();
        row.try_get_by_index::<i64>(0).unwrap()
    };
    for (up, expected) in [(true, 7), (true, 7), (false, 0), (false, 0), (true, 7)] {
        match up {
            true => schema::indexes_up(db).await.unwrap(),
            false => schema::indexes_down(db).await.unwrap(),
        }
        assert_eq!(indexes().await, expected);
    }
}

async fn every_index_is_used(db: &impl ConnectionTrait) {
    let (from, to) = (
        datetime!(2027-03-01 0:00 UTC),
        datetime!(2027-03-08 0:00 UTC),
    );
    let quarter_end = datetime!(2027-06-01 0:00 UTC);
    let page = queries::published(None, None).limit(20);
    let middle = Cursor {
        start_date: quarter_end,
        id: 4_000,
    };
    let mut unused = Vec::new();
    for (index, statement) in [
        ("idx_active_events", build(db, &page)),
        (
            "idx_active_events",
            build(
                db,
                &queries::following(queries::published(None, None), middle).limit(21),
            ),
        ),
        (
            "idx_events_status_date_organizer",
            build(
                db,
                &queries::with_status(Status::Cancelled, from, quarter_end),
            ),
        ),
        (
            "idx_events_start_date",
            build(db, &queries::beginning_between(from, to)),
        ),
        (
            "idx_events_organizer_id",
            build(db, &queries::of_organizer(7)),
        ),
        ("idx_tickets_event_id", build(db, &queries::tickets_of(7))),
        (
            "idx_tickets_user_id",
            build(db, &queries::tickets_of_user(7)),
        ),
        (
            "idx_tickets_event_status_user",
            build(db, &queries::held_by(7, 7)),
        ),
    ] {
        let sql = statement.sql.clone();
        let plan = explain(db, statement).await;
        if !plan.contains(index) {
            unused.push(format!("{index} is not used by {sql}\n{plan}\n"));
        }
    }
    assert!(unused.is_empty(), "{}", unused.join("\n"));
}

fn build(db: &impl ConnectionTrait, select: &impl QueryTrait) -> Statement {
    select.build(db.get_database_backend())
}

async fn explain(db: &impl ConnectionTrait, mut statement: Statement) -> String {
    let (prefix, column) = match db.get_database_backend() {
        DbBackend::Sqlite => ("EXPLAIN QUERY PLAN", "detail"),
        _ => ("EXPLAIN", "QUERY PLAN"),
    };
    statement.sql = format!("{prefix} {}", statement.sql);
    let rows = db.query_all_raw(statement).await.unwrap();
    let lines = rows
        .iter()
        .map(|row| row.try_get::<String>("", column).unwrap());
    lines.collect::<Vec<_>>().join("\n")
}
