use std::collections::{BTreeMap, BTreeSet};

/// The replicas that discovery put into the cluster, each with the number of answers in a row that lacked it.
#[derive(Debug, Default)]
pub(crate) struct Known(BTreeMap<String, u32>);

/// What an answer changes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Changes {
    /// Ids to add.
    pub(crate) new: BTreeSet<String>,
    /// Ids to take out.
    pub(crate) gone: BTreeSet<String>,
}

impl Known {
    /// Takes in an answer; one without any replica says nothing.
    pub(crate) fn compare<'a>(
        &mut self,
        told: impl Iterator<Item = &'a str>,
        grace: u32,
    ) -> Option<Changes> {
        let told: BTreeSet<&str> = told.collect();
        if told.is_empty() {
            return None;
        }
        for (id, missed) in &mut self.0 {
            *missed = match told.contains(id.as_str()) {
                true => 0,
                false => missed.saturating_add(1),
            };
        }
        let gone = self.0.iter().filter(|(_, missed)| **missed >= grace);
        Some(Changes {
            gone: gone.map(|(id, _)| id.clone()).collect(),
            new: told
                .into_iter()
                .filter(|id| !self.0.contains_key(*id))
                .map(str::to_owned)
                .collect(),
        })
    }

    pub(crate) fn added(&mut self, id: &str) {
        self.0.insert(id.to_owned(), 0);
    }

    pub(crate) fn has(&self, id: &str) -> bool {
        self.0.contains_key(id)
    }

    pub(crate) fn removed(&mut self, id: &str) {
        self.0.remove(id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(ids: &[&str]) -> BTreeSet<String> {
        ids.iter().map(|id| (*id).to_owned()).collect()
    }

    #[test]
    fn a_replica_is_gone_after_as_many_answers_without_it_as_the_grace_allows() {
        let mut known = Known::default();
        ["a", "b"].iter().for_each(|id| known.added(id));
        // The answer, what is new, and what is gone by it.
        let table: [(&[&str], &[&str], &[&str]); 7] = [
            (&["a", "b"], &[], &[]),
            (&["a"], &[], &[]),
            (&["a", "b"], &[], &[]),
            (&["a", "c"], &["c"], &[]),
            (&["a"], &[], &["b"]),
            (&["a"], &[], &["b"]),
            (&["b"], &[], &[]),
        ];
        for (round, (told, new, gone)) in table.into_iter().enumerate() {
            let changes = known.compare(told.iter().copied(), 2).unwrap();
            assert_eq!(changes.new, ids(new), "round {round}");
            assert_eq!(changes.gone, ids(gone), "round {round}");
        }
        known.removed("b");
        let changes = known.compare(["a", "b"].into_iter(), 2).unwrap();
        assert_eq!(changes.new, ids(&["b"]));
    }

    #[test]
    fn an_empty_answer_says_nothing() {
        let mut known = Known::default();
        known.added("a");
        for _ in 0..5 {
            assert_eq!(known.compare(std::iter::empty(), 1), None);
        }
        let changes = known.compare(["a"].into_iter(), 1).unwrap();
        assert!(changes.gone.is_empty() && changes.new.is_empty());
    }
}
