//! Reads and writes of events. Reads run wherever the given connection sends them; writes are one transaction each.

use bilten_db::{PageExt, PageRequest};
use sea_orm::{
    ActiveModelTrait, ActiveValue, ActiveValue::Set, ConnectionTrait, EntityTrait, IntoActiveModel,
    LoaderTrait, PaginatorTrait, QueryFilter, QuerySelect, Select, TransactionSession,
    TransactionTrait,
};

use super::queries;
use super::request::{Cursor, EventChange, ListRequest, NewEvent, Place, in_order};
use super::view::{
    Counts, EventDetail, EventList, EventSummary, EventView, Pagination, SummaryRow,
};
use crate::entity::{event, organizer, venue};
use crate::error::Error;

/// One page of what is published.
///
/// # Errors
/// 503 when the database fails.
pub async fn list(db: &impl ConnectionTrait, request: &ListRequest) -> Result<EventList, Error> {
    let published = queries::published(request.q.as_deref(), request.city.as_deref());
    let (rows, mut pagination, more) = match request.place {
        Place::Page(page) => numbered(db, published, page, request.limit).await?,
        Place::After(last) => {
            following(db, queries::following(published, last), request.limit).await?
        }
    };
    pagination.next = rows.last().filter(|_| more).map(|last| {
        let (start_date, id) = (last.start_date, last.id);
        Cursor { start_date, id }.to_string()
    });
    let (organizers, venues) = tokio::try_join!(
        rows.load_one(organizer::Entity, db),
        rows.load_one(venue::Entity, db)
    )?;
    let rows = rows.into_iter().zip(organizers).zip(venues);
    let events =
        rows.map(|((event, organizer), venue)| EventView::try_from((event, organizer, venue)));
    let events = events.collect::<Result<_, _>>()?;
    Ok(EventList { events, pagination })
}

/// The rows of a page, what is said about it, and whether more follow.
type Rows = (Vec<event::Model>, Pagination, bool);

async fn numbered(
    db: &impl ConnectionTrait,
    select: Select<event::Entity>,
    page: u64,
    limit: u64,
) -> Result<Rows, Error> {
    let page = select.page(db, PageRequest::new(page, limit)).await?;
    let more = page.pagination.has_next();
    let pagination = Pagination {
        page: Some(page.pagination.page),
        limit,
        total: page.pagination.total,
        total_pages: page.pagination.total_pages,
        next: None,
    };
    Ok((page.items, pagination, more))
}

async fn following(
    db: &impl ConnectionTrait,
    select: Select<event::Entity>,
    limit: u64,
) -> Result<Rows, Error> {
    // One more than is shown tells whether another page follows.
    let mut rows = select.limit(limit + 1).all(db).await?;
    let shown = usize::try_from(limit).unwrap_or(usize::MAX);
    let more = rows.len() > shown;
    rows.truncate(shown);
    let pagination = Pagination {
        page: None,
        limit,
        total: None,
        total_pages: None,
        next: None,
    };
    Ok((rows, pagination, more))
}

/// One event with everything.
///
/// # Errors
/// 404 when there is none; 503 when the database fails.
pub async fn detail(db: &impl ConnectionTrait, id: i64) -> Result<EventDetail, Error> {
    let detail = queries::events()
        .filter(event::COLUMN.id.eq(id))
        .into_partial_model::<EventDetail>()
        .one(db)
        .await?;
    detail.ok_or_else(|| Error::not_found("event", id))
}

/// One event in a few columns, and its tickets counted.
///
/// # Errors
/// 404 when there is none; 503 when the database fails.
pub async fn summary(db: &impl ConnectionTrait, id: i64) -> Result<EventSummary, Error> {
    let row = queries::events()
        .filter(event::COLUMN.id.eq(id))
        .into_partial_model::<SummaryRow>()
        .one(db)
        .await?;
    let event = row.ok_or_else(|| Error::not_found("event", id))?;
    let tickets = queries::tickets_of(id).count(db).await?;
    Ok(EventSummary {
        event,
        count: Counts { tickets },
    })
}

/// Writes a new event and reads it back.
///
/// # Errors
/// 400 when organizer or venue do not exist; 503 when the database fails.
///
/// # Cancellation
/// Dropped before the commit, nothing is written.
pub async fn create(db: &impl TransactionTrait, new: NewEvent) -> Result<EventDetail, Error> {
    let tx = db.begin().await?;
    if organizer::Entity::find_by_id(new.organizer_id)
        .one(&tx)
        .await?
        .is_none()
    {
        return Err(Error::invalid(
            "organizerId",
            format!("there is no organizer {}", new.organizer_id),
        ));
    }
    if venue::Entity::find_by_id(new.venue_id)
        .one(&tx)
        .await?
        .is_none()
    {
        return Err(Error::invalid(
            "venueId",
            format!("there is no venue {}", new.venue_id),
        ));
    }
    let row = event::ActiveModel {
        title: Set(new.title),
        description: Set(new.description),
        status: Set(new.status),
        start_date: Set(new.start_date),
        end_date: Set(new.end_date),
        capacity: Set(new.capacity),
        tickets_sold: Set(0),
        organizer_id: Set(new.organizer_id),
        venue_id: Set(new.venue_id),
        ..Default::default()
    };
    let row = row.insert(&tx).await?;
    let detail = detail(&tx, row.id).await?;
    tx.commit().await?;
    Ok(detail)
}

/// Changes what was sent of an event and reads it back.
///
/// # Errors
/// 404 when there is none; 400 or 409 when the change breaks a rule; 503 when the database fails.
///
/// # Cancellation
/// Dropped before the commit, nothing is written.
pub async fn change(
    db: &impl TransactionTrait,
    id: i64,
    change: EventChange,
) -> Result<EventDetail, Error> {
    let tx = db.begin().await?;
    // Locked, so that the rules are checked against what will be changed; SQLite has one writer at a time anyway.
    let found = event::Entity::find_by_id(id)
        .lock_exclusive()
        .one(&tx)
        .await?;
    let found = found.ok_or_else(|| Error::not_found("event", id))?;
    in_order(
        change.start_date.unwrap_or(found.start_date),
        change.end_date.unwrap_or(found.end_date),
    )?;
    if change
        .capacity
        .is_some_and(|seats| seats < found.tickets_sold)
    {
        return Err(Error::Conflict(format!(
            "{} tickets are sold; capacity cannot be less",
            found.tickets_sold
        )));
    }
    let mut row = found.into_active_model();
    apply(&mut row, change);
    row.update(&tx).await?;
    let detail = detail(&tx, id).await?;
    tx.commit().await?;
    Ok(detail)
}

fn apply(row: &mut event::ActiveModel, change: EventChange) {
    let EventChange {
        title,
        description,
        status,
        start_date,
        end_date,
        capacity,
    } = change;
    assign(&mut row.title, title);
    assign(&mut row.description, description);
    assign(&mut row.status, status);
    assign(&mut row.start_date, start_date);
    assign(&mut row.end_date, end_date);
    assign(&mut row.capacity, capacity);
}

fn assign<V: Into<sea_orm::Value>>(column: &mut ActiveValue<V>, sent: Option<V>) {
    if let Some(value) = sent {
        *column = Set(value);
    }
}
