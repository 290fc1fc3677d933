use std::collections::HashMap;
use std::time::{Duration, Instant};

/// Writes of the source that are under way, by key: which of them overlap. In memory only, as they do not outlive their process.
#[derive(Debug, Default)]
pub(super) struct Overlaps {
    keys: HashMap<String, Vec<Write>>,
}

#[derive(Debug)]
struct Write {
    token: u64,
    alone: bool,
    until: Instant,
}

impl Overlaps {
    /// A write begins: it and all that are under way overlap. `true` when there are none.
    pub(super) fn begin(&mut self, key: &str, token: u64, hold: Duration) -> bool {
        let now = Instant::now();
        let writes = self.keys.entry(key.to_owned()).or_default();
        writes.retain(|write| now < write.until);
        writes.iter_mut().for_each(|other| other.alone = false);
        let alone = writes.is_empty();
        let until = now + hold;
        writes.push(Write {
            token,
            alone,
            until,
        });
        alone
    }

    /// Something else has changed the key: no write that is under way is alone.
    pub(super) fn interrupt(&mut self, key: &str) {
        self.keys.remove(key);
    }

    /// Another value was written: no write that is under way is alone, but the one that the value comes from.
    pub(super) fn overtake(&mut self, key: &str, own: u64) {
        let others = self.keys.get_mut(key).into_iter().flatten();
        let others = others.filter(|write| write.token != own);
        others.for_each(|other| other.alone = false);
    }

    /// A write ends. `true` when no other was under way at any time since it began.
    pub(super) fn end(&mut self, key: &str, token: u64) -> bool {
        let Some(writes) = self.keys.get_mut(key) else {
            return false;
        };
        let at = writes.iter().position(|write| write.token == token);
        let ended = at.map(|at| writes.swap_remove(at));
        if writes.is_empty() {
            self.keys.remove(key);
        }
        ended.is_some_and(|write| write.alone && Instant::now() < write.until)
    }

    /// Forgets those that were given up.
    pub(super) fn tidy(&mut self) {
        let now = Instant::now();
        self.keys.retain(|_, writes| {
            writes.retain(|write| now < write.until);
            !writes.is_empty()
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_that_was_given_up_is_forgotten_and_was_not_alone() {
        let mut overlaps = Overlaps::default();
        assert!(overlaps.begin("a", 1, Duration::ZERO));
        assert!(!overlaps.end("a", 1), "its time was over");
        assert!(overlaps.begin("a", 2, Duration::ZERO));
        assert!(overlaps.begin("a", 3, Duration::from_secs(60)));
        overlaps.begin("b", 4, Duration::ZERO);
        overlaps.tidy();
        assert_eq!(overlaps.keys.len(), 1);
        assert!(overlaps.end("a", 3));
    }
}
