//! Ten thousand events to look at: always the same ones, written in one transaction.

use sea_orm::{
    ActiveModelTrait, ActiveValue::Set, ConnectionTrait, DbBackend, DbErr, EntityTrait,
    IntoActiveModel, PaginatorTrait,
};
use time::{Duration, OffsetDateTime, macros::datetime};

use crate::entity::{event, organizer, ticket, user, venue};

/// How many events [`plant`] writes.
pub const EVENTS: i64 = 10_000;
const ORGANIZERS: i64 = 200;
const VENUES: i64 = 120;
const USERS: i64 = 1_000;
const TICKETS: i64 = 20_000;

/// Fills the tables unless there are events already; `true` when it did.
///
/// # Errors
/// The database's error for the first statement it refused; the caller's transaction should then be rolled back.
pub async fn plant(tx: &impl ConnectionTrait) -> Result<bool, DbErr> {
    if event::Entity::find().one(tx).await?.is_some() {
        return Ok(false);
    }
    insert(tx, (1..=ORGANIZERS).map(organizer_row)).await?;
    insert(tx, (1..=VENUES).map(venue_row)).await?;
    insert(tx, (1..=USERS).map(user_row)).await?;
    insert(tx, (1..=EVENTS).map(event_row)).await?;
    insert(tx, (1..=TICKETS).map(ticket_row)).await?;
    for table in ["organizers", "venues", "users", "events", "tickets"] {
        continue_ids(tx, table).await?;
    }
    tx.execute_unprepared("ANALYZE").await?;
    Ok(true)
}

/// How many events there are.
///
/// # Errors
/// The database's error.
pub async fn count(db: &impl ConnectionTrait) -> Result<u64, DbErr> {
    event::Entity::find().count(db).await
}

async fn insert<A>(tx: &impl ConnectionTrait, rows: impl Iterator<Item = A>) -> Result<(), DbErr>
where
    A: ActiveModelTrait,
    <A::Entity as EntityTrait>::Model: IntoActiveModel<A>,
{
    let mut rows = rows.peekable();
    while rows.peek().is_some() {
        A::Entity::insert_many(rows.by_ref().take(ROWS_PER_INSERT))
            .exec_without_returning(tx)
            .await?;
    }
    Ok(())
}

/// PostgreSQL's sequences know nothing of ids that were written by hand.
async fn continue_ids(tx: &impl ConnectionTrait, table: &str) -> Result<(), DbErr> {
    if tx.get_database_backend() == DbBackend::Postgres {
        let sql = format!(
            "SELECT setval(pg_get_serial_sequence('{table}', 'id'), (SELECT MAX(id) FROM {table}))"
        );
        tx.execute_unprepared(&sql).await?;
    }
    Ok(())
}

fn organizer_row(id: i64) -> organizer::ActiveModel {
    let name = format!(
        "{} {}",
        pick(&GUILDS, id),
        pick(&["Collective", "Society", "Presents", "Works"], id / 7)
    );
    organizer::ActiveModel {
        id: Set(id),
        name: Set(name),
    }
}

fn venue_row(id: i64) -> venue::ActiveModel {
    let city = pick(&CITIES, id);
    let name = format!(
        "{} {}",
        pick(&["Old", "New", "Grand", "Little", "Upper"], id / 12),
        pick(&HOUSES, id / 5)
    );
    venue::ActiveModel {
        id: Set(id),
        name: Set(name),
        city: Set(city.into()),
    }
}

fn user_row(id: i64) -> user::ActiveModel {
    user::ActiveModel {
        id: Set(id),
        name: Set(format!("Visitor {id}")),
    }
}

fn event_row(id: i64) -> event::ActiveModel {
    // Neighbours in time differ in kind, town and organizer; 7919 is a prime, so no column follows another.
    let mixed = id.wrapping_mul(7919);
    let kind = pick(&KINDS, mixed);
    let starts = FIRST_EVENING + Duration::minutes(id * 50);
    event::ActiveModel {
        id: Set(id),
        title: Set(format!("{} {kind} No. {id}", pick(&MOODS, mixed / 10))),
        description: Set(format!(
            "An evening of {}. Doors open half an hour before.",
            kind.to_lowercase()
        )),
        status: Set(status(id)),
        start_date: Set(starts),
        end_date: Set(starts + Duration::minutes(90 + mixed % 4 * 30)),
        capacity: Set(50 + i32::try_from(mixed % 10).unwrap_or_default() * 50),
        tickets_sold: Set(tickets_of(id)),
        organizer_id: Set(1 + mixed % ORGANIZERS),
        venue_id: Set(1 + mixed / 3 % VENUES),
    }
}

fn ticket_row(id: i64) -> ticket::ActiveModel {
    let status = if id % 50 == 0 {
        ticket::Status::Refunded
    } else {
        ticket::Status::Sold
    };
    ticket::ActiveModel {
        id: Set(id),
        event_id: Set(1 + (id - 1) % TICKETED_EVENTS),
        user_id: Set(1 + id.wrapping_mul(31) % USERS),
        status: Set(status),
        bought_at: Set(FIRST_EVENING - Duration::minutes(1 + TICKETS - id)),
    }
}

/// One in ten is a draft, one in fifty is off.
fn status(id: i64) -> event::Status {
    match id % 50 {
        7 | 17 | 27 | 37 | 47 => event::Status::Draft,
        49 => event::Status::Cancelled,
        _ => event::Status::Published,
    }
}

/// What [`ticket_row`] sells of one event, refunds left out.
fn tickets_of(event: i64) -> i32 {
    let sold = (1..=TICKETS)
        .skip(usize::try_from(event - 1).unwrap_or_default())
        .step_by(TICKETED_EVENTS as usize);
    let sold = sold
        .filter(|ticket| event <= TICKETED_EVENTS && ticket % 50 != 0)
        .count();
    i32::try_from(sold).unwrap_or_default()
}

fn pick<'a>(from: &[&'a str], at: i64) -> &'a str {
    let at = at.unsigned_abs() as usize % from.len();
    from[at]
}

const FIRST_EVENING: OffsetDateTime = datetime!(2027-01-01 18:00 UTC);
/// The events that have sold tickets already: the first ones, twenty each.
const TICKETED_EVENTS: i64 = 1_000;
/// Ten columns each: far below SQLite's 32,766 and PostgreSQL's 65,535 parameters in one statement.
const ROWS_PER_INSERT: usize = 500;
const CITIES: [&str; 12] = [
    "Ljubljana",
    "Maribor",
    "Celje",
    "Koper",
    "Kranj",
    "Trieste",
    "Graz",
    "Vienna",
    "Zagreb",
    "Rijeka",
    "Udine",
    "Klagenfurt",
];
const KINDS: [&str; 10] = [
    "Jazz Night",
    "Poetry Slam",
    "Film Screening",
    "Chamber Concert",
    "Comedy Hour",
    "Rust Meetup",
    "Dance Workshop",
    "Book Fair",
    "Puppet Theatre",
    "Choir Evening",
];
const MOODS: [&str; 8] = [
    "Quiet",
    "Electric",
    "Midnight",
    "Summer",
    "Open Air",
    "Candlelit",
    "Wild",
    "Homely",
];
const GUILDS: [&str; 9] = [
    "Lantern",
    "Riverside",
    "Attic",
    "Copper",
    "Linden",
    "North Bank",
    "Karst",
    "Blue Door",
    "Quarry",
];
const HOUSES: [&str; 6] = ["Theatre", "Hall", "Cellar", "Barn", "Library", "Cinema"];

#[cfg(test)]
mod tests {
    use super::{TICKETED_EVENTS, TICKETS, status, tickets_of};
    use crate::entity::event::Status;

    #[test]
    fn sold_tickets_of_all_events_add_up_to_the_tickets_written() {
        let refunded = (1..=TICKETS).filter(|id| id % 50 == 0).count() as i32;
        let sold: i32 = (1..=TICKETED_EVENTS + 5).map(tickets_of).sum();
        assert_eq!(sold, TICKETS as i32 - refunded);
    }

    #[test]
    fn most_events_are_published() {
        let of = |wanted| (1..=1_000).filter(|id| status(*id) == wanted).count();
        assert_eq!(
            (
                of(Status::Published),
                of(Status::Draft),
                of(Status::Cancelled)
            ),
            (880, 100, 20)
        );
    }
}
