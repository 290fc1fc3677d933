//! A second level in a folder of this machine, on redb: one process keeps its cache over a restart without a server.
//!
//! The log lives in memory, because nobody else reads it; that a change happened, markers and the log's position stand
//! in the database, changed by the same transaction as the value.

mod backend;
mod desk;
mod failure;
mod folder;
mod kept;
mod leases;
mod opening;
mod options;
mod overlaps;
mod recent;
mod tables;
mod time;
mod worker;

use std::fmt;
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use redb::Database;
use tokio::sync::oneshot;

use self::desk::Desk;
use self::failure::{Failure, unusable};
use self::folder::Folder;
pub use self::options::DiskOptions;
use self::time::Time;
use self::worker::{Job, Look, Shelf, Worker};
use super::{
    Author, Lease, Page, Position, Pruned, Pulse, Record, Remote, RemoteError, Reply, Scope,
    Snapshot, Wanted,
};
use crate::error::Error;

/// Calls that may wait for a thread; more are refused.
const WAITING: usize = 1_024;
const READERS: usize = 2;
/// Keys that one step of a walk brings.
const STEP: usize = 200;

/// The second level on disk. Its threads end with the last handle.
#[derive(Clone)]
pub(crate) struct Disk {
    place: Arc<str>,
    jobs: SyncSender<Job>,
    looks: SyncSender<Look>,
    shelf: Arc<Shelf>,
    time: Time,
}

impl Disk {
    /// Opens the store of a cache, or makes it.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] names the folder.
    pub(crate) async fn open(cache: &str, options: DiskOptions) -> Result<Self, Error> {
        let (cache, folder) = (cache.to_owned(), options.folder.clone());
        let open = tokio::task::spawn_blocking(move || Self::start(&cache, &options));
        open.await.unwrap_or_else(|_| {
            let gone = std::io::Error::other("the runtime is shutting down");
            Err(unusable(&folder, "nothing can be opened", &gone))
        })
    }

    fn start(cache: &str, options: &DiskOptions) -> Result<Self, Error> {
        let folder = Folder::take(&options.folder, cache)?;
        let failed = |failure: Failure| {
            let error = match failure {
                Failure::Io(error) => error,
                other => std::io::Error::other(other),
            };
            unusable(&options.folder, "the database cannot be opened", &error)
        };
        let opened = opening::open(&folder, options.sync).map_err(failed)?;
        let place = format!("{}/{cache}", folder.path().display());
        let time = opened.time;
        let worker = Worker::new(folder, options.sync, options.bytes, opened);
        let shelf = Arc::clone(worker.shelf());
        let (jobs, to_do) = sync_channel(WAITING);
        let (looks, to_read) = sync_channel::<Look>(WAITING);
        let to_read = Arc::new(Mutex::new(to_read));
        let no_thread =
            |e: std::io::Error| unusable(&options.folder, "no thread can be started", &e);
        for _ in 0..READERS {
            let (shelf, to_read) = (Arc::clone(&shelf), Arc::clone(&to_read));
            thread(move || worker::read(&shelf, &to_read)).map_err(no_thread)?;
        }
        thread(move || worker.run(&to_do)).map_err(no_thread)?;
        Ok(Self {
            place: place.into(),
            jobs,
            looks,
            shelf,
            time,
        })
    }

    /// Has the one thread do something, and waits until it is in the file.
    async fn change<T: Send + 'static>(
        &self,
        change: impl FnOnce(&mut Desk<'_>) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, RemoteError> {
        let (tell, answer) = oneshot::channel();
        let job = Job::Work(Box::new(move |desk| {
            let found = change(desk)?;
            Ok(Box::new(move || drop(tell.send(found))))
        }));
        self.send(&self.jobs, job)?;
        answer.await.map_err(|_| self.why())
    }

    async fn look<T: Send + 'static>(
        &self,
        look: impl FnOnce(&Database, u64) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, RemoteError> {
        let (tell, answer) = oneshot::channel();
        let time = self.time;
        let look: Look = Box::new(move |db| {
            // Nobody waits for it any more where the disk was too slow.
            if !tell.is_closed() {
                let _ = tell.send(look(db, time.millis())?);
            }
            Ok(())
        });
        self.send(&self.looks, look)?;
        answer.await.map_err(|_| self.why())
    }

    fn send<T>(&self, to: &SyncSender<T>, job: T) -> Result<(), RemoteError> {
        to.try_send(job).map_err(|error| match error {
            TrySendError::Full(_) => RemoteError::Overloaded,
            TrySendError::Disconnected(_) => self.why(),
        })
    }

    /// Why a call has no answer.
    fn why(&self) -> RemoteError {
        let pulse = self.shelf.recent.pulse(0, 0);
        pulse
            .err()
            .unwrap_or_else(|| RemoteError::from(&Failure::Before))
    }
}

fn thread(run: impl FnOnce() + Send + 'static) -> std::io::Result<()> {
    let thread = std::thread::Builder::new().name("bilten-cache-disk".to_owned());
    thread.spawn(run).map(drop)
}

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
        over_value: bool,
    ) -> Reply<'a, Lease> {
        Box::pin(async move {
            let key = key.to_owned();
            self.change(move |desk| desk.lease(&key, token, hold, over_value))
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

    fn tail(&self, position: u64, wait: Duration) -> Reply<'_, Vec<Record>> {
        Box::pin(self.shelf.recent.after(position, wait))
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

impl fmt::Debug for Disk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Disk")
            .field("place", &self.place)
            .finish_non_exhaustive()
    }
}

#[cfg(all(test, feature = "test-util"))]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::pin::Pin;

    use redb::{ReadableDatabase, ReadableTableMetadata};

    use super::*;
    use crate::remote::{Demand, conformance};

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn the_disk_keeps_the_rules_of_every_second_level() {
        for sync in [false, true] {
            let folder = tempfile::tempdir().unwrap();
            let options = DiskOptions::folder(folder.path()).sync(sync);
            let disk = Disk::open("shop", options).await.unwrap();
            conformance::check(&disk, &disk.clone()).await.unwrap();
        }
    }

    async fn write(disk: &Disk, key: &str, bytes: usize, keep: Duration) -> bool {
        let author = Author::new(1, 0, 0);
        let hold = Duration::from_secs(60);
        disk.claim(key, 1, hold, author).await.unwrap();
        let envelope = Bytes::from(vec![b'x'; bytes]);
        disk.store(key, 1, envelope, keep).await.is_ok()
    }

    /// What the file really takes, holes left out.
    #[cfg(unix)]
    fn on_disk(folder: &std::path::Path) -> u64 {
        use std::os::unix::fs::MetadataExt;
        std::fs::metadata(folder.join("shop.redb"))
            .unwrap()
            .blocks()
            * 512
    }

    #[cfg(unix)]
    #[tokio::test]
    async fn the_disk_keeps_to_its_budget_and_lets_go_what_ends_first() {
        let folder = tempfile::tempdir().unwrap();
        let options = DiskOptions::folder(folder.path()).bytes(4 << 20);
        let disk = Disk::open("shop", options).await.unwrap();
        let (long, short) = (Duration::from_secs(3_600), Duration::from_secs(600));
        assert!(write(&disk, "long", 3_000, long).await);
        for n in (0..3_000_usize).step_by(100) {
            // Of all sizes, so that the pages do not fit one after the other.
            let some = (n..n + 100).map(|n| {
                let disk = &disk;
                async move { write(disk, &format!("k{n}"), 100 + n * 37 % 9_000, short).await }
            });
            let stored = futures_util::future::join_all(some).await;
            assert!(stored.into_iter().all(|stored| stored));
        }
        let took = on_disk(folder.path());
        assert!((1 << 20..12 << 20).contains(&took), "{took}");
        assert!(disk.read("long").await.unwrap().is_some());
        assert!(disk.read("k0").await.unwrap().is_none());
        assert!(disk.read("k2999").await.unwrap().is_some());
        assert!(
            !write(&disk, "large", (1 << 20) + 1, long).await,
            "its share"
        );
        assert!(disk.read("large").await.unwrap().is_none());
    }

    #[tokio::test]
    async fn values_whose_time_is_over_go_by_themselves() {
        let folder = tempfile::tempdir().unwrap();
        let disk = Disk::open("shop", folder.path().into()).await.unwrap();
        for n in 0..500 {
            write(&disk, &format!("k{n}"), 100, Duration::from_millis(1)).await;
        }
        write(&disk, "stays", 100, Duration::from_secs(60)).await;
        let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
        while disk.scan("").await.unwrap().keys != ["stays"] {
            assert!(tokio::time::Instant::now() < deadline, "they stay");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        assert_eq!(disk.read("k1").await.unwrap(), None);
    }

    #[tokio::test]
    async fn demands_whose_time_is_over_go_by_themselves_however_many_stay() {
        let folder = tempfile::tempdir().unwrap();
        let disk = Disk::open("shop", folder.path().into()).await.unwrap();
        let (hour, moment) = (Duration::from_secs(3_600), Duration::from_millis(1));
        let demand = |name: String, keep| {
            let (one, disk) = (Demand::of("1"), &disk);
            let wanted = Wanted::new(Scope::Key(name.into()), one.clone(), one).kept_for(keep);
            async move { disk.demand(&wanted, Author::new(1, 0, 0)).await.unwrap() }
        };
        let stay = (0..2_500).map(|n| demand(format!("a{n:04}"), hour));
        let go = (0..10).map(|n| demand(format!("z{n}"), moment));
        let mut stay = stay.map(Box::pin).collect::<Vec<_>>();
        for some in stay.chunks_mut(500) {
            futures_util::future::join_all(some.iter_mut().map(Pin::new)).await;
        }
        futures_util::future::join_all(go).await;
        let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
        let kept = async || {
            let count = |db: &Database, _| {
                let txn = db.begin_read()?;
                Ok(txn.open_table(tables::DEMANDS)?.len()?)
            };
            disk.look(count).await.unwrap()
        };
        // With the one for all keys.
        while kept().await != 2_501 {
            assert!(tokio::time::Instant::now() < deadline, "they stay");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        // Before where it was looked last.
        demand("0".to_owned(), moment).await;
        while kept().await != 2_501 {
            assert!(tokio::time::Instant::now() < deadline, "it stays");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    #[tokio::test]
    async fn markers_are_forgotten_after_one_on_everything() {
        let folder = tempfile::tempdir().unwrap();
        let disk = Disk::open("shop", folder.path().into()).await.unwrap();
        let author = Author::new(1, 0, 0);
        let tag = |n: u64| Scope::Tag(format!("tag {n}").into());
        for n in 0..10 {
            disk.invalidate(&tag(n), author).await.unwrap();
        }
        let at = disk.snapshot().await.unwrap().position.number - 3;
        let minute = Duration::from_secs(60);
        let pruned = disk.prune(at, minute, 0).await.unwrap();
        assert_eq!(pruned, Pruned::new(0, minute));
        let markers = disk.snapshot().await.unwrap().markers;
        assert_eq!(markers.len(), 4);
        assert!(markers.contains(&(Scope::All, at)));
        // Another node keeps its entries for longer than that.
        let shorter = disk.prune(at + 3, minute / 2, 0).await.unwrap();
        assert_eq!(shorter, Pruned::new(0, minute));
        assert_eq!(disk.snapshot().await.unwrap().markers.len(), 4);
    }

    #[tokio::test]
    async fn what_is_asked_after_the_end_fails_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let disk = Disk::open("shop", folder.path().into()).await.unwrap();
        disk.close().await.unwrap();
        let error = disk.read("k").await.unwrap_err();
        assert!(matches!(error, RemoteError::Unavailable(_)), "{error}");
        assert!(disk.snapshot().await.is_err() && disk.pulse(0).await.is_err());
        assert!(disk.tail(0, Duration::from_secs(60)).await.is_err());
        let again = Disk::open("shop", folder.path().into()).await;
        assert!(again.is_ok(), "the folder is free");
    }
}
