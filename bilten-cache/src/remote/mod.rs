//! The second level: what the cache asks of a shared store, free of any client's types.

#[cfg(feature = "test-util")]
pub mod conformance;
#[cfg(any(feature = "fred", feature = "redis"))]
pub(crate) mod redis;

#[cfg(feature = "disk")]
mod disk;
#[cfg(feature = "fred")]
mod fred;
#[cfg(feature = "redis")]
mod redis_rs;

#[cfg(any(feature = "fred", feature = "redis"))]
mod address;
#[cfg(any(feature = "fred", feature = "redis"))]
mod scripted;
#[cfg(any(feature = "fred", feature = "redis"))]
mod silence;
#[cfg(any(feature = "fred", feature = "redis"))]
mod tls;

mod breaker;
mod demand;
mod error;
mod gate;
mod keyspace;
mod outage;
mod parcel;
mod portion;
mod record;
mod together;
mod upkeep;

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

pub(crate) use self::breaker::{BreakerState, OnBreaker};
pub use self::demand::{Demand, Wanted};
#[cfg(feature = "disk")]
pub(crate) use self::disk::Disk;
#[cfg(feature = "disk")]
pub use self::disk::DiskOptions;
#[cfg(all(feature = "disk", feature = "config"))]
pub(crate) use self::disk::LEAST_DISK_BYTES;
pub(crate) use self::error::Cause;
pub use self::error::RemoteError;
pub(crate) use self::gate::{Gate, Limits, Turn, panicked, whole};
pub use self::keyspace::Keyspace;
pub(crate) use self::outage::Noticed;
pub use self::parcel::Parcel;
pub(crate) use self::portion::Portion;
pub use self::record::{Author, Position, Pulse, Record, Scope, Snapshot};
pub use self::upkeep::{Page, Pruned};

/// Records of the log that are asked for at once, at most.
pub(crate) const PAGE: u16 = 1_000;

/// A future of a [`Remote`] call.
pub type Reply<'a, T> = Pin<Box<dyn Future<Output = Result<T, RemoteError>> + Send + 'a>>;

/// What became of each of many keys, in their order. An error of the whole says that nothing is known of any.
pub type Each<T> = Vec<Result<T, RemoteError>>;

/// What a try for the lease of a key found.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Lease {
    /// Somebody stored a value in the meantime.
    Value(Bytes),
    /// The lease is ours until it runs out or somebody changes the key.
    Owned,
    /// The same, and a load of this key must reflect all of this: what [`Remote::demand`] was told about it.
    OwnedAfter(Vec<Demand>),
    /// Another load holds it.
    Busy,
}

/// A shared second level with an ordered log of invalidations.
///
/// Every method that appends to the log does its change **first** and appends after it, or does
/// both at once. A call that was given up may still arrive, and late: it must then do no harm. The cache puts its own time limit, circuit breaker and bound on concurrent
/// calls around each of them. An implementation needs no limit of its own for that, and whoever calls one without a cache has to set one: reads of Redis
/// wait until their connection is replaced.
///
/// With the feature `test-util` there is `remote::conformance::check`, which tries all of this on an implementation.
pub trait Remote: fmt::Debug + Send + Sync + 'static {
    /// Where the store is, for log lines: `127.0.0.1:6379`. Never with a password.
    fn address(&self) -> &str {
        "(a store of its own)"
    }

    /// Reads the envelope of a key.
    fn read<'a>(&'a self, key: &'a str) -> Reply<'a, Option<Bytes>>;

    /// Reads the envelopes of many keys, in their order. By itself it reads them one by one at the same time.
    fn read_many<'a>(&'a self, keys: &'a [Arc<str>]) -> Reply<'a, Vec<Option<Bytes>>> {
        let reads = keys.iter().map(|key| self.read(key));
        Box::pin(futures_util::future::try_join_all(reads))
    }

    /// Whether one [`read_many`](Self::read_many) of small values costs less than as many reads at the same time. Where it does, reads that come
    /// while several others are under way are made in one. No by itself.
    ///
    /// What fails then fails for all of its keys, and counts as so many failures. Only where it is
    /// [refused](RemoteError::Refused) each of them is read by itself after that. So this is nothing for a store where one key may fail while
    /// the others are well.
    fn reads_together(&self) -> bool {
        false
    }

    /// Takes the lease of a key for one load, unless there is a value or another lease. A value that begins like `over` does not count,
    /// because it was found to be of no use; any other one has been stored since. All values begin with nothing. A lease that stands with this very
    /// token may count as taken or as another one.
    fn lease<'a>(
        &'a self,
        key: &'a str,
        token: u64,
        hold: Duration,
        over: Option<&'a [u8]>,
    ) -> Reply<'a, Lease>;

    /// Asks once more, because another load had it a moment ago. The same as [`lease`](Self::lease) by itself; for a store where the first
    /// question is the cheaper one because it leaves what is unusual to a second.
    fn lease_again<'a>(
        &'a self,
        key: &'a str,
        token: u64,
        hold: Duration,
        over: Option<&'a [u8]>,
    ) -> Reply<'a, Lease> {
        self.lease(key, token, hold, over)
    }

    /// Stores the envelope and gives the lease back, only if `token` still holds it. One that is larger than the store takes is
    /// [`RemoteError::TooLarge`]; the lease is given back then too.
    ///
    /// Also asked of keys that no region has: a value of one of them, which is kept for some seconds, is a note for those who wait that a load
    /// came to nothing.
    fn store<'a>(
        &'a self,
        key: &'a str,
        token: u64,
        envelope: Bytes,
        keep: Duration,
    ) -> Reply<'a, bool>;

    /// Lengthens the lease if `token` still holds it.
    fn renew<'a>(&'a self, key: &'a str, token: u64, hold: Duration) -> Reply<'a, bool>;

    /// Gives the lease back if `token` still holds it.
    fn release<'a>(&'a self, key: &'a str, token: u64) -> Reply<'a, ()>;

    /// Removes the value, gives the lease to `token` whoever holds it, and logs the key: the first half of a write. The
    /// second is [`store`](Self::store). Whatever becomes of it, nobody reads the old value, and a store that arrives late finds the
    /// lease gone if anybody has changed the key since. To writes of the source that are under way it is another one that overlaps, but
    /// not to the one whose token it has.
    fn claim<'a>(
        &'a self,
        key: &'a str,
        token: u64,
        hold: Duration,
        author: Author,
    ) -> Reply<'a, Position>;

    /// Whether a change of many keys is one call to the store: then the cache makes it with [`claim_many`](Self::claim_many),
    /// [`store_many`](Self::store_many) and [`remove_many`](Self::remove_many). By itself it is not, and the cache changes the keys one by one
    /// at the same time: each has the time of a call, and counts as one.
    fn takes_many(&self) -> bool {
        false
    }

    /// [`claim`](Self::claim) of many keys, each with a token of its own. By itself it makes them one by one at the same time.
    fn claim_many<'a>(
        &'a self,
        keys: &'a [(Arc<str>, u64)],
        hold: Duration,
        author: Author,
    ) -> Reply<'a, Each<Position>> {
        let claims = keys
            .iter()
            .map(move |(key, token)| self.claim(key, *token, hold, author));
        let claims = futures_util::future::join_all(claims);
        Box::pin(async move { Ok(claims.await) })
    }

    /// [`store`](Self::store) of many values. By itself it makes them one by one at the same time.
    fn store_many<'a>(&'a self, values: &'a [Parcel]) -> Reply<'a, Each<bool>> {
        let stores = values.iter().map(|value| {
            let envelope = value.envelope.clone();
            self.store(&value.key, value.token, envelope, value.keep)
        });
        let stores = futures_util::future::join_all(stores);
        Box::pin(async move { Ok(stores.await) })
    }

    /// A write of the key's source begins. It and all others that are under way overlap from now on; `true` when there are none. Forgotten after
    /// `hold`, and when the key is invalidated by itself. By itself it knows nothing of others.
    fn begin_write<'a>(&'a self, key: &'a str, token: u64, hold: Duration) -> Reply<'a, bool> {
        let _ = (key, token, hold);
        Box::pin(async { Ok(false) })
    }

    /// A write of the key's source has ended, and its value has been stored. `true` when it is known that no other was under way at any time
    /// since it began; else nobody knows whose value is the newest. By itself it knows nothing of others.
    fn end_write<'a>(&'a self, key: &'a str, token: u64) -> Reply<'a, bool> {
        let _ = (key, token);
        Box::pin(async { Ok(false) })
    }

    /// Appends a record. For [`Scope::Key`], value and lease are removed first; for [`Scope::Expired`], the lease is
    /// removed and the fifth byte of the value, if there is one, becomes `0x80`. Both forget what [`begin_write`](Self::begin_write) was
    /// told of the key: whose value is the newest then, nobody knows.
    fn invalidate<'a>(&'a self, scope: &'a Scope, author: Author) -> Reply<'a, Position>;

    /// [`invalidate`](Self::invalidate) of many single keys. By itself it makes them one by one at the same time.
    fn remove_many<'a>(
        &'a self,
        keys: &'a [Arc<str>],
        author: Author,
    ) -> Reply<'a, Each<Position>> {
        let removals = keys.iter().map(move |key| async move {
            let scope = Scope::Key(Arc::clone(key));
            self.invalidate(&scope, author).await
        });
        let removals = futures_util::future::join_all(removals);
        Box::pin(async move { Ok(removals.await) })
    }

    /// Remembers what loads of a scope must reflect, and appends a record that tells of it. Comes before the change itself: whoever takes the
    /// lease of a key after that change, on any node, is told with [`Lease::OwnedAfter`], for as long as `wanted.keep`; and who asks for a
    /// [`snapshot`](Self::snapshot) is told of all of them.
    ///
    /// Keeps none by itself, which `None` says: then only this process knows.
    fn demand<'a>(&'a self, wanted: &'a Wanted, author: Author) -> Reply<'a, Option<Position>> {
        let _ = (wanted, author);
        Box::pin(async { Ok(None) })
    }

    /// Everything a node must know before it trusts any value. Creates an empty log if there is none. Where the numbers of a
    /// new log begin is up to the store: above those of the old one is best, since a node that waits for the next record of
    /// the old log then finds a gap at once, and not only with its next [`pulse`](Self::pulse).
    fn snapshot(&self) -> Reply<'_, Snapshot>;

    /// Where the log stands now, and the stamp of its record `number`: after a fail-over to an older copy that has gone on
    /// since, another record stands there.
    fn pulse(&self, number: u64) -> Reply<'_, Pulse>;

    /// Records after `position`, oldest first; waits up to `wait` for the first one. Up to `most` of them, which is one at least and a thousand
    /// at most; fewer are all that there are. Behind a link that does not bring as many in time the cache asks for fewer.
    fn tail(&self, position: u64, wait: Duration, most: u16) -> Reply<'_, Vec<Record>>;

    /// Forgets markers at or below `position`, some at a time from `cursor` on (0 at first), after it has put one marker on everything
    /// at that position. `life` is the longest life of an entry of the caller's; where another node has told of a longer one, nothing is
    /// forgotten. Keeps all markers by itself.
    fn prune(&self, position: u64, life: Duration, cursor: u64) -> Reply<'_, Pruned> {
        let _ = (position, cursor);
        Box::pin(async move { Ok(Pruned::new(0, life)) })
    }

    /// Some keys that have a value, from a place on: empty at first, then what the last page said. Knows no keys by itself.
    fn scan<'a>(&'a self, after: &'a str) -> Reply<'a, Page> {
        let _ = after;
        Box::pin(async { Ok(Page::default()) })
    }

    /// The first bytes of a value; none without a value. By itself it reads all of it.
    fn head<'a>(&'a self, key: &'a str, bytes: usize) -> Reply<'a, Bytes> {
        Box::pin(async move {
            let value = self.read(key).await?.unwrap_or_default();
            Ok(value.slice(..bytes.min(value.len())))
        })
    }

    /// Removes a value that still begins like this, without a record: nobody misses it. Does nothing by itself.
    fn discard<'a>(&'a self, key: &'a str, head: Bytes) -> Reply<'a, bool> {
        let _ = (key, head);
        Box::pin(async { Ok(false) })
    }

    /// What its values take on this machine, in bytes. `None` where they are somewhere else, or nobody knows.
    fn bytes_here(&self) -> Option<u64> {
        None
    }

    /// Ends connections and tasks; what is asked afterwards fails. Dropping the store must do so too, only later. Does nothing by
    /// itself.
    fn close(&self) -> Reply<'_, ()> {
        Box::pin(async { Ok(()) })
    }
}
