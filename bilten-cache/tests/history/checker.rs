//! Finds reads that are older than the cache promises. Pure: it sees only what happened and when.
//!
//! A change that began at `s` and returned at `e` obliges: who reads after it must not get a version that the source had
//! replaced before `s`. For the node that made the change "after" is `e`. For every other node it is `e` and the time within
//! which it must have learnt of it, provided the second level acknowledged the change. What an obliged node has to show never
//! goes down again, so a value that comes back is found too.

use std::collections::HashMap;
use std::fmt;

use crate::event::{Event, KEYS, What};
use crate::source::Commit;

/// What happened in one run.
#[derive(Debug)]
pub(crate) struct History {
    pub(crate) nodes: u32,
    pub(crate) commits: Vec<Commit>,
    pub(crate) events: Vec<Event>,
    /// How long other nodes may take, in nanoseconds.
    pub(crate) bound: u64,
    /// From when on every node must have everything, because all of them were connected and nothing waited.
    pub(crate) settled: Option<u64>,
}

/// A read that should not have been.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Violation {
    pub(crate) read: Event,
    pub(crate) found: u64,
    pub(crate) required: u64,
    /// The change that obliged, unless it was the end of the run.
    pub(crate) change: Option<Event>,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            read,
            found,
            required,
            change,
        } = self;
        write!(f, "found {found}, required {required}: {read:?}")?;
        if let Some(change) = change {
            let after = read.start.saturating_sub(change.end) / 1_000;
            write!(f, ", {after} us after {change:?}")?;
        }
        Ok(())
    }
}

/// From a time on, a node must show at least this version.
#[derive(Debug, Clone, Copy)]
struct Duty {
    from: u64,
    version: u64,
    change: Option<Event>,
}

/// All reads that are too old, and those of versions that did not exist yet.
pub(crate) fn violations(history: &History) -> Vec<Violation> {
    let source = by_key(&history.commits);
    let duties = duties(history, &source);
    let mut found_wrong = Vec::new();
    for read in &history.events {
        let What::Read {
            key,
            found: Some(found),
        } = read.what
        else {
            continue;
        };
        let owed = &duties[&(read.node, key)];
        let before = owed.partition_point(|duty| duty.from < read.start);
        let duty = before.checked_sub(1).map(|at| owed[at]);
        let newest = committed(&source, key, read.end);
        if let Some(duty) = duty.filter(|duty| found < duty.version) {
            found_wrong.push(Violation {
                read: *read,
                found,
                required: duty.version,
                change: duty.change,
            });
        } else if found > newest {
            found_wrong.push(Violation {
                read: *read,
                found,
                required: newest,
                change: None,
            });
        }
    }
    found_wrong
}

/// By node and key, in the order of time, the version never going down.
fn duties(history: &History, source: &[Vec<Commit>]) -> HashMap<(u32, u32), Vec<Duty>> {
    let mut all: HashMap<(u32, u32), Vec<Duty>> = (0..history.nodes)
        .flat_map(|node| (0..KEYS).map(move |key| ((node, key), Vec::new())))
        .collect();
    for change in &history.events {
        let What::Change { takes, everywhere } = change.what else {
            continue;
        };
        for key in (0..KEYS).filter(|key| takes.takes(*key)) {
            let version = committed(source, key, change.start);
            for node in 0..history.nodes {
                let wait = match (node == change.node, everywhere) {
                    (true, _) => 0,
                    (false, true) => history.bound,
                    (false, false) => continue,
                };
                all.entry((node, key)).or_default().push(Duty {
                    from: change.end + wait,
                    version,
                    change: Some(*change),
                });
            }
        }
    }
    for ((_, key), duties) in &mut all {
        duties.extend(history.settled.map(|from| Duty {
            from,
            version: committed(source, *key, from),
            change: None,
        }));
        duties.sort_by_key(|duty| duty.from);
        for at in 1..duties.len() {
            if duties[at].version < duties[at - 1].version {
                duties[at] = Duty {
                    from: duties[at].from,
                    ..duties[at - 1]
                };
            }
        }
    }
    all
}

/// The commits of each key, in order.
fn by_key(commits: &[Commit]) -> Vec<Vec<Commit>> {
    let mut keys = vec![Vec::new(); KEYS as usize];
    for commit in commits {
        keys[commit.key as usize].push(*commit);
    }
    keys
}

/// The newest version that the source had at a time. Every key starts with version 1.
fn committed(source: &[Vec<Commit>], key: u32, at: u64) -> u64 {
    let commits = &source[key as usize];
    let until = commits.partition_point(|commit| commit.at <= at);
    commits[..until].last().map_or(1, |commit| commit.version)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Takes;

    fn read(node: u32, start: u64, end: u64, found: u64) -> Event {
        let what = What::Read {
            key: 5,
            found: Some(found),
        };
        Event {
            node,
            start,
            end,
            what,
        }
    }

    fn change(node: u32, start: u64, end: u64, takes: Takes, everywhere: bool) -> Event {
        let what = What::Change { takes, everywhere };
        Event {
            node,
            start,
            end,
            what,
        }
    }

    /// Key 5 became version 2 at 100; others may take 1,000.
    fn found(events: &[Event], settled: Option<u64>) -> Vec<(u64, u64)> {
        let history = History {
            nodes: 2,
            commits: vec![Commit {
                key: 5,
                version: 2,
                at: 100,
            }],
            events: events.to_vec(),
            bound: 1_000,
            settled,
        };
        violations(&history)
            .iter()
            .map(|wrong| (wrong.found, wrong.required))
            .collect()
    }

    #[test]
    fn an_old_value_after_a_local_change_is_found_at_once() {
        for takes in [Takes::Key(5), Takes::Tag(2), Takes::Group(1), Takes::All] {
            for acknowledged in [true, false] {
                let removal = change(0, 110, 120, takes, acknowledged);
                assert_eq!(found(&[removal, read(0, 121, 122, 1)], None), [(1, 2)]);
                assert_eq!(found(&[removal, read(0, 121, 122, 2)], None), []);
            }
        }
    }

    #[test]
    fn a_read_that_overlaps_with_the_change_may_return_either() {
        let removal = change(0, 110, 120, Takes::Key(5), true);
        for version in [1, 2] {
            assert_eq!(found(&[removal, read(0, 119, 200, version)], None), []);
        }
    }

    #[test]
    fn a_version_replaced_after_the_change_began_is_not_asked_for() {
        let removal = change(0, 99, 120, Takes::Key(5), true);
        assert_eq!(found(&[removal, read(0, 121, 122, 1)], None), []);
    }

    #[test]
    fn another_node_has_its_time_and_not_more() {
        let removal = change(0, 110, 120, Takes::All, true);
        assert_eq!(found(&[removal, read(1, 1_120, 1_121, 1)], None), []);
        assert_eq!(found(&[removal, read(1, 1_121, 1_122, 1)], None), [(1, 2)]);
    }

    #[test]
    fn a_change_that_waits_obliges_nobody_else_until_everything_settled() {
        let removal = change(0, 110, 120, Takes::All, false);
        assert_eq!(found(&[removal, read(1, 9_000, 9_001, 1)], None), []);
        assert_eq!(
            found(&[removal, read(1, 9_000, 9_001, 1)], Some(8_000)),
            [(1, 2)]
        );
    }

    #[test]
    fn a_value_that_comes_back_is_found_however_late_and_after_other_changes() {
        let removal = change(0, 110, 120, Takes::Key(5), true);
        // Began before the source changed, so by itself it asks for nothing.
        let late = change(0, 90, 5_000, Takes::Key(5), true);
        let reads = [
            read(0, 130, 131, 2),
            read(0, 6_000, 6_001, 1),
            read(1, 99_000, 99_001, 1),
        ];
        let events = [&[removal, late][..], &reads].concat();
        assert_eq!(found(&events, None), [(1, 2), (1, 2)]);
    }

    #[test]
    fn other_keys_and_empty_reads_are_no_violation() {
        let elsewhere = change(0, 110, 120, Takes::Key(6), true);
        assert_eq!(found(&[elsewhere, read(0, 130, 131, 1)], None), []);
        let removal = change(0, 110, 120, Takes::Key(5), true);
        let nothing = Event {
            what: What::Read {
                key: 5,
                found: None,
            },
            ..read(0, 130, 131, 1)
        };
        assert_eq!(found(&[removal, nothing], None), []);
    }

    #[test]
    fn a_version_from_the_future_is_found() {
        assert_eq!(found(&[read(0, 50, 60, 2)], None), [(2, 1)]);
        assert_eq!(found(&[read(0, 50, 100, 2)], None), []);
    }
}
