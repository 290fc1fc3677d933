use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bilten_cache::remote::{
    Author, Lease, Position, Pulse, Record, Remote, RemoteError, Reply, Scope, Snapshot,
};
use bytes::Bytes;
use tokio::sync::Semaphore;

/// A way to a second level on which something happens that no server does by itself.
pub(crate) struct Hooked {
    inner: Arc<dyn Remote>,
    after_claim: Box<dyn Fn() + Send + Sync>,
    refused: Option<Arc<AtomicU32>>,
    refused_key: Option<&'static str>,
    impatient: bool,
    panics: Arc<AtomicBool>,
    panics_in_calls: Arc<AtomicBool>,
    each_record_takes: Duration,
    split: Arc<Split>,
    busy: Arc<AtomicU32>,
    set_back: Arc<AtomicU64>,
    forgets_over: bool,
    unreadable: Option<&'static str>,
    snapshots: Option<Arc<Semaphore>>,
}

/// A server that was frozen while another one took over, and goes on as if nothing had been.
#[derive(Default)]
pub(crate) struct Split {
    copy: Mutex<Option<(Bytes, Pulse)>>,
    refuses: AtomicBool,
    once: AtomicBool,
}

impl Split {
    /// Calls find from now on what it has: this value under each key, and this end of the log.
    pub(crate) fn calls_find(&self, value: Bytes, end: Pulse) {
        *self.copy.lock().unwrap() = Some((value, end));
    }

    /// It takes no changes, as one that has fallen behind what it follows.
    pub(crate) fn refuses_changes(&self) {
        self.refuses.store(true, Ordering::SeqCst);
    }

    /// The same until it was asked for the end of the log.
    pub(crate) fn one_call_finds(&self, value: Bytes, end: Pulse) {
        self.once.store(true, Ordering::SeqCst);
        self.calls_find(value, end);
    }

    /// It has learnt that it is no primary any more.
    pub(crate) fn ends(&self) {
        *self.copy.lock().unwrap() = None;
    }

    fn copy(&self) -> Option<(Bytes, Pulse)> {
        self.copy.lock().unwrap().clone()
    }
}

impl Hooked {
    pub(crate) fn new(inner: Arc<dyn Remote>) -> Self {
        Self {
            inner,
            after_claim: Box::new(|| {}),
            refused: None,
            refused_key: None,
            impatient: false,
            panics: Arc::default(),
            panics_in_calls: Arc::default(),
            each_record_takes: Duration::ZERO,
            split: Arc::default(),
            busy: Arc::default(),
            set_back: Arc::default(),
            forgets_over: false,
            unreadable: None,
            snapshots: None,
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

    /// Panics in reads, leases, claims and invalidations, while this is so.
    pub(crate) fn panicking_in_calls(self, panics: &Arc<AtomicBool>) -> Self {
        Self {
            panics_in_calls: Arc::clone(panics),
            ..self
        }
    }

    fn may_be_called(&self) {
        let panics = self.panics_in_calls.load(Ordering::SeqCst);
        assert!(!panics, "made to panic in a call");
    }

    /// Counts here how often somebody else had the lease.
    pub(crate) fn counting_busy(self, count: &Arc<AtomicU32>) -> Self {
        Self {
            busy: Arc::clone(count),
            ..self
        }
    }

    /// Its clock was set back by so many milliseconds.
    pub(crate) fn set_back(self, millis: &Arc<AtomicU64>) -> Self {
        Self {
            set_back: Arc::clone(millis),
            ..self
        }
    }

    /// Reads together, and refuses to read one key: all others of a call fail with it.
    pub(crate) fn not_reading(self, key: &'static str) -> Self {
        Self {
            unreadable: Some(key),
            ..self
        }
    }

    /// Does not look over which value a lease is wanted: it shows each that it has.
    pub(crate) fn forgetting_over(self) -> Self {
        Self {
            forgets_over: true,
            ..self
        }
    }

    /// Tells where the log stands only while there is a place.
    pub(crate) fn snapshots_in(self, places: &Arc<Semaphore>) -> Self {
        Self {
            snapshots: Some(Arc::clone(places)),
            ..self
        }
    }

    /// Brings records as a slow link does: each takes so long.
    pub(crate) fn each_record_takes(self, time: Duration) -> Self {
        Self {
            each_record_takes: time,
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

    /// Has its log from one server and its calls from another, once that is told.
    pub(crate) fn split(self, split: &Arc<Split>) -> Self {
        Self {
            split: Arc::clone(split),
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
        self.may_be_called();
        if self.unreadable == Some(key) {
            return Box::pin(async { Err(RemoteError::Refused("made to refuse".into())) });
        }
        match self.split.copy() {
            Some((value, _)) => Box::pin(async move { Ok(Some(value)) }),
            None => self.inner.read(key),
        }
    }

    fn reads_together(&self) -> bool {
        self.unreadable.is_some()
    }

    fn lease<'a>(
        &'a self,
        key: &'a str,
        token: u64,
        hold: Duration,
        over: Option<&'a [u8]>,
    ) -> Reply<'a, Lease> {
        self.may_be_called();
        Box::pin(async move {
            let over = over.filter(|_| !self.forgets_over);
            let lease = self.inner.lease(key, token, hold, over).await;
            if let Ok(Lease::Busy) = lease {
                self.busy.fetch_add(1, Ordering::SeqCst);
            }
            lease
        })
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
            self.may_be_called();
            let at = self.inner.claim(key, token, hold, author).await?;
            (self.after_claim)();
            Ok(at)
        })
    }

    fn invalidate<'a>(&'a self, scope: &'a Scope, author: Author) -> Reply<'a, Position> {
        self.may_be_called();
        let key = scope.key().map(|key| &**key);
        let refuses_key = self.refused_key.is_some() && key == self.refused_key;
        if self.split.copy().is_some() && self.split.refuses.load(Ordering::SeqCst) {
            let read_only = RemoteError::Refused("READONLY a replica".into());
            return Box::pin(async { Err(read_only) });
        }
        if self.refused.is_none() && !refuses_key {
            return self.inner.invalidate(scope, author);
        }
        if let Some(refused) = &self.refused {
            refused.fetch_add(1, Ordering::SeqCst);
        }
        Box::pin(async { Err(RemoteError::Refused("made to refuse".into())) })
    }

    fn snapshot(&self) -> Reply<'_, Snapshot> {
        Box::pin(async move {
            let place = self.snapshots.as_ref().map(|places| places.acquire());
            if let Some(place) = place {
                let _ = place.await;
            }
            self.inner.snapshot().await
        })
    }

    fn pulse(&self, number: u64) -> Reply<'_, Pulse> {
        match self.split.copy() {
            Some((_, end)) => {
                if self.split.once.load(Ordering::SeqCst) {
                    self.split.ends();
                }
                Box::pin(async move { Ok(end) })
            }
            None => Box::pin(async move {
                let mut pulse = self.inner.pulse(number).await?;
                let back = self.set_back.load(Ordering::SeqCst);
                pulse.server_millis = pulse.server_millis.saturating_sub(back);
                Ok(pulse)
            }),
        }
    }

    fn tail(&self, position: u64, wait: Duration, most: u16) -> Reply<'_, Vec<Record>> {
        assert!(!self.panics.load(Ordering::SeqCst), "made to panic");
        if self.impatient && !wait.is_zero() {
            let broken = RemoteError::Unavailable("made to break".into());
            return Box::pin(async { Err(broken) });
        }
        Box::pin(async move {
            let records = self.inner.tail(position, wait, most).await?;
            let takes = self.each_record_takes * u32::try_from(records.len()).unwrap();
            if !takes.is_zero() {
                tokio::time::sleep(takes).await;
            }
            Ok(records)
        })
    }
}
