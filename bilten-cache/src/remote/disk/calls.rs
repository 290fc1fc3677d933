//! What the cache asks of a second level, done by the threads.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use redb::Database;
use tokio::sync::oneshot;

use super::Disk;
use super::tables;
use super::worker::Job;
use crate::remote::{
    Author, Lease, Page, Position, Pruned, Pulse, Record, Remote, Reply, Scope, Snapshot, Wanted,
};

/// Keys that one step of a walk brings.
const STEP: usize = 200;

impl Remote for Disk {
    fn address(&self) -> &str {
        &self.place
    }

    fn read<'a>(&'a self, key: &'a str) -> Reply<'a, Option<Bytes>> {
        Box::pin(async move {
            let key = key.to_owned();
            let read = move |db: &Database, now| {
                let mut found = tables::read(db, std::iter::once(&*key), now, usize::MAX)?;
                Ok(found.pop().flatten())
            };
            self.look(read).await
        })
    }

    fn read_many<'a>(&'a self, keys: &'a [Arc<str>]) -> Reply<'a, Vec<Option<Bytes>>> {
        Box::pin(async move {
            let keys = keys.to_vec();
            let read = move |db: &Database, now| {
                tables::read(db, keys.iter().map(|key| &**key), now, usize::MAX)
            };
            self.look(read).await
        })
    }

    fn lease<'a>(
        &'a self,
        key: &'a str,
        token: u64,
        hold: Duration,
        over: Option<&'a [u8]>,
    ) -> Reply<'a, Lease> {
        Box::pin(async move {
            let (key, over) = (key.to_owned(), over.map(<[u8]>::to_vec));
            self.change(move |desk| desk.lease(&key, token, hold, over.as_deref()))
                .await
        })
    }

    fn store<'a>(
        &'a self,
        key: &'a str,
        token: u64,
        envelope: Bytes,
        keep: Duration,
    ) -> Reply<'a, bool> {
        Box::pin(async move {
            let key = key.to_owned();
            self.change(move |desk| desk.store(&key, token, &envelope, keep))
                .await?
        })
    }

    fn renew<'a>(&'a self, key: &'a str, token: u64, hold: Duration) -> Reply<'a, bool> {
        Box::pin(async move {
            let key = key.to_owned();
            self.change(move |desk| Ok(desk.renew(&key, token, hold)))
                .await
        })
    }

    fn release<'a>(&'a self, key: &'a str, token: u64) -> Reply<'a, ()> {
        Box::pin(async move {
            let key = key.to_owned();
            self.change(move |desk| {
                desk.release(&key, token);
                Ok(())
            })
            .await
        })
    }

    fn claim<'a>(
        &'a self,
        key: &'a str,
        token: u64,
        hold: Duration,
        author: Author,
    ) -> Reply<'a, Position> {
        Box::pin(async move {
            let key = key.to_owned();
            self.change(move |desk| desk.claim(&key, token, hold, author))
                .await
        })
    }

    fn bytes_here(&self) -> Option<u64> {
        Some(self.shelf.used())
    }

    fn begin_write<'a>(&'a self, key: &'a str, token: u64, hold: Duration) -> Reply<'a, bool> {
        Box::pin(async move {
            let key = key.to_owned();
            self.change(move |desk| Ok(desk.begin_write(&key, token, hold)))
                .await
        })
    }

    fn end_write<'a>(&'a self, key: &'a str, token: u64) -> Reply<'a, bool> {
        Box::pin(async move {
            let key = key.to_owned();
            self.change(move |desk| Ok(desk.end_write(&key, token)))
                .await
        })
    }

    fn demand<'a>(&'a self, wanted: &'a Wanted, author: Author) -> Reply<'a, Option<Position>> {
        Box::pin(async move {
            let wanted = wanted.clone();
            self.change(move |desk| desk.demand(&wanted, author).map(Some))
                .await
        })
    }

    fn invalidate<'a>(&'a self, scope: &'a Scope, author: Author) -> Reply<'a, Position> {
        Box::pin(async move {
            let scope = scope.clone();
            self.change(move |desk| desk.invalidate(&scope, author))
                .await
        })
    }

    fn snapshot(&self) -> Reply<'_, Snapshot> {
        Box::pin(self.change(|desk| desk.snapshot()))
    }

    fn pulse(&self, number: u64) -> Reply<'_, Pulse> {
        Box::pin(async move { self.shelf.recent.pulse(number, self.time.millis()) })
    }

    fn tail(&self, position: u64, wait: Duration, most: u16) -> Reply<'_, Vec<Record>> {
        Box::pin(self.shelf.recent.after(position, wait, most.into()))
    }

    fn prune(&self, position: u64, life: Duration, _: u64) -> Reply<'_, Pruned> {
        Box::pin(self.change(move |desk| desk.prune(position, life)))
    }

    fn scan<'a>(&'a self, after: &'a str) -> Reply<'a, Page> {
        Box::pin(async move {
            let after = after.to_owned();
            let read = move |db: &Database, _| tables::keys_after(db, &after, STEP);
            let keys = self.look(read).await?;
            let next = keys.last().filter(|_| keys.len() == STEP).cloned();
            Ok(Page::new(keys, next))
        })
    }

    fn head<'a>(&'a self, key: &'a str, bytes: usize) -> Reply<'a, Bytes> {
        Box::pin(async move {
            let key = key.to_owned();
            let read = move |db: &Database, now| {
                let mut found = tables::read(db, std::iter::once(&*key), now, bytes)?;
                Ok(found.pop().flatten().unwrap_or_default())
            };
            self.look(read).await
        })
    }

    fn discard<'a>(&'a self, key: &'a str, head: Bytes) -> Reply<'a, bool> {
        Box::pin(async move {
            let key = key.to_owned();
            self.change(move |desk| desk.discard(&key, &head)).await
        })
    }

    fn close(&self) -> Reply<'_, ()> {
        Box::pin(async move {
            let (done, closed) = oneshot::channel();
            self.send(&self.jobs, Job::Close(done))?;
            closed.await.map_err(|_| self.why())
        })
    }
}
