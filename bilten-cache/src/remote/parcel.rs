use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

/// One value of [`Remote::store_many`](super::Remote::store_many).
///
/// ```
/// use std::time::Duration;
/// use bilten_cache::remote::Parcel;
///
/// let parcel = Parcel::new("price:tea", 7, "envelope", Duration::from_secs(60));
/// assert_eq!((&*parcel.key, parcel.token), ("price:tea", 7));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Parcel {
    /// The encoded key.
    pub key: Arc<str>,
    /// Of the claim or lease under which it is stored.
    pub token: u64,
    /// The bytes to store.
    pub envelope: Bytes,
    /// How long they are kept.
    pub keep: Duration,
}

impl Parcel {
    /// All of it.
    pub fn new(
        key: impl Into<Arc<str>>,
        token: u64,
        envelope: impl Into<Bytes>,
        keep: Duration,
    ) -> Self {
        Self {
            key: key.into(),
            token,
            envelope: envelope.into(),
            keep,
        }
    }
}
