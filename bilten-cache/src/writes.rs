//! Writes of the source that overlap: whose value is the newest then, nobody outside of the source can tell. Pure.

use std::collections::HashMap;
use std::sync::Arc;

/// The writes that are under way, by key.
#[derive(Debug, Default)]
pub(crate) struct Writes {
    keys: HashMap<Arc<str>, Vec<Write>>,
}

#[derive(Debug)]
struct Write {
    token: u64,
    alone: bool,
}

impl Writes {
    /// A write begins: it and all that are under way overlap. `true` when there are none.
    pub(crate) fn begin(&mut self, key: &Arc<str>, token: u64) -> bool {
        let writes = self.keys.entry(Arc::clone(key)).or_default();
        writes.iter_mut().for_each(|other| other.alone = false);
        let alone = writes.is_empty();
        writes.push(Write { token, alone });
        alone
    }

    /// Something else has changed the key: no write that is under way is alone.
    pub(crate) fn interrupt(&mut self, key: &str) {
        self.keys.remove(key);
    }

    /// Another value was written: no write that is under way is alone, but the one that the value comes from.
    #[cfg(any(test, feature = "test-util"))]
    pub(crate) fn overtake(&mut self, key: &str, own: u64) {
        let others = self.keys.get_mut(key).into_iter().flatten();
        let others = others.filter(|write| write.token != own);
        others.for_each(|other| other.alone = false);
    }

    /// A write ends. `true` when no other was under way at any time since it began.
    pub(crate) fn end(&mut self, key: &Arc<str>, token: u64) -> bool {
        let Some(writes) = self.keys.get_mut(key) else {
            return false;
        };
        let at = writes.iter().position(|write| write.token == token);
        let ended = at.map(|at| writes.swap_remove(at));
        if writes.is_empty() {
            self.keys.remove(key);
        }
        ended.is_some_and(|write| write.alone)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_overlap_when_both_are_under_way_at_some_time() {
        let (mut writes, key) = (Writes::default(), Arc::from("a"));
        assert!(writes.begin(&key, 1) && writes.end(&key, 1));
        assert!(writes.begin(&key, 1));
        assert!(!writes.begin(&key, 2));
        assert!(!writes.end(&key, 2));
        assert!(!writes.begin(&key, 3), "the first is still under way");
        assert!(!writes.end(&key, 1) && !writes.end(&key, 3));
        assert!(writes.begin(&key, 3));
        writes.interrupt("a");
        assert!(!writes.end(&key, 3));
        assert!(writes.begin(&key, 4) && writes.begin(&"b".into(), 5));
        assert!(writes.end(&key, 4) && !writes.end(&key, 4));
        assert_eq!(writes.keys.len(), 1, "what has ended takes no memory");
        writes.overtake("b", 5);
        assert!(writes.end(&"b".into(), 5) && writes.begin(&"b".into(), 6));
        writes.overtake("b", 7);
        assert!(!writes.end(&"b".into(), 6));
    }
}
