//! What happened, as the checker and the lines between processes see it.

use rustix::time::{ClockId, clock_gettime};

pub(crate) const KEYS: u32 = 48;
pub(crate) const TAGS: u32 = 3;
pub(crate) const GROUPS: u32 = 4;

/// Nanoseconds on the machine's monotonic clock, the same for every process.
pub(crate) fn now() -> u64 {
    let time = clock_gettime(ClockId::Monotonic);
    u64::try_from(time.tv_sec).unwrap() * 1_000_000_000 + u64::try_from(time.tv_nsec).unwrap()
}

/// One finished call to one node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Event {
    pub(crate) node: u32,
    /// Taken before the call; for a write-through, after the source had the new version.
    pub(crate) start: u64,
    /// Taken after the call.
    pub(crate) end: u64,
    pub(crate) what: What,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum What {
    /// A read that found this version, or nothing.
    Read { key: u32, found: Option<u64> },
    /// A change; `everywhere` is whether the second level acknowledged it.
    Change { takes: Takes, everywhere: bool },
}

/// The keys that a change is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Takes {
    Key(u32),
    Tag(u32),
    Group(u32),
    All,
}

impl Takes {
    pub(crate) fn takes(self, key: u32) -> bool {
        match self {
            Self::Key(one) => one == key,
            Self::Tag(tag) => key % TAGS == tag,
            Self::Group(group) => key % GROUPS == group,
            Self::All => true,
        }
    }

    fn encode(self) -> String {
        match self {
            Self::Key(n) => format!("k{n}"),
            Self::Tag(n) => format!("t{n}"),
            Self::Group(n) => format!("g{n}"),
            Self::All => "a0".to_owned(),
        }
    }

    fn decode(text: &str) -> Option<Self> {
        let n = text.get(1..)?.parse().ok()?;
        Some(match text.get(..1)? {
            "k" => Self::Key(n),
            "t" => Self::Tag(n),
            "g" => Self::Group(n),
            "a" => Self::All,
            _ => return None,
        })
    }
}

impl Event {
    pub(crate) fn encode(&self) -> String {
        let Self {
            node, start, end, ..
        } = self;
        match self.what {
            What::Read { key, found } => {
                let found = found.map_or_else(|| "-".to_owned(), |v| v.to_string());
                format!("{node} {start} {end} r {key} {found}")
            }
            What::Change { takes, everywhere } => {
                format!("{node} {start} {end} c {} {everywhere}", takes.encode())
            }
        }
    }

    pub(crate) fn decode(line: &str) -> Option<Self> {
        let words: Vec<&str> = line.split(' ').collect();
        let [node, start, end, kind, first, second] = words[..] else {
            return None;
        };
        let what = match kind {
            "r" => What::Read {
                key: first.parse().ok()?,
                found: (second != "-").then(|| second.parse()).transpose().ok()?,
            },
            "c" => What::Change {
                takes: Takes::decode(first)?,
                everywhere: second.parse().ok()?,
            },
            _ => return None,
        };
        Some(Self {
            node: node.parse().ok()?,
            start: start.parse().ok()?,
            end: end.parse().ok()?,
            what,
        })
    }
}

#[test]
fn an_event_survives_the_way_between_processes() {
    let whats = [
        What::Read {
            key: 3,
            found: None,
        },
        What::Read {
            key: 4,
            found: Some(17),
        },
        What::Change {
            takes: Takes::Group(2),
            everywhere: true,
        },
        What::Change {
            takes: Takes::All,
            everywhere: false,
        },
    ];
    for what in whats {
        let event = Event {
            node: 1,
            start: 2,
            end: 3,
            what,
        };
        assert_eq!(Event::decode(&event.encode()), Some(event));
    }
    assert_eq!(Event::decode("1 2 3 x 4 5"), None);
}
