//! Finds each read that is older than its session, or a token, promised.

use std::collections::HashMap;

/// What one user did, in order; users share nothing but the rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Event {
    /// A session began, with the newest token of this user or without one.
    Begin { token: bool },
    /// A write was acknowledged.
    Write { key: i32, version: i64 },
    /// A read was answered by the server on this port.
    Read { key: i32, version: i64, port: i32 },
    /// A session that wrote gave a token: from now on it is the newest.
    Token,
}

/// A read older than what the same user knew.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Violation {
    /// The place in the history.
    pub(crate) at: usize,
    pub(crate) key: i32,
    pub(crate) read: i64,
    pub(crate) known: i64,
}

/// The least versions that a read may find.
type Floor = HashMap<i32, i64>;

pub(crate) fn violations(history: &[Event]) -> Vec<Violation> {
    let (mut floor, mut carried) = (Floor::new(), Floor::new());
    let mut found = Vec::new();
    for (at, event) in history.iter().enumerate() {
        match *event {
            Event::Begin { token } => floor = if token { carried.clone() } else { Floor::new() },
            Event::Write { key, version } => raise(&mut floor, key, version),
            Event::Read { key, version, .. } => {
                let known = floor.get(&key).copied().unwrap_or(0);
                if version < known {
                    found.push(Violation {
                        at,
                        key,
                        read: version,
                        known,
                    });
                }
                raise(&mut floor, key, version);
            }
            // It names the primary's present position: all that anyone knew before is behind it.
            Event::Token => floor
                .iter()
                .for_each(|(key, version)| raise(&mut carried, *key, *version)),
        }
    }
    found
}

fn raise(floor: &mut Floor, key: i32, version: i64) {
    let known = floor.entry(key).or_default();
    *known = version.max(*known);
}

#[test]
fn what_was_promised_is_asked_for_and_nothing_else() {
    let read = |key, version| Event::Read {
        key,
        version,
        port: 1,
    };
    let write = |key, version| Event::Write { key, version };
    let (begin, next) = (Event::Begin { token: false }, Event::Begin { token: true });
    let table = [
        (vec![begin.clone(), write(1, 5), read(1, 5), read(2, 0)], 0),
        (vec![begin.clone(), write(1, 5), read(1, 4)], 1),
        (vec![begin.clone(), read(1, 5), read(1, 4), read(1, 5)], 1),
        (
            vec![begin.clone(), read(1, 5), begin.clone(), read(1, 4)],
            0,
        ),
        (
            vec![
                begin.clone(),
                write(1, 5),
                Event::Token,
                next.clone(),
                read(1, 4),
            ],
            1,
        ),
        (
            vec![
                begin.clone(),
                write(1, 5),
                Event::Token,
                begin.clone(),
                read(1, 4),
            ],
            0,
        ),
        (
            vec![
                begin.clone(),
                read(2, 7),
                write(1, 5),
                Event::Token,
                next.clone(),
                read(2, 6),
            ],
            1,
        ),
        (
            vec![
                begin,
                write(1, 5),
                Event::Token,
                next.clone(),
                read(2, 7),
                next,
                read(2, 6),
                read(1, 5),
            ],
            0,
        ),
    ];
    for (history, wrong) in table {
        assert_eq!(violations(&history).len(), wrong, "{history:?}");
    }
}
