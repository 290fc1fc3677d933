//! The threads that touch the disk. One changes things, many of them to a transaction; two read.

use std::io::ErrorKind;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockWriteGuard};
use std::time::{Duration, Instant};

use redb::Database;
use tokio::sync::oneshot;

use super::desk::{Books, Desk};
use super::failure::Failure;
use super::folder::Folder;
use super::leases::Leases;
use super::opening::{Opened, guarded, open};
use super::options::LEAST_BYTES;
use super::overlaps::Overlaps;
use super::recent::Recent;
use crate::remote::{Position, RemoteError};

/// How often something is done without being asked.
const TICK: Duration = Duration::from_secs(1);
/// Changes that one transaction may hold.
const TOGETHER: usize = 256;
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// A change. What it returns tells its caller, once it is in the file.
pub(super) type Work = Box<dyn FnOnce(&mut Desk<'_>) -> Result<Tell, Failure> + Send>;
pub(super) type Tell = Box<dyn FnOnce() + Send>;
/// A read.
pub(super) type Look = Box<dyn FnOnce(&Database) -> Result<(), Failure> + Send>;

pub(super) enum Job {
    Work(Work),
    Close(oneshot::Sender<()>),
}

/// What the threads share. The database is away while it is being replaced.
#[derive(Debug)]
pub(super) struct Shelf {
    db: RwLock<Option<Database>>,
    pub(super) recent: Recent,
    /// A read found something that makes no sense.
    suspect: AtomicBool,
    /// What values and demands take, as the last change left it.
    used: AtomicU64,
}

impl Shelf {
    fn put(&self, opened: Opened) {
        self.used.store(opened.meta.used, Ordering::Relaxed);
        *self.place() = Some(opened.db);
    }

    pub(super) fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    /// Closes the database.
    fn take_down(&self) -> Result<(), Failure> {
        let db = self.place().take();
        guarded(|| {
            drop(db);
            Ok(())
        })
    }

    fn place(&self) -> RwLockWriteGuard<'_, Option<Database>> {
        self.db.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn with<T>(&self, run: impl FnOnce(&Database) -> Result<T, Failure>) -> Result<T, Failure> {
        let place = self.db.read().unwrap_or_else(PoisonError::into_inner);
        let db = place.as_ref().ok_or(Failure::Before)?;
        guarded(|| run(db))
    }
}

/// The one that changes things.
pub(super) struct Worker {
    folder: Folder,
    sync: bool,
    books: Books,
    shelf: Arc<Shelf>,
    broken: Option<Broken>,
}

/// The database failed. It is begun anew, after a while.
struct Broken {
    again: Instant,
    pause: Duration,
}

impl Worker {
    pub(super) fn new(folder: Folder, sync: bool, bytes: u64, opened: Opened) -> Self {
        let Opened { db, meta, time } = opened;
        let recent = Recent::new();
        let at = Position::new(meta.incarnation, meta.number);
        recent.appended(at, Vec::new());
        Self {
            folder,
            sync,
            books: Books {
                meta,
                leases: Leases::default(),
                writes: Overlaps::default(),
                time,
                bytes: bytes.max(LEAST_BYTES),
                tidied: None,
            },
            shelf: Arc::new(Shelf {
                db: RwLock::new(Some(db)),
                recent,
                suspect: AtomicBool::new(false),
                used: AtomicU64::new(meta.used),
            }),
            broken: None,
        }
    }

    pub(super) fn shelf(&self) -> &Arc<Shelf> {
        &self.shelf
    }

    /// Works until everybody is gone or somebody says so.
    pub(super) fn run(mut self, jobs: &Receiver<Job>) {
        let mut next_tick = Instant::now() + TICK;
        loop {
            let wait = next_tick.saturating_duration_since(Instant::now());
            let mut next = match jobs.recv_timeout(wait) {
                Ok(job) => Some(job),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => break self.close(),
            };
            let tick = Instant::now() >= next_tick;
            if tick {
                next_tick = Instant::now() + TICK;
            }
            let mut batch = Vec::new();
            let closing = loop {
                match next {
                    Some(Job::Work(work)) => batch.push(work),
                    Some(Job::Close(done)) => break Some(done),
                    None => break None,
                }
                next = (batch.len() < TOGETHER)
                    .then(|| jobs.try_recv().ok())
                    .flatten();
            };
            self.turn(batch, tick);
            if let Some(done) = closing {
                self.close();
                let _ = done.send(());
                return;
            }
        }
    }

    fn turn(&mut self, batch: Vec<Work>, tick: bool) {
        let done = match self.mend() {
            Ok(()) => self.serve(batch, tick),
            Err(failure) => Err(failure),
        };
        if let Err(failure) = done {
            self.fail(&failure);
        }
    }

    fn serve(&mut self, batch: Vec<Work>, tick: bool) -> Result<(), Failure> {
        let (books, shelf) = (&mut self.books, &self.shelf);
        shelf.with(|db| {
            let mut desk = Desk::new(db, books);
            let tell: Result<Vec<Tell>, Failure> =
                batch.into_iter().map(|work| work(&mut desk)).collect();
            let tell = tell?;
            if tick {
                desk.tidy()?;
            }
            let (position, records) = desk.commit()?;
            shelf.used.store(books.meta.used, Ordering::Relaxed);
            if !records.is_empty() {
                shelf.recent.appended(position, records);
            }
            tell.into_iter().for_each(|tell| tell());
            Ok(())
        })
    }

    /// Begins anew after a failure, if it is time.
    fn mend(&mut self) -> Result<(), Failure> {
        if self.shelf.suspect.swap(false, Ordering::Relaxed) {
            let why = "a value could not be read";
            return Err(Failure::Damaged(why.to_owned()));
        }
        let Some(broken) = &self.broken else {
            return Ok(());
        };
        if Instant::now() < broken.again {
            return Err(Failure::Before);
        }
        // Invalidations may have been refused since, so nothing that is in there counts.
        self.folder.discard()?;
        let opened = open(&self.folder, self.sync)?;
        self.books.meta = opened.meta;
        let at = Position::new(opened.meta.incarnation, opened.meta.number);
        self.shelf.put(opened);
        self.shelf.recent.appended(at, Vec::new());
        self.broken = None;
        Ok(())
    }

    /// Whoever waits is told by the loss of the sender, and why by the end of the log.
    fn fail(&mut self, failure: &Failure) {
        if matches!(failure, Failure::Before) {
            return;
        }
        if is_full(failure) {
            // The rest of the disk is somebody else's.
            self.books.bytes = (self.books.meta.used / 2).max(LEAST_BYTES);
        }
        self.shelf.recent.failed(failure.into());
        self.books.leases.clear();
        // Closing it may fail once more.
        let _ = self.shelf.take_down();
        // At once: from now on invalidations are refused, and whoever opens it next must not trust it. Where that fails, it is tried
        // again before it is opened.
        let _ = self.folder.discard();
        let pause = self.broken.as_ref().map_or(TICK, |b| b.pause * 2);
        let pause = pause.min(LONGEST_PAUSE);
        let again = Instant::now() + pause;
        self.broken = Some(Broken { again, pause });
    }

    fn close(&mut self) {
        let closed = self.shelf.take_down();
        let closed_word = RemoteError::Unavailable("it is closed".to_owned());
        self.shelf.recent.failed(closed_word);
        if self.broken.is_none() && closed.is_ok() {
            if let Err(error) = self.folder.closed()
                // Whoever removed the folder wants none of it.
                && error.kind() != ErrorKind::NotFound
            {
                let file = self.folder.database();
                tracing::warn!(file = %file.display(), %error, "the cache on disk could not be closed in order");
            }
        } else if self.broken.is_some() {
            // What it still holds may lack what was refused.
            let _ = self.folder.discard();
        }
    }
}

fn is_full(failure: &Failure) -> bool {
    use ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    match failure {
        Failure::Io(error) => {
            matches!(error.kind(), StorageFull | QuotaExceeded | FileTooLarge)
        }
        Failure::Damaged(_) | Failure::Before => false,
    }
}

/// One of those that read.
pub(super) fn read(shelf: &Shelf, looks: &Mutex<Receiver<Look>>) {
    loop {
        let look = looks.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(look) = look else { return };
        match shelf.with(look) {
            Ok(()) | Err(Failure::Before) => {}
            Err(failure) => {
                tracing::debug!(%failure, "a read of the cache on disk failed");
                shelf.suspect.store(true, Ordering::Relaxed);
            }
        }
    }
}
