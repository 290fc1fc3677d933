/// Why a call to the second level gave no answer.
///
/// No text in it shows a password.
///
/// ```
/// use bilten_cache::remote::RemoteError;
///
/// let error = RemoteError::Refused("OOM command not allowed when used memory > 'maxmemory'.".into());
/// assert!(error.to_string().starts_with("the server refuses: OOM"));
/// ```
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum RemoteError {
    /// The time limit ran out.
    #[error("no answer in time")]
    Timeout,
    /// There is no connection.
    #[error("not connected: {0}")]
    Unavailable(String),
    /// The machine is there and nothing listens at the port.
    #[error("the connection is refused")]
    ConnectionRefused,
    /// The host has no address.
    #[error("its host name does not resolve: {0}")]
    UnknownHost(String),
    /// Something answers that does not speak the store's protocol.
    #[error("what answers there is not Redis: {0}")]
    Foreign(String),
    /// The TLS handshake failed: a certificate that is not accepted, or no TLS at the other end.
    #[error("the TLS handshake failed: {0}")]
    Tls(String),
    /// The circuit breaker is open: the store has failed several times in a row.
    #[error("the circuit breaker is open")]
    BreakerOpen,
    /// Too many calls are under way.
    #[error("too many calls at once")]
    Overloaded,
    /// The store answered with an error, in its own words.
    #[error("the server refuses: {0}")]
    Refused(String),
    /// User name or password are wrong, or missing; in the store's words.
    #[error("the server does not accept user name and password ({0})")]
    Authentication(String),
    /// One value is larger than the store takes, in bytes. It goes on taking others.
    #[error("a value of {bytes} bytes is larger than the {limit} that the store takes")]
    TooLarge {
        /// What the value would take.
        bytes: u64,
        /// What one value may take.
        limit: u64,
    },
    /// The store on disk cannot be read or written, in the system's words. It begins anew by itself.
    #[error("the store on disk fails: {0}")]
    Disk(String),
}

/// What kind of trouble it is, as far as somebody has to do something else about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cause {
    Gone,
    Refused,
    Name,
    Foreign,
    Certificate,
    Password,
    Database,
    Full,
    ReadOnly,
    Rights,
    WrongType,
    Disk,
    Other,
}

impl RemoteError {
    pub(crate) fn cause(&self) -> Cause {
        match self {
            Self::Timeout | Self::Unavailable(_) | Self::BreakerOpen | Self::Overloaded => {
                Cause::Gone
            }
            Self::ConnectionRefused => Cause::Refused,
            Self::UnknownHost(_) => Cause::Name,
            Self::Foreign(_) => Cause::Foreign,
            Self::Tls(_) => Cause::Certificate,
            Self::Authentication(_) => Cause::Password,
            Self::Disk(_) => Cause::Disk,
            Self::Refused(words) => refusal(words),
            Self::TooLarge { .. } => Cause::Other,
        }
    }
}

/// Somebody else's words for a message: one line, not too long. Where they repeat what they were told, that may be a password.
#[cfg(any(feature = "fred", feature = "redis"))]
pub(super) fn plain(words: &str) -> String {
    let words = match words.find("with args beginning with") {
        Some(repeated) => words[..repeated].trim_end_matches([' ', ',']),
        None => words,
    };
    let printable = |c: char| if c.is_control() { ' ' } else { c };
    words.chars().map(printable).take(200).collect()
}

/// What the first words of a server's error mean.
fn refusal(words: &str) -> Cause {
    let begins = |codes: &[&str]| codes.iter().any(|code| words.starts_with(code));
    if words.contains("DB index is out of range") {
        Cause::Database
    } else if begins(&["OOM"]) || words.contains("-OOM ") {
        Cause::Full
    } else if begins(&["READONLY", "NOREPLICAS", "MISCONF", "UNBLOCKED"])
        || words.contains("-READONLY ")
    {
        Cause::ReadOnly
    } else if begins(&["NOPERM"]) || words.contains("has no permissions") {
        Cause::Rights
    } else if words.contains("WRONGTYPE") {
        Cause::WrongType
    } else {
        Cause::Other
    }
}

impl Cause {
    /// Whether it does not pass by itself, so that it is worth telling although something else was told before.
    pub(crate) fn needs_a_person(self) -> bool {
        !matches!(self, Self::Gone | Self::Refused | Self::Name)
    }

    /// What to do about it.
    pub(crate) fn remedy(self) -> &'static str {
        match self {
            Self::Gone => "see whether the server runs, answers and can be reached from here",
            Self::Refused => "see whether the server runs, and whether host and port are right",
            Self::Name => "check the host name and the resolver of this machine",
            Self::Foreign => "check host and port: another program listens there",
            Self::Certificate => {
                "check that the port speaks TLS, and the server's certificate: its authority (`Redis::authority`), its names, its dates"
            }
            Self::Password => {
                "check user name and password; `Redis::password` takes it without percent-encoding"
            }
            Self::Database => {
                "use a database below the `databases` of the server's configuration, which is 16 by default"
            }
            Self::Full => {
                "raise the server's `maxmemory`, or set a `maxmemory-policy` that evicts, for example `allkeys-lru`"
            }
            Self::ReadOnly => {
                "point the cache at the primary, or mend what makes the server refuse writes"
            }
            Self::Rights => {
                "allow the user `+@read +@write +@scripting +@connection` on the keys of this cache"
            }
            Self::WrongType => {
                "delete the key that another program wrote under a name of this cache, or give the cache another name"
            }
            Self::Disk => {
                "see that the disk has room and that the folder can be written to; the store begins anew by itself, empty"
            }
            Self::Other => "see the server's own log",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(any(feature = "fred", feature = "redis"))]
    #[test]
    fn what_a_server_repeats_of_a_command_is_left_out() {
        for quote in ["'", "`"] {
            let words = format!(
                "ERR unknown command {quote}AUTH{quote}, with args beginning with: {quote}user{quote}, {quote}secret{quote}, \r\n"
            );
            assert_eq!(
                plain(&words),
                format!("ERR unknown command {quote}AUTH{quote}")
            );
        }
        assert_eq!(plain("OOM\nno room"), "OOM no room");
    }

    #[test]
    fn what_a_server_says_has_a_cause_of_its_own() {
        for (words, cause) in [
            ("ERR DB index is out of range", Cause::Database),
            (
                "OOM command not allowed when used memory > 'maxmemory'. script: 5f, on @user_script:9.",
                Cause::Full,
            ),
            (
                "READONLY You can't write against a read only replica.",
                Cause::ReadOnly,
            ),
            (
                "NOPERM User app has no permissions to run the 'evalsha' command",
                Cause::Rights,
            ),
            (
                "WRONGTYPE Operation against a key holding the wrong kind of value",
                Cause::WrongType,
            ),
            ("ERR unknown command 'XREAD'", Cause::Other),
        ] {
            assert_eq!(RemoteError::Refused(words.into()).cause(), cause, "{words}");
        }
    }
}
