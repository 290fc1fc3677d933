//! A second level whose requests are late now and then, as a network has it, and with a planted bug, to show that the checker
//! finds it.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bilten_cache::remote::{
    Author, Lease, Position, Pulse, Record, Remote, Reply, Scope, Snapshot,
};
use bilten_cache::test_util::FaultyRemote;
use bytes::Bytes;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flaw {
    None,
    /// Loads fill L1 whatever changed since they began.
    NoTickets,
    /// Values are stored whoever holds the lease.
    NoLeases,
    /// Some records of the log are lost. That is no bug of the cache: it sees that their numbers are missing.
    LostRecords,
    /// The same records are skipped as if there were no gap.
    HiddenGap,
    /// A removal is acknowledged before the value is gone.
    EarlyAck,
    /// What was expired is so for its own process only.
    LostExpiry,
    /// What was removed may still be served stale.
    StaleRemoval,
    /// A write that was given up is made when it arrives, whatever was changed since.
    LateWrites,
}

impl Flaw {
    /// How long a node waits for the second level.
    pub(crate) fn budget(self) -> Duration {
        // A late write shows only until the next change, of which there are many: here it must not be very late.
        Duration::from_millis(if self == Self::LateWrites { 20 } else { 250 })
    }
}

#[derive(Debug)]
pub(crate) struct FlawedRemote {
    inner: FaultyRemote,
    flaw: Flaw,
    /// Tokens of writes, as opposed to those of loads.
    claims: Mutex<HashSet<u64>>,
}

impl FlawedRemote {
    pub(crate) fn new(inner: FaultyRemote, flaw: Flaw) -> Self {
        Self {
            inner,
            flaw,
            claims: Mutex::default(),
        }
    }

    /// Some requests that change something are given up by their callers and arrive later.
    fn is_late(&self) -> bool {
        match self.flaw {
            Flaw::None => fastrand::u32(..40) == 0,
            Flaw::LateWrites => fastrand::u32(..8) == 0,
            _ => false,
        }
    }

    /// Makes a request some time after its caller has given it up.
    fn later<T: 'static>(
        &self,
        request: impl Future<Output: Send> + Send + 'static,
    ) -> Reply<'static, T> {
        let late = self.flaw.budget().mul_f64(1.2 + 2.0 * fastrand::f64());
        tokio::spawn(async move {
            tokio::time::sleep(late).await;
            request.await;
        });
        Box::pin(std::future::pending())
    }
}

impl Remote for FlawedRemote {
    fn read<'a>(&'a self, key: &'a str) -> Reply<'a, Option<Bytes>> {
        self.inner.read(key)
    }

    fn read_many<'a>(&'a self, keys: &'a [Arc<str>]) -> Reply<'a, Vec<Option<Bytes>>> {
        self.inner.read_many(keys)
    }

    fn reads_together(&self) -> bool {
        self.inner.reads_together()
    }

    fn lease<'a>(
        &'a self,
        key: &'a str,
        token: u64,
        hold: Duration,
        over: Option<&'a [u8]>,
    ) -> Reply<'a, Lease> {
        self.inner.lease(key, token, hold, over)
    }

    fn store<'a>(
        &'a self,
        key: &'a str,
        token: u64,
        envelope: Bytes,
        keep: Duration,
    ) -> Reply<'a, bool> {
        if self.is_late() {
            let (inner, key) = (self.inner.clone(), key.to_owned());
            let claimed = self.claims.lock().unwrap().contains(&token);
            let refused = !claimed || self.flaw != Flaw::LateWrites;
            return self.later(async move {
                if refused {
                    let _ = inner.store(&key, token, envelope, keep).await;
                } else {
                    inner.put_bytes(&key, envelope);
                }
            });
        }
        Box::pin(async move {
            let stored = self.inner.store(key, token, envelope.clone(), keep).await?;
            if !stored && self.flaw == Flaw::NoLeases {
                self.inner.put_bytes(key, envelope);
            }
            if !stored && self.flaw == Flaw::NoTickets {
                // With this answer the value leaves memory; as over a network, it takes a while.
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            Ok(stored)
        })
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
        self.claims.lock().unwrap().insert(token);
        if self.is_late() {
            let (inner, key) = (self.inner.clone(), key.to_owned());
            return self.later(async move { inner.claim(&key, token, hold, author).await });
        }
        self.inner.claim(key, token, hold, author)
    }

    fn invalidate<'a>(&'a self, scope: &'a Scope, author: Author) -> Reply<'a, Position> {
        if self.is_late() {
            let (inner, scope) = (self.inner.clone(), scope.clone());
            return self.later(async move { inner.invalidate(&scope, author).await });
        }
        Box::pin(async move {
            let instead = match (self.flaw, scope) {
                (Flaw::LostExpiry, Scope::Expired(_)) => Some(Scope::Key("nobody's".into())),
                (Flaw::StaleRemoval, Scope::Key(key)) => Some(Scope::Expired(key.clone())),
                _ => None,
            };
            if let Some(instead) = instead {
                return self.inner.invalidate(&instead, author).await;
            }
            let Scope::Key(key) = scope else {
                return self.inner.invalidate(scope, author).await;
            };
            let there = self.inner.bytes(key);
            let position = self.inner.invalidate(scope, author).await?;
            if let (Flaw::EarlyAck, Some(there)) = (self.flaw, there) {
                self.inner.put_bytes(key, there.clone());
                let (store, key) = (self.inner.clone(), key.clone());
                tokio::spawn(async move {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                    if store.bytes(&key) == Some(there) {
                        store.put_bytes(&key, "gone");
                    }
                });
            }
            Ok(position)
        })
    }

    fn snapshot(&self) -> Reply<'_, Snapshot> {
        self.inner.snapshot()
    }

    fn pulse(&self, number: u64) -> Reply<'_, Pulse> {
        self.inner.pulse(number)
    }

    fn tail(&self, position: u64, wait: Duration, most: u16) -> Reply<'_, Vec<Record>> {
        Box::pin(async move {
            let mut records = self.inner.tail(position, wait, most).await?;
            if self.flaw == Flaw::LostRecords {
                records.retain(|record| record.number % 4 != 0);
            }
            if self.flaw == Flaw::HiddenGap {
                for record in records.iter_mut().filter(|record| record.number % 4 == 0) {
                    record.scope = Some(Scope::Key("nobody's".into()));
                }
            }
            Ok(records)
        })
    }
}
