//! What the server's answers mean. Anything may stand in a key that somebody else wrote, so
//! nothing here is taken for granted.

use super::Arg;
use crate::remote::error::plain;
use crate::remote::{
    Demand, Each, Lease, Position, Pruned, Pulse, Record, RemoteError, Scope, Snapshot, Wanted,
};
use bytes::Bytes;

/// What a server said, in no client's types. A map is an array of names and values in turn, as RESP2 has it.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::remote) enum Answer {
    Nothing,
    Int(i64),
    Bytes(Bytes),
    Array(Vec<Self>),
    /// Something that no script of ours returns, or one of several commands that was refused.
    Other,
}

/// Incarnations, nodes and tokens travel as sixteen hexadecimal digits: a Lua number would lose some.
pub(super) fn hex(number: u64) -> Arg {
    Arg::Text(digits(number))
}

pub(super) fn digits(number: u64) -> String {
    format!("{number:016x}")
}

pub(super) fn lease(value: &Answer) -> Result<Lease, RemoteError> {
    match value {
        Answer::Int(1) => Ok(Lease::Owned),
        Answer::Int(_) => Ok(Lease::Busy),
        Answer::Array(parts) => match parts.as_slice() {
            // Only the time that the store kept it counts, and that is over when it is gone.
            [Answer::Int(1), kept] => Ok(Lease::OwnedAfter(demands(kept, 0))),
            _ => Err(unexpected()),
        },
        other => bytes(other).map(Lease::Value).ok_or_else(unexpected),
    }
}

/// What the script that keeps demands wrote, unless its time is over.
pub(super) fn demands(value: &Answer, now_millis: u64) -> Vec<Demand> {
    let Some(text) = text(value) else {
        // Nothing is nothing, and what is no text may have been anything.
        let unreadable = !matches!(value, Answer::Nothing);
        return unreadable.then_some(Demand::Newest).into_iter().collect();
    };
    let mut words = text.split(' ');
    let deadline = words.next().and_then(|word| word.parse().ok());
    let Some(deadline): Option<u64> = deadline else {
        return vec![Demand::Newest];
    };
    if deadline <= now_millis {
        return Vec::new();
    }
    let demand = |word: &str| Demand::decode(word.split_once(':').map_or("", |(_, demand)| demand));
    words.map(demand).collect()
}

/// The answers of a script about so many keys.
pub(super) fn each<T>(
    value: &Answer,
    keys: usize,
    read: impl Fn(&Answer) -> Result<T, RemoteError>,
) -> Result<Each<T>, RemoteError> {
    match value {
        Answer::Array(parts) if parts.len() == keys => Ok(parts.iter().map(read).collect()),
        _ => Err(unexpected()),
    }
}

pub(super) fn yes(value: &Answer) -> bool {
    matches!(value, Answer::Int(1))
}

/// What the scripts that append answer: `0123456789abcdef 42`, which costs the server less than a list. Those of many keys answer for one
/// whose record was refused with a list of the reason.
pub(super) fn position(value: &Answer) -> Result<Position, RemoteError> {
    if let Answer::Array(refused) = value
        && let Some(why) = refused.first().and_then(text)
    {
        return Err(RemoteError::Refused(plain(&why)));
    }
    let text = bytes(value).ok_or_else(unexpected)?;
    let text = std::str::from_utf8(&text).map_err(|_| unexpected())?;
    let (incarnation, number) = text.split_once(' ').ok_or_else(unexpected)?;
    let incarnation = u64::from_str_radix(incarnation, 16);
    Ok(Position {
        incarnation: incarnation.map_err(|_| unexpected())?,
        number: number.parse().map_err(|_| unexpected())?,
    })
}

pub(super) fn pulse(value: &Answer) -> Result<Pulse, RemoteError> {
    let Answer::Array(parts) = value else {
        return Err(unexpected());
    };
    let position = match (
        parts.get(2).and_then(hex_number),
        parts.get(3).and_then(number),
    ) {
        (Some(incarnation), Some(number)) => Some(Position {
            incarnation,
            number,
        }),
        _ => None,
    };
    Ok(Pulse {
        position,
        server_millis: millis(parts)?,
        stamp: parts.get(4).and_then(hex_number),
    })
}

/// What a starting node must know, and whether its markers have still to be read.
pub(super) fn snapshot(value: &Answer) -> Result<(Snapshot, bool), RemoteError> {
    let Answer::Array(parts) = value else {
        return Err(unexpected());
    };
    let fields = fields(parts.get(2))?;
    let field = |name: &str| {
        fields
            .iter()
            .find(|(field, _)| field == name)
            .map(|(_, value)| *value)
    };
    let incarnation = field("inc").and_then(hex_number).ok_or_else(unexpected)?;
    let last = field("n").and_then(number).ok_or_else(unexpected)?;
    let now = millis(parts)?;
    let mut snapshot = Snapshot {
        demands: parts
            .get(3)
            .map_or_else(Vec::new, |kept| demands(kept, now)),
        stamp: field("r").and_then(hex_number),
        foreign_demands: parts.get(4).is_some_and(yes),
        ..Snapshot::new(Position::new(incarnation, last), now, Vec::new())
    };
    add_markers(&mut snapshot, &fields);
    Ok((snapshot, parts.get(5).is_some_and(yes)))
}

/// Adds one page of markers, and says where the next one begins: `0` after the last.
pub(super) fn marker_page(value: &Answer, snapshot: &mut Snapshot) -> Result<String, RemoteError> {
    let Answer::Array(parts) = value else {
        return Err(unexpected());
    };
    let cursor = parts.first().and_then(text).ok_or_else(unexpected)?;
    if parts.get(2).and_then(hex_number) != Some(snapshot.position.incarnation) {
        let begun_anew = "the log began anew while its markers were read";
        return Err(RemoteError::Unavailable(begun_anew.to_owned()));
    }
    add_markers(snapshot, &fields(parts.get(1))?);
    if let Some(all) = parts.get(3).filter(|all| **all != Answer::Nothing) {
        add_markers(snapshot, &[("a:".to_owned(), all)]);
    }
    Ok(cursor)
}

/// Names and values of a hash. A name that is no text is none of ours.
fn fields(flat: Option<&Answer>) -> Result<Vec<(String, &Answer)>, RemoteError> {
    let Some(Answer::Array(flat)) = flat else {
        return Err(unexpected());
    };
    let pairs = flat.chunks_exact(2);
    let fields = pairs.filter_map(|pair| Some((text(&pair[0])?, &pair[1])));
    Ok(fields.collect())
}

/// A marker that cannot be read may have been about anything.
fn add_markers(snapshot: &mut Snapshot, fields: &[(String, &Answer)]) {
    let last = snapshot.position.number;
    for (name, value) in fields.iter().filter(|(name, _)| name.contains(':')) {
        let scope = Scope::decode(name).filter(|_| number(value).is_some());
        snapshot.unreadable += u64::from(scope.is_none());
        let at = number(value).unwrap_or(last);
        snapshot.markers.push((scope.unwrap_or(Scope::All), at));
    }
}

/// Cursor and keys of `SCAN`. A key that is no text is none of ours.
pub(super) fn scan(value: &Answer) -> Result<(String, Vec<String>), RemoteError> {
    let Answer::Array(parts) = value else {
        return Err(unexpected());
    };
    let cursor = parts.first().and_then(text).ok_or_else(unexpected)?;
    let Some(Answer::Array(keys)) = parts.get(1) else {
        return Err(unexpected());
    };
    Ok((cursor, keys.iter().filter_map(text).collect()))
}

pub(super) fn pruned(value: &Answer) -> Result<Pruned, RemoteError> {
    let Answer::Array(parts) = value else {
        return Err(unexpected());
    };
    let mut numbers = parts.iter().map(|part| number(part).ok_or_else(unexpected));
    let mut next = || numbers.next().unwrap_or_else(|| Err(unexpected()));
    let (cursor, life) = (next()?, next()?);
    Ok(Pruned {
        cursor,
        life: std::time::Duration::from_millis(life),
    })
}

/// The answer of `XREAD`: the records of one stream, oldest first.
pub(super) fn records(value: &Answer) -> Result<Vec<Record>, RemoteError> {
    let entries = match value {
        Answer::Nothing => return Ok(Vec::new()),
        Answer::Array(streams) => match streams.as_slice() {
            [] => return Ok(Vec::new()),
            // RESP2 has a list of streams, RESP3 a map of them.
            [Answer::Array(stream), ..] => stream.get(1),
            [_, entries, ..] => Some(entries),
            [_] => None,
        },
        _ => None,
    };
    let Some(Answer::Array(entries)) = entries else {
        return Err(unexpected());
    };
    entries
        .iter()
        .map(|entry| record(entry).ok_or_else(unexpected))
        .collect()
}

fn record(entry: &Answer) -> Option<Record> {
    let Answer::Array(parts) = entry else {
        return None;
    };
    let id = text(parts.first()?)?;
    let number = id.split_once('-')?.0.parse().ok()?;
    let fields: Vec<(String, String)> = match parts.get(1)? {
        Answer::Array(flat) => flat
            .chunks_exact(2)
            .filter_map(|pair| Some((text(&pair[0])?, text(&pair[1])?)))
            .collect(),
        _ => Vec::new(),
    };
    let field = |name: &str| {
        fields
            .iter()
            .find(|(field, _)| field == name)
            .map(|(_, value)| value.as_str())
    };
    let digits = |name: &str| {
        let number = field(name).and_then(|digits| u64::from_str_radix(digits, 16).ok());
        number.unwrap_or(0)
    };
    let text = field("s").unwrap_or_default();
    let record = Record::new(number, digits("w"), Scope::decode(text));
    let record = record.stamped(digits("r")).following(digits("p"));
    Some(match Wanted::decode(text) {
        Some((scope, demand)) => Record {
            scope: Some(scope),
            ..record.demanding(demand)
        },
        None => record,
    })
}

fn millis(parts: &[Answer]) -> Result<u64, RemoteError> {
    let seconds = parts.first().and_then(number).ok_or_else(unexpected)?;
    let micros = parts.get(1).and_then(number).ok_or_else(unexpected)?;
    Ok(seconds.saturating_mul(1000).saturating_add(micros / 1000))
}

fn number(value: &Answer) -> Option<u64> {
    match value {
        Answer::Int(n) => u64::try_from(*n).ok(),
        other => text(other)?.parse().ok(),
    }
}

fn hex_number(value: &Answer) -> Option<u64> {
    u64::from_str_radix(&text(value)?, 16).ok()
}

fn text(value: &Answer) -> Option<String> {
    String::from_utf8(bytes(value)?.to_vec()).ok()
}

pub(super) fn bytes(value: &Answer) -> Option<Bytes> {
    match value {
        Answer::Bytes(bytes) => Some(bytes.clone()),
        _ => None,
    }
}

fn unexpected() -> RemoteError {
    RemoteError::Refused(
        "the answer does not have the expected form; does another program use our keys?".into(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn array(parts: Vec<Answer>) -> Answer {
        Answer::Array(parts)
    }

    impl From<&'static str> for Answer {
        fn from(text: &'static str) -> Self {
            Self::Bytes(Bytes::from_static(text.as_bytes()))
        }
    }

    #[test]
    fn records_are_read_whatever_else_is_in_them() {
        let entry = |id: &'static str, fields: Vec<Answer>| array(vec![id.into(), array(fields)]);
        let good = entry(
            "7-0",
            vec![
                "w".into(),
                "000000000000000a".into(),
                "s".into(),
                "k:event:1".into(),
            ],
        );
        let foreign = entry("8-0", vec!["x".into(), "y".into()]);
        let entries = array(vec![good, foreign]);
        let resp3 = array(vec!["log".into(), entries.clone()]);
        let reply = array(vec![array(vec!["log".into(), entries])]);
        let expected = vec![
            Record::new(7, 10, Some(Scope::Key("event:1".into()))),
            Record::new(8, 0, None),
        ];
        assert_eq!(records(&reply).unwrap(), expected);
        assert_eq!(records(&resp3).unwrap(), expected);
        assert_eq!(records(&Answer::Nothing).unwrap(), []);
        assert!(records(&Answer::Int(1)).is_err());
    }

    #[test]
    fn a_marker_nobody_can_read_counts_as_everything() {
        let fields = [
            "inc",
            "000000000000000f",
            "n",
            "9",
            "t:berlin",
            "4",
            "y:new kind",
            "6",
            "p:a",
            "?",
        ];
        let fields = fields.map(Answer::from).to_vec();
        let answer = array(vec!["10".into(), "5000".into(), array(fields)]);
        let (mut read, more) = snapshot(&answer).unwrap();
        assert!(!more);
        assert_eq!(
            (read.position, read.server_millis),
            (Position::new(15, 9), 10_005)
        );
        assert_eq!(
            read.markers,
            [
                (Scope::Tag("berlin".into()), 4),
                (Scope::All, 6),
                (Scope::All, 9)
            ]
        );
        assert_eq!(read.unreadable, 2);
        let page = |incarnation: &'static str| {
            let markers = ["t:paris", "7", "?:", "1"].map(Answer::from).to_vec();
            array(vec![
                "17".into(),
                array(markers),
                incarnation.into(),
                "8".into(),
            ])
        };
        let next = marker_page(&page("000000000000000f"), &mut read).unwrap();
        assert_eq!((next.as_str(), read.unreadable), ("17", 3));
        let added = [
            (Scope::Tag("paris".into()), 7),
            (Scope::All, 1),
            (Scope::All, 8),
        ];
        assert_eq!(read.markers[3..], added);
        assert!(marker_page(&page("000000000000000e"), &mut read).is_err());
    }

    #[test]
    fn a_page_is_read_whatever_keys_others_have() {
        let foreign = Answer::Bytes(Bytes::from_static(&[0xff, 0xfe]));
        let keys = array(vec!["shop:v:{event:1}".into(), foreign]);
        let (cursor, keys) = scan(&array(vec!["17".into(), keys])).unwrap();
        assert_eq!(
            (cursor.as_str(), keys.as_slice()),
            ("17", &["shop:v:{event:1}".to_owned()][..])
        );
        assert!(scan(&Answer::Nothing).is_err());
        let state = pruned(&array(vec!["3".into(), Answer::Int(1_500)])).unwrap();
        assert_eq!(
            state,
            Pruned::new(3, std::time::Duration::from_millis(1_500))
        );
        assert!(pruned(&array(vec!["3".into()])).is_err());
    }

    #[test]
    fn a_position_is_an_incarnation_and_a_number_or_an_error() {
        let at = position(&"00000000000000ff 42".into()).unwrap();
        assert_eq!(at, Position::new(255, 42));
        for answer in ["", "ff", "ff ", " 42", "xyz 42", "ff -1", "ff 4 2"] {
            assert!(position(&answer.into()).is_err(), "{answer}");
        }
        let foreign = Answer::Bytes(Bytes::from_static(&[0xff, b' ', b'1']));
        assert!(position(&foreign).is_err());
        assert!(position(&Answer::Nothing).is_err());
    }

    #[test]
    fn a_log_that_is_gone_has_no_position() {
        let reply = array(vec![
            "10".into(),
            "0".into(),
            Answer::Nothing,
            Answer::Nothing,
        ]);
        assert_eq!(pulse(&reply).unwrap(), Pulse::new(None, 10_000));
    }
}
