//! A second level with a planted bug, to show that the checker finds it.

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
    /// Some records of the log are skipped as if there were no gap.
    HiddenGap,
    /// A removal is acknowledged before the value is gone.
    EarlyAck,
}

#[derive(Debug)]
pub(crate) struct FlawedRemote {
    pub(crate) inner: FaultyRemote,
    pub(crate) flaw: Flaw,
}

impl Remote for FlawedRemote {
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
        Box::pin(async move {
            let stored = self.inner.store(key, token, envelope.clone(), keep).await?;
            if !stored && self.flaw == Flaw::NoLeases {
                self.inner.put_bytes(key, envelope);
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

    fn write<'a>(
        &'a self,
        key: &'a str,
        envelope: Bytes,
        keep: Duration,
        author: Author,
    ) -> Reply<'a, Position> {
        self.inner.write(key, envelope, keep, author)
    }

    fn invalidate<'a>(&'a self, scope: &'a Scope, author: Author) -> Reply<'a, Position> {
        Box::pin(async move {
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

    fn tail(&self, position: u64, wait: Duration) -> Reply<'_, Vec<Record>> {
        Box::pin(async move {
            let mut records = self.inner.tail(position, wait).await?;
            if self.flaw == Flaw::HiddenGap {
                for record in records.iter_mut().filter(|record| record.number % 4 == 0) {
                    record.scope = Some(Scope::Key("nobody's".into()));
                }
            }
            Ok(records)
        })
    }
}
