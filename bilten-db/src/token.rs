//! A point in the history of a cluster, small enough to travel in a cookie.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

use crate::Error;
use crate::driver::Sample;
use crate::gtid::Line;

/// A point in the history of a cluster: whoever reads with it sees everything that was committed before it was made.
///
/// Made by [`Session::token`](crate::Session::token), used by [`Cluster::session_with`](crate::Cluster::session_with).
/// It travels as text. A token of another cluster, of the time before a fail-over, or one that was made up, sends its
/// reads to the primary and does no other harm; but a client that invents tokens can keep its reads there, so do not
/// accept tokens from strangers unsigned.
///
/// ```
/// use bilten_db::Token;
///
/// let token: Token = "1-6f1c0d5e8a-1-16b3748".parse()?;
/// assert_eq!(token.to_string(), "1-6f1c0d5e8a-1-16b3748");
/// assert!("1-6f1c0d5e8a-1".parse::<Token>().is_err());
/// # Ok::<(), bilten_db::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Token {
    system_id: u64,
    timeline: u32,
    position: u64,
}

impl Token {
    /// What is reached where both are: the later one on one timeline. Of two histories nobody knows that of a replica, so only the primary will do.
    pub(crate) fn stricter(self, other: Self) -> Self {
        let is_one_history = (self.system_id, self.timeline) == (other.system_id, other.timeline);
        let position = match is_one_history {
            true => self.position.max(other.position),
            false => u64::MAX,
        };
        Self { position, ..self }
    }

    /// The point that a primary reports; a database without positions gives one that only the primary satisfies.
    pub(crate) fn of(sample: &Sample) -> Self {
        if let Some((line, position)) = sample.gtids.as_ref().and_then(|gtids| gtids.point()) {
            return Self {
                system_id: line.source,
                timeline: line.writer,
                position,
            };
        }
        Self {
            system_id: sample.system_id.unwrap_or(0),
            timeline: sample.timeline.unwrap_or(0),
            position: sample.position.unwrap_or(u64::MAX),
        }
    }

    /// A point that only the primary satisfies.
    pub(crate) fn nowhere() -> Self {
        Self::of(&Sample::default())
    }

    /// How two tokens compare that are at hand as text: which of the two states takes in the other. `None` when one of them is no token, or
    /// when they are not of one cluster and one time between two fail-overs. Made for `source_order` of bilten-cache.
    ///
    /// ```
    /// use bilten_db::Token;
    /// use std::cmp::Ordering;
    ///
    /// assert_eq!(Token::order(b"1-6f1c-1-10", b"1-6f1c-1-9f"), Some(Ordering::Less));
    /// assert_eq!(Token::order(b"1-6f1c-1-10", b"1-6f1c-2-9f"), None);
    /// ```
    #[must_use]
    pub fn order(a: &[u8], b: &[u8]) -> Option<Ordering> {
        let (a, b) = (Self::read(a)?, Self::read(b)?);
        let same = a.system_id == b.system_id && a.timeline == b.timeline;
        same.then(|| a.position.cmp(&b.position))
    }

    pub(crate) fn read(text: &[u8]) -> Option<Self> {
        parse(std::str::from_utf8(text).ok()?)
    }

    /// Whether a node that reports `replica` has replayed everything up to here, as proven by itself.
    ///
    /// `primary` is what the present primary reports. After a fail-over a replica may still name the old timeline, so
    /// both must name that of the token.
    pub(crate) fn is_reached(&self, replica: &Sample, primary: &Sample) -> bool {
        if let (Some(here), Some(there)) = (&replica.gtids, &primary.gtids) {
            return here.has(there, self.line(), self.position);
        }
        self.compares(replica)
            && self.compares(primary)
            && replica.position.is_some_and(|p| p >= self.position)
    }

    /// Whether waiting may help: the point belongs to the primary's present history and is not far ahead of it.
    pub(crate) fn is_near(&self, primary: &Sample) -> bool {
        /// What a primary may write between two probes.
        const SLACK: u64 = 1 << 30;
        /// The same in transactions.
        const MORE: u64 = 1 << 20;
        if let Some(gtids) = &primary.gtids {
            return gtids.point().is_some_and(|(line, last)| {
                line == self.line() && self.position <= last.saturating_add(MORE)
            });
        }
        self.compares(primary)
            && primary
                .position
                .is_some_and(|p| self.position <= p.saturating_add(SLACK))
    }

    fn line(&self) -> Line {
        Line {
            source: self.system_id,
            writer: self.timeline,
        }
    }

    fn compares(&self, sample: &Sample) -> bool {
        sample.system_id == Some(self.system_id) && sample.timeline == Some(self.timeline)
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "1-{:x}-{:x}-{:x}",
            self.system_id, self.timeline, self.position
        )
    }
}

impl FromStr for Token {
    type Err = Error;

    /// # Errors
    ///
    /// [`Error::Invalid`] when the text is not one that [`Display`](fmt::Display) wrote.
    fn from_str(text: &str) -> Result<Self, Error> {
        parse(text).ok_or_else(|| {
            Error::invalid(
                "token",
                "is not one that a session made",
                "ignore it and begin without a token",
            )
        })
    }
}

fn parse(text: &str) -> Option<Token> {
    let mut parts = text.split('-');
    let version = parts.next()?;
    let system_id = hex(parts.next()?)?;
    let timeline = u32::try_from(hex(parts.next()?)?).ok()?;
    let position = hex(parts.next()?)?;
    (version == "1" && parts.next().is_none()).then_some(Token {
        system_id,
        timeline,
        position,
    })
}

/// Only what `Display` writes: no sign, no upper case.
fn hex(text: &str) -> Option<u64> {
    let plain = text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    plain.then(|| u64::from_str_radix(text, 16).ok())?
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;
    use crate::gtid::Gtids;

    fn at(system_id: u64, timeline: u32, position: u64) -> Sample {
        Sample {
            in_recovery: Some(false),
            position: Some(position),
            system_id: Some(system_id),
            timeline: Some(timeline),
            started: None,
            database: None,
            gtids: None,
        }
    }

    #[test]
    fn of_two_tokens_the_stricter_one_needs_both() {
        let token = |line, position| Token::of(&at(7, line, position));
        assert_eq!(token(1, 100).stricter(token(1, 90)), token(1, 100));
        assert_eq!(token(1, 90).stricter(token(1, 100)), token(1, 100));
        let both = token(1, 90).stricter(token(2, 10));
        assert!(!both.is_reached(&at(7, 1, 1_000), &at(7, 1, 1_000)));
    }

    #[test]
    fn only_a_proof_counts() {
        let token = Token::of(&at(7, 1, 100));
        let primary = || at(7, 1, 100);
        let table = [
            (at(7, 1, 100), primary(), true),
            (at(7, 1, 99), primary(), false),
            (at(8, 1, 200), primary(), false),
            (at(7, 2, 200), primary(), false),
            (at(7, 1, 200), at(7, 2, 300), false),
            (Sample::default(), primary(), false),
            (at(7, 1, 100), Sample::default(), false),
        ];
        for (replica, primary, reached) in table {
            assert_eq!(
                token.is_reached(&replica, &primary),
                reached,
                "{replica:?} {primary:?}"
            );
        }
        let unknown = Token::of(&Sample::default());
        assert!(!unknown.is_reached(&Sample::default(), &Sample::default()));
    }

    #[test]
    fn an_invented_position_is_not_waited_for() {
        let primary = at(7, 1, 100);
        assert!(Token::of(&at(7, 1, 5000)).is_near(&primary));
        assert!(!Token::of(&at(7, 1, u64::MAX)).is_near(&primary));
        assert!(!Token::of(&at(7, 2, 50)).is_near(&primary));
        assert!(!Token::of(&at(8, 1, 50)).is_near(&primary));
    }

    #[test]
    fn a_point_among_transactions_is_reached_by_those_that_have_all_before_it() {
        let node = |position: &str| Sample {
            gtids: Gtids::of_mariadb(0, position).map(Arc::new),
            ..Sample::default()
        };
        let token = Token::of(&node("0-1-100"));
        assert_eq!(token.to_string(), "1-0-1-64");
        let table = [
            ("0-1-100", "0-1-105", true),
            ("0-1-99", "0-1-105", false),
            ("0-1-100", "0-2-106", false),
            ("", "0-1-105", false),
        ];
        for (replica, primary, reached) in table {
            let (replica, primary) = (node(replica), node(primary));
            assert_eq!(
                token.is_reached(&replica, &primary),
                reached,
                "{replica:?} {primary:?}"
            );
        }
        assert!(token.is_near(&node("0-1-99")) && !token.is_near(&node("0-2-101")));
        assert!(!Token::of(&node("0-1-99999999")).is_near(&node("0-1-99")));
        let never_wrote = Token::of(&node(""));
        assert!(!never_wrote.is_reached(&node(""), &node("")));
    }

    #[test]
    fn tokens_of_two_histories_do_not_compare() {
        let text = |sample: Sample| Token::of(&sample).to_string().into_bytes();
        let one = text(at(7, 1, 100));
        for (other, order) in [
            (text(at(7, 1, 0x99)), Some(Ordering::Less)),
            (text(at(7, 1, 100)), Some(Ordering::Equal)),
            (text(at(7, 1, 9)), Some(Ordering::Greater)),
            (text(at(7, 2, 101)), None),
            (text(at(8, 1, 101)), None),
            (b"".to_vec(), None),
            (vec![0xff], None),
        ] {
            assert_eq!(Token::order(&one, &other), order, "{other:?}");
        }
    }

    proptest! {
        #[test]
        fn text_and_back(system_id: u64, timeline: u32, position: u64) {
            let token = Token::of(&at(system_id, timeline, position));
            prop_assert_eq!(token.to_string().parse::<Token>().unwrap(), token);
        }

        #[test]
        fn any_text_is_an_error_or_a_token_that_says_the_same(text in "[-0-9a-fx+ ]{0,40}|.*") {
            if let Ok(token) = text.parse::<Token>() {
                prop_assert_eq!(token.to_string().parse::<Token>().unwrap(), token);
            }
        }
    }
}
