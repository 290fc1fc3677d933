use std::hash::BuildHasher;
#[cfg(not(test))]
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

// Here a schedule is chosen at each access: the tests go through many.
#[cfg(test)]
use shuttle::sync::atomic::AtomicU64;

/// Stripes of keys. Two keys on one stripe cost each other at most one skipped fill.
const STRIPES: usize = 4096;

/// Counts the changes of every key, by stripe.
///
/// Whoever wants to fill L1 takes a ticket before it starts to read, and shows it when it
/// inserts; a change in between has bumped the stripe and the ticket is void. Bump **after** L2
/// has acknowledged a change and **before** L1 drops the key: a bump before the L2 delete would
/// hand a valid ticket to a reader that still finds the old value there.
pub(crate) struct Tickets {
    stripes: Box<[AtomicU64]>,
    hasher: foldhash::fast::RandomState,
    /// A planted bug, for tests of a checker.
    #[cfg(feature = "test-util")]
    pub(crate) ignored: bool,
}

/// The right to fill one key, as long as nothing changes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ticket {
    stripe: usize,
    count: u64,
}

impl Tickets {
    pub(crate) fn new() -> Self {
        Self {
            stripes: (0..STRIPES).map(|_| AtomicU64::new(0)).collect(),
            hasher: foldhash::fast::RandomState::default(),
            #[cfg(feature = "test-util")]
            ignored: false,
        }
    }

    pub(crate) fn take(&self, key: &str) -> Ticket {
        let stripe = self.stripe(key);
        Ticket {
            stripe,
            count: self.stripes[stripe].load(Ordering::Acquire),
        }
    }

    pub(crate) fn is_current(&self, ticket: Ticket) -> bool {
        #[cfg(feature = "test-util")]
        if self.ignored {
            return true;
        }
        self.stripes[ticket.stripe].load(Ordering::Acquire) == ticket.count
    }

    /// Voids every ticket of the key. The answer is the one ticket taken after it, for a writer
    /// that wants to put its own value in, and whether `before` was still current.
    pub(crate) fn bump(&self, key: &str, before: Option<Ticket>) -> Option<Ticket> {
        let stripe = self.stripe(key);
        let count = self.stripes[stripe].fetch_add(1, Ordering::AcqRel);
        before.filter(|b| b.count == count).map(|_| Ticket {
            stripe,
            count: count + 1,
        })
    }

    fn stripe(&self, key: &str) -> usize {
        usize::try_from(self.hasher.hash_one(key) % STRIPES as u64).unwrap_or(0)
    }
}

impl std::fmt::Debug for Tickets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tickets")
            .field("stripes", &self.stripes.len())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use shuttle::sync::Mutex;
    use shuttle::thread;

    use super::*;

    #[test]
    fn a_change_voids_the_tickets_taken_before_it() {
        shuttle::check_random(
            || {
                let tickets = Tickets::new();
                let before = tickets.take("a");
                assert!(tickets.is_current(before));
                tickets.bump("a", None);
                assert!(!tickets.is_current(before));
                assert!(tickets.is_current(tickets.take("a")));
            },
            1,
        );
    }

    #[test]
    fn a_writer_keeps_its_right_only_when_nobody_else_wrote() {
        shuttle::check_random(
            || {
                let tickets = Tickets::new();
                let alone = tickets.take("a");
                let after = tickets.bump("a", Some(alone)).expect("nobody else wrote");
                assert!(tickets.is_current(after));

                let slow = tickets.take("a");
                tickets.bump("a", None);
                assert_eq!(tickets.bump("a", Some(slow)), None);
            },
            1,
        );
    }

    /// How often each race is run, each time in another order.
    const ORDERS: usize = 3_000;

    /// One key in both levels. A lock stands for the one under which memory changes a key, and for the server.
    struct Levels {
        tickets: Tickets,
        remote: Mutex<Option<u32>>,
        memory: Mutex<Option<u32>>,
    }

    impl Levels {
        fn new(remote: u32) -> Arc<Self> {
            Arc::new(Self {
                tickets: Tickets::new(),
                remote: Mutex::new(Some(remote)),
                memory: Mutex::new(None),
            })
        }

        fn read(&self, with_ticket: bool) {
            let ticket = self.tickets.take("a");
            let value = *self.remote.lock().unwrap();
            let mut memory = self.memory.lock().unwrap();
            if value.is_some() && (!with_ticket || self.tickets.is_current(ticket)) {
                *memory = value;
            }
        }

        fn remove(&self, remote_first: bool) {
            if remote_first {
                *self.remote.lock().unwrap() = None;
            }
            self.tickets.bump("a", None);
            *self.memory.lock().unwrap() = None;
            if !remote_first {
                *self.remote.lock().unwrap() = None;
            }
        }

        fn write(&self, value: u32) {
            let ticket = self.tickets.take("a");
            *self.remote.lock().unwrap() = Some(value);
            let right = self.tickets.bump("a", Some(ticket));
            let mut memory = self.memory.lock().unwrap();
            *memory = right
                .filter(|right| self.tickets.is_current(*right))
                .map(|_| value);
        }
    }

    fn spawn(
        levels: &Arc<Levels>,
        work: impl FnOnce(&Levels) + Send + 'static,
    ) -> thread::JoinHandle<()> {
        let levels = Arc::clone(levels);
        thread::spawn(move || work(&levels))
    }

    /// Two reads around a removal: when it has returned, the old value is in L1 no more, and never again.
    fn reads_around_a_removal(with_ticket: bool, remote_first: bool) {
        let levels = Levels::new(1);
        let readers = [(); 2].map(|()| spawn(&levels, move |levels| levels.read(with_ticket)));
        levels.remove(remote_first);
        assert_eq!(*levels.memory.lock().unwrap(), None);
        for reader in readers {
            reader.join().unwrap();
        }
        assert_eq!(*levels.memory.lock().unwrap(), None);
    }

    #[test]
    fn no_order_of_reads_and_a_removal_leaves_the_old_value() {
        shuttle::check_random(|| reads_around_a_removal(true, true), ORDERS);
        shuttle::check_pct(|| reads_around_a_removal(true, true), ORDERS, 3);
    }

    #[test]
    fn a_fill_without_its_ticket_and_a_removal_in_the_wrong_order_are_found() {
        for (with_ticket, remote_first) in [(false, true), (true, false)] {
            let found = std::panic::catch_unwind(|| {
                shuttle::check_random(
                    move || reads_around_a_removal(with_ticket, remote_first),
                    ORDERS,
                );
            });
            assert!(found.is_err(), "{with_ticket} {remote_first}");
        }
    }

    #[test]
    fn no_order_of_two_writes_and_a_read_leaves_the_loser_in_memory() {
        shuttle::check_random(
            || {
                let levels = Levels::new(1);
                let others = [
                    spawn(&levels, |levels| levels.write(2)),
                    spawn(&levels, |levels| levels.read(true)),
                ];
                levels.write(3);
                for other in others {
                    other.join().unwrap();
                }
                let (memory, remote) =
                    (levels.memory.lock().unwrap(), levels.remote.lock().unwrap());
                assert!(
                    memory.is_none() || *memory == *remote,
                    "{memory:?} {remote:?}"
                );
            },
            ORDERS,
        );
    }
}
