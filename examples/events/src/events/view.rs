//! What an event looks like from outside.

use sea_orm::{DbErr, DerivePartialModel};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::entity::{event, organizer, venue};

/// An event with its organizer and venue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, DerivePartialModel)]
#[sea_orm(entity = "event::Entity")]
#[serde(rename_all = "camelCase")]
pub struct EventView {
    /// Its number, given by the database.
    pub id: i64,
    /// At most 200 characters.
    pub title: String,
    /// At most 5,000 characters.
    pub description: String,
    /// Draft, published or cancelled.
    pub status: event::Status,
    /// UTC, whole seconds.
    #[serde(with = "time::serde::rfc3339")]
    pub start_date: OffsetDateTime,
    /// UTC, whole seconds; after the start.
    #[serde(with = "time::serde::rfc3339")]
    pub end_date: OffsetDateTime,
    /// How many tickets there are.
    pub capacity: i32,
    /// Who makes it.
    #[sea_orm(nested)]
    pub organizer: OrganizerView,
    /// Where it is.
    #[sea_orm(nested)]
    pub venue: VenueView,
}

impl TryFrom<(event::Model, Option<organizer::Model>, Option<venue::Model>)> for EventView {
    type Error = DbErr;

    fn try_from(
        row: (event::Model, Option<organizer::Model>, Option<venue::Model>),
    ) -> Result<Self, DbErr> {
        // The foreign keys say that both exist.
        let (event, Some(organizer), Some(venue)) = row else {
            return Err(DbErr::RecordNotFound(format!(
                "organizer or venue of event {}",
                row.0.id
            )));
        };
        Ok(Self {
            id: event.id,
            title: event.title,
            description: event.description,
            status: event.status,
            start_date: event.start_date,
            end_date: event.end_date,
            capacity: event.capacity,
            organizer: OrganizerView {
                id: organizer.id,
                name: organizer.name,
            },
            venue: VenueView {
                id: venue.id,
                name: venue.name,
                city: venue.city,
            },
        })
    }
}

/// An event on its own page. What changes with every sale is only here: a sale must not make every list stale.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, DerivePartialModel)]
#[sea_orm(entity = "event::Entity")]
#[serde(rename_all = "camelCase")]
pub struct EventDetail {
    /// What the lists show as well.
    #[serde(flatten)]
    #[sea_orm(nested)]
    pub event: EventView,
    /// How many tickets are sold.
    pub tickets_sold: i32,
}

/// The organizer of an event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, DerivePartialModel)]
#[sea_orm(entity = "organizer::Entity")]
pub struct OrganizerView {
    /// Its number.
    pub id: i64,
    /// Its name.
    pub name: String,
}

/// The venue of an event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, DerivePartialModel)]
#[sea_orm(entity = "venue::Entity")]
pub struct VenueView {
    /// Its number.
    pub id: i64,
    /// Its name.
    pub name: String,
    /// The town it stands in.
    pub city: String,
}

/// One page of events.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventList {
    /// At most `limit` of them, the earliest first.
    pub events: Vec<EventView>,
    /// Which page this is and how many there are.
    pub pagination: Pagination,
}

/// Which page this is and how many there are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Pagination {
    /// From 1; not when the page was asked for by `after`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub page: Option<u64>,
    /// Events on a full page.
    pub limit: u64,
    /// Events on all pages; counted only for a numbered page.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total: Option<u64>,
    /// Pages; counted only for a numbered page.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total_pages: Option<u64>,
    /// What `after` takes for the page that follows; not on the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// The few columns that a card or a ticket needs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, DerivePartialModel)]
#[sea_orm(entity = "event::Entity")]
#[serde(rename_all = "camelCase")]
pub struct SummaryRow {
    /// Its number.
    pub id: i64,
    /// At most 200 characters.
    pub title: String,
    /// UTC, whole seconds.
    #[serde(with = "time::serde::rfc3339")]
    pub start_date: OffsetDateTime,
    /// UTC, whole seconds.
    #[serde(with = "time::serde::rfc3339")]
    pub end_date: OffsetDateTime,
    /// Who makes it.
    #[sea_orm(nested)]
    pub organizer: OrganizerName,
    /// Where it is.
    #[sea_orm(nested)]
    pub venue: VenueName,
}

/// The organizer's name alone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, DerivePartialModel)]
#[sea_orm(entity = "organizer::Entity")]
pub struct OrganizerName {
    /// Its name.
    pub name: String,
}

/// The venue without its number.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, DerivePartialModel)]
#[sea_orm(entity = "venue::Entity")]
pub struct VenueName {
    /// Its name.
    pub name: String,
    /// The town it stands in.
    pub city: String,
}

/// A [`SummaryRow`] and how many tickets the event has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventSummary {
    /// The event's own columns.
    #[serde(flatten)]
    pub event: SummaryRow,
    /// Rows in other tables that belong to it.
    #[serde(rename = "_count")]
    pub count: Counts,
}

/// Rows in other tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Tickets, sold and refunded.
    pub tickets: u64,
}
