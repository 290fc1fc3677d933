use std::fmt::Write;
use std::sync::Arc;

use super::Demand;
use crate::Pattern;

/// What an invalidation is about.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Scope {
    /// One encoded key.
    Key(Arc<str>),
    /// One encoded key, whose value may be served stale where a region allows it.
    Expired(Arc<str>),
    /// Everything that carries a tag.
    Tag(Arc<str>),
    /// Everything that carries all of these tags: two or more, in order, from [`all_of`](Self::all_of).
    Tags(Arc<[Arc<str>]>),
    /// Every key that a pattern takes.
    Pattern(Pattern),
    /// Everything.
    All,
}

impl Scope {
    /// Everything that carries all of these tags. Of one it is that tag; everything carries all of none.
    pub fn all_of<T: Into<Arc<str>>>(tags: impl IntoIterator<Item = T>) -> Self {
        let mut tags: Vec<Arc<str>> = tags.into_iter().map(Into::into).collect();
        tags.sort_unstable();
        tags.dedup();
        match &*tags {
            [] => Self::All,
            [tag] => Self::Tag(Arc::clone(tag)),
            _ => Self::Tags(tags.into()),
        }
    }

    /// The same about some of its tags, if all of them are more than so many bytes together: that takes more entries, and never fewer.
    pub(crate) fn within(self, bytes: usize) -> Self {
        let Self::Tags(tags) = &self else { return self };
        let mut taken = 0;
        let fits = |tag: &&Arc<str>| {
            taken += tag.len();
            taken <= bytes
        };
        let some = tags.iter().take_while(fits).count().max(1);
        match some == tags.len() {
            true => self,
            false => Self::all_of(tags[..some].iter().cloned()),
        }
    }

    /// The key, if it is about one only: then no marker is needed.
    #[must_use]
    pub fn key(&self) -> Option<&Arc<str>> {
        match self {
            Self::Key(key) | Self::Expired(key) => Some(key),
            Self::Tag(_) | Self::Tags(_) | Self::Pattern(_) | Self::All => None,
        }
    }

    /// What kind of scope it is, in a word.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Key(_) => "key",
            Self::Expired(_) => "expired",
            Self::Tag(_) => "tag",
            Self::Tags(_) => "tags",
            Self::Pattern(_) => "pattern",
            Self::All => "all",
        }
    }

    /// The scope as one text, as it stands in the log and in the marker hash. To who does not know its kind it is about everything, so a
    /// kind that is added takes at least as much from older versions as it should.
    #[must_use]
    pub fn encode(&self) -> String {
        match self {
            Self::Key(key) => format!("k:{key}"),
            Self::Expired(key) => format!("x:{key}"),
            Self::Tag(tag) => format!("t:{tag}"),
            Self::Tags(tags) => tags.iter().fold("T:".to_owned(), |mut text, tag| {
                // A tag may be any text, so each is preceded by its length.
                let _ = write!(text, "{}:{tag}", tag.len());
                text
            }),
            Self::Pattern(pattern) => match pattern.as_prefix() {
                Some(prefix) => format!("p:{prefix}"),
                None => format!("g:{}", pattern.source()),
            },
            Self::All => "a:".to_owned(),
        }
    }

    /// Reads what [`encode`](Self::encode) wrote. Anything else is `None`.
    #[must_use]
    pub fn decode(text: &str) -> Option<Self> {
        let (kind, name) = text.split_once(':')?;
        Some(match kind {
            "k" => Self::Key(name.into()),
            "x" => Self::Expired(name.into()),
            "t" => Self::Tag(name.into()),
            "T" => Self::all_of(with_lengths(name)?),
            "p" => Self::Pattern(Pattern::from_encoded_prefix(name)),
            "g" => Self::Pattern(Pattern::glob(name).ok()?),
            "a" => Self::All,
            _ => return None,
        })
    }
}

/// The texts of which each has its length before it: one at least.
fn with_lengths(mut text: &str) -> Option<Vec<&str>> {
    let mut all = Vec::new();
    while !text.is_empty() || all.is_empty() {
        let (length, rest) = text.split_once(':')?;
        let (one, after) = rest.split_at_checked(length.parse().ok()?)?;
        all.push(one);
        text = after;
    }
    Some(all)
}

/// Who appends a record, and what it last knew of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Author {
    /// A number that no other node has.
    pub node: u64,
    /// The incarnation of the log that the node knows.
    pub incarnation: u64,
    /// The highest position it has seen.
    pub seen: u64,
}

impl Author {
    /// An author.
    #[must_use]
    pub fn new(node: u64, incarnation: u64, seen: u64) -> Self {
        Self {
            node,
            incarnation,
            seen,
        }
    }
}

/// Where a record went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Position {
    /// The incarnation of the log.
    pub incarnation: u64,
    /// The record's dense number.
    pub number: u64,
}

impl Position {
    /// A position.
    #[must_use]
    pub fn new(incarnation: u64, number: u64) -> Self {
        Self {
            incarnation,
            number,
        }
    }
}

/// One record of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Record {
    /// Its dense number.
    pub number: u64,
    /// The node that appended it.
    pub node: u64,
    /// What it is about; `None` when it cannot be read, which counts as everything.
    pub scope: Option<Scope>,
    /// A random number by which the record is known again; 0 if it has none.
    pub stamp: u64,
    /// The stamp of the record before it; 0 if nobody knows. Another one than was read before it is that of another log: an older copy
    /// took over and has gone on.
    pub follows: u64,
    /// If it is there, the record invalidates nothing: it tells what loads of its scope must reflect from now on.
    pub demand: Option<Demand>,
}

impl Record {
    /// A record.
    #[must_use]
    pub fn new(number: u64, node: u64, scope: Option<Scope>) -> Self {
        Self {
            number,
            node,
            scope,
            stamp: 0,
            follows: 0,
            demand: None,
        }
    }

    /// The same record, which demands something instead of invalidating.
    #[must_use]
    pub fn demanding(self, demand: Demand) -> Self {
        Self {
            demand: Some(demand),
            ..self
        }
    }

    /// The same record with its stamp.
    #[must_use]
    pub fn stamped(self, stamp: u64) -> Self {
        Self { stamp, ..self }
    }

    /// The same record with the stamp of the one before it.
    #[must_use]
    pub fn following(self, follows: u64) -> Self {
        Self { follows, ..self }
    }
}

/// Where the log stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Pulse {
    /// Incarnation and last position; `None` when the log is gone.
    pub position: Option<Position>,
    /// The store's own clock, in milliseconds since 1970.
    pub server_millis: u64,
    /// The stamp of the record that was asked about, if it is still there.
    pub stamp: Option<u64>,
}

impl Pulse {
    /// A pulse.
    #[must_use]
    pub fn new(position: Option<Position>, server_millis: u64) -> Self {
        Self {
            position,
            server_millis,
            stamp: None,
        }
    }

    /// The same pulse with the stamp that was asked for.
    #[must_use]
    pub fn stamped(self, stamp: Option<u64>) -> Self {
        Self { stamp, ..self }
    }
}

/// What a starting node must know.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Snapshot {
    /// Incarnation and last position.
    pub position: Position,
    /// The store's own clock, in milliseconds since 1970.
    pub server_millis: u64,
    /// Scopes wider than a key, with the position of their last invalidation.
    pub markers: Vec<(Scope, u64)>,
    /// What loads of any key must reflect, because the caller may have missed what was said about single ones.
    pub demands: Vec<Demand>,
    /// The stamp of the last record, if it is known.
    pub stamp: Option<u64>,
    /// Whether another program wrote where they are kept.
    pub(crate) foreign_demands: bool,
    /// Markers that nobody can read.
    pub(crate) unreadable: u64,
    /// Whether one marker on everything stands for some that there was no time for.
    pub(crate) cut_short: bool,
}

impl Snapshot {
    /// A snapshot.
    #[must_use]
    pub fn new(position: Position, server_millis: u64, markers: Vec<(Scope, u64)>) -> Self {
        Self {
            position,
            server_millis,
            markers,
            demands: Vec::new(),
            stamp: None,
            foreign_demands: false,
            unreadable: 0,
            cut_short: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scope_survives_the_way_through_the_log() {
        for scope in [
            Scope::Key("event:4:2".into()),
            Scope::Expired("event:4:2".into()),
            Scope::Tag("city:berlin".into()),
            Scope::all_of(["jazz", "city:berlin", "", "5:ü"]),
            Scope::Pattern(Pattern::glob("events:list:*").unwrap()),
            Scope::Pattern(Pattern::glob("events:*:[ab]").unwrap()),
            Scope::All,
        ] {
            let read = Scope::decode(&scope.encode()).expect("readable");
            assert_eq!(read.encode(), scope.encode());
        }
        let prefix = Scope::Pattern(Pattern::prefix("tenant*"));
        let Some(Scope::Pattern(read)) = Scope::decode(&prefix.encode()) else {
            panic!("a pattern")
        };
        assert!(read.matches("tenant%2A:1") && !read.matches("tenantX"));
    }

    #[test]
    fn all_of_some_tags_is_the_same_in_whatever_order_they_come() {
        let both = Scope::all_of(["jazz", "berlin", "jazz"]);
        assert_eq!(both, Scope::Tags(["berlin".into(), "jazz".into()].into()));
        assert_eq!(both.encode(), "T:6:berlin4:jazz");
        assert_eq!(Scope::decode("T:4:jazz6:berlin"), Some(both));
        assert_eq!(Scope::all_of(["jazz", "jazz"]), Scope::Tag("jazz".into()));
        assert_eq!(Scope::all_of([""; 0]), Scope::All);
    }

    #[test]
    fn a_set_of_many_bytes_is_about_some_of_its_tags() {
        let tags: Vec<String> = (10..74)
            .map(|n| format!("{n}{}", "x".repeat(254)))
            .collect();
        let all = Scope::all_of(tags.iter().map(String::as_str));
        let some = Scope::all_of(tags[..4].iter().map(String::as_str));
        assert_eq!(all.clone().within(1_024), some);
        assert_eq!(some.clone().within(1_024), some);
        assert_eq!(all.within(1), Scope::Tag(tags[0].as_str().into()));
        let small = Scope::all_of((0..64).map(|n| n.to_string()));
        assert_eq!(small.clone().within(1_024), small);
        assert_eq!(Scope::All.within(0), Scope::All);
    }

    #[test]
    fn a_demand_in_the_log_is_no_scope_to_those_who_know_only_scopes() {
        let wanted = super::super::Wanted::new(Scope::All, Demand::Newest, Demand::Newest);
        assert_eq!(Scope::decode(&wanted.encode()), None);
    }

    #[test]
    fn what_no_version_wrote_is_not_a_scope() {
        for text in [
            "",
            "x",
            "y:z",
            "g:",
            "g:[",
            "T:",
            "T:4",
            "T:5:jazz",
            "T:1:ü",
            "T:4:jazz6:berli",
            "T:-1:a",
        ] {
            assert_eq!(Scope::decode(text), None, "{text}");
        }
    }
}
