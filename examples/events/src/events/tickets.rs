//! Selling tickets: one transaction on the primary, never one seat more than there are.

use sea_orm::sea_query::{Expr, ExprTrait};
use sea_orm::{
    ActiveValue::Set, ColumnTrait, ConnectionTrait, EntityTrait, PaginatorTrait, QueryFilter,
    TransactionSession, TransactionTrait,
};
use serde::Serialize;
use time::OffsetDateTime;

use crate::entity::{event, ticket, user};
use crate::error::Error;
use crate::events::queries;
use crate::events::request::{MAX_TICKETS, Purchase};

/// What a buyer gets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Receipt {
    /// The event.
    pub event_id: i64,
    /// The buyer.
    pub user_id: i64,
    /// How many tickets were bought with this request.
    pub quantity: i32,
    /// How many the buyer now holds for this event.
    pub held: u64,
}

/// Sells tickets, all or none.
///
/// # Errors
/// 404 without the event or the user; 409 when it is sold out, not on sale, or the buyer would hold more than
/// [`MAX_TICKETS`]; 503 when the database fails.
///
/// # Cancellation
/// Dropped before the commit, nothing is sold.
pub async fn sell(
    db: &impl TransactionTrait,
    event: i64,
    purchase: Purchase,
) -> Result<Receipt, Error> {
    let Purchase { user_id, quantity } = purchase;
    let tx = db.begin().await?;
    // First, and conditional: it locks the event's row, so that everything below sees a world that stands still.
    if !take_seats(&tx, event, quantity).await? {
        return Err(refusal(&tx, event, quantity).await?);
    }
    if user::Entity::find_by_id(user_id).one(&tx).await?.is_none() {
        return Err(Error::not_found("user", user_id));
    }
    let held =
        queries::held_by(event, user_id).count(&tx).await? + u64::from(quantity.unsigned_abs());
    if held > u64::from(MAX_TICKETS.unsigned_abs()) {
        return Err(Error::Conflict(format!(
            "one user may hold {MAX_TICKETS} tickets for an event; this would make {held}"
        )));
    }
    let row = ticket::ActiveModel {
        event_id: Set(event),
        user_id: Set(user_id),
        status: Set(ticket::Status::Sold),
        bought_at: Set(OffsetDateTime::now_utc().truncate_to_second()),
        ..Default::default()
    };
    ticket::Entity::insert_many((0..quantity).map(|_| row.clone()))
        .exec_without_returning(&tx)
        .await?;
    tx.commit().await?;
    Ok(Receipt {
        event_id: event,
        user_id,
        quantity,
        held,
    })
}

async fn take_seats(tx: &impl ConnectionTrait, id: i64, quantity: i32) -> Result<bool, Error> {
    let sold = Expr::col(event::Column::TicketsSold).add(quantity);
    let updated = event::Entity::update_many()
        .col_expr(event::Column::TicketsSold, sold.clone())
        .filter(event::Column::Id.eq(id))
        .filter(event::Column::Status.eq(event::Status::Published))
        .filter(sold.lte(Expr::col(event::Column::Capacity)))
        .exec(tx)
        .await?;
    Ok(updated.rows_affected == 1)
}

async fn refusal(tx: &impl ConnectionTrait, id: i64, quantity: i32) -> Result<Error, Error> {
    let Some(event) = event::Entity::find_by_id(id).one(tx).await? else {
        return Ok(Error::not_found("event", id));
    };
    if event.status != event::Status::Published {
        return Ok(Error::Conflict(
            "tickets for this event are not on sale".into(),
        ));
    }
    let left = event.capacity - event.tickets_sold;
    Ok(Error::Conflict(format!(
        "{left} tickets are left, {quantity} were asked for"
    )))
}
