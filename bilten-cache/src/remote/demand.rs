use std::sync::Arc;
use std::time::Duration;

use super::Scope;

/// The longest source token.
pub(crate) const MAX_TOKEN_BYTES: usize = 256;

/// How far its source must have come when a load reads it.
///
/// ```
/// use bilten_cache::remote::Demand;
///
/// let demand = Demand::of("16/B374D848");
/// assert_eq!(Demand::decode(&demand.encode()), demand);
/// assert_eq!(Demand::decode("of another version"), Demand::Newest);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Demand {
    /// At least the state that this token names.
    Token(Arc<[u8]>),
    /// Its newest state: which one would do is not known any more.
    Newest,
}

impl Demand {
    /// The demand of a token. Of one that is empty or longer than 256 bytes nothing is kept but that there was one.
    #[must_use]
    pub fn of(token: impl AsRef<[u8]>) -> Self {
        match token.as_ref() {
            token if (1..=MAX_TOKEN_BYTES).contains(&token.len()) => Self::Token(token.into()),
            _ => Self::Newest,
        }
    }

    /// The demand as one word without blanks, colons and commas.
    #[must_use]
    pub fn encode(&self) -> String {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let Self::Token(token) = self else {
            return "*".to_owned();
        };
        let digits = token.iter().flat_map(|byte| [byte >> 4, byte & 15]);
        digits
            .map(|digit| char::from(DIGITS[usize::from(digit)]))
            .collect()
    }

    /// Reads what [`encode`](Self::encode) wrote. Anything else may have asked for anything.
    #[must_use]
    pub fn decode(word: &str) -> Self {
        let digit = |byte: u8| {
            char::from(byte)
                .to_digit(16)
                .and_then(|n| u8::try_from(n).ok())
        };
        let pair = |pair: &[u8]| Some(digit(pair[0])? << 4 | digit(pair[1])?);
        let bytes: Option<Vec<u8>> = word.as_bytes().chunks_exact(2).map(pair).collect();
        let whole = word.len().is_multiple_of(2);
        bytes.filter(|_| whole).map_or(Self::Newest, Self::of)
    }

    /// The token; empty when only the newest state will do.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Token(token) => token,
            Self::Newest => &[],
        }
    }
}

/// A demand for the store to keep and to tell of, from [`Remote::demand`](super::Remote::demand).
///
/// Tokens can only be compared by whoever made them, so a store cannot say which of two demands goes further. It does not have to: each
/// node says how much of the log its own demand takes in, and older ones fall away with that.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Wanted {
    /// What it is about.
    pub scope: Scope,
    /// What loads of this scope must reflect, as far as the author knows.
    pub here: Demand,
    /// What would do for loads of any key, as far as the author knows.
    pub everywhere: Demand,
    /// The record up to which the two take in what the log told.
    pub known: u64,
    /// For how long it must be kept.
    pub keep: Duration,
}

impl Wanted {
    /// A demand.
    #[must_use]
    pub fn new(scope: Scope, here: Demand, everywhere: Demand) -> Self {
        Self {
            scope,
            here,
            everywhere,
            known: 0,
            keep: Duration::MAX,
        }
    }

    /// The same demand, which takes in the log up to this record.
    #[must_use]
    pub fn knowing(self, known: u64) -> Self {
        Self { known, ..self }
    }

    /// The same demand, kept so long.
    #[must_use]
    pub fn kept_for(self, keep: Duration) -> Self {
        Self { keep, ..self }
    }

    /// The record that tells of it, as one text.
    #[must_use]
    pub fn encode(&self) -> String {
        ["s:", &self.here.encode(), ":", &self.scope.encode()].concat()
    }

    /// Reads what [`encode`](Self::encode) wrote: the scope, and what its loads must reflect.
    #[must_use]
    pub fn decode(text: &str) -> Option<(Scope, Demand)> {
        let (demand, scope) = text.strip_prefix("s:")?.split_once(':')?;
        Some((Scope::decode(scope)?, Demand::decode(demand)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_no_token_asks_for_the_newest_state() {
        for token in [&b""[..], &[b'x'; MAX_TOKEN_BYTES + 1]] {
            assert_eq!(Demand::of(token), Demand::Newest);
        }
        for word in ["", "*", "abc", "0g", "é", " 00"] {
            assert_eq!(Demand::decode(word), Demand::Newest, "{word}");
        }
        assert_eq!(Wanted::decode("s:00"), None);
        assert_eq!(Wanted::decode("k:a"), None);
    }

    proptest! {
        #[test]
        fn a_demand_survives_the_way_through_the_log(token in proptest::collection::vec(any::<u8>(), 1..64), key in ".{0,20}") {
            let demand = Demand::of(&token);
            prop_assert_eq!(demand.as_bytes(), &token[..]);
            let scope = Scope::Key(key.as_str().into());
            let wanted = Wanted::new(scope.clone(), demand.clone(), Demand::Newest);
            prop_assert_eq!(Wanted::decode(&wanted.encode()), Some((scope, demand)));
        }
    }
}
