//! A second level in a folder of this machine, on redb: one process keeps its cache over a restart without a server.
//!
//! The log lives in memory, because nobody else reads it; that a change happened, markers and the log's position stand
//! in the database, changed by the same transaction as the value.

mod backend;
mod calls;
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
#[cfg(all(test, feature = "test-util"))]
mod tests;
mod time;
mod worker;

use std::fmt;
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex};

use redb::Database;
use tokio::sync::oneshot;

use self::desk::Desk;
use self::failure::{Failure, unusable};
use self::folder::Folder;
pub use self::options::DiskOptions;
#[cfg(feature = "config")]
pub(crate) use self::options::LEAST_BYTES as LEAST_DISK_BYTES;
use self::time::Time;
use self::worker::{Job, Look, Shelf, Worker};
use super::RemoteError;
use crate::error::Error;

/// Calls that may wait for a thread; more are refused.
const WAITING: usize = 1_024;
const READERS: usize = 2;

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

impl fmt::Debug for Disk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Disk")
            .field("place", &self.place)
            .finish_non_exhaustive()
    }
}
