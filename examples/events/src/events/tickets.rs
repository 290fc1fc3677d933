//! Selling tickets: one transaction on the primary, never one seat more than there are.

use sea_orm::sea_query::{Expr, ExprTrait};
use sea_orm::{
    ActiveValue::Set, ColumnTrait, ConnectionTrait, EntityTrait, PaginatorTrait, QueryFilter,
    QueryOrder, TransactionSession, TransactionTrait, TryInsertResult,
};
use serde::Serialize;
use time::OffsetDateTime;

use crate::entity::{event, purchase, ticket, user};
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
    /// How many the buyer held for this event after it.
    pub held: u64,
    /// Whether this is the receipt of an earlier request with the same key.
    #[serde(skip)]
    pub again: bool,
}

/// The tickets that one user holds for one event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Held {
    /// The event.
    pub event_id: i64,
    /// The user.
    pub user_id: i64,
    /// The oldest first; none when there is no such event or user.
    pub tickets: Vec<TicketView>,
}

/// One ticket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TicketView {
    /// Its number, given by the database.
    pub id: i64,
    /// UTC, whole seconds.
    #[serde(with = "time::serde::rfc3339")]
    pub bought_at: OffsetDateTime,
}

/// Sells tickets, all or none. With a `key`, the same purchase sent again gets the first one's receipt and buys nothing.
///
/// # Errors
/// 404 without the event or the user; 409 when it is sold out, not on sale, or the buyer would hold more than
/// [`MAX_TICKETS`]; 422 when the key was used for another purchase; 503 when the database fails.
///
/// # Cancellation
/// Dropped before the commit, nothing is sold.
pub async fn sell(
    db: &impl TransactionTrait,
    event: i64,
    purchase: Purchase,
    key: Option<&str>,
) -> Result<Receipt, Error> {
    let Purchase { user_id, quantity } = purchase;
    let tx = db.begin().await?;
    // First of all: whoever sends the same key at the same time waits here, and then finds the receipt.
    if let Some(key) = key
        && !take_key(&tx, event, purchase, key).await?
    {
        return replay(&tx, event, purchase, key).await;
    }
    // Then this, and conditional: it locks the event's row, so that everything below sees a world that stands still.
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
    if let Some(key) = key {
        keep_receipt(&tx, user_id, key, held).await?;
    }
    tx.commit().await?;
    Ok(Receipt {
        event_id: event,
        user_id,
        quantity,
        held,
        again: false,
    })
}

/// Claims the key for this purchase; `false` when it has one already.
async fn take_key(
    tx: &impl ConnectionTrait,
    event: i64,
    purchase: Purchase,
    key: &str,
) -> Result<bool, Error> {
    let row = purchase::ActiveModel {
        user_id: Set(purchase.user_id),
        key: Set(key.to_owned()),
        event_id: Set(event),
        quantity: Set(purchase.quantity),
        // Not known yet; nobody sees it before the commit.
        held: Set(0),
    };
    let inserted = purchase::Entity::insert(row)
        .on_conflict_do_nothing()
        .exec_without_returning(tx)
        .await?;
    Ok(matches!(inserted, TryInsertResult::Inserted(1..)))
}

async fn keep_receipt(
    tx: &impl ConnectionTrait,
    user: i64,
    key: &str,
    held: u64,
) -> Result<(), Error> {
    purchase::Entity::update_many()
        .col_expr(
            purchase::Column::Held,
            Expr::value(i64::try_from(held).unwrap_or(i64::MAX)),
        )
        .filter(purchase::Column::UserId.eq(user))
        .filter(purchase::Column::Key.eq(key))
        .exec(tx)
        .await?;
    Ok(())
}

/// The receipt of the purchase that has this key.
async fn replay(
    tx: &impl ConnectionTrait,
    event: i64,
    purchase: Purchase,
    key: &str,
) -> Result<Receipt, Error> {
    let Purchase { user_id, quantity } = purchase;
    let found = purchase::Entity::find_by_id((user_id, key.to_owned()))
        .one(tx)
        .await?;
    match found {
        Some(first) if first.event_id == event && first.quantity == quantity => Ok(Receipt {
            event_id: event,
            user_id,
            quantity,
            held: first.held.unsigned_abs(),
            again: true,
        }),
        _ => Err(Error::KeyReused),
    }
}

/// What a user holds for an event.
///
/// # Errors
/// 503 when the database fails.
pub async fn held(db: &impl ConnectionTrait, event: i64, user: i64) -> Result<Held, Error> {
    let tickets = queries::held_by(event, user)
        .order_by_asc(ticket::Column::Id)
        .all(db)
        .await?;
    let tickets = tickets.into_iter().map(|ticket| TicketView {
        id: ticket.id,
        bought_at: ticket.bought_at,
    });
    Ok(Held {
        event_id: event,
        user_id: user,
        tickets: tickets.collect(),
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
