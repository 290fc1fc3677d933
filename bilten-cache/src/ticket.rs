use std::hash::BuildHasher;
use std::sync::atomic::{AtomicU64, Ordering};

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
    use super::*;

    #[test]
    fn a_change_voids_the_tickets_taken_before_it() {
        let tickets = Tickets::new();
        let before = tickets.take("a");
        assert!(tickets.is_current(before));
        tickets.bump("a", None);
        assert!(!tickets.is_current(before));
        assert!(tickets.is_current(tickets.take("a")));
    }

    #[test]
    fn a_writer_keeps_its_right_only_when_nobody_else_wrote() {
        let tickets = Tickets::new();
        let alone = tickets.take("a");
        let after = tickets.bump("a", Some(alone)).expect("nobody else wrote");
        assert!(tickets.is_current(after));

        let slow = tickets.take("a");
        tickets.bump("a", None);
        assert_eq!(tickets.bump("a", Some(slow)), None);
    }
}
