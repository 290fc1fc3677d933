//! What clients may send, and what is wrong with it when it is not that. Pure: values in, values or the named field out.

use serde::Deserialize;
use time::format_description::well_known::Rfc3339;
use time::{OffsetDateTime, UtcOffset};

use crate::entity::event::Status;
use crate::error::Error;

mod place;

pub use place::{Cursor, Place};

/// The query string of the list, as it came.
#[derive(Debug, Default)]
pub struct ListParams {
    page: Option<String>,
    after: Option<String>,
    limit: Option<String>,
    q: Option<String>,
    city: Option<String>,
}

/// Which page of which events.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ListRequest {
    /// The first page when not given.
    pub place: Place,
    /// From 1 to 100; 20 when not given.
    pub limit: u64,
    /// A part of the title, in lower case.
    pub q: Option<String>,
    /// A town, in lower case.
    pub city: Option<String>,
}

impl ListParams {
    /// The names and values of a query string.
    ///
    /// # Errors
    /// Names the parameter that the list does not have, or that was given twice: a list that is not narrowed down as
    /// it was meant to be looks right and is not.
    pub fn of(pairs: impl IntoIterator<Item = (String, String)>) -> Result<Self, Error> {
        let mut params = Self::default();
        for (name, value) in pairs {
            let place = match name.as_str() {
                "page" => &mut params.page,
                "after" => &mut params.after,
                "limit" => &mut params.limit,
                "q" => &mut params.q,
                "city" => &mut params.city,
                _ => {
                    return Err(Error::invalid(
                        shortened(&name),
                        "is no parameter of the list; it takes page, after, limit, q and city",
                    ));
                }
            };
            if place.replace(value).is_some() {
                return Err(Error::invalid(name, "is given twice; send it once"));
            }
        }
        Ok(params)
    }

    /// The request that this query string stands for.
    ///
    /// # Errors
    /// Names the parameter that is out of range or not a number.
    pub fn check(self) -> Result<ListRequest, Error> {
        let place = match (&self.after, &self.page) {
            (Some(_), Some(_)) => {
                return Err(Error::invalid(
                    "after",
                    "does not go together with page; send one of them",
                ));
            }
            (Some(text), None) => Place::After(Cursor::parse(text).ok_or_else(|| {
                let text = shortened(text);
                Error::invalid(
                    "after",
                    format!("{text:?} is none; take pagination.next of the page before"),
                )
            })?),
            (None, page) => Place::Page(number("page", page.as_deref(), 1, 1..=MAX_PAGE)?),
        };
        Ok(ListRequest {
            place,
            limit: number("limit", self.limit.as_deref(), 20, 1..=100)?,
            q: words("q", self.q)?,
            city: words("city", self.city)?,
        })
    }
}

/// The body that creates an event, as it came.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EventBody {
    title: Option<String>,
    description: Option<String>,
    status: Option<Status>,
    start_date: Option<String>,
    end_date: Option<String>,
    capacity: Option<i32>,
    organizer_id: Option<i64>,
    venue_id: Option<i64>,
}

/// An event that may be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewEvent {
    /// 1 to 200 characters.
    pub title: String,
    /// At most 5,000 characters; empty when not given.
    pub description: String,
    /// Published when not given.
    pub status: Status,
    /// UTC, whole seconds.
    pub start_date: OffsetDateTime,
    /// UTC, whole seconds; after the start.
    pub end_date: OffsetDateTime,
    /// 1 to 100,000; 100 when not given.
    pub capacity: i32,
    /// 1 when not given.
    pub organizer_id: i64,
    /// 1 when not given.
    pub venue_id: i64,
}

/// What a PATCH changes: the fields that were sent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EventChange {
    /// See [`NewEvent`] for this and the others.
    pub title: Option<String>,
    /// The new description.
    pub description: Option<String>,
    /// The new status.
    pub status: Option<Status>,
    /// The new start.
    pub start_date: Option<OffsetDateTime>,
    /// The new end.
    pub end_date: Option<OffsetDateTime>,
    /// The new capacity.
    pub capacity: Option<i32>,
}

impl EventBody {
    /// The event that this body stands for.
    ///
    /// # Errors
    /// Names the field that is missing or not acceptable.
    pub fn into_new(self) -> Result<NewEvent, Error> {
        let required = |field| move || Error::invalid(field, "is missing");
        let (start_date, end_date) = (
            date("startDate", self.start_date)?,
            date("endDate", self.end_date)?,
        );
        let event = NewEvent {
            title: title(self.title)?.ok_or_else(required("title"))?,
            description: description(self.description)?.unwrap_or_default(),
            status: self.status.unwrap_or(Status::Published),
            start_date: start_date.ok_or_else(required("startDate"))?,
            end_date: end_date.ok_or_else(required("endDate"))?,
            capacity: capacity(self.capacity)?.unwrap_or(100),
            organizer_id: self.organizer_id.unwrap_or(1),
            venue_id: self.venue_id.unwrap_or(1),
        };
        in_order(event.start_date, event.end_date)?;
        Ok(event)
    }

    /// The change that this body stands for.
    ///
    /// # Errors
    /// Names the field that is not acceptable, or says that nothing was sent.
    pub fn into_change(self) -> Result<EventChange, Error> {
        for (field, sent) in [
            ("organizerId", self.organizer_id.is_some()),
            ("venueId", self.venue_id.is_some()),
        ] {
            if sent {
                return Err(Error::invalid(
                    field,
                    "cannot be changed; create a new event",
                ));
            }
        }
        let change = EventChange {
            title: title(self.title)?,
            description: description(self.description)?,
            status: self.status,
            start_date: date("startDate", self.start_date)?,
            end_date: date("endDate", self.end_date)?,
            capacity: capacity(self.capacity)?,
        };
        if change == EventChange::default() {
            return Err(Error::invalid(
                "body",
                "names no field to change; send at least one, such as title",
            ));
        }
        Ok(change)
    }
}

/// The body that buys tickets.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PurchaseBody {
    user_id: Option<i64>,
    quantity: Option<i32>,
}

/// Tickets that may be bought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Purchase {
    /// Who buys.
    pub user_id: i64,
    /// 1 to [`MAX_TICKETS`]; 1 when not given.
    pub quantity: i32,
}

/// The most tickets that one user may hold for one event.
pub const MAX_TICKETS: i32 = 10;

impl PurchaseBody {
    /// The purchase that this body stands for.
    ///
    /// # Errors
    /// Names the field that is missing or out of range.
    pub fn check(self) -> Result<Purchase, Error> {
        let user_id = self
            .user_id
            .ok_or_else(|| Error::invalid("userId", "is missing"))?;
        let quantity = self.quantity.unwrap_or(1);
        if !(1..=MAX_TICKETS).contains(&quantity) {
            return Err(Error::invalid(
                "quantity",
                format!("{quantity} is not between 1 and {MAX_TICKETS}"),
            ));
        }
        Ok(Purchase { user_id, quantity })
    }
}

/// Both dates of an event, once they are known.
///
/// # Errors
/// Names `endDate` when it is not after the start.
pub fn in_order(start: OffsetDateTime, end: OffsetDateTime) -> Result<(), Error> {
    if end <= start {
        return Err(Error::invalid("endDate", "must be after startDate"));
    }
    Ok(())
}

fn number(
    field: &str,
    text: Option<&str>,
    default: u64,
    allowed: std::ops::RangeInclusive<u64>,
) -> Result<u64, Error> {
    let Some(text) = text else { return Ok(default) };
    match text.parse() {
        Ok(number) if allowed.contains(&number) => Ok(number),
        _ => {
            let (low, high) = (allowed.start(), allowed.end());
            Err(Error::invalid(
                field,
                format!(
                    "{:?} is not a whole number from {low} to {high}",
                    shortened(text)
                ),
            ))
        }
    }
}

fn words(field: &str, text: Option<String>) -> Result<Option<String>, Error> {
    let text = text
        .map(|text| text.trim().to_lowercase())
        .filter(|text| !text.is_empty());
    match text {
        Some(text) if text.chars().count() > MAX_WORDS || text.contains('\0') => {
            Err(Error::invalid(
                field,
                format!("must have at most {MAX_WORDS} characters and no NUL"),
            ))
        }
        text => Ok(text),
    }
}

fn title(text: Option<String>) -> Result<Option<String>, Error> {
    let text = text.map(|text| text.trim().to_owned());
    match &text {
        Some(title)
            if title.is_empty() || title.chars().count() > MAX_TITLE || title.contains('\0') =>
        {
            Err(Error::invalid(
                "title",
                format!("must have 1 to {MAX_TITLE} characters and no NUL"),
            ))
        }
        _ => Ok(text),
    }
}

fn description(text: Option<String>) -> Result<Option<String>, Error> {
    match &text {
        Some(words) if words.chars().count() > MAX_DESCRIPTION || words.contains('\0') => {
            Err(Error::invalid(
                "description",
                format!("must have at most {MAX_DESCRIPTION} characters and no NUL"),
            ))
        }
        _ => Ok(text),
    }
}

fn capacity(seats: Option<i32>) -> Result<Option<i32>, Error> {
    match seats {
        Some(seats) if !(1..=MAX_CAPACITY).contains(&seats) => Err(Error::invalid(
            "capacity",
            format!("{seats} is not between 1 and {MAX_CAPACITY}"),
        )),
        seats => Ok(seats),
    }
}

fn date(field: &str, text: Option<String>) -> Result<Option<OffsetDateTime>, Error> {
    let Some(text) = text else { return Ok(None) };
    let wrong = || {
        let text = shortened(&text);
        Error::invalid(
            field,
            format!("{text:?} is not a date such as \"2027-05-01T19:30:00Z\", years 1970 to 9998"),
        )
    };
    let date = OffsetDateTime::parse(&text, &Rfc3339).map_err(|_| wrong())?;
    // SQLite keeps dates as text: one offset and one length make the text sort like the dates.
    let date = date
        .checked_to_offset(UtcOffset::UTC)
        .and_then(|date| date.replace_nanosecond(0).ok())
        .ok_or_else(wrong)?;
    if !(1970..=9998).contains(&date.year()) {
        return Err(wrong());
    }
    Ok(Some(date))
}

/// Enough of what was sent to recognise it.
fn shortened(text: &str) -> String {
    text.chars().take(40).collect()
}

const MAX_PAGE: u64 = 1_000_000;
const MAX_WORDS: usize = 100;
const MAX_TITLE: usize = 200;
const MAX_DESCRIPTION: usize = 5_000;
const MAX_CAPACITY: i32 = 100_000;

#[cfg(test)]
mod tests;
