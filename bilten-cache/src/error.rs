use std::any::Any;
use std::borrow::Cow;
use std::error::Error as StdError;
use std::sync::Arc;
use std::time::Duration;

/// A loader's own error, shared by everybody who waited for that load.
pub(crate) type SharedError = Arc<dyn StdError + Send + Sync>;

pub(crate) type BoxError = Box<dyn StdError + Send + Sync>;

/// What can go wrong in a call to the cache.
///
/// Trouble with the second level is never here: a read goes on to the loader, and a change
/// answers [`Ack::Deferred`](crate::Ack::Deferred).
///
/// ```
/// use bilten_cache::{Error, Pattern};
///
/// let error = Pattern::glob("events:[").unwrap_err();
/// assert!(matches!(error, Error::Pattern { .. }));
/// assert!(error.to_string().contains("close it with `]`"));
/// ```
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A setting has no meaning; raised by `build()`.
    #[error("{field}: {problem}; {remedy}")]
    #[non_exhaustive]
    Config {
        /// The setting, for example `redis.url`.
        field: Cow<'static, str>,
        /// What was wrong with it, without secrets.
        problem: String,
        /// What to write instead.
        remedy: &'static str,
    },
    /// A pattern does not parse.
    #[error("pattern `{pattern}`: {problem}; {remedy}")]
    #[non_exhaustive]
    Pattern {
        /// The text as given.
        pattern: String,
        /// What was wrong with it.
        problem: &'static str,
        /// What to write instead.
        remedy: &'static str,
    },
    /// A key is longer than the cache takes. Loads still run, without being cached.
    #[error(
        "region `{region}`: the key takes {bytes} bytes and the limit is {limit}; \
         use a shorter key, for example a hash of the long part"
    )]
    #[non_exhaustive]
    KeyTooLong {
        /// The region.
        region: Arc<str>,
        /// Length of the encoded key.
        bytes: usize,
        /// The longest key that is cached.
        limit: usize,
    },
    /// The value could not be written in the region's format: its `Serialize` failed or panicked, it has a float that is NaN
    /// or infinite, which JSON cannot hold, or it cannot be read back; the source says which. The key was removed from the cache.
    #[error(
        "region `{region}`: a value of type {value} for a key of type {key} does not serialise; \
         change its `Serialize`, or keep the region in memory with `memory_region`"
    )]
    #[non_exhaustive]
    Encode {
        /// The region.
        region: Arc<str>,
        /// Type of the key.
        key: &'static str,
        /// Type of the value.
        value: &'static str,
        /// What the format said.
        source: SharedError,
    },
    /// The value is larger than the region keeps. The key was removed from the cache.
    #[error(
        "region `{region}`: a value of type {value} takes more than the {limit} bytes of `max_value_bytes`; \
         raise it, keep parts of the value under keys of their own, or do not cache it"
    )]
    #[non_exhaustive]
    TooLarge {
        /// The region.
        region: Arc<str>,
        /// Type of the value.
        value: &'static str,
        /// The region's `max_value_bytes`.
        limit: usize,
    },
    /// The loader failed. Everybody who waited for it gets the same error.
    #[error("region `{region}`: the loader failed")]
    #[non_exhaustive]
    Load {
        /// The region.
        region: Arc<str>,
        /// What the loader said.
        source: SharedError,
    },
    /// The loader panicked. The next call tries again.
    #[error("region `{region}`: the loader panicked: {message}")]
    #[non_exhaustive]
    LoadPanicked {
        /// The region.
        region: Arc<str>,
        /// The panic's message.
        message: Arc<str>,
    },
    /// The loader took longer than the region's `load_timeout` and was dropped.
    #[error(
        "region `{region}`: the loader took longer than {after:?}; raise `load_timeout` or make it faster"
    )]
    #[non_exhaustive]
    LoadTimeout {
        /// The region.
        region: Arc<str>,
        /// The time it had.
        after: Duration,
    },
    /// The load's task ended without a result, because its runtime is shutting down.
    #[error("region `{region}`: the load was abandoned because its runtime is shutting down")]
    #[non_exhaustive]
    LoadAbandoned {
        /// The region.
        region: Arc<str>,
    },
    /// A loader asked for the key that it is loading.
    #[error(
        "region `{region}`: a loader asked the cache for `{key}`, which it is loading itself; \
         read that from the source"
    )]
    #[non_exhaustive]
    Recursive {
        /// The region.
        region: Arc<str>,
        /// The encoded key.
        key: Arc<str>,
    },
    /// Too many loads were running, for as long as a load of the region may take: `max_concurrent_loads` of the region or of the cache.
    #[error(
        "region `{region}`: {limit} loads were running for {after:?}, and no more may at once; \
         raise `max_concurrent_loads` or make the loader faster"
    )]
    #[non_exhaustive]
    Overloaded {
        /// The region.
        region: Arc<str>,
        /// How many may run at once.
        limit: usize,
        /// How long this one waited.
        after: Duration,
    },
    /// A change of a cache or region that is read-only. Nothing was changed.
    #[error(
        "region `{region}`: it is read-only here, so nothing was changed; \
         make the change where the cache is built without `read_only`"
    )]
    #[non_exhaustive]
    ReadOnly {
        /// The region.
        region: Arc<str>,
    },
    /// The write behind `write_through` failed. The key was removed from the cache.
    #[error("region `{region}`: the write to the source failed")]
    #[non_exhaustive]
    Write {
        /// The region.
        region: Arc<str>,
        /// What the write said.
        source: SharedError,
    },
}

/// What a panic says.
pub(crate) fn panic_message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("(no message)")
}

/// An error with all that it came from, in one line.
pub(crate) fn in_full(error: &Error) -> String {
    let mut text = error.to_string();
    let mut next = StdError::source(error);
    while let Some(cause) = next {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    text
}

impl Error {
    /// The loader's or writer's own error, if this is one and its type is `E`.
    #[must_use]
    pub fn source_as<E: StdError + 'static>(&self) -> Option<&E> {
        match self {
            Self::Load { source, .. }
            | Self::Write { source, .. }
            | Self::Encode { source, .. } => source.downcast_ref(),
            _ => None,
        }
    }

    /// Whether a time limit ran out.
    #[must_use]
    pub fn is_timeout(&self) -> bool {
        matches!(self, Self::LoadTimeout { .. })
    }

    pub(crate) fn config(
        field: impl Into<Cow<'static, str>>,
        problem: impl Into<String>,
        remedy: &'static str,
    ) -> Self {
        Self::Config {
            field: field.into(),
            problem: problem.into(),
            remedy,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loaders_error_can_be_taken_out_again() {
        let source: SharedError = Arc::new(std::io::Error::other("no rows"));
        let error = Error::Load {
            region: "event".into(),
            source,
        };
        assert_eq!(
            error.source_as::<std::io::Error>().unwrap().to_string(),
            "no rows"
        );
        assert!(error.source_as::<std::fmt::Error>().is_none());
        assert!(StdError::source(&error).is_some());
        assert_eq!(
            in_full(&error),
            "region `event`: the loader failed: no rows"
        );
    }
}
