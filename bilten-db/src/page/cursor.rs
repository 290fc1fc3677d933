//! Where a page of a keyset begins, as text that a client carries and does not look into.

use sea_orm::Statement;

use crate::Error;

/// Which way from the row, and whether the row itself is among those that are meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    After,
    Before,
    /// The row and those after it.
    From,
    /// The row and those before it.
    Until,
}

impl Way {
    pub(super) fn is_forward(self) -> bool {
        matches!(self, Self::After | Self::From)
    }

    pub(super) fn is_inclusive(self) -> bool {
        matches!(self, Self::From | Self::Until)
    }

    /// The way to all other rows.
    fn back(self) -> Self {
        match self {
            Self::After => Self::Until,
            Self::Before => Self::From,
            Self::From => Self::Before,
            Self::Until => Self::After,
        }
    }
}

/// A row of a query, by the values of its keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Position {
    pub(super) way: Way,
    /// Of the query whose row it is.
    pub(super) query: u64,
    /// As the database writes them.
    pub(super) keys: Vec<String>,
}

/// The first letter; changes with the form.
const AFTER: &str = "a";
const BEFORE: &str = "b";
const FROM: &str = "f";
const UNTIL: &str = "u";
/// Longer than any row of keys that an index could hold.
const LONGEST: usize = 16 * 1024;
/// The letters of the way and the query, and those of the sum.
const HEAD: usize = 17;
const SUM: usize = 8;

impl Position {
    /// To the rows that this one does not lead to.
    pub(super) fn back(&self) -> Self {
        Self {
            way: self.way.back(),
            ..self.clone()
        }
    }

    /// `Err` for keys that [`read`](Self::read) would refuse.
    pub(super) fn write(&self) -> Result<String, Error> {
        let way = match self.way {
            Way::After => AFTER,
            Way::Before => BEFORE,
            Way::From => FROM,
            Way::Until => UNTIL,
        };
        let mut keys = String::new();
        for key in &self.keys {
            keys.push('.');
            key.bytes()
                .for_each(|byte| keys.push_str(&format!("{byte:02x}")));
        }
        let head = format!("{way}{:016x}", self.query);
        let text = format!("{head}{}{keys}", sum(&head, &keys));
        let problem = match () {
            () if text.len() > LONGEST => format!("need a cursor of {} characters", text.len()),
            () if self.keys.iter().any(|key| key.contains('\0')) => "hold a NUL".to_owned(),
            () => return Ok(text),
        };
        Err(Error::invalid(
            "keys of a row",
            problem,
            "order by columns with short values and without NUL",
        ))
    }

    /// The position in `text`, which must belong to the query with this fingerprint and number of keys.
    pub(super) fn read(text: &str, query: u64, keys: usize) -> Result<Self, Error> {
        let position = parse(text).ok_or_else(|| refused("is not one that a page gave out"))?;
        if position.query != query || position.keys.len() != keys {
            return Err(refused("belongs to another query, filter or order"));
        }
        Ok(position)
    }
}

fn refused(problem: &str) -> Error {
    Error::invalid("cursor", problem, "begin with the first page of this query")
}

fn parse(text: &str) -> Option<Position> {
    let (head, keys) = text.split_at_checked(text.find('.')?)?;
    if text.len() > LONGEST || !text.is_ascii() || head.len() != HEAD + SUM {
        return None;
    }
    let (head, told) = head.split_at(HEAD);
    if told != sum(head, keys) {
        return None;
    }
    let way = match &head[..1] {
        AFTER => Way::After,
        BEFORE => Way::Before,
        FROM => Way::From,
        UNTIL => Way::Until,
        _ => return None,
    };
    let query = bytes(&head[1..])?;
    let keys = keys.split('.').skip(1).map(|key| {
        let key = String::from_utf8(bytes(key)?).ok()?;
        // The database would refuse it, with an error that blames the query.
        (!key.contains('\0')).then_some(key)
    });
    Some(Position {
        way,
        query: u64::from_be_bytes(query.try_into().ok()?),
        keys: keys.collect::<Option<_>>()?,
    })
}

fn bytes(hex: &str) -> Option<Vec<u8>> {
    let pairs = hex.as_bytes().chunks(2);
    pairs
        .map(|pair| {
            let text = std::str::from_utf8(pair).ok()?;
            let plain =
                pair.len() == 2 && pair.iter().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
            plain.then(|| u8::from_str_radix(text, 16).ok())?
        })
        .collect()
}

/// Tells a cursor that was changed on its way from one that a page gave out, before its keys reach the database.
fn sum(head: &str, keys: &str) -> String {
    let hash = fnv(head.bytes().chain(keys.bytes()));
    format!("{:08x}", (hash >> 32) ^ (hash & 0xffff_ffff))
}

/// Tells queries apart: the same for the same text, values and order, in every process.
pub(super) fn fingerprint(statement: &Statement, order: &str) -> u64 {
    let values = statement
        .values
        .as_ref()
        .map(|values| format!("{values:?}"));
    let parts = [&*statement.sql, values.as_deref().unwrap_or(""), order];
    let bytes = parts.iter().flat_map(|part| part.bytes().chain([0]));
    fnv(bytes)
}

/// FNV-1a of 64 bits (RFC 9923): not against forgers, who could only read the same query from another row on.
fn fnv(bytes: impl Iterator<Item = u8>) -> u64 {
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use sea_orm::DbBackend;

    use super::*;

    fn position(keys: &[&str]) -> Position {
        Position {
            way: Way::After,
            query: 7,
            keys: keys.iter().map(|key| (*key).to_owned()).collect(),
        }
    }

    #[test]
    fn a_cursor_fits_only_its_own_query() {
        let text = position(&["2027-03-01", "5"]).write().unwrap();
        let (head, keys) = text.split_once('.').unwrap();
        assert_eq!(keys, "323032372d30332d3031.35");
        assert!(
            head.starts_with("a0000000000000007") && head.len() == 25,
            "{head}"
        );
        assert!(Position::read(&text, 7, 2).is_ok());
        for (query, keys) in [(8, 2), (7, 1), (7, 3)] {
            let error = Position::read(&text, query, keys).unwrap_err().to_string();
            assert!(error.contains("belongs to another query"), "{error}");
        }
    }

    #[test]
    fn what_is_no_cursor_says_so() {
        let with_sum = |head: &str, keys: &str| format!("{head}{}{keys}", sum(head, keys));
        for text in [
            String::new(),
            "5".to_owned(),
            "a0000000000000007.35".to_owned(),
            "ä".to_owned(),
            with_sum("a7", ".35"),
            with_sum("c0000000000000007", ".35"),
            with_sum("a0000000000000007", ""),
            with_sum("a0000000000000007", ".3"),
            with_sum("a0000000000000007", ".ff"),
            with_sum("a0000000000000007", ".00"),
        ] {
            let text = text.as_str();
            let error = Position::read(text, 7, 1).unwrap_err().to_string();
            assert!(
                error.contains("is not one that a page gave out"),
                "{text}: {error}"
            );
        }
    }

    #[test]
    fn keys_that_no_cursor_can_hold_are_named_when_it_is_written() {
        let long = "x".repeat(LONGEST);
        for (key, problem) in [("a\0b", "NUL"), (long.as_str(), "characters")] {
            let error = position(&[key]).write().unwrap_err().to_string();
            assert!(error.contains(problem), "{error}");
        }
    }

    #[test]
    fn queries_are_told_apart_by_text_values_and_order() {
        let of = |sql: &str, value: i32, order: &str| {
            let statement =
                Statement::from_sql_and_values(DbBackend::Postgres, sql, [value.into()]);
            fingerprint(&statement, order)
        };
        let all = [
            of("a", 1, "x"),
            of("b", 1, "x"),
            of("a", 2, "x"),
            of("a", 1, "y"),
        ];
        for (n, one) in all.iter().enumerate() {
            assert!(all[n + 1..].iter().all(|other| other != one), "{n}");
        }
        assert_eq!(of("a", 1, "x"), all[0]);
    }

    #[test]
    fn a_cursor_with_one_letter_changed_is_none() {
        let text = position(&["n0", "20"]).write().unwrap();
        for at in 0..text.len() {
            for letter in ["0", "b", "f", ".", ""] {
                let mut changed = text.clone();
                changed.replace_range(at..=at, letter);
                assert!(changed == text || parse(&changed).is_none(), "{changed}");
            }
        }
    }

    proptest! {
        #[test]
        fn text_and_back(keys in proptest::collection::vec("[^\0]*", 1..4), query: u64, way in 0..4usize) {
            let way = [Way::After, Way::Before, Way::From, Way::Until][way];
            let position = Position { way, query, keys };
            let read = Position::read(&position.write().unwrap(), query, position.keys.len());
            prop_assert_eq!(read.unwrap(), position);
        }

        #[test]
        fn no_text_panics(text in ".*|[abfu][0-9a-f]{24}(\\.[0-9a-f]{0,6}){0,3}") {
            let _ = Position::read(&text, 0, 1);
        }
    }
}
