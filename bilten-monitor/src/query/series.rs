//! The series of one query name, and the bounded set of all of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use metrics::SharedString;

use crate::alert::{AlertKind, Gate, Incident};
use crate::context;
use crate::hub::Hub;
use crate::in_flight::Mirror;
use crate::names::{self, label};
use crate::nanos::seconds;
use crate::outcome::Outcome;
use crate::recorded::Recorded;
use crate::repeats::Repeatable;
use crate::slots::{Place, Slots, Watched};
use crate::stats::{Recent, Side};
use crate::table::{Table, hash_number, hash_text};

/// Different error types that one query keeps apart; further ones are `other`.
const ERROR_TYPES: usize = 16;
/// What an alert of too many names is about.
const OVERFLOWING: &str = "query";

/// Everything that is kept for one query name.
#[derive(Debug)]
pub(crate) struct QuerySeries {
    pub(crate) hub: Arc<Hub>,
    pub(crate) name: SharedString,
    threshold_nanos: u64,
    /// One of so many is measured, and stands for all of them.
    one_in: u32,
    turn: AtomicU32,
    /// Where this query's turns fall, other than another one's.
    salt: u64,
    in_flight: Mirror,
    success: Recorded,
    cancelled: Recorded,
    panicked: Recorded,
    rows: Recorded,
    errors: Table<(&'static str, Recorded)>,
    other_error: Recorded,
    slow: Gate,
    running: Gate,
    slots: Slots,
    recent: Recent,
    repeatable: Arc<Repeatable>,
}

impl QuerySeries {
    pub(crate) fn new(hub: &Arc<Hub>, name: SharedString) -> Self {
        let registry = &hub.registry;
        let named = [(label::QUERY, name.clone())];
        Self {
            threshold_nanos: hub.limits.query_nanos(&name),
            one_in: hub.limits.one_in(&name),
            turn: AtomicU32::new(0),
            salt: hash_text(&name),
            in_flight: Mirror::new(registry, &names::QUERY_ACTIVE, &named),
            success: durations(hub, &name, Outcome::Success),
            cancelled: durations(hub, &name, Outcome::Cancelled),
            panicked: durations(hub, &name, Outcome::Panicked),
            rows: Recorded::new(registry, &names::QUERY_ROWS, &named),
            errors: Table::new(ERROR_TYPES),
            other_error: durations(hub, &name, Outcome::Error(names::OTHER)),
            slow: Gate::default(),
            running: Gate::default(),
            slots: Slots::default(),
            recent: Recent::default(),
            repeatable: Arc::new(Repeatable {
                name: name.clone(),
                gate: Gate::default(),
            }),
            hub: Arc::clone(hub),
            name,
        }
    }

    /// Counts one in, and reads the clock; nothing when another one is to stand for this one.
    pub(crate) fn begin(&self) -> Option<(u64, Place)> {
        if self.one_in > 1 {
            let turn = self.turn.fetch_add(1, Ordering::Relaxed);
            if !is_its_turn(turn, self.one_in, self.salt) {
                return None;
            }
        }
        let now = self.hub.time.now();
        self.recent.begin_many(self.one_in);
        let is_watched = self.threshold_nanos < u64::MAX;
        let place = if is_watched {
            self.slots.claim(now)
        } else {
            None
        };
        Some((now, place))
    }

    /// The one observation of an operation that began at `started`.
    pub(crate) fn end(&self, (started, place): (u64, Place), outcome: Outcome, rows: Option<u64>) {
        let now = self.hub.time.now();
        let took = now.saturating_sub(started);
        self.slots.release(place);
        self.recent.end_many(now, took, outcome, self.one_in);
        let recorded = self.recorded(outcome);
        recorded.record_many(&self.hub, now, seconds(took), self.one_in);
        if let Some(rows) = rows {
            #[expect(
                clippy::cast_precision_loss,
                reason = "rows that fit in memory are far below 2^53"
            )]
            self.rows
                .record_many(&self.hub, now, rows as f64, self.one_in);
        }
        // Different queries share `other`: there they repeat nothing.
        if self.hub.limits.n_plus_one.is_some() && &*self.name != names::OTHER {
            context::note(&self.repeatable, started, now);
        }
        if took > self.threshold_nanos {
            self.alert(now, took, outcome, rows);
        }
    }

    /// How many are measured and have not ended; `None` when none ever began.
    fn in_flight(&self) -> Option<u64> {
        Some(self.recent.in_flight()? / u64::from(self.one_in))
    }

    fn show(&self, now: u64) {
        if let Some(count) = self.in_flight() {
            self.in_flight.show(&self.hub.registry, now, count);
        }
    }

    fn recorded(&self, outcome: Outcome) -> &Recorded {
        match outcome {
            Outcome::Success => &self.success,
            Outcome::Cancelled => &self.cancelled,
            Outcome::Panicked => &self.panicked,
            Outcome::Error(kind) => self
                .errors
                .find_or_insert(
                    hash_text(kind),
                    |entry| entry.0 == kind,
                    || (kind, durations(&self.hub, &self.name, outcome)),
                )
                .map_or(&self.other_error, |entry| &entry.1),
        }
    }

    fn look(&self, now: u64) {
        for elapsed in self.slots.overdue(now, self.threshold_nanos) {
            let incident = Incident {
                kind: AlertKind::StillRunning,
                subject: &self.name,
                duration_nanos: elapsed,
                threshold_nanos: self.threshold_nanos,
                outcome: Outcome::Success,
                trace: None,
            };
            self.hub.desk.raise(&self.running, now, &incident, Vec::new);
        }
    }

    fn gates(&self, visit: &mut dyn FnMut(AlertKind, &str, &Gate)) {
        visit(AlertKind::SlowQuery, &self.name, &self.slow);
        visit(AlertKind::StillRunning, &self.name, &self.running);
        visit(AlertKind::NPlusOne, &self.name, &self.repeatable.gate);
    }

    #[cold]
    fn alert(&self, now: u64, took: u64, outcome: Outcome, rows: Option<u64>) {
        let incident = Incident {
            kind: AlertKind::SlowQuery,
            subject: &self.name,
            duration_nanos: took,
            threshold_nanos: self.threshold_nanos,
            outcome,
            trace: context::current_trace(),
        };
        let facts = || {
            let mut facts = context::current_facts();
            facts.extend(rows.map(|rows| ("rows", rows.to_string())));
            facts
        };
        self.hub.desk.raise(&self.slow, now, &incident, facts);
    }
}

impl Drop for QuerySeries {
    /// The last operation may outlive its monitor, and nobody would look any more.
    fn drop(&mut self) {
        self.show(self.hub.time.now());
    }
}

/// Whether this is the one of its so many that is measured: one of each row, the first of the first row.
///
/// Always the first would be a retry's failure for ever, or its success.
fn is_its_turn(turn: u32, one_in: u32, salt: u64) -> bool {
    let chosen = match turn / one_in {
        0 => 0,
        row => hash_number(u64::from(row) ^ salt) % u64::from(one_in),
    };
    u64::from(turn % one_in) == chosen
}

fn durations(hub: &Hub, name: &SharedString, outcome: Outcome) -> Recorded {
    let mut labels = vec![
        (label::QUERY, name.clone()),
        (label::OUTCOME, outcome.label().into()),
    ];
    labels.extend(outcome.error_type().map(|kind| (label::ERROR, kind.into())));
    Recorded::new(&hub.registry, &names::QUERY_DURATION, &labels)
}

/// Every query name of a monitor, up to the configured number.
#[derive(Debug)]
pub(crate) struct Queries {
    table: Table<QuerySeries>,
    /// Those that the program has named to the builder: they keep what was said of them, however many others there are.
    promised: Table<QuerySeries>,
    other: Arc<QuerySeries>,
    overflow: Gate,
}

impl Queries {
    pub(crate) fn new(hub: &Arc<Hub>) -> Self {
        Self {
            table: Table::new(hub.max_labels),
            promised: Table::new(hub.limits.known()),
            other: Arc::new(QuerySeries::new(hub, names::OTHER.into())),
            overflow: Gate::default(),
        }
    }

    /// The series of this name, if one has begun under it.
    pub(crate) fn known(&self, name: &str) -> Option<&Arc<QuerySeries>> {
        if name == names::OTHER {
            return Some(&self.other);
        }
        let hash = hash_text(name);
        let same = |entry: &QuerySeries| &*entry.name == name;
        let found = self.table.find(hash, same);
        found.or_else(|| self.promised.find(hash, same))
    }

    /// The series of this name, or `other` when there are too many names.
    pub(crate) fn named(
        &self,
        name: &str,
        owned: impl FnOnce() -> SharedString,
    ) -> &Arc<QuerySeries> {
        if let Some(known) = self.known(name) {
            return known;
        }
        let hub = &self.other.hub;
        let hash = hash_text(name);
        let same = |entry: &QuerySeries| &*entry.name == name;
        let make = || QuerySeries::new(hub, owned());
        let table = if hub.limits.knows(name) {
            &self.promised
        } else {
            &self.table
        };
        table.find_or_insert(hash, same, make).unwrap_or_else(|| {
            hub.overflowed(OVERFLOWING, &self.overflow);
            &self.other
        })
    }

    pub(crate) fn in_flight(&self) -> u64 {
        self.all().filter_map(|series| series.in_flight()).sum()
    }

    fn all(&self) -> impl Iterator<Item = &Arc<QuerySeries>> {
        let named = self.table.iter().chain(self.promised.iter());
        named.chain([&self.other])
    }
}

impl Watched for Queries {
    fn show(&self, now: u64) {
        self.all().for_each(|series| series.show(now));
    }

    fn look(&self, now: u64) {
        self.all().for_each(|series| series.look(now));
    }

    fn gates(&self, visit: &mut dyn FnMut(AlertKind, &str, &Gate)) {
        self.all().for_each(|series| series.gates(visit));
        visit(AlertKind::TooManyLabels, OVERFLOWING, &self.overflow);
    }

    fn each(&self, visit: &mut dyn FnMut(Side, &str, &Recent)) {
        self.all()
            .for_each(|series| visit(Side::Query, &series.name, &series.recent));
    }
}
