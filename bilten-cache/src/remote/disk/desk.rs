//! Changes, many to a transaction. Nobody hears of one before all of them are in the file.

use std::ops::Bound;
use std::time::Duration;

use bytes::Bytes;
use redb::{Database, ReadableDatabase, ReadableTable, ReadableTableMetadata, WriteTransaction};

use super::failure::Failure;
use super::kept::Kept;
use super::leases::Leases;
use super::overlaps::Overlaps;
use super::tables::{
    DEMANDS, ENDS, MARKERS, META, Meta, VALUES, alive, begin, cost, cost_of_text, parts, row,
};
use super::time::Time;
use crate::envelope::{EXPIRED_BYTE, POSITION_OFFSET};
use crate::remote::{
    Author, Demand, Lease, Position, Pruned, Record, RemoteError, Scope, Snapshot, Wanted,
};

/// Scopes kept; more become one marker on everything.
const MOST_MARKERS: u64 = 50_000;
/// Values whose time is over, removed with one transaction.
const TIDIED: usize = 1_000;
/// No value may take more than this part of the budget.
const SHARE: u64 = 4;
/// Under which demands of all keys stand: no encoded key is empty.
const ALL_KEYS: &str = "";

/// What the one thread that changes the store knows.
#[derive(Debug)]
pub(super) struct Books {
    pub(super) meta: Meta,
    pub(super) leases: Leases,
    pub(super) writes: Overlaps,
    pub(super) time: Time,
    /// What values may take.
    pub(super) bytes: u64,
    /// The key whose demands were looked at last; `None` when the next is the first.
    pub(super) tidied: Option<String>,
}

/// One transaction, begun when it is needed.
pub(super) struct Desk<'d> {
    db: &'d Database,
    txn: Option<WriteTransaction>,
    books: &'d mut Books,
    meta: Meta,
    records: Vec<Record>,
}

type Done<T> = Result<T, Failure>;

impl<'d> Desk<'d> {
    pub(super) fn new(db: &'d Database, books: &'d mut Books) -> Self {
        Self {
            db,
            txn: None,
            meta: books.meta,
            books,
            records: Vec::new(),
        }
    }

    /// Brings everything into the file. What was appended to the log, and where that stands now.
    pub(super) fn commit(self) -> Done<(Position, Vec<Record>)> {
        let Self {
            txn,
            books,
            mut meta,
            records,
            ..
        } = self;
        if let Some(txn) = txn {
            meta.millis = books.time.millis();
            txn.open_table(META)?.insert((), meta.row())?;
            txn.commit()?;
            books.meta = meta;
        }
        let position = Position::new(meta.incarnation, meta.number);
        Ok((position, records))
    }

    pub(super) fn lease(
        &mut self,
        key: &str,
        token: u64,
        hold: Duration,
        over: Option<&[u8]>,
    ) -> Done<Lease> {
        // Whatever is there, there is no need to look at it.
        let looks = over.is_none_or(|head| !head.is_empty());
        let value = if looks { self.value(key)? } else { None };
        let counts = |value: &Bytes| over.is_none_or(|head| !value.starts_with(head));
        if let Some(value) = value.filter(counts) {
            return Ok(Lease::Value(value));
        }
        if !self.books.leases.take(key, token, hold) {
            return Ok(Lease::Busy);
        }
        let demands = self.demands(key)?.demands();
        if demands.is_empty() {
            return Ok(Lease::Owned);
        }
        Ok(Lease::OwnedAfter(demands))
    }

    pub(super) fn begin_write(&mut self, key: &str, token: u64, hold: Duration) -> bool {
        self.books.writes.begin(key, token, hold)
    }

    pub(super) fn end_write(&mut self, key: &str, token: u64) -> bool {
        self.books.writes.end(key, token)
    }

    /// Keeps a demand, for its key and for all keys.
    pub(super) fn demand(&mut self, wanted: &Wanted, author: Author) -> Done<Position> {
        let record = Record::new(0, author.node, Some(wanted.scope.clone()));
        let at = self.append_record(record.demanding(wanted.here.clone()), author)?;
        self.keep(ALL_KEYS, at.number, wanted, &wanted.everywhere)?;
        if let Some(key) = wanted.scope.key() {
            self.keep(key, at.number, wanted, &wanted.here)?;
        }
        Ok(at)
    }

    fn keep(&mut self, key: &str, number: u64, wanted: &Wanted, demand: &Demand) -> Done<()> {
        let until = self.books.time.until(wanted.keep);
        let mut kept = self.demands(key)?;
        kept.add(number, wanted.known, demand.clone(), until);
        let text = kept.encode();
        self.forget_demands(key)?;
        let bytes = cost_of_text(key, &text);
        self.make_room(bytes)?;
        self.txn()?.open_table(DEMANDS)?.insert(key, &*text)?;
        self.meta.used += bytes;
        Ok(())
    }

    fn forget_demands(&mut self, key: &str) -> Done<()> {
        let mut demands = self.txn()?.open_table(DEMANDS)?;
        let gone = demands.remove(key)?;
        let bytes = gone.map_or(0, |text| cost_of_text(key, text.value()));
        drop(demands);
        self.meta.used = self.meta.used.saturating_sub(bytes);
        Ok(())
    }

    fn demands(&self, key: &str) -> Done<Kept> {
        let now = self.books.time.millis();
        match &self.txn {
            Some(txn) => kept(&txn.open_table(DEMANDS)?, key, now),
            None => kept(&self.db.begin_read()?.open_table(DEMANDS)?, key, now),
        }
    }

    pub(super) fn renew(&mut self, key: &str, token: u64, hold: Duration) -> bool {
        self.books.leases.renew(key, token, hold)
    }

    pub(super) fn release(&mut self, key: &str, token: u64) {
        self.books.leases.release(key, token);
    }

    pub(super) fn store(
        &mut self,
        key: &str,
        token: u64,
        envelope: &[u8],
        keep: Duration,
    ) -> Done<Result<bool, RemoteError>> {
        if !self.books.leases.release(key, token) {
            return Ok(Ok(false));
        }
        self.take_out(key)?;
        let place = (self.books.time.until(keep), self.meta.puts);
        let row = row(place.0, place.1, envelope);
        let (bytes, limit) = (cost(key, &row), self.books.bytes / SHARE);
        if bytes > limit {
            return Ok(Err(RemoteError::TooLarge { bytes, limit }));
        }
        self.make_room(bytes)?;
        let txn = self.txn()?;
        txn.open_table(VALUES)?.insert(key, &row[..])?;
        txn.open_table(ENDS)?.insert(place, key)?;
        self.meta.puts += 1;
        self.meta.used += bytes;
        Ok(Ok(true))
    }

    pub(super) fn claim(
        &mut self,
        key: &str,
        token: u64,
        hold: Duration,
        author: Author,
    ) -> Done<Position> {
        let at = self.change(&Scope::Key(key.into()), author)?;
        self.books.leases.give(key, token, hold);
        self.books.writes.overtake(key, token);
        Ok(at)
    }

    pub(super) fn invalidate(&mut self, scope: &Scope, author: Author) -> Done<Position> {
        if let Some(key) = scope.key() {
            self.books.writes.interrupt(key);
        }
        self.change(scope, author)
    }

    fn change(&mut self, scope: &Scope, author: Author) -> Done<Position> {
        if let Some(key) = scope.key() {
            self.books.leases.break_off(key);
        }
        match scope {
            Scope::Key(key) => self.take_out(key)?,
            Scope::Expired(key) => self.mark_expired(key)?,
            _ => {}
        }
        self.append(scope, author)
    }

    pub(super) fn snapshot(&mut self) -> Done<Snapshot> {
        let mut markers = Vec::new();
        for entry in self.txn()?.open_table(MARKERS)?.iter()? {
            let (scope, at) = entry?;
            // One that cannot be read may have been about anything.
            let scope = Scope::decode(scope.value()).unwrap_or(Scope::All);
            markers.push((scope, at.value()));
        }
        let position = Position::new(self.meta.incarnation, self.meta.number);
        let mut snapshot = Snapshot::new(position, self.books.time.millis(), markers);
        snapshot.demands = self.demands(ALL_KEYS)?.demands();
        Ok(snapshot)
    }

    /// Forgets markers up to a position, after one on everything is there.
    pub(super) fn prune(&mut self, position: u64, life: Duration) -> Done<Pruned> {
        let own = u64::try_from(life.as_millis()).unwrap_or(u64::MAX);
        let longest = self.meta.life.max(own);
        self.meta.life = longest;
        if own < longest {
            return Ok(Pruned::new(0, Duration::from_millis(longest)));
        }
        let mut markers = self.txn()?.open_table(MARKERS)?;
        let before = markers.len()?;
        let everything = Scope::All.encode();
        let all = markers.get(&*everything)?.map_or(0, |at| at.value());
        markers.retain(|scope, at| at > position || scope == everything)?;
        if markers.len()? < before && all < position {
            markers.insert(&*everything, position)?;
        }
        Ok(Pruned::new(0, Duration::from_millis(longest)))
    }

    /// Removes a value that still begins like this.
    pub(super) fn discard(&mut self, key: &str, head: &[u8]) -> Done<bool> {
        let same = self.value(key)?.is_some_and(|v| v.starts_with(head));
        if same {
            self.take_out(key)?;
        }
        Ok(same)
    }

    /// Removes some values whose time is over.
    pub(super) fn tidy(&mut self) -> Done<()> {
        self.books.leases.tidy();
        self.books.writes.tidy();
        let now = self.books.time.millis();
        self.tidy_demands(now)?;
        for _ in 0..TIDIED {
            let Some((ends, key)) = self.first_to_end()? else {
                break;
            };
            if ends > now {
                break;
            }
            self.take_out(&key)?;
        }
        Ok(())
    }

    fn tidy_demands(&mut self, now: u64) -> Done<()> {
        let from = self.books.tidied.take();
        let from = from.as_deref();
        let (over, last) = match &self.txn {
            Some(txn) => are_over(&txn.open_table(DEMANDS)?, from, now)?,
            None => are_over(&self.db.begin_read()?.open_table(DEMANDS)?, from, now)?,
        };
        self.books.tidied = last;
        for key in over {
            self.forget_demands(&key)?;
        }
        Ok(())
    }

    fn append(&mut self, scope: &Scope, author: Author) -> Done<Position> {
        let record = Record::new(0, author.node, Some(scope.clone()));
        let at = self.append_record(record, author)?;
        if scope.key().is_none() {
            let mut markers = self.txn()?.open_table(MARKERS)?;
            if markers.len()? >= MOST_MARKERS {
                markers.retain(|_, _| false)?;
                markers.insert(&*Scope::All.encode(), at.number)?;
            }
            markers.insert(&*scope.encode(), at.number)?;
        }
        Ok(at)
    }

    fn append_record(&mut self, record: Record, author: Author) -> Done<Position> {
        let Meta {
            incarnation,
            number,
            ..
        } = self.meta;
        if incarnation == author.incarnation && number < author.seen {
            // The file is an older copy of itself: what is missing nobody knows.
            self.meta.incarnation = fastrand::u64(1..);
            self.meta.number = begin(self.books.time.millis(), author.seen);
            self.records.clear();
            self.txn()?.open_table(MARKERS)?.retain(|_, _| false)?;
        }
        self.meta.number += 1;
        // That there was a record is known to the file, what it said to those who were there.
        self.txn()?;
        let number = self.meta.number;
        self.records.push(Record {
            number,
            ..record.stamped(fastrand::u64(1..))
        });
        Ok(Position::new(self.meta.incarnation, number))
    }

    fn value(&self, key: &str) -> Done<Option<Bytes>> {
        let now = self.books.time.millis();
        let row = match &self.txn {
            Some(txn) => txn
                .open_table(VALUES)?
                .get(key)?
                .map(|row| alive(row.value(), now, usize::MAX)),
            None => {
                let values = self.db.begin_read()?.open_table(VALUES)?;
                let row = values.get(key)?;
                row.map(|row| alive(row.value(), now, usize::MAX))
            }
        };
        Ok(row.transpose()?.flatten())
    }

    fn mark_expired(&mut self, key: &str) -> Done<()> {
        let mut values = self.txn()?.open_table(VALUES)?;
        let Some(mut row) = values.get(key)?.map(|row| row.value().to_vec()) else {
            return Ok(());
        };
        let place = parts(&row)?.0;
        let mut envelope = row.split_off(row.len() - parts(&row)?.1.len());
        if let Some(byte) = envelope.get_mut(POSITION_OFFSET) {
            *byte = EXPIRED_BYTE;
        }
        values.insert(key, &super::tables::row(place.0, place.1, &envelope)[..])?;
        Ok(())
    }

    fn make_room(&mut self, cost: u64) -> Done<()> {
        while self.meta.used.saturating_add(cost) > self.books.bytes {
            let Some((_, key)) = self.first_to_end()? else {
                break;
            };
            self.take_out(&key)?;
        }
        Ok(())
    }

    fn first_to_end(&self) -> Done<Option<(u64, String)>> {
        match &self.txn {
            Some(txn) => first(&txn.open_table(ENDS)?),
            None => first(&self.db.begin_read()?.open_table(ENDS)?),
        }
    }

    fn take_out(&mut self, key: &str) -> Done<()> {
        let txn = self.txn()?;
        let mut values = txn.open_table(VALUES)?;
        let Some((place, cost)) = values
            .remove(key)?
            .map(|row| Ok::<_, Failure>((parts(row.value())?.0, cost(key, row.value()))))
            .transpose()?
        else {
            return Ok(());
        };
        txn.open_table(ENDS)?.remove(place)?;
        drop(values);
        self.meta.used = self.meta.used.saturating_sub(cost);
        Ok(())
    }

    fn txn(&mut self) -> Done<&WriteTransaction> {
        if self.txn.is_none() {
            self.txn = Some(self.db.begin_write()?);
        }
        self.txn.as_ref().ok_or(Failure::Before)
    }
}

fn first(ends: &impl ReadableTable<(u64, u64), &'static str>) -> Done<Option<(u64, String)>> {
    let first = ends.first()?;
    Ok(first.map(|(place, key)| (place.value().0, key.value().to_owned())))
}

fn kept(
    demands: &impl ReadableTable<&'static str, &'static str>,
    key: &str,
    now: u64,
) -> Done<Kept> {
    let there = demands.get(key)?;
    Ok(Kept::read(there.as_ref().map(|text| text.value()), now))
}

/// Of some demands after a key, the keys of those whose time is over; and the last one that was looked at, unless it is the last of all.
fn are_over(
    demands: &impl ReadableTable<&'static str, &'static str>,
    after: Option<&str>,
    now: u64,
) -> Done<(Vec<String>, Option<String>)> {
    let from = after.map_or(Bound::Unbounded, Bound::Excluded);
    let mut some = demands.range::<&str>((from, Bound::Unbounded))?;
    let (mut over, mut last) = (Vec::new(), None);
    for entry in some.by_ref().take(TIDIED) {
        let (key, text) = entry?;
        if Kept::is_over(text.value(), now) {
            over.push(key.value().to_owned());
        }
        last = Some(key.value().to_owned());
    }
    let last = last.filter(|_| some.next().is_some());
    Ok((over, last))
}
