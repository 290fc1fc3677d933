//! Every SELECT of the service, without a database: each says which index it is for, and a test holds it to that.

use sea_orm::sea_query::{Expr, ExprTrait, Func, LikeExpr};
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter, QueryOrder, Select};
use time::OffsetDateTime;

use super::request::Cursor;
use crate::entity::{event, organizer, ticket, venue};

/// Events with their organizer and venue, to be narrowed down and projected.
#[must_use]
pub fn events() -> Select<event::Entity> {
    event::Entity::find()
        .inner_join(organizer::Entity)
        .inner_join(venue::Entity)
}

/// What the list shows, the earliest first: `idx_active_events`.
///
/// `q` looks for a part of the title and `city` for the whole name of the town, both without regard to case.
#[must_use]
pub fn published(q: Option<&str>, city: Option<&str>) -> Select<event::Entity> {
    let mut select = event::Entity::find().filter(has_status("published"));
    if let Some(q) = q {
        select = select.filter(lower(event::Column::Title).like(containing(q)));
    }
    if let Some(city) = city {
        select = select
            .inner_join(venue::Entity)
            .filter(lower(venue::Column::City).eq(city.to_lowercase()));
    }
    // The id settles the order of events that begin together: pages must not overlap.
    select
        .order_by_asc(event::Column::StartDate)
        .order_by_asc(event::Column::Id)
}

/// Those of [`published`] that come after one of them, without counting from the start: `idx_active_events`.
#[must_use]
pub fn following(published: Select<event::Entity>, last: Cursor) -> Select<event::Entity> {
    let Cursor { start_date, id } = last;
    // The first condition is implied by the second, but it is the one that an index understands.
    published
        .filter(event::Column::StartDate.gte(start_date))
        .filter(
            event::Column::StartDate
                .gt(start_date)
                .or(event::Column::Id.gt(id)),
        )
}

/// What an editor looks through, by date and organizer: `idx_events_status_date_organizer`.
#[must_use]
pub fn with_status(
    status: event::Status,
    from: OffsetDateTime,
    to: OffsetDateTime,
) -> Select<event::Entity> {
    event::Entity::find()
        .filter(event::Column::Status.eq(status))
        .filter(event::Column::StartDate.between(from, to))
        .order_by_asc(event::Column::StartDate)
        .order_by_asc(event::Column::OrganizerId)
}

/// Everything that begins in a span of time, whatever its status: `idx_events_start_date`.
#[must_use]
pub fn beginning_between(from: OffsetDateTime, to: OffsetDateTime) -> Select<event::Entity> {
    event::Entity::find()
        .filter(event::Column::StartDate.between(from, to))
        .order_by_asc(event::Column::StartDate)
}

/// Everything one organizer makes: `idx_events_organizer_id`.
#[must_use]
pub fn of_organizer(organizer: i64) -> Select<event::Entity> {
    event::Entity::find().filter(event::Column::OrganizerId.eq(organizer))
}

/// The tickets of one event: `idx_tickets_event_id`.
#[must_use]
pub fn tickets_of(event: i64) -> Select<ticket::Entity> {
    ticket::Entity::find().filter(ticket::Column::EventId.eq(event))
}

/// The tickets of one user: `idx_tickets_user_id`.
#[must_use]
pub fn tickets_of_user(user: i64) -> Select<ticket::Entity> {
    ticket::Entity::find().filter(ticket::Column::UserId.eq(user))
}

/// The tickets that one user holds for one event: `idx_tickets_event_status_user`.
#[must_use]
pub fn held_by(event: i64, user: i64) -> Select<ticket::Entity> {
    ticket::Entity::find()
        .filter(ticket::Column::EventId.eq(event))
        .filter(ticket::Column::Status.eq(ticket::Status::Sold))
        .filter(ticket::Column::UserId.eq(user))
}

/// Written into the statement instead of bound: a planner takes a partial index only when it can see the value.
fn has_status(status: &'static str) -> Expr {
    Expr::col((event::Entity, event::Column::Status)).eq(Expr::Constant(status.into()))
}

fn lower<C: ColumnTrait>(column: C) -> Expr {
    Func::lower(Expr::col(column.as_column_ref())).into()
}

/// `%` and `_` in what a visitor types mean themselves.
fn containing(text: &str) -> LikeExpr {
    let mut pattern = String::with_capacity(text.len() + 2);
    pattern.push('%');
    for c in text.to_lowercase().chars() {
        if matches!(c, '%' | '_' | '\\') {
            pattern.push('\\');
        }
        pattern.push(c);
    }
    pattern.push('%');
    LikeExpr::new(pattern).escape('\\')
}

#[cfg(test)]
mod tests {
    use super::published;
    use sea_orm::{DbBackend, QueryTrait};

    #[test]
    fn the_status_is_a_literal_and_the_search_is_bound() {
        for backend in [DbBackend::Sqlite, DbBackend::Postgres] {
            let statement = published(Some("50%'; DROP"), Some("Celje")).build(backend);
            assert!(
                statement.sql.contains(r#""status" = 'published'"#),
                "{}",
                statement.sql
            );
            assert!(!statement.sql.contains("DROP"), "{}", statement.sql);
            assert!(
                format!("{:?}", statement.values).contains(r"50\\%"),
                "{:?}",
                statement.values
            );
        }
    }
}
