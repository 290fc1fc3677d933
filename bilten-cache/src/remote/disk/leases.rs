use std::collections::HashMap;
use std::time::{Duration, Instant};

/// Who may store which key. In memory only: a load does not outlive its process.
#[derive(Debug, Default)]
pub(super) struct Leases {
    held: HashMap<String, (u64, Instant)>,
}

impl Leases {
    pub(super) fn take(&mut self, key: &str, token: u64, hold: Duration) -> bool {
        let free = self.holder(key).is_none();
        if free {
            self.give(key, token, hold);
        }
        free
    }

    /// Gives the lease to somebody, whoever holds it.
    pub(super) fn give(&mut self, key: &str, token: u64, hold: Duration) {
        let until = Instant::now() + hold;
        self.held.insert(key.to_owned(), (token, until));
    }

    pub(super) fn renew(&mut self, key: &str, token: u64, hold: Duration) -> bool {
        let holds = self.holder(key) == Some(token);
        if holds {
            self.give(key, token, hold);
        }
        holds
    }

    pub(super) fn release(&mut self, key: &str, token: u64) -> bool {
        let holds = self.holder(key) == Some(token);
        if holds {
            self.held.remove(key);
        }
        holds
    }

    pub(super) fn break_off(&mut self, key: &str) {
        self.held.remove(key);
    }

    pub(super) fn clear(&mut self) {
        self.held.clear();
    }

    /// Forgets those that ran out.
    pub(super) fn tidy(&mut self) {
        let now = Instant::now();
        self.held.retain(|_, (_, until)| now < *until);
    }

    fn holder(&self, key: &str) -> Option<u64> {
        let (token, until) = self.held.get(key)?;
        (Instant::now() < *until).then_some(*token)
    }
}
