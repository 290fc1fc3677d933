//! What happens in a cache, one by one, for those who want to see it.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;

use crate::remote::Scope;

/// Events that wait for a listener that is slow; the oldest above these are lost, and counted.
const WAITING: usize = 1_024;

/// Something that happened. Keys are encoded, as patterns see them: `event:42`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// A read was answered from a level of the cache.
    Hit {
        /// The key.
        key: Arc<str>,
        /// Which level had it.
        level: Level,
        /// Whether its time was over.
        stale: bool,
    },
    /// A read was answered by no level: by a loader, or not at all.
    Miss {
        /// The key.
        key: Arc<str>,
    },
    /// A loader brought a value.
    Loaded {
        /// The key.
        key: Arc<str>,
        /// How long it took.
        took: Duration,
    },
    /// A loader failed, panicked, took too long or was not let run.
    LoadFailed {
        /// The key.
        key: Arc<str>,
        /// Why, in words, with all that the error came from.
        error: Arc<str>,
    },
    /// A value was handed to its caller and not kept.
    Refused {
        /// The key.
        key: Arc<str>,
        /// Why not.
        why: Refusal,
    },
    /// This process or, if `here` is false, another one has changed or invalidated something.
    Invalidated {
        /// What.
        scope: Scope,
        /// Whether it was this process.
        here: bool,
    },
    /// Memory had no room for an entry: it gave it up for others, or did not take it.
    Evicted {
        /// The key.
        key: Arc<str>,
    },
    /// All of this process's memory was given up, because records of the log are missing or could not be delivered.
    Flushed,
    /// The second level fails and is left alone for a while, or works again.
    Breaker {
        /// Whether it is left alone.
        open: bool,
    },
}

/// A level of the cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Level {
    /// This process.
    Memory,
    /// The second level.
    Remote,
}

/// Why a value was not kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refusal {
    /// Its key changed while it was loaded or read: memory does not take it.
    Changed,
    /// The second level does not take it for the same reason.
    LeaseLost,
    /// It does not serialise: the second level does not get it.
    Unencodable,
    /// What the second level has cannot be read.
    Undecodable,
    /// It is larger than the region's `max_value_bytes`: neither level gets it. Or than the second level takes: memory alone has it.
    TooLarge,
    /// Too many calls were under way for too long: the second level does not get it.
    Overloaded,
    /// It has more tags than 64, or one of more than 256 bytes: neither level gets it, because it could not be invalidated by all of them.
    Tags,
}

/// The events of a cache, from [`Cache::events`](crate::Cache::events). Nobody waits for a listener: one that is slow loses the oldest events and
/// is told how many.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use bilten_cache::Cache;
/// use bilten_cache::events::{Event, Level};
///
/// let cache = Cache::builder("shop").build().await?;
/// let stock = cache.region::<str, u32>("stock").build()?;
/// let mut events = cache.events();
/// stock.set("tea", 3).await?;
/// stock.get("tea").await;
///
/// assert!(matches!(events.next().await, Some(Event::Invalidated { here: true, .. })));
/// let hit = Event::Hit { key: "stock:tea".into(), level: Level::Memory, stale: false };
/// assert_eq!(events.next().await, Some(hit));
/// assert_eq!(events.lost(), 0);
/// # Ok(()) }
/// ```
pub struct Events {
    receiver: broadcast::Receiver<Event>,
    listeners: Arc<AtomicUsize>,
    lost: u64,
}

impl Events {
    /// The next event, as soon as there is one; `None` when the cache is gone.
    ///
    /// # Cancellation
    ///
    /// Safe: no event is lost.
    pub async fn next(&mut self) -> Option<Event> {
        loop {
            match self.receiver.recv().await {
                Ok(event) => return Some(event),
                Err(RecvError::Lagged(lost)) => self.lost += lost,
                Err(RecvError::Closed) => return None,
            }
        }
    }

    /// The next event if there is one already.
    pub fn try_next(&mut self) -> Option<Event> {
        loop {
            match self.receiver.try_recv() {
                Ok(event) => return Some(event),
                Err(broadcast::error::TryRecvError::Lagged(lost)) => self.lost += lost,
                Err(_) => return None,
            }
        }
    }

    /// How many events this listener was too slow for, as far as it has read.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.lost
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        self.listeners.fetch_sub(1, Ordering::Relaxed);
    }
}

impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Events")
            .field("lost", &self.lost)
            .finish_non_exhaustive()
    }
}

/// Tells of events if anybody listens.
#[derive(Debug)]
pub(crate) struct Teller {
    sender: broadcast::Sender<Event>,
    listeners: Arc<AtomicUsize>,
}

impl Teller {
    pub(crate) fn new() -> Self {
        Self {
            sender: broadcast::Sender::new(WAITING),
            listeners: Arc::default(),
        }
    }

    pub(crate) fn listen(&self) -> Events {
        let receiver = self.sender.subscribe();
        self.listeners.fetch_add(1, Ordering::Relaxed);
        Events {
            receiver,
            listeners: Arc::clone(&self.listeners),
            lost: 0,
        }
    }

    /// One relaxed load while nobody listens: the event is not even made.
    #[inline]
    pub(crate) fn tell(&self, event: impl FnOnce() -> Event) {
        if self.listeners.load(Ordering::Relaxed) > 0 {
            self.send(event());
        }
    }

    #[cold]
    fn send(&self, event: Event) {
        // The last listener may be gone by now.
        let _ = self.sender.send(event);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn miss(n: usize) -> Event {
        let key = n.to_string().into();
        Event::Miss { key }
    }

    #[tokio::test]
    async fn who_is_slow_loses_the_oldest_and_is_told_how_many() {
        let teller = Teller::new();
        let (mut slow, mut quick) = (teller.listen(), teller.listen());
        for n in 0..WAITING + 10 {
            teller.tell(|| miss(n));
            assert_eq!(quick.next().await, Some(miss(n)));
        }
        assert_eq!(slow.next().await, Some(miss(10)));
        assert_eq!((slow.lost(), quick.lost(), quick.try_next()), (10, 0, None));
        drop(teller);
        while slow.next().await.is_some() {}
    }

    #[test]
    fn no_event_is_made_while_nobody_listens() {
        let teller = Teller::new();
        drop(teller.listen());
        teller.tell(|| panic!("nobody hears this"));
    }
}
