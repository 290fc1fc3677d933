//! The settings of a region that say how large its values may be and how the second level keeps them.

use std::sync::Arc;

use super::RegionBuilder;
#[cfg(feature = "messagepack")]
use crate::codec::Codec;
use crate::key::Key;

/// # Sizes and formats
///
/// Nodes whose settings differ here can share a second level, for example while a new release is rolled out: what one
/// cannot read, because it is in another format, of another schema version or compressed with a feature that the node was built
/// without, is a miss for it, and counted as [`undecodable`](crate::Stats::undecodable).
impl<K: Key + ?Sized, V: Send + Sync + 'static> RegionBuilder<K, V> {
    /// Raise it when `V` changes so that old entries must not be read. Defaults to 0. Entries of another version are
    /// misses.
    pub fn schema_version(mut self, version: u32) -> Self {
        self.options.schema_version = version;
        self
    }

    /// Tells how many bytes a value has on the heap, for the budget of this process's memory. Defaults to the length of its
    /// serialised form; of a value that does not serialise, to what was written of it before that showed; in a
    /// [`memory_region`](crate::Cache::memory_region) to nothing, so give one to a region whose values are large. Called once per fill.
    ///
    /// An entry weighs this, the length of its key and some 450 bytes that each entry costs (256 with `clock_pro`), so zero is a small entry
    /// and not a free one. More than `max_value_bytes` is a value that is not kept. One that panics counts as none.
    pub fn weigher(mut self, heap_bytes: impl Fn(&V) -> usize + Send + Sync + 'static) -> Self {
        self.weigher = Some(Arc::new(heap_bytes));
        self
    }

    /// The largest value that is kept, in bytes: of its serialised form, uncompressed, and of what the
    /// [`weigher`](Self::weigher) says. Defaults to 16 MiB; zero is an error.
    ///
    /// What a loader brings beyond it goes to everybody who waits and into neither level; it is counted as
    /// [`too_large`](crate::Stats::too_large), and the first one is told in a warning. Serialising stops at the limit, so such a value costs no more memory than
    /// one that fits. For `set` it is [`Error::TooLarge`](crate::Error::TooLarge). An entry of the second level that is larger is a miss.
    pub fn max_value_bytes(mut self, bytes: usize) -> Self {
        self.options.max_value_bytes = bytes;
        self
    }
}

#[cfg(feature = "zstd")]
impl<K: Key + ?Sized, V: Send + Sync + 'static> RegionBuilder<K, V> {
    /// Compresses what is longer than this with zstd before the second level gets it, if that makes it shorter. Defaults to no
    /// compression; some kilobytes are a good threshold, since a short value saves nothing that counts. Compressed entries are
    /// read whether this is set or not.
    ///
    /// An entry that would unfold to more than `max_value_bytes` is a miss, and takes no memory.
    pub fn compress_above(mut self, bytes: usize) -> Self {
        self.options.compress_above = Some(bytes);
        self
    }
}

#[cfg(feature = "messagepack")]
impl<K, V> RegionBuilder<K, V>
where
    K: Key + ?Sized,
    V: serde::Serialize + serde::de::DeserializeOwned + Send + Sync + 'static,
{
    /// Keeps values as MessagePack with named fields in the second level, instead of JSON: smaller, quicker, with NaN and bytes as they
    /// are, and not readable with `redis-cli`. An added or missing optional field does no harm there either.
    pub fn message_pack(mut self) -> Self {
        self.codec = Some(Codec::message_pack());
        self
    }
}
