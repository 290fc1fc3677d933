use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use bilten_cache::remote::{
    Author, Lease, Position, Pulse, Record, Remote, RemoteError, Reply, Scope, Snapshot,
};
use bytes::Bytes;

/// A way to a second level on which something happens that no server does by itself.
pub(crate) struct Hooked {
    inner: Arc<dyn Remote>,
    after_claim: Box<dyn Fn() + Send + Sync>,
    refused: Option<Arc<AtomicU32>>,
    refused_key: Option<&'static str>,
    reversed: bool,
    impatient: bool,
    panics: Arc<AtomicBool>,
    page: usize,
}

impl Hooked {
    pub(crate) fn new(inner: Arc<dyn Remote>) -> Self {
        Self {
            inner,
            after_claim: Box::new(|| {}),
            refused: None,
            refused_key: None,
            reversed: false,
            impatient: false,
            panics: Arc::default(),
            page: usize::MAX,
        }
    }

    /// Does this between a claim's answer and what follows it.
    pub(crate) fn after_claim(self, act: impl Fn() + Send + Sync + 'static) -> Self {
        Self {
            after_claim: Box::new(act),
            ..self
        }
    }

    /// Refuses invalidations and counts them here.
    pub(crate) fn refusing(self, count: &Arc<AtomicU32>) -> Self {
        Self {
            refused: Some(Arc::clone(count)),
            ..self
        }
    }

    /// Refuses invalidations of one key, as a server does where another program wrote something else under its name.
    pub(crate) fn refusing_key(self, key: &'static str) -> Self {
        Self {
            refused_key: Some(key),
            ..self
        }
    }

    /// Panics where it should wait for news of the log, while this is so.
    pub(crate) fn panicking(self, panics: &Arc<AtomicBool>) -> Self {
        Self {
            panics: Arc::clone(panics),
            ..self
        }
    }

    /// Hands out no more records at once than a server does.
    pub(crate) fn paged(self) -> Self {
        Self {
            page: 1_000,
            ..self
        }
    }

    /// Refuses to wait for news of the log, as a connection for that would which is broken.
    pub(crate) fn impatient(self) -> Self {
        Self {
            impatient: true,
            ..self
        }
    }

    /// Hands out records that come together in the wrong order.
    pub(crate) fn reversed(self) -> Self {
        Self {
            reversed: true,
            ..self
        }
    }
}

impl fmt::Debug for Hooked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hooked").finish_non_exhaustive()
    }
}

impl Remote for Hooked {
    fn read<'a>(&'a self, key: &'a str) -> Reply<'a, Option<Bytes>> {
        self.inner.read(key)
    }

    fn lease<'a>(
        &'a self,
        key: &'a str,
        token: u64,
        hold: Duration,
        over_value: bool,
    ) -> Reply<'a, Lease> {
        self.inner.lease(key, token, hold, over_value)
    }

    fn store<'a>(
        &'a self,
        key: &'a str,
        token: u64,
        envelope: Bytes,
        keep: Duration,
    ) -> Reply<'a, bool> {
        self.inner.store(key, token, envelope, keep)
    }

    fn renew<'a>(&'a self, key: &'a str, token: u64, hold: Duration) -> Reply<'a, bool> {
        self.inner.renew(key, token, hold)
    }

    fn release<'a>(&'a self, key: &'a str, token: u64) -> Reply<'a, ()> {
        self.inner.release(key, token)
    }

    fn claim<'a>(
        &'a self,
        key: &'a str,
        token: u64,
        hold: Duration,
        author: Author,
    ) -> Reply<'a, Position> {
        Box::pin(async move {
            let at = self.inner.claim(key, token, hold, author).await?;
            (self.after_claim)();
            Ok(at)
        })
    }

    fn invalidate<'a>(&'a self, scope: &'a Scope, author: Author) -> Reply<'a, Position> {
        let key = scope.key().map(|key| &**key);
        let refuses_key = self.refused_key.is_some() && key == self.refused_key;
        if self.refused.is_none() && !refuses_key {
            return self.inner.invalidate(scope, author);
        }
        if let Some(refused) = &self.refused {
            refused.fetch_add(1, Ordering::SeqCst);
        }
        Box::pin(async { Err(RemoteError::Refused("made to refuse".into())) })
    }

    fn snapshot(&self) -> Reply<'_, Snapshot> {
        self.inner.snapshot()
    }

    fn pulse(&self, number: u64) -> Reply<'_, Pulse> {
        self.inner.pulse(number)
    }

    fn tail(&self, position: u64, wait: Duration) -> Reply<'_, Vec<Record>> {
        assert!(!self.panics.load(Ordering::SeqCst), "made to panic");
        if self.impatient && !wait.is_zero() {
            let broken = RemoteError::Unavailable("made to break".into());
            return Box::pin(async { Err(broken) });
        }
        Box::pin(async move {
            let mut records = self.inner.tail(position, wait).await?;
            if self.reversed {
                records.reverse();
            }
            records.truncate(self.page);
            Ok(records)
        })
    }
}
