//! What stands in the database, and how it is read.

use bytes::Bytes;
use redb::{Database, ReadableDatabase, TableDefinition};

use super::failure::Failure;

/// Encoded key to [`row`].
pub(super) const VALUES: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("values");
/// When a value ends and which it is among those that end then, to its key.
pub(super) const ENDS: TableDefinition<'_, (u64, u64), &str> = TableDefinition::new("ends");
/// Encoded scope to the position of its last invalidation.
pub(super) const MARKERS: TableDefinition<'_, &str, u64> = TableDefinition::new("markers");
/// Encoded key, or nothing for all keys, to what its loads must reflect.
pub(super) const DEMANDS: TableDefinition<'_, &str, &str> = TableDefinition::new("demands");
/// [`Meta`], the one row.
pub(super) const META: TableDefinition<'_, (), [u64; 6]> = TableDefinition::new("meta");

/// What the store knows about itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Meta {
    pub(super) incarnation: u64,
    /// The number of the last record.
    pub(super) number: u64,
    /// How many values were ever put there.
    pub(super) puts: u64,
    /// What all values and demands take, see [`cost`].
    pub(super) used: u64,
    /// The longest life of an entry, in milliseconds.
    pub(super) life: u64,
    /// When this was written, by the store's clock.
    pub(super) millis: u64,
}

impl Meta {
    pub(super) fn new(millis: u64) -> Self {
        Self {
            incarnation: fastrand::u64(1..),
            number: begin(millis, 0),
            puts: 0,
            used: 0,
            life: 0,
            millis,
        }
    }

    pub(super) fn of(row: [u64; 6]) -> Self {
        let [incarnation, number, puts, used, life, millis] = row;
        Self {
            incarnation,
            number,
            puts,
            used,
            life,
            millis,
        }
    }

    pub(super) fn row(&self) -> [u64; 6] {
        let Self {
            incarnation,
            number,
            puts,
            used,
            life,
            millis,
        } = *self;
        [incarnation, number, puts, used, life, millis]
    }
}

/// Where the numbers of a new log begin: above those of all logs before it.
pub(super) fn begin(millis: u64, seen: u64) -> u64 {
    let now = millis.saturating_mul(1_000);
    if seen >= now && seen < 1 << 52 {
        return seen + 1;
    }
    now
}

const ROW_HEAD: usize = 16;

/// A value as it stands in the table: when it ends, which it is, its envelope.
pub(super) fn row(ends: u64, which: u64, envelope: &[u8]) -> Vec<u8> {
    [&ends.to_be_bytes(), &which.to_be_bytes(), envelope].concat()
}

/// The parts of a row.
pub(super) fn parts(row: &[u8]) -> Result<((u64, u64), &[u8]), Failure> {
    let short = || Failure::Damaged("a value is cut short".to_owned());
    let (head, envelope) = row.split_at_checked(ROW_HEAD).ok_or_else(short)?;
    let number = |at: usize| {
        let bytes = head[at..at + 8].try_into().map_err(|_| short())?;
        Ok::<_, Failure>(u64::from_be_bytes(bytes))
    };
    Ok(((number(0)?, number(8)?), envelope))
}

/// What a value takes on the disk, about.
pub(super) fn cost(key: &str, row: &[u8]) -> u64 {
    // Its key stands in the order of ends as well.
    (pages(key.len() + row.len()) + (key.len() + 32) * 3 / 2) as u64
}

/// The same for what stands in one table only.
pub(super) fn cost_of_text(key: &str, text: &str) -> u64 {
    pages(key.len() + text.len()) as u64
}

/// A large row has pages of its own, a power of two of them.
fn pages(row: usize) -> usize {
    const PAGE: usize = 4096;
    let bytes = row + 64;
    if bytes > PAGE / 2 {
        return bytes.next_power_of_two().max(PAGE);
    }
    // Pages in a tree are about two thirds full.
    bytes + bytes / 2
}

/// The first bytes of the values of some keys.
pub(super) fn read<'k>(
    db: &Database,
    keys: impl Iterator<Item = &'k str>,
    now: u64,
    most: usize,
) -> Result<Vec<Option<Bytes>>, Failure> {
    let txn = db.begin_read()?;
    let values = txn.open_table(VALUES)?;
    let mut found = Vec::new();
    for key in keys {
        let row = values.get(key)?;
        found.push(match &row {
            Some(row) => alive(row.value(), now, most)?,
            None => None,
        });
    }
    Ok(found)
}

/// The first bytes of an envelope, if its time is not over.
pub(super) fn alive(row: &[u8], now: u64, most: usize) -> Result<Option<Bytes>, Failure> {
    let ((ends, _), envelope) = parts(row)?;
    let head = &envelope[..most.min(envelope.len())];
    Ok((now < ends).then(|| Bytes::copy_from_slice(head)))
}

/// Some keys after a key, in order.
pub(super) fn keys_after(db: &Database, after: &str, most: usize) -> Result<Vec<String>, Failure> {
    let txn = db.begin_read()?;
    let values = txn.open_table(VALUES)?;
    let mut keys = Vec::new();
    let from = (std::ops::Bound::Excluded(after), std::ops::Bound::Unbounded);
    for entry in values.range::<&str>(from)?.take(most) {
        keys.push(entry?.0.value().to_owned());
    }
    Ok(keys)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_comes_apart_as_it_was_put_together() {
        let row = row(7, 9, b"envelope");
        assert_eq!(parts(&row).unwrap(), ((7, 9), &b"envelope"[..]));
        assert!(parts(&row[..15]).is_err());
        assert_eq!(alive(&row, 6, 3).unwrap().unwrap(), "env");
        assert_eq!(alive(&row, 7, 3).unwrap(), None);
    }

    #[test]
    fn a_large_value_costs_the_pages_that_it_gets() {
        let large = |bytes: usize| cost("k", &vec![0; bytes]);
        assert!((100_u64..500).contains(&large(100)));
        assert!((8_192..8_400).contains(&large(5_000)));
        assert!((1 << 20..(1 << 20) + 200).contains(&large(600_000)));
    }

    #[test]
    fn a_new_log_begins_above_the_old_one() {
        assert_eq!(begin(5, 3), 5_000);
        assert_eq!(begin(5, 6_000), 6_001);
        assert_eq!(begin(5, u64::MAX), 5_000);
    }
}
