//! Tables and indexes, made where they are missing.

use bilten_db::index::IndexSpec;
use sea_orm::sea_query::Index;
use sea_orm::{ConnectionTrait, DbBackend, DbErr, EntityTrait, Schema};

use crate::entity::{event, organizer, purchase, ticket, user, venue};

/// The seven indexes, the same on SQLite and PostgreSQL.
pub fn indexes() -> [IndexSpec; 7] {
    let index = IndexSpec::new;
    [
        index("idx_events_start_date", "events").column("start_date"),
        index("idx_events_organizer_id", "events").column("organizer_id"),
        // Before the composite: where SQLite finds both equally good it takes the older one, which needs no sort here.
        index("idx_active_events", "events")
            .column("start_date")
            .filter("status = 'published'"),
        index("idx_events_status_date_organizer", "events").columns([
            "status",
            "start_date",
            "organizer_id",
        ]),
        // Before the single column: where PostgreSQL finds both equally good it takes the younger one.
        index("idx_tickets_event_status_user", "tickets")
            .columns(["event_id", "status", "user_id"]),
        index("idx_tickets_event_id", "tickets").column("event_id"),
        index("idx_tickets_user_id", "tickets").column("user_id"),
    ]
}

/// Makes every table and index that is not there yet.
///
/// # Errors
/// The database's error for the first statement it refused.
pub async fn create(db: &impl ConnectionTrait) -> Result<(), DbErr> {
    // A table comes after those that it points to.
    create_table(db, organizer::Entity).await?;
    create_table(db, venue::Entity).await?;
    create_table(db, user::Entity).await?;
    create_table(db, event::Entity).await?;
    create_table(db, ticket::Entity).await?;
    create_table(db, purchase::Entity).await?;
    indexes_up(db).await
}

/// The migration that brings the seven indexes: what `up` of a `MigrationTrait` calls with `manager.get_connection()`.
/// May be run again, and mends what a run left behind that was cut off.
///
/// # Errors
/// The database's error for the first index that it refused, or the difference to one of the same name.
pub async fn indexes_up(db: &impl ConnectionTrait) -> Result<(), DbErr> {
    for index in indexes() {
        index.ensure(db).await?;
    }
    Ok(())
}

/// The way back: what `down` calls. An index that is not there is no error.
///
/// # Errors
/// The database's error for the first index that it kept.
pub async fn indexes_down(db: &impl ConnectionTrait) -> Result<(), DbErr> {
    for index in indexes() {
        let mut drop = Index::drop();
        db.execute(drop.name(index.name()).if_exists()).await?;
    }
    Ok(())
}

/// Keeps other processes out until the transaction ends, so that two services that start at once do not both
/// make the tables. SQLite has one writer anyway.
///
/// # Errors
/// The database's error when the lock cannot be taken.
pub async fn lock(tx: &impl ConnectionTrait) -> Result<(), DbErr> {
    if tx.get_database_backend() == DbBackend::Postgres {
        tx.execute_unprepared(&format!("SELECT pg_advisory_xact_lock({LOCK})"))
            .await?;
    }
    Ok(())
}

async fn create_table<E: EntityTrait>(db: &impl ConnectionTrait, entity: E) -> Result<(), DbErr> {
    let mut table = Schema::new(db.get_database_backend()).create_table_from_entity(entity);
    db.execute(table.if_not_exists()).await?;
    Ok(())
}

/// Any number that nothing else in the database locks.
const LOCK: i64 = 0x6269_6c74_656e;
