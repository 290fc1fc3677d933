//! Random work on one node, every call recorded.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bilten_cache::status::Connection;
use bilten_cache::{Ack, Cache, CacheBuilder, Loaded, Pattern, Region};
use fastrand::Rng;
use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinSet;

use crate::DEADLINE;
use crate::event::{Event, GROUPS, KEYS, TAGS, Takes, What, now};
use crate::shelves::{Shelf, Shelves};
use crate::source::Truth;

/// What is written only by its owner, one write after another: a cache cannot put two writers in order for which the
/// source did not.
const OWNED: u32 = 16;
/// From here on keys change seldom, so that a forgotten change stays visible.
const QUIET: u32 = 36;
const WORKERS: u64 = 4;

pub(crate) const ISOLATED: Duration = Duration::from_secs(1);

pub(crate) struct Driver {
    node: u32,
    nodes: u32,
    cache: Cache,
    shelves: Shelves,
    pub(crate) truth: Truth,
    out: mpsc::UnboundedSender<Event>,
    locks: Vec<Mutex<()>>,
    stop: AtomicBool,
}

impl Driver {
    pub(crate) async fn new(
        (node, nodes): (u32, u32),
        cache: CacheBuilder,
        truth: Truth,
        out: mpsc::UnboundedSender<Event>,
    ) -> Arc<Self> {
        let cache = cache.isolated_ttl(ISOLATED).build().await.unwrap();
        Arc::new(Self {
            node,
            nodes,
            shelves: Shelves::of(&cache),
            cache,
            truth,
            out,
            locks: (0..OWNED).map(|_| Mutex::default()).collect(),
            stop: AtomicBool::new(false),
        })
    }

    /// Starts the work; it ends after [`stop`](Self::stop). `widely`: with tags, patterns and clears, which hide much of what single
    /// keys get wrong.
    pub(crate) fn start(self: &Arc<Self>, seed: u64, widely: bool) -> JoinSet<()> {
        let mut workers = JoinSet::new();
        for worker in 0..WORKERS {
            let rng = Rng::with_seed(seed ^ (u64::from(self.node) << 32) ^ worker);
            workers.spawn(Arc::clone(self).work(rng, widely));
        }
        workers
    }

    pub(crate) fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    async fn work(self: Arc<Self>, mut rng: Rng, widely: bool) {
        while !self.stop.load(Ordering::Relaxed) {
            let done = match rng.u32(..1_000) {
                0..480 => self.get_or_load(&mut rng, false).await,
                480..500 => self.get_or_load(&mut rng, true).await,
                500..550 => self.get_or_load_many(&mut rng).await,
                550..690 => self.get(rng.u32(..KEYS)).await,
                690..720 => self.get_many(&mut rng).await,
                720..765 => self.remove(&mut rng).await,
                765..780 => self.expire(&mut rng).await,
                780..800 => self.remove_many(&mut rng).await,
                800..880 => self.write(&mut rng).await,
                880..940 | 970..975 if !widely => self.get(rng.u32(..KEYS)).await,
                880..910 => {
                    let number = rng.u32(..TAGS);
                    self.wide(&mut rng, Takes::Tag(number)).await
                }
                910..940 => {
                    let group = rng.u32(..GROUPS);
                    self.wide(&mut rng, Takes::Group(group)).await
                }
                940..970 => self.remove_by_glob(&mut rng).await,
                970..975 => self.wide(&mut rng, Takes::All).await,
                _ => self.remove_and_leave(&mut rng).await,
            };
            if done.is_err() {
                return; // The parent is gone.
            }
            tokio::time::sleep(Duration::from_micros(rng.u64(..4_000))).await;
        }
    }

    pub(crate) fn record(&self, start: u64, what: What) {
        let _ = self.out.send(Event {
            node: self.node,
            start,
            end: now(),
            what,
        });
    }

    pub(crate) fn changed(&self, start: u64, takes: Takes, ack: Ack) {
        let everywhere = ack == Ack::Everywhere;
        self.record(start, What::Change { takes, everywhere });
    }

    /// `anew`: whatever is there already.
    async fn get_or_load(&self, rng: &mut Rng, anew: bool) -> io::Result<()> {
        let key = rng.u32(..KEYS);
        let longest = if rng.u32(..20) == 0 { 80_000 } else { 4_000 };
        let pauses = [(); 2].map(|()| Duration::from_micros(rng.u64(..longest)));
        let truth = self.truth.clone();
        let load = async move |_| {
            tokio::time::sleep(pauses[0]).await;
            let version = truth.read(key).await?;
            tokio::time::sleep(pauses[1]).await;
            Ok::<_, io::Error>(Loaded::new(version).tags([tag(key % TAGS)]))
        };
        let start = now();
        let shelf = self.shelf(key);
        let found = match anew {
            true => shelf.call().anew().get_or_load(&name(key), load).await,
            false => shelf.get_or_load(&name(key), load).await,
        };
        let found = found.map_err(io::Error::other)?;
        self.record(
            start,
            What::Read {
                key,
                found: Some(*found),
            },
        );
        Ok(())
    }

    async fn get(&self, key: u32) -> io::Result<()> {
        let start = now();
        let found = self
            .shelf(key)
            .get(&name(key))
            .await
            .map(|version| *version);
        self.record(start, What::Read { key, found });
        Ok(())
    }

    async fn remove(&self, rng: &mut Rng) -> io::Result<()> {
        let key = loose(rng);
        self.truth.bump(key).await?;
        let start = now();
        let ack = self.shelf(key).remove(&name(key)).await.unwrap();
        self.changed(start, Takes::Key(key), ack);
        Ok(())
    }

    /// What may be served stale while it is loaded anew is allowed to come back after this; what only stands in for errors is not, as there
    /// are none.
    async fn expire(&self, rng: &mut Rng) -> io::Result<()> {
        let key = loose(rng);
        if Shelf::of(key) == Shelf::Due {
            return self.get(key).await;
        }
        self.truth.bump(key).await?;
        let start = now();
        let ack = self.shelf(key).expire(&name(key)).await.unwrap();
        self.changed(start, Takes::Key(key), ack);
        Ok(())
    }

    /// Makes changes for a node that died before it had made them.
    pub(crate) async fn make_good(&self, keys: impl IntoIterator<Item = u32>) {
        let deadline = tokio::time::Instant::now() + DEADLINE;
        for key in keys {
            let mut ack = Ack::Deferred;
            while ack != Ack::Everywhere {
                let start = now();
                ack = self.shelf(key).remove(&name(key)).await.unwrap();
                self.changed(start, Takes::Key(key), ack);
                assert!(tokio::time::Instant::now() < deadline, "{}", self.state());
            }
        }
    }

    /// A caller that is dropped on the way: the change is carried through, but nobody is told when.
    async fn remove_and_leave(&self, rng: &mut Rng) -> io::Result<()> {
        let key = loose(rng);
        self.truth.bump(key).await?;
        let patience = Duration::from_micros(rng.u64(..300));
        let _ = tokio::time::timeout(patience, self.shelf(key).remove(&name(key))).await;
        Ok(())
    }

    async fn remove_by_glob(&self, rng: &mut Rng) -> io::Result<()> {
        let key = loose(rng);
        self.truth.bump(key).await?;
        let start = now();
        let shelf = Shelf::of(key).name();
        let pattern = Pattern::glob(&format!("{shelf}:*:{key}")).unwrap();
        let ack = self.cache.invalidate_pattern(&pattern).await;
        self.changed(start, Takes::Key(key), ack);
        Ok(())
    }

    async fn write(&self, rng: &mut Rng) -> io::Result<()> {
        let mine = OWNED.div_ceil(self.nodes);
        let key = rng.u32(..mine) * self.nodes + self.node % self.nodes;
        if key >= OWNED {
            return Ok(());
        }
        let _one_at_a_time = self.locks[key as usize].lock().await;
        let loaded = |version| Loaded::new(version).tags([tag(key % TAGS)]);
        let version = self.truth.bump(key).await?;
        let start = now();
        let ack = self.shelf(key).set(&name(key), loaded(version)).await;
        let ack = ack.unwrap();
        self.changed(start, Takes::Key(key), ack);
        if rng.bool() {
            let mut start = 0;
            let write = async {
                let version = self.truth.bump(key).await?;
                start = now();
                Ok::<_, io::Error>(loaded(version))
            };
            let written = self.shelf(key).write_through(&name(key), write).await;
            written.map_err(io::Error::other)?;
            // Nothing says whether L2 has it, so only this node is held to it.
            self.changed(start, Takes::Key(key), Ack::Deferred);
        }
        Ok(())
    }

    async fn wide(&self, rng: &mut Rng, takes: Takes) -> io::Result<()> {
        for _ in 0..3 {
            let key = loose(rng);
            if takes.takes(key) {
                self.truth.bump(key).await?;
            } else {
                // Its own change has to follow, or the run would never settle.
                self.remove(rng).await?;
            }
        }
        let start = now();
        let ack = match takes {
            Takes::Tag(n) => self.cache.invalidate_tag(&tag(n)).await,
            Takes::Group(n) => self.group(n).await,
            Takes::All if rng.bool() => {
                let mut acks = Vec::new();
                for shelf in Shelf::ALL {
                    acks.push(self.shelves.get(shelf).clear().await);
                }
                weakest(&acks)
            }
            Takes::All => self.cache.clear().await,
            Takes::Key(_) => unreachable!("keys have `remove`"),
        };
        self.changed(start, takes, ack);
        Ok(())
    }

    async fn group(&self, number: u32) -> Ack {
        let mut acks = Vec::new();
        for shelf in Shelf::ALL {
            let pattern = Pattern::glob(&format!("{}:{number}:*", shelf.name())).unwrap();
            acks.push(self.cache.invalidate_pattern(&pattern).await);
        }
        weakest(&acks)
    }

    pub(crate) fn shelf(&self, key: u32) -> &Region<str, u64> {
        self.shelves.get(Shelf::of(key))
    }

    /// Whether this node is connected and nothing waits to be delivered.
    pub(crate) fn is_quiet(&self) -> bool {
        let status = self.cache.status();
        status.connection == Connection::Connected && status.waiting == 0
    }

    /// Its status in full, for whoever has to find out why it is not quiet.
    pub(crate) fn state(&self) -> String {
        let (status, stats) = (self.cache.status(), self.cache.stats());
        format!("node {} is {status:?} with {stats:?}", self.node)
    }

    /// Reads every key again and again, the last time after `settled`.
    pub(crate) async fn read_until(&self, settled: u64) {
        loop {
            let last = now() > settled;
            for key in 0..KEYS {
                let _ = self.get(key).await;
            }
            if last {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

pub(crate) fn loose(rng: &mut Rng) -> u32 {
    if rng.u32(..10) == 0 {
        rng.u32(OWNED..KEYS)
    } else {
        rng.u32(OWNED..QUIET)
    }
}

/// What is known of several changes that are one to the checker.
fn weakest(acks: &[Ack]) -> Ack {
    let weak = acks.iter().find(|ack| **ack != Ack::Everywhere);
    weak.copied().unwrap_or(Ack::Everywhere)
}

pub(crate) fn name(key: u32) -> String {
    format!("{}:{key}", key % GROUPS)
}

pub(crate) fn tag(number: u32) -> String {
    format!("tag-{number}")
}
