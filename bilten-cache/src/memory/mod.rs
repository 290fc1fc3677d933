mod backlog;
#[cfg(feature = "quick-cache")]
mod clock_pro;
mod eras;
mod eviction;
mod index;
mod policy;
mod sleep;
#[cfg(test)]
mod tests;
mod tiny_lfu;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::runtime::Handle;

use self::backlog::Backlog;
use self::eras::Eras;
use self::eviction::Chosen;
pub(crate) use self::eviction::Eviction;
use self::index::{Index, Put, Spot};
use self::policy::{Change, Policy};
use self::sleep::Sleep;
use crate::clock::{Clock, Nanos};
use crate::entry::Entry;
use crate::kept::Kept;

/// L1: the entries of all regions in one budget of bytes.
///
/// Reads look into the index. The policy, moka's if nothing else is asked for, owns the entries, evicts them, and hears of a part of the
/// reads. Whether an entry may be served is decided by [`Entry`] and the log. What nobody has a use for any more is taken out
/// shard by shard, as others come in and when somebody asks how many there are.
///
/// The two agree because every change of a key happens under the policy's lock for it, in the index first and then in
/// the policy, and because the policy takes out of the index what it gives up. Where the policy hears of fills later, or sleeps while there is
/// room, it is told of those that the index still has.
#[derive(Debug)]
pub(crate) struct Memory<P = Chosen> {
    index: Arc<Index>,
    policy: P,
    eras: Eras,
    clock: Clock,
    /// Fills of which the policy hears later; `None`: it always hears of them at once.
    backlog: Option<Backlog>,
    /// Until when the policy hears of nothing; `None`: it always does.
    sleep: Option<Sleep>,
    /// All of it.
    bytes: u64,
    /// The fill that was counted last, and the shard that was swept last.
    fills: AtomicUsize,
    swept: AtomicUsize,
}

/// Of so many entries one is looked at for each that is put in: all of them while an eighth of the memory is filled anew.
const SWEEP: usize = 2_048;
const LEAST_SWEEP: usize = 64;

/// Entries that are looked at each time when somebody asks how many there are.
const LOOK: usize = 4_096;

/// Of so many fills the policy hears in one go.
const IN_ONE_GO: usize = 16;

/// What one look found.
pub(crate) enum Glance<R> {
    Hit(R),
    /// An entry that needs a closer look.
    Look(Kept),
    Nothing,
}

impl Memory {
    /// `no_room` hears of each key that was given up, or not taken, because memory is full.
    pub(crate) fn new(
        eviction: Eviction,
        bytes: u64,
        clock: Clock,
        no_room: impl Fn(&[u8]) + Send + Sync + 'static,
    ) -> Self {
        Self::with(clock, |index| Chosen::new(eviction, bytes, index, no_room))
    }

    /// The same memory, of so many bytes, whose policy hears of fills when [`catch_up_soon`](Self::catch_up_soon) lets it.
    pub(crate) fn putting_off(mut self, bytes: u64) -> Self {
        self.backlog = Some(Backlog::new(bytes));
        self
    }

    /// Has a task tell the policy of the fills that wait, if they are worth it and there is none yet. Whoever filled does not wait for that.
    pub(crate) fn catch_up_soon(self: &Arc<Self>) {
        if self.sleep.as_ref().is_some_and(Sleep::take_on) {
            let rouser = Rouser(Arc::clone(self));
            if let Ok(runtime) = Handle::try_current() {
                drop(runtime.spawn(rouser.rouse()));
            }
        }
        if !self.backlog.as_ref().is_some_and(Backlog::take_on) {
            return;
        }
        match Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn(Late::new(self).catch_up())),
            Err(_) => drop(Late::new(self)),
        }
    }
}

/// Who has taken on to wake the policy for what is there already. If it ends before, the next fill begins another one.
struct Rouser(Arc<Memory>);

impl Rouser {
    async fn rouse(self) {
        while let Some(sleep) = self.0.sleep.as_ref().filter(|sleep| !sleep.is_over()) {
            self.0.rouse(sleep, IN_ONE_GO);
            tokio::task::yield_now().await;
        }
    }
}

impl Drop for Rouser {
    fn drop(&mut self) {
        if let Some(sleep) = &self.0.sleep {
            sleep.give_back();
        }
    }
}

/// Who has taken on to tell the policy of what waits.
struct Late {
    memory: Arc<Memory>,
    waiting: Vec<(Spot, Kept)>,
}

impl Late {
    fn new(memory: &Arc<Memory>) -> Self {
        Self {
            memory: Arc::clone(memory),
            waiting: Vec::new(),
        }
    }

    async fn catch_up(mut self) {
        while self.takes_some() {
            self.tell(IN_ONE_GO);
            tokio::task::yield_now().await;
        }
    }

    /// Whether there is anything left to tell. There is only one who takes, so what it has is bounded as the backlog is.
    fn takes_some(&mut self) -> bool {
        if let (true, Some(backlog)) = (self.waiting.is_empty(), &self.memory.backlog) {
            self.waiting = backlog.take();
        }
        !self.waiting.is_empty()
    }

    fn tell(&mut self, most: usize) {
        let some = self.waiting.len().min(most);
        for (spot, kept) in self.waiting.drain(..some) {
            self.memory.tell(spot, &kept);
        }
    }
}

impl Drop for Late {
    /// However it ends, nothing is left that cannot be evicted.
    fn drop(&mut self) {
        loop {
            while self.takes_some() {
                self.tell(usize::MAX);
            }
            let Some(backlog) = &self.memory.backlog else {
                return;
            };
            backlog.give_back();
            // What came between the two nobody else has taken on.
            if !backlog.take_on() {
                return;
            }
        }
    }
}

impl<P: Policy> Memory<P> {
    fn with(clock: Clock, policy: impl FnOnce(Arc<Index>) -> P) -> Self {
        let index = Arc::new(Index::new());
        Self {
            policy: policy(Arc::clone(&index)),
            index,
            eras: Eras::default(),
            clock,
            backlog: None,
            sleep: None,
            bytes: 0,
            fills: AtomicUsize::new(0),
            swept: AtomicUsize::new(0),
        }
    }

    /// The same memory, of so many bytes, whose policy sleeps while there is room.
    pub(crate) fn put_to_sleep(mut self, bytes: u64) -> Self {
        self.sleep = Some(Sleep::new(bytes));
        self.bytes = bytes;
        self
    }

    /// Lets `take` have a look at the key's entry where it lies. It must neither wait nor come back here.
    pub(crate) fn glance<R>(&self, key: &str, take: impl FnOnce(&Entry) -> Option<R>) -> Glance<R> {
        let spot = self.index.spot(key.as_bytes());
        let hears = !self.sleep.as_ref().is_some_and(Sleep::is_deep);
        let found = self.index.read(spot, key, |kept| {
            let glance = match take(kept) {
                Some(taken) => Glance::Hit(taken),
                None => Glance::Look(kept.clone()),
            };
            (glance, hears && self.eras.is_first_read(kept))
        });
        match found {
            Some((glance, told)) => {
                if told {
                    self.policy.touch(spot);
                }
                glance
            }
            None => {
                if hears {
                    self.policy.missed(spot);
                }
                Glance::Nothing
            }
        }
    }

    pub(crate) fn get(&self, key: &str) -> Option<Kept> {
        match self.glance(key, |_| None::<()>) {
            Glance::Look(kept) => Some(kept),
            Glance::Hit(()) | Glance::Nothing => None,
        }
    }

    /// The entry, for somebody of whose interest in it the policy has heard.
    pub(crate) fn find(&self, key: &str) -> Option<Kept> {
        let spot = self.index.spot(key.as_bytes());
        self.index.read(spot, key, Kept::clone)
    }

    /// Puts an entry in if `allowed`, which is shown what is there, still says so while nobody else touches its key.
    pub(crate) fn insert_if(
        &self,
        kept: &Kept,
        allowed: impl FnOnce(Option<&Kept>) -> bool,
    ) -> bool {
        let spot = self.index.spot(kept.key());
        if !self.policy.has_room_for(kept) {
            let mut inserted = false;
            self.policy.change(spot, || {
                let there = self.index.find(spot, kept.key());
                inserted = allowed(there.as_ref());
                match inserted {
                    true => self.taken_out(spot, kept.key()),
                    false => Change::Nothing,
                }
            });
            if inserted {
                self.policy.not_taken(kept.key());
            }
            return inserted;
        }
        self.eras.begins(kept);
        let backlog = self.backlog.as_ref().filter(|backlog| backlog.takes(kept));
        let mut put = Put::Refused;
        self.policy.change(spot, || {
            put = self.index.insert_if(spot, kept, allowed);
            if put == Put::Asleep && self.sleep.is_none() {
                put = Put::Awake;
            }
            match put == Put::Awake && backlog.is_none() {
                true => Change::Put(kept.clone()),
                false => Change::Nothing,
            }
        });
        if put != Put::Refused {
            let held = self.index.held();
            self.eras.filled(held);
            match backlog {
                _ if put == Put::Asleep => {}
                None => self.settle(spot, kept),
                Some(backlog) if backlog.add(spot, kept.clone()) => self.catch_up(),
                Some(_) => {}
            }
            self.wake(held, kept);
            let fill = self.fills.fetch_add(1, Ordering::Relaxed);
            if fill.is_multiple_of((held / SWEEP).max(LEAST_SWEEP)) {
                self.sweep(1);
            }
        }
        put != Put::Refused
    }

    /// After a fill, wakes the policy if it is time to, or goes on with that.
    fn wake(&self, held: usize, kept: &Kept) {
        let Some(sleep) = self.sleep.as_ref().filter(|sleep| !sleep.is_over()) else {
            return;
        };
        let bytes = self.weight();
        if !sleep.ends(bytes) {
            return;
        }
        let weight = u64::from(kept.weight).saturating_add(self.policy.overhead());
        let share = match bytes > self.bytes {
            true => sleep.is_late(),
            false => sleep.share(held, weight),
        };
        self.rouse(sleep, share);
        self.make_room(sleep, kept);
    }

    /// Where memory is full before the policy knows all, some go of which it has not heard: it cannot give them up, and does not know that there
    /// is no room. To take them out costs less than to tell of them.
    fn make_room(&self, sleep: &Sleep, new: &Kept) {
        while self.weight() > self.bytes && !sleep.is_over() {
            for (spot, kept) in sleep.next(&self.index, IN_ONE_GO) {
                match self.weight() > self.bytes && !kept.is_same(new) {
                    true => self.give_up(spot, &kept),
                    false => self.tell(spot, &kept),
                }
            }
        }
    }

    /// What the policy has not heard of.
    fn give_up(&self, spot: Spot, kept: &Kept) {
        let mut was_there = false;
        self.policy.change(spot, || {
            was_there = self.index.remove_exactly(spot, kept);
            Change::Nothing
        });
        if was_there {
            self.policy.not_taken(kept.key());
        }
    }

    fn rouse(&self, sleep: &Sleep, most: usize) {
        for (spot, kept) in sleep.next(&self.index, most) {
            self.tell(spot, &kept);
        }
    }

    /// What the policy would say if it knew all.
    fn weight(&self) -> u64 {
        let held = u64::try_from(self.index.held()).unwrap_or(u64::MAX);
        let overhead = self.policy.overhead().saturating_mul(held);
        self.index.bytes().saturating_add(overhead)
    }

    /// Whether the index alone knows how much there is.
    fn is_asleep(&self) -> bool {
        self.sleep.as_ref().is_some_and(|sleep| !sleep.is_over())
    }

    /// Tells the policy of all fills that it has not heard of.
    fn catch_up(&self) {
        let waiting = self.backlog.as_ref().map(Backlog::take);
        for (spot, kept) in waiting.unwrap_or_default() {
            self.tell(spot, &kept);
        }
    }

    /// Tells the policy of a fill, unless it is gone or there is a newer one.
    fn tell(&self, spot: Spot, kept: &Kept) {
        self.policy
            .change(spot, || match self.index.holds(spot, kept) {
                true => Change::Put(kept.clone()),
                false => Change::Nothing,
            });
        self.settle(spot, kept);
    }

    fn taken_out(&self, spot: Spot, key: &[u8]) -> Change {
        self.index.remove(spot, key);
        Change::Remove
    }

    /// A `clear` that came between the two may have left an entry behind that the index does not know.
    fn settle(&self, spot: Spot, kept: &Kept) {
        if self.index.holds(spot, kept) {
            return;
        }
        self.policy
            .drop_if(spot, |stray| !self.index.holds(spot, stray));
    }

    /// Gives the memory of dead entries back, of so many looked at.
    fn sweep(&self, mut looks: usize) {
        let now = self.clock.now();
        for _ in 0..Index::SHARDS {
            let shard = self.swept.fetch_add(1, Ordering::Relaxed);
            let (looked, dead) = self.index.select(shard, |kept| is_dead(kept, now));
            for kept in &dead {
                self.bury(kept);
            }
            looks = looks.saturating_sub(looked);
            if looks == 0 {
                return;
            }
        }
    }

    /// Takes this entry out, unless a newer one has come.
    pub(crate) fn bury(&self, dead: &Kept) {
        let spot = self.index.spot(dead.key());
        self.policy
            .change(spot, || match self.index.holds(spot, dead) {
                true => self.taken_out(spot, dead.key()),
                false => Change::Nothing,
            });
    }

    /// Removes a key under the same lock under which it is put in.
    pub(crate) fn remove(&self, key: &str) {
        let spot = self.index.spot(key.as_bytes());
        self.policy
            .change(spot, || self.taken_out(spot, key.as_bytes()));
    }

    /// Makes a key stale under the same lock, so that no fill slips in between.
    pub(crate) fn expire(&self, key: &str) {
        let spot = self.index.spot(key.as_bytes());
        self.policy.change(spot, || {
            self.index.read(spot, key, |kept| kept.expire());
            Change::Nothing
        });
    }

    /// Gives the memory back; that nothing is served any more is the log's business.
    pub(crate) fn clear(&self) {
        let waiting = self.backlog.as_ref().map(Backlog::take);
        let untold = self.sleep.as_ref().map(Sleep::forget);
        // In this order, for `settle`.
        self.index.clear();
        self.policy.clear();
        drop((waiting, untold));
    }

    /// How many there are that somebody may have a use for, as far as that is known.
    pub(crate) fn entries(&self) -> u64 {
        self.catch_up();
        self.sweep(LOOK.max(self.index.held() / LEAST_SWEEP));
        match self.is_asleep() {
            true => self.index.held() as u64,
            false => self.policy.entries(),
        }
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.catch_up();
        match self.is_asleep() {
            true => self.weight(),
            false => self.policy.bytes(),
        }
    }

    /// Entries that only one of the two knows of. While nobody changes anything there are none.
    #[cfg(any(test, feature = "test-util"))]
    pub(crate) fn strays(&self) -> usize {
        self.catch_up();
        if let Some(sleep) = &self.sleep {
            while !sleep.is_over() {
                self.rouse(sleep, usize::MAX);
            }
        }
        let (mut both, mut strays) = (0, 0);
        self.policy
            .each(|spot, kept| match self.index.holds(spot, kept) {
                true => both += 1,
                false => strays += 1,
            });
        strays + self.index.held().abs_diff(both)
    }
}

fn is_dead(entry: &Entry, now: Nanos) -> bool {
    entry.kept_until() <= now
}
