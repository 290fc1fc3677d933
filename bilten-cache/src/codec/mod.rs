#[cfg(feature = "json")]
mod finite;
#[cfg(feature = "json")]
mod json;

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use bytes::Bytes;

use crate::error::{SharedError, panic_message};

/// How values of one type become bytes and back.
pub(crate) struct Codec<V> {
    encode: fn(&V) -> Result<Bytes, SharedError>,
    decode: fn(&[u8]) -> Result<V, SharedError>,
}

impl<V> Codec<V> {
    /// # Errors
    ///
    /// What the format or the type says; that it panicked, if it does.
    pub(crate) fn encode(&self, value: &V) -> Result<Bytes, SharedError> {
        guarded("`Serialize`", || (self.encode)(value))
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
        encode: fn(&V) -> Result<Bytes, SharedError>,
        decode: fn(&[u8]) -> Result<V, SharedError>,
    ) -> Self {
        Self { encode, decode }
    }
}

#[cfg(feature = "json")]
impl<V: serde::Serialize + serde::de::DeserializeOwned> Codec<V> {
    /// JSON: readable with `redis-cli`, and an added or missing optional field does no harm.
    pub(crate) fn json() -> Self {
        Self {
            encode: json::encode,
            decode: |bytes| serde_json::from_slice(bytes).map_err(|e| Arc::new(e) as SharedError),
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
