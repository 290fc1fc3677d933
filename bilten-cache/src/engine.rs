use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};

use crate::admission::Admission;
use crate::clock::{Clock, Nanos};
use crate::coherence::{Coherence, Effect};
use crate::entry::{Began, Entry};
use crate::events::{Event, Teller};
use crate::kept::Kept;
use crate::memory::{Glance, Memory};
use crate::recovery::Recovery;
use crate::remote::{Demand, Gate, Position, Record, Scope};
use crate::stats::CacheMeters;
use crate::tasks::Tasks;
use crate::ticket::{Ticket, Tickets};
use crate::writes::Writes;

/// The parts that all regions of a cache share.
#[derive(Debug)]
pub(crate) struct Engine {
    pub(crate) name: Arc<str>,
    pub(crate) node: u64,
    pub(crate) clock: Clock,
    pub(crate) memory: Arc<Memory>,
    pub(crate) tickets: Tickets,
    pub(crate) coherence: Coherence,
    pub(crate) gate: Option<Gate>,
    pub(crate) recovery: Recovery,
    pub(crate) admission: Admission,
    /// Whether this process changes nothing in the second level.
    pub(crate) read_only: bool,
    /// Where there is no second level to keep them.
    pub(crate) writes: Mutex<Writes>,
    pub(crate) tasks: Tasks,
    pub(crate) meters: Arc<CacheMeters>,
    pub(crate) teller: Arc<Teller>,
    /// The longest life that an entry was given here, in nanoseconds.
    pub(crate) longest_life: AtomicU64,
}

/// What a read must show when it wants to fill L1.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Start {
    pub(crate) ticket: Ticket,
    pub(crate) began: Began,
}

/// Whether a record came next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Followed {
    Next,
    /// Records before it are missing.
    Gap,
    /// It is not of the log that was followed so far.
    OtherLog,
}

impl Engine {
    /// To be taken before a read begins that may fill L1.
    pub(crate) fn start(&self, key: &str) -> Start {
        Start {
            ticket: self.tickets.take(key),
            began: self.coherence.begin(),
        }
    }

    /// To be taken before a load begins, with what it must reflect: what this process knows of, and `told` by the second level.
    pub(crate) fn start_load(&self, key: &str, told: Vec<Demand>) -> (Start, Option<Demand>) {
        let ticket = self.tickets.take(key);
        let (began, demand) = self.coherence.begin_load(key);
        let demand = match (told.is_empty(), demand) {
            (true, demand) => demand,
            (false, demand) => self.coherence.join(told.into_iter().chain(demand)),
        };
        (Start { ticket, began }, demand)
    }

    /// Whether nothing has invalidated the key since; a caller that comes now may wait for that read.
    pub(crate) fn is_current(&self, key: &str, start: &Start) -> bool {
        self.tickets.is_current(start.ticket) && self.coherence.may_join(key, start.began)
    }

    /// The value, if there is nothing to think about; the entry, if there is.
    pub(crate) fn glance<V: Send + Sync + 'static>(&self, key: &str) -> Glance<Arc<V>> {
        let latest = self.clock.latest();
        self.memory.glance(key, |entry| {
            let plain = entry.is_plain(latest) && self.coherence.trusts_at_sight(entry, latest);
            plain.then(|| entry.value())?
        })
    }

    /// Whether L1 may serve the entry.
    pub(crate) fn serves(&self, key: &str, entry: &Entry, now: Nanos) -> bool {
        entry.is_fresh(now) && self.coherence.trusts(key, entry, now)
    }

    /// The entry whatever its age, if nothing invalidated it.
    pub(crate) fn retained(&self, key: &str, now: Nanos) -> Option<Kept> {
        let entry = self.memory.find(key)?;
        self.coherence.trusts(key, &entry, now).then_some(entry)
    }

    /// Fills L1, unless the key changed since `ticket` was taken.
    pub(crate) fn fill(&self, key: &str, entry: Entry, ticket: Ticket) -> bool {
        self.fill_shared(key, &Kept::new(key, entry), ticket)
    }

    /// The same with an entry that somebody else keeps as well.
    pub(crate) fn fill_shared(&self, key: &str, entry: &Kept, ticket: Ticket) -> bool {
        let is_current = |_: Option<&Kept>| self.tickets.is_current(ticket);
        let filled = self.coherence.is_valid(key, entry.tags(), entry.began())
            && self.memory.insert_if(entry, is_current);
        if filled {
            self.memory.catch_up_soon();
        }
        filled
    }

    /// Fills L1 with what the second level has. Where a newer value has come here meanwhile, that stays: a load that lands voids no ticket.
    pub(crate) fn fill_from_remote(&self, key: &str, entry: &Kept, ticket: Ticket) -> bool {
        if !self.coherence.is_valid(key, entry.tags(), entry.began()) {
            return false;
        }
        loop {
            let known = self.memory.find(key);
            if known
                .as_ref()
                .is_some_and(|there| self.is_newer(key, there, entry))
            {
                return true;
            }
            let mut another = false;
            let filled = self.memory.insert_if(entry, |there| {
                another = match (there, &known) {
                    (Some(there), Some(known)) => !there.is_same(known),
                    (Some(_), None) => true,
                    (None, _) => false,
                };
                !another && self.tickets.is_current(ticket)
            });
            if filled {
                self.memory.catch_up_soon();
            }
            if !another {
                return filled;
            }
        }
    }

    /// Whether what L1 has was made later. A stale one gives way to a fresh one all the same, and to no other one of its age: it knows when
    /// its load failed.
    fn is_newer(&self, key: &str, there: &Kept, entry: &Entry) -> bool {
        let now = self.clock.now();
        let later = match entry.is_fresh(now) {
            true => there.is_fresh(now) && there.created_millis > entry.created_millis,
            false => there.created_millis >= entry.created_millis,
        };
        later && self.coherence.trusts(key, there, now)
    }

    /// The second level, if it may be read for this key: without the log nobody knows which of its entries still count.
    pub(crate) fn readable(&self, key: &str) -> Option<&Gate> {
        let gate = self.gate.as_ref()?;
        let known = self.coherence.is_synced()
            && !self.coherence.is_isolated(self.clock.latest())
            && !self.recovery.covers(key);
        known.then_some(gate)
    }

    /// What values and source tokens of a second level on this machine's disk take.
    pub(crate) fn disk_bytes(&self) -> Option<u64> {
        self.gate.as_ref()?.remote().bytes_here()
    }

    /// Takes note of our own record. When the log turns out to be another one, L1 goes.
    pub(crate) fn acknowledge(&self, scope: &Scope, position: Position) {
        if !self.coherence.acknowledge(scope, position) {
            self.clear_memory();
        }
    }

    /// The same for a record that tells what loads must reflect.
    pub(crate) fn acknowledge_demand(&self, position: Position) {
        if !self.coherence.acknowledge_demand(position) {
            self.clear_memory();
        }
    }

    /// Applies a record of the log, if it is the next one.
    pub(crate) fn apply(&self, record: &Record) -> Followed {
        let followed = self.apply_to_memory(record);
        // Only now: who waits for this position looks into L1 next.
        self.coherence.settle();
        followed
    }

    fn apply_to_memory(&self, record: &Record) -> Followed {
        match self.coherence.apply(record) {
            Effect::Nothing => {}
            Effect::DropKey(key) => {
                self.tickets.bump(&key, None);
                self.memory.remove(&key);
            }
            Effect::ExpireKey(key) => {
                self.tickets.bump(&key, None);
                self.memory.expire(&key);
            }
            Effect::Gap => return Followed::Gap,
            Effect::OtherLog => return Followed::OtherLog,
        }
        self.meters.log_records.add(1);
        if record.scope.is_none() && record.demand.is_none() {
            self.meters.log_unreadable.add(1);
        }
        if record.node != self.node && record.demand.is_none() {
            self.teller.tell(|| Event::Invalidated {
                scope: record.scope.clone().unwrap_or(Scope::All),
                here: false,
            });
        }
        Followed::Next
    }

    pub(crate) fn clear_memory(&self) {
        self.meters.flushes.add(1);
        self.teller.tell(|| Event::Flushed);
        self.memory.clear();
    }
}
