#[cfg(feature = "messagepack")]
mod extent;
#[cfg(any(feature = "json", feature = "messagepack"))]
mod finite;
#[cfg(feature = "json")]
mod json;
#[cfg(any(feature = "json", feature = "messagepack"))]
mod look;
#[cfg(feature = "messagepack")]
mod message_pack;
#[cfg(feature = "messagepack")]
mod walk;
#[cfg_attr(not(feature = "zstd"), path = "no_zstd.rs")]
mod zstd;

mod limited;
mod words;

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use bytes::Bytes;

pub(crate) use self::limited::Limited;
pub(crate) use self::words::without_values;
pub(crate) use self::zstd::{compress, decompress};
use crate::envelope::Format;
use crate::error::{SharedError, panic_message};

/// How values of one type become bytes and back.
pub(crate) struct Codec<V> {
    pub(crate) format: Format,
    encode: fn(&V, &mut Limited) -> Result<(), SharedError>,
    decode: fn(&[u8]) -> Result<V, SharedError>,
}

/// Why a value has no serialised form.
#[derive(Debug)]
pub(crate) enum Unencodable {
    /// It would be longer than allowed.
    TooLarge,
    /// What the format or the type says; that it panicked, if it does. With the bytes that were written by then.
    Failed(SharedError, usize),
}

impl<V> Codec<V> {
    /// The serialised form, of at most `limit` bytes. No more are ever written.
    pub(crate) fn encode(&self, value: &V, limit: usize) -> Result<Bytes, Unencodable> {
        let mut out = Limited::new(limit);
        let done = guarded("`Serialize`", || (self.encode)(value, &mut out));
        match done {
            _ if out.is_over() => Err(Unencodable::TooLarge),
            Ok(()) => Ok(out.into_bytes()),
            Err(error) => Err(Unencodable::Failed(error, out.written())),
        }
    }

    /// # Errors
    ///
    /// What the format or the type says; that it panicked, if it does.
    pub(crate) fn decode(&self, bytes: &[u8]) -> Result<V, SharedError> {
        guarded("`Deserialize`", || (self.decode)(bytes))
    }
}

/// Runs somebody's code, which has no business to end ours. It gets shared references and a new value only.
fn guarded<T>(
    what: &'static str,
    call: impl FnOnce() -> Result<T, SharedError>,
) -> Result<T, SharedError> {
    catch_unwind(AssertUnwindSafe(call)).unwrap_or_else(|panic| {
        let message = panic_message(&*panic).to_owned();
        Err(Arc::new(Panicked { what, message }))
    })
}

#[derive(Debug, thiserror::Error)]
#[error("its {what} panicked: {message}")]
struct Panicked {
    what: &'static str,
    message: String,
}

#[cfg(feature = "http")]
impl<V> Codec<V> {
    /// A format of one type's own.
    pub(crate) fn own(
        format: Format,
        encode: fn(&V, &mut Limited) -> Result<(), SharedError>,
        decode: fn(&[u8]) -> Result<V, SharedError>,
    ) -> Self {
        Self {
            format,
            encode,
            decode,
        }
    }
}

#[cfg(feature = "json")]
impl<V: serde::Serialize + serde::de::DeserializeOwned> Codec<V> {
    /// JSON: readable with `redis-cli`, and an added or missing optional field does no harm.
    pub(crate) fn json() -> Self {
        Self {
            format: json::FORMAT,
            encode: json::encode,
            decode: |bytes| serde_json::from_slice(bytes).map_err(|e| Arc::new(e) as SharedError),
        }
    }
}

#[cfg(feature = "messagepack")]
impl<V: serde::Serialize + serde::de::DeserializeOwned> Codec<V> {
    /// MessagePack with the names of the fields, so that an added or missing optional field does no harm either.
    pub(crate) fn message_pack() -> Self {
        Self {
            format: message_pack::FORMAT,
            encode: message_pack::encode,
            decode: message_pack::decode,
        }
    }
}

#[cfg(feature = "json")]
pub(crate) fn default_codec<V: serde::Serialize + serde::de::DeserializeOwned>() -> Option<Codec<V>>
{
    Some(Codec::json())
}

/// Without a format, values stay in memory.
#[cfg(not(feature = "json"))]
pub(crate) fn default_codec<V>() -> Option<Codec<V>> {
    None
}

impl<V> Clone for Codec<V> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<V> Copy for Codec<V> {}

impl<V> fmt::Debug for Codec<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Codec")
    }
}
