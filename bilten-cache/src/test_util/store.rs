use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use tokio::time::Instant;

use super::ManualClock;
use crate::envelope::{EXPIRED_BYTE, POSITION_OFFSET};
use crate::remote::{
    Author, Demand, Lease, Page, Position, Pulse, Record, Scope, Snapshot, Wanted,
};
use crate::writes::Writes;

/// What a server would hold. Values do not run out here: their freshness is the cache's business.
#[derive(Debug)]
pub(super) struct Store {
    pub(super) values: HashMap<String, Bytes>,
    leases: HashMap<String, (u64, Instant)>,
    log: BTreeMap<u64, Record>,
    markers: HashMap<String, u64>,
    /// By encoded key, and under the empty one for all keys; each with the number of its record.
    demands: HashMap<String, Vec<(u64, Demand)>>,
    pub(super) writes: Writes,
    pub(super) position: Option<Position>,
    time: Time,
}

/// The time that the store tells.
#[derive(Debug, Clone, Default)]
pub(super) enum Time {
    #[default]
    OfTheMachine,
    /// Milliseconds since 1970 when the clock stood at its beginning.
    Moved(ManualClock, u64),
}

impl Time {
    pub(super) fn moved_by(clock: &ManualClock) -> Self {
        let elapsed = whole_millis(clock.elapsed());
        Self::Moved(clock.clone(), of_the_machine().saturating_sub(elapsed))
    }

    fn millis(&self) -> u64 {
        match self {
            Self::OfTheMachine => of_the_machine(),
            Self::Moved(clock, origin) => origin.saturating_add(whole_millis(clock.elapsed())),
        }
    }
}

impl Store {
    pub(super) fn new() -> Self {
        Self::at(Time::default())
    }

    /// An empty one that goes on with the time of this one.
    pub(super) fn emptied(&self) -> Self {
        Self::at(self.time.clone())
    }

    pub(super) fn follow(&mut self, time: Time) {
        self.time = time;
    }

    fn at(time: Time) -> Self {
        Self {
            time,
            values: HashMap::new(),
            leases: HashMap::new(),
            log: BTreeMap::new(),
            markers: HashMap::new(),
            demands: HashMap::new(),
            writes: Writes::default(),
            position: None,
        }
    }

    pub(super) fn lease(
        &mut self,
        key: &str,
        token: u64,
        hold: Duration,
        over: Option<&[u8]>,
    ) -> Lease {
        let counts = |value: &&Bytes| over.is_none_or(|head| !value.starts_with(head));
        if let Some(value) = self.values.get(key).filter(counts) {
            return Lease::Value(value.clone());
        }
        if self.holder(key).is_some() {
            return Lease::Busy;
        }
        self.leases
            .insert(key.to_owned(), (token, Instant::now() + hold));
        match self.demands.get(key) {
            Some(demands) => Lease::OwnedAfter(demands.iter().map(|(_, d)| d.clone()).collect()),
            None => Lease::Owned,
        }
    }

    /// Appends the record of a demand and keeps it for all keys.
    pub(super) fn demand(&mut self, wanted: &Wanted, author: Author) -> Position {
        let record = Record::new(0, author.node, Some(wanted.scope.clone()));
        let position = self.append_record(record.demanding(wanted.here.clone()), author);
        self.keep_demand("", position.number, wanted.known, &wanted.everywhere);
        position
    }

    /// Keeps a demand under a name; the author's own takes in what it knows. Demands do not run out here.
    pub(super) fn keep_demand(&mut self, name: &str, number: u64, known: u64, demand: &Demand) {
        let kept = self.demands.entry(name.to_owned()).or_default();
        kept.retain(|(at, _)| *at > known && *at != number);
        kept.push((number, demand.clone()));
    }

    pub(super) fn store(&mut self, key: &str, token: u64, envelope: Bytes) -> bool {
        let holds = self.release(key, token);
        if holds {
            self.values.insert(key.to_owned(), envelope);
        }
        holds
    }

    pub(super) fn renew(&mut self, key: &str, token: u64, hold: Duration) -> bool {
        let holds = self.holder(key) == Some(token);
        if holds {
            self.leases
                .insert(key.to_owned(), (token, Instant::now() + hold));
        }
        holds
    }

    pub(super) fn release(&mut self, key: &str, token: u64) -> bool {
        let holds = self.holder(key) == Some(token);
        if holds {
            self.leases.remove(key);
        }
        holds
    }

    pub(super) fn claim(
        &mut self,
        key: &str,
        token: u64,
        hold: Duration,
        author: Author,
    ) -> Position {
        self.seize(key, token, hold);
        self.append(&Scope::Key(key.into()), author)
    }

    /// A claim without its record.
    pub(super) fn seize(&mut self, key: &str, token: u64, hold: Duration) {
        self.leases.remove(key);
        self.values.remove(key);
        self.leases
            .insert(key.to_owned(), (token, Instant::now() + hold));
        self.writes.overtake(key, token);
    }

    pub(super) fn invalidate(&mut self, scope: &Scope, author: Author) -> Position {
        self.change(scope);
        self.append(scope, author)
    }

    /// An invalidation without its record.
    pub(super) fn change(&mut self, scope: &Scope) {
        if let Some(key) = scope.key() {
            self.leases.remove(&**key);
            self.writes.interrupt(key);
        }
        match scope {
            Scope::Key(key) => drop(self.values.remove(&**key)),
            Scope::Expired(key) => {
                if let Some(value) = self.values.get_mut(&**key) {
                    *value = mark_expired(value);
                }
            }
            _ => {}
        }
    }

    pub(super) fn snapshot(&mut self) -> Snapshot {
        let position = *self.position.get_or_insert_with(fresh);
        let markers = self
            .markers
            .iter()
            .map(|(scope, at)| (Scope::decode(scope).unwrap_or(Scope::All), *at));
        let mut snapshot = Snapshot::new(position, self.time.millis(), markers.collect());
        let demands = self.demands.get("").into_iter().flatten();
        snapshot.demands = demands.map(|(_, demand)| demand.clone()).collect();
        snapshot
    }

    pub(super) fn pulse(&self, number: u64) -> Pulse {
        Pulse {
            position: self.position,
            server_millis: self.time.millis(),
            stamp: self.log.get(&number).map(|record| record.stamp),
        }
    }

    pub(super) fn tail(&self, position: u64, most: u16) -> Vec<Record> {
        self.log
            .range(position + 1..)
            .take(most.into())
            .map(|(_, record)| record.clone())
            .collect()
    }

    /// Keys after a key, in order.
    pub(super) fn scan(&self, after: &str) -> Page {
        const PAGE: usize = 100;
        let mut keys: Vec<String> = self.values.keys().cloned().collect();
        keys.retain(|key| key.as_str() > after);
        keys.sort_unstable();
        let more = keys.len() > PAGE;
        keys.truncate(PAGE);
        let next = keys.last().filter(|_| more).cloned();
        Page::new(keys, next)
    }

    pub(super) fn discard(&mut self, key: &str, head: &[u8]) -> bool {
        let same = self.values.get(key).is_some_and(|v| v.starts_with(head));
        if same {
            self.values.remove(key);
        }
        same
    }

    pub(super) fn lose_leases(&mut self) {
        self.leases.clear();
    }

    pub(super) fn trim_log(&mut self) {
        self.log.clear();
    }

    pub(super) fn step_back(&mut self, records: u64) {
        if let Some(position) = &mut self.position {
            position.number = position.number.saturating_sub(records);
            let last = position.number;
            self.log.retain(|number, _| *number <= last);
            self.markers.retain(|_, at| *at <= last);
        }
    }

    pub(super) fn append_unreadable(&mut self) {
        let position = self.position.get_or_insert_with(fresh);
        position.number += 1;
        let record = Record::new(position.number, 0, None).stamped(fastrand::u64(1..));
        self.log.insert(position.number, record);
    }

    pub(super) fn append(&mut self, scope: &Scope, author: Author) -> Position {
        let record = Record::new(0, author.node, Some(scope.clone()));
        let position = self.append_record(record, author);
        if scope.key().is_none() {
            self.markers.insert(scope.encode(), position.number);
        }
        position
    }

    fn append_record(&mut self, record: Record, author: Author) -> Position {
        let known = self
            .position
            .filter(|p| p.incarnation != author.incarnation || p.number >= author.seen);
        let position = match (known, self.position) {
            (Some(position), _) => position,
            (None, _) => {
                self.log.clear();
                self.markers.clear();
                fresh()
            }
        };
        let position = Position {
            number: position.number + 1,
            ..position
        };
        self.position = Some(position);
        let before = self.log.get(&(position.number - 1));
        let record = Record {
            number: position.number,
            follows: before.map_or(0, |before| before.stamp),
            ..record.stamped(fastrand::u64(1..))
        };
        self.log.insert(position.number, record);
        position
    }

    fn holder(&self, key: &str) -> Option<u64> {
        self.leases
            .get(key)
            .filter(|(_, until)| Instant::now() < *until)
            .map(|(token, _)| *token)
    }
}

fn mark_expired(envelope: &Bytes) -> Bytes {
    let mut bytes = envelope.to_vec();
    if let Some(first) = bytes.get_mut(POSITION_OFFSET) {
        *first = EXPIRED_BYTE;
    }
    bytes.into()
}

fn fresh() -> Position {
    Position {
        incarnation: fastrand::u64(1..),
        number: 0,
    }
}

fn of_the_machine() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    whole_millis(since.unwrap_or_default())
}

fn whole_millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
