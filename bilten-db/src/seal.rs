//! Tokens that travel through the hands of users: sealed, so that nobody can make one up.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::{Error, Token};

const TTL: Duration = Duration::from_secs(300);
/// A clock elsewhere may be ahead by this much.
const AHEAD: Duration = Duration::from_secs(60);
const LEAST_SECRET: usize = 32;
/// Half of the hash is enough against guessing (RFC 2104, section 5) and keeps cookies short.
const TAG: usize = 16;
/// Sets this use of a secret apart from any other.
const PURPOSE: &[u8] = b"bilten-db session token 1:";

/// Seals and opens tokens with HMAC-SHA256.
///
/// All processes that serve the same users need the same secret. The seal proves where a token comes from and when; what
/// is inside (a position in the log of the database) is no secret and can be read.
///
/// ```
/// use bilten_db::Token;
/// use bilten_db::seal::SealKey;
///
/// let key = SealKey::new("32 random bytes from your secrets")?;
/// let token: Token = "1-6f1c0d5e8a-1-16b3748".parse()?;
/// let sealed = token.seal(&key);
/// assert_eq!(Token::open(&sealed, &key)?, token);
///
/// let stranger = SealKey::new("another 32 bytes, from elsewhere.")?;
/// assert!(Token::open(&sealed, &stranger).is_err());
/// # Ok::<(), bilten_db::Error>(())
/// ```
#[derive(Clone)]
#[must_use]
pub struct SealKey {
    seal: Hmac<Sha256>,
    old: Vec<Hmac<Sha256>>,
    ttl: Duration,
}

impl SealKey {
    /// A key from at least 32 bytes of a secret.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] when the secret is shorter.
    pub fn new(secret: impl AsRef<[u8]>) -> Result<Self, Error> {
        Ok(Self {
            seal: keyed(secret.as_ref())?,
            old: Vec::new(),
            ttl: TTL,
        })
    }

    /// Also opens what was sealed with a secret that is being replaced. First add the new secret here everywhere, then
    /// seal with it.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] when the secret is shorter than 32 bytes.
    pub fn and_old(mut self, secret: impl AsRef<[u8]>) -> Result<Self, Error> {
        self.old.push(keyed(secret.as_ref())?);
        Ok(self)
    }

    /// How long a token is good. Defaults to 5 min; choose more than replicas ever lag.
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = ttl;
        self
    }

    #[cfg(feature = "http")]
    pub(crate) fn lifetime(&self) -> Duration {
        // Cookies count whole seconds, and with none a browser forgets it at once.
        self.ttl.max(Duration::from_secs(1))
    }

    fn seal_at(&self, token: &Token, now: Duration) -> String {
        let body = format!("{token}.{:x}", now.as_secs());
        let tag = mac(&self.seal, &body).finalize().into_bytes();
        tag[..TAG]
            .iter()
            .fold(body + ".", |text, byte| text + &format!("{byte:02x}"))
    }

    fn open_at(&self, sealed: &str, now: Duration) -> Result<Token, Error> {
        let (body, tag) = sealed.rsplit_once('.').ok_or_else(foreign)?;
        let tag = bytes(tag).ok_or_else(foreign)?;
        let fits = |key: &Hmac<Sha256>| mac(key, body).verify_truncated_left(&tag).is_ok();
        if !std::iter::once(&self.seal).chain(&self.old).any(fits) {
            return Err(foreign());
        }
        // Only what was sealed here is looked at any further.
        let (token, issued) = body.rsplit_once('.').ok_or_else(foreign)?;
        let issued = u64::from_str_radix(issued, 16).map_err(|_| foreign())?;
        let issued = Duration::from_secs(issued);
        if now.saturating_sub(issued) > self.ttl || issued.saturating_sub(now) > AHEAD {
            return Err(refused("is too old, or the clocks of two processes differ"));
        }
        token.parse()
    }
}

impl Token {
    /// The token as text that only a holder of the key can make. Safe in cookies, headers and URLs.
    #[must_use]
    pub fn seal(&self, key: &SealKey) -> String {
        key.seal_at(self, since_epoch())
    }

    /// The token inside of sealed text.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] when the text was not sealed with this key, or longer ago than its [`ttl`](SealKey::ttl). Reads
    /// then belong on the primary: [`Cluster::session_sealed`](crate::Cluster::session_sealed) sees to that.
    pub fn open(sealed: &str, key: &SealKey) -> Result<Self, Error> {
        key.open_at(sealed, since_epoch())
    }
}

fn keyed(secret: &[u8]) -> Result<Hmac<Sha256>, Error> {
    if secret.len() < LEAST_SECRET {
        return Err(Error::invalid(
            "seal secret",
            format!("has {} bytes, so it could be guessed", secret.len()),
            format!("take at least {LEAST_SECRET} random bytes"),
        ));
    }
    let key = Hmac::<Sha256>::new_from_slice(secret);
    key.map_err(|_| Error::invalid("seal secret", "is refused", "take 32 random bytes"))
}

fn mac(key: &Hmac<Sha256>, body: &str) -> Hmac<Sha256> {
    key.clone().chain_update(PURPOSE).chain_update(body)
}

fn since_epoch() -> Duration {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.unwrap_or(Duration::ZERO)
}

/// Exactly the bytes of a tag.
fn bytes(hex: &str) -> Option<[u8; TAG]> {
    let mut tag = [0; TAG];
    if hex.len() != 2 * TAG || !hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
        return None;
    }
    for (byte, pair) in tag.iter_mut().zip(hex.as_bytes().chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(tag)
}

fn foreign() -> Error {
    refused("was not sealed with this key")
}

fn refused(problem: &str) -> Error {
    Error::invalid(
        "token",
        problem,
        "read from the primary, as Cluster::session_sealed() does",
    )
}

impl fmt::Debug for SealKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SealKey")
            .field("old", &self.old.len())
            .field("ttl", &self.ttl)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: Duration = Duration::from_secs(1_800_000_000);

    fn key(seed: u8) -> SealKey {
        SealKey::new([seed; 32]).unwrap()
    }

    fn token() -> Token {
        "1-6f1c0d5e8a-1-16b3748".parse().unwrap()
    }

    #[test]
    fn only_the_right_key_opens_and_only_in_time() {
        let sealed = key(1).seal_at(&token(), NOW);
        let rotated = key(2).and_old([1; 32]).unwrap();
        let second = Duration::from_secs(1);
        let table = [
            (key(1), NOW, true),
            (key(1), NOW + TTL, true),
            (key(1), NOW + TTL + second, false),
            (key(1).ttl(second), NOW + 2 * second, false),
            (key(1), NOW - AHEAD, true),
            (key(1), NOW - AHEAD - second, false),
            (key(2), NOW, false),
            (rotated, NOW, true),
        ];
        for (key, now, opens) in table {
            assert_eq!(
                key.open_at(&sealed, now).ok(),
                opens.then(token),
                "{key:?} {now:?}"
            );
        }
    }

    #[test]
    fn a_short_secret_is_refused_and_none_is_shown() {
        let error = SealKey::new("secret").unwrap_err().to_string();
        assert!(
            error.contains("has 6 bytes") && error.contains("32"),
            "{error}"
        );
        let shown = format!(
            "{:?}",
            SealKey::new("a secret of thirty-two bytes, no less").unwrap()
        );
        assert!(!shown.contains("secret of"), "{shown}");
    }

    #[test]
    fn every_changed_byte_is_noticed() {
        let sealed = key(1).seal_at(&token(), NOW);
        for at in 0..sealed.len() {
            for other in ["0", "f", ".", "-", "A", " "] {
                let mut forged = sealed.clone();
                forged.replace_range(at..=at, other);
                let opened = key(1).open_at(&forged, NOW);
                assert!(forged == sealed || opened.is_err(), "{forged}");
            }
        }
        for cut in 0..sealed.len() {
            assert!(key(1).open_at(&sealed[..cut], NOW).is_err(), "{cut}");
        }
    }

    proptest! {
        #[test]
        fn no_text_opens_or_panics(text in "[-.0-9a-f]{0,90}|.*") {
            prop_assert!(key(1).open_at(&text, NOW).is_err());
        }
    }
}
