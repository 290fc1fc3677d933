//! Changes of single keys and of a whole region.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use super::{After, Region};
use crate::Pattern;
use crate::engine::Start;
use crate::error::{BoxError, Error};
use crate::events::Refusal;
use crate::invalidate::{self, Ack, Change, Ending};
use crate::key::Key;
use crate::loader::Loaded;
use crate::manner::{Manner, Use};
use crate::packing::Packed;
use crate::remote::{Demand, Scope};
use crate::writing::Writing;

/// # Changes
impl<K: Key + ?Sized, V: Send + Sync + 'static> Region<K, V> {
    /// Puts a value into both levels, for a caller that has just made it the truth.
    ///
    /// A load that began before does not overwrite it, here or anywhere.
    ///
    /// # Errors
    ///
    /// [`Error::KeyTooLong`], and [`Error::Encode`] when the value does not serialise, or would not come back as it is (NaN in
    /// JSON): then nothing is stored and the key is removed, so that no older value stays behind. Of a region's values the first one is read
    /// back, to see whether its type can be.
    ///
    /// # Cancellation
    ///
    /// Once polled, the change is made even if the caller is dropped.
    pub async fn set(&self, key: &K, value: impl Into<Loaded<V>>) -> Result<Ack, Error> {
        let put = self.put(self.changeable(key)?, value.into(), Manner::default());
        put.await.map(|(_, ack)| ack)
    }

    /// Writes to the source and then, with what the write returned, to both levels.
    ///
    /// When two writes of a key overlap, in this process or in two, nobody outside of the source knows which of them it took last:
    /// then neither value is kept, and the next read loads. So is a write that takes longer than a minute, one during which the second level was
    /// away, and one during which the key was invalidated by whatever process, alone or with others. The second level is asked before and after
    /// it. A program that writes without `write_through`, and removes the key afterwards, is seen whenever its removal comes.
    ///
    /// # Errors
    ///
    /// [`Error::Write`] when the write fails. Nobody can tell then whether the source changed, so the key is
    /// removed. [`Error::KeyTooLong`] before anything is written. A value that does not serialise is returned all the
    /// same, after a warning, and is not cached.
    ///
    /// # Cancellation
    ///
    /// Dropped while the source is written, it removes the key, because the write may have happened.
    pub async fn write_through<T, E, Fut>(&self, key: &K, write: Fut) -> Result<Arc<V>, Error>
    where
        Fut: Future<Output = Result<T, E>>,
        T: Into<Loaded<V>>,
        E: Into<BoxError>,
    {
        let key = self.changeable(key)?;
        let writing = Writing::begin(&self.state.engine, &key).await;
        match write.await {
            Ok(written) => Ok(self.written(writing, key, written.into()).await),
            Err(error) => {
                self.remove_encoded(key, None).await;
                writing.end().await;
                Err(Error::Write {
                    region: Arc::clone(&self.state.name),
                    source: Arc::from(error.into()),
                })
            }
        }
    }

    /// Keeps what was written, unless another write of the key was under way: then nobody knows which of the two values is the newest.
    async fn written(&self, writing: Writing, key: Arc<str>, loaded: Loaded<V>) -> Arc<V> {
        let (value, after) = (Arc::clone(&loaded.value), loaded.after.clone());
        if !writing.seems_alone() {
            self.remove_encoded(key, after).await;
            writing.end().await;
            return value;
        }
        let put = self.put_since(Some(writing), key, loaded, Manner::default());
        if let Err(error) = put.await {
            tracing::warn!(%error, "value was written to its source but is not cached");
        }
        value
    }

    /// Removes a key everywhere. When this returns, no read of this process returns a value whose load began
    /// before the call.
    ///
    /// # Errors
    ///
    /// [`Error::KeyTooLong`]. Trouble with the second level is [`Ack::Deferred`].
    ///
    /// # Cancellation
    ///
    /// Once polled, the change is made even if the caller is dropped.
    pub async fn remove(&self, key: &K) -> Result<Ack, Error> {
        Ok(self.remove_encoded(self.changeable(key)?, None).await)
    }

    pub(super) async fn remove_encoded(&self, key: Arc<str>, after: Option<Demand>) -> Ack {
        invalidate::invalidate_after(&self.state.engine, Scope::Key(key), after).await
    }

    /// Ends the time to live of a key everywhere, but lets the value be served stale where the region allows it:
    /// [`stale_while_revalidate`](crate::RegionBuilder::stale_while_revalidate),
    /// [`stale_if_error`](crate::RegionBuilder::stale_if_error). Where it does not, this is [`remove`](Self::remove).
    ///
    /// The windows still end where they would have ended: so long after the end of the time to live that the value was stored with. An hour
    /// early, they are an hour longer.
    ///
    /// A load that began before does not make it fresh again.
    ///
    /// # Errors
    ///
    /// [`Error::KeyTooLong`]. Trouble with the second level is [`Ack::Deferred`].
    ///
    /// # Cancellation
    ///
    /// Once polled, the change is made even if the caller is dropped.
    pub async fn expire(&self, key: &K) -> Result<Ack, Error> {
        let scope = self.expiry(key)?;
        Ok(invalidate::invalidate(&self.state.engine, scope).await)
    }

    pub(super) fn expiry(&self, key: &K) -> Result<Scope, Error> {
        let key = self.changeable(key)?;
        Ok(match self.state.options.windows.keep() {
            true => Scope::Expired(key),
            false => Scope::Key(key),
        })
    }

    /// Invalidates every key of this region. Costs the same however many there are.
    ///
    /// # Cancellation
    ///
    /// Once polled, the change is made even if the caller is dropped.
    pub async fn clear(&self) -> Ack {
        if self.state.is_read_only() {
            return Ack::ReadOnly;
        }
        invalidate::invalidate(&self.state.engine, self.everything()).await
    }

    pub(super) fn everything(&self) -> Scope {
        Scope::Pattern(Pattern::prefix(&format!("{}:", self.state.name)))
    }

    /// Changes that tell later loads, on every node, which state of the source they must reflect, so that none of them puts an old value
    /// back from a replica that lags. `token` names the state that has the change; see [`source`](crate::source).
    ///
    /// A token has 1 to 256 bytes; any other makes loads read the newest state. With a second level such a change takes one round trip more, on a
    /// cluster two.
    #[must_use = "this is only the token; the change follows"]
    pub fn after(&self, token: impl AsRef<[u8]>) -> After<'_, K, V> {
        After::new(self, Demand::of(token))
    }

    pub(super) async fn put_nothing(
        &self,
        key: Arc<str>,
        after: Option<Demand>,
        writing: Option<Writing>,
    ) -> Ack {
        let ack = self.remove_encoded(key, after).await;
        if let Some(writing) = writing {
            writing.end().await;
        }
        ack
    }

    pub(super) async fn put(
        &self,
        key: Arc<str>,
        loaded: Loaded<V>,
        manner: Manner,
    ) -> Result<(Arc<V>, Ack), Error> {
        self.put_since(None, key, loaded, manner).await
    }

    /// The same with a value that was written since; else it is made at this moment.
    async fn put_since(
        &self,
        writing: Option<Writing>,
        key: Arc<str>,
        loaded: Loaded<V>,
        manner: Manner,
    ) -> Result<(Arc<V>, Ack), Error> {
        let loaded = manner.applied_to(loaded);
        let (value, after) = (Arc::clone(&loaded.value), loaded.after.clone());
        let since = writing.as_ref().map(Writing::start);
        let mut change = match self.change_of(since, &key, loaded, manner) {
            Ok(change) => change,
            Err(problem) => {
                let ack = self.put_nothing(key, after, writing).await;
                return problem.map_or(Ok((value, ack)), Err);
            }
        };
        change.ending = writing.map(|writing| Box::new(writing) as Box<dyn Ending>);
        let written = invalidate::write(&self.state.engine, change).await;
        if written.too_large {
            self.state.refused(&key, Refusal::TooLarge);
        }
        Ok((value, written.ack))
    }

    /// What has to be done to put a value into both levels. An error: nothing of it can be kept, and why, if its caller has to hear of that.
    pub(super) fn change_of(
        &self,
        since: Option<Start>,
        key: &Arc<str>,
        loaded: Loaded<V>,
        manner: Manner,
    ) -> Result<Change, Option<Error>> {
        if !loaded.cached {
            if loaded.over_tagged {
                self.state.too_many_tags(key);
            }
            return Err(None);
        }
        let after = loaded.after.clone();
        let start = since.unwrap_or_else(|| self.state.engine.start(key));
        let packed = self.state.pack(key, loaded, start.began, Duration::ZERO);
        let Packed {
            entry,
            keep,
            envelope,
            ..
        } = packed.map_err(|_| Some(self.state.too_large_error()))?;
        let unencodable = |source| Some(self.state.encode_error(key, source));
        let envelope = envelope.transpose().map_err(unencodable)?;
        Ok(Change {
            key: Arc::clone(key),
            envelope: envelope.filter(|_| manner.uses(Use::RemoteWrite)),
            keep,
            entry: manner.uses(Use::MemoryWrite).then_some(entry),
            ticket: start.ticket,
            ending: None,
            after,
        })
    }
}
