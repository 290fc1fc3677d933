use std::fmt;
#[cfg(feature = "json")]
use std::sync::Arc;

use bytes::Bytes;

use crate::error::SharedError;

/// How values of one type become bytes and back.
pub(crate) struct Codec<V> {
    pub(crate) encode: fn(&V) -> Result<Bytes, SharedError>,
    pub(crate) decode: fn(&[u8]) -> Result<V, SharedError>,
}

#[cfg(feature = "json")]
impl<V: serde::Serialize + serde::de::DeserializeOwned> Codec<V> {
    /// JSON: readable with `redis-cli`, and an added or missing optional field does no harm.
    pub(crate) fn json() -> Self {
        Self {
            encode: |value| {
                Ok(Bytes::from(
                    serde_json::to_vec(value).map_err(|e| Arc::new(e) as SharedError)?,
                ))
            },
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
