//! How long an answer is waited for: as long as `query_timeout` allows and the node answers anything at all.

use std::collections::HashMap;
use std::convert::Infallible;
use std::fmt;
use std::future::{Future, pending};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use sea_orm::DbErr;
use tokio::sync::{Notify, watch};
use tokio::time::{self, sleep};

use crate::fault::Fault;
use crate::pool_config::LONGEST;

/// After this long without an answer the node is looked at: it may be frozen, and the statement not slow.
const SLOW_ANSWER: Duration = Duration::from_millis(250);

/// A wait that was not looked at for so long shows nothing: its caller is busy elsewhere, and would not know of its end. Many
/// times what it takes to be looked at, as a machine may be slow.
const LATELY: Duration = Duration::from_secs(2);

/// What was given up in the middle has so long to hear the rest of its answer: then its place in the pool is free.
pub(crate) const GIVEN_UP_LIMIT: Duration = Duration::from_millis(250);

/// What bounds each wait on one node. Cloning is cheap; all clones hear of the same silences.
#[derive(Clone)]
pub(crate) struct Patience {
    node: Arc<str>,
    address: Arc<str>,
    limit: Option<Duration>,
    /// Notified when the node should be looked at; `None` for a node that is not watched.
    suspicion: Option<Arc<Notify>>,
    /// How often the node fell silent.
    silences: Arc<watch::Sender<u64>>,
    /// It was heard since.
    heard: Arc<AtomicBool>,
    /// What it answered outside of single calls: statements of transactions, rows.
    answers: Arc<AtomicU64>,
    /// Those of them that wait for an answer right now.
    inside: Arc<Waits>,
    /// How often another server may have come to stand under the address, and how often it had when this clone was taken.
    moves: Arc<AtomicU64>,
    known_moves: u64,
    /// How often another node became the primary in its place, and how often it had when this clone was taken.
    fences: Arc<AtomicU64>,
    since: u64,
}

impl Patience {
    pub(crate) fn new(
        node: Arc<str>,
        address: Arc<str>,
        limit: Option<Duration>,
        suspicion: Option<Arc<Notify>>,
    ) -> Self {
        Self {
            node,
            address,
            limit,
            suspicion,
            silences: Arc::default(),
            heard: Arc::new(AtomicBool::new(true)),
            answers: Arc::default(),
            inside: Arc::default(),
            moves: Arc::default(),
            known_moves: 0,
            fences: Arc::default(),
            since: 0,
        }
    }

    /// How often the node had fallen silent by now. Asked before a connection is there: a silence that begins right
    /// after it still counts.
    pub(crate) fn silences(&self) -> u64 {
        *self.silences.borrow()
    }

    /// What a wait on a connection of that time begins with: the silences after which the node was heard again do not
    /// count, as the connection may have outlived them.
    pub(crate) fn silences_since(&self, silences: u64) -> u64 {
        // In this order: a silence that begins in between is counted.
        let now = self.silences();
        match self.heard.load(Ordering::Acquire) {
            true => now,
            false => silences,
        }
    }

    /// The node answered a probe.
    pub(crate) fn heard(&self) {
        self.heard.store(true, Ordering::Release);
    }

    /// Ends every wait: there will be no answer.
    pub(crate) fn give_up(&self) {
        self.heard.store(false, Ordering::Release);
        self.silences.send_modify(|silences| *silences += 1);
    }

    /// Waits for an answer on a connection that was asked for when the node had fallen silent `silences` times.
    pub(crate) async fn wait<F: Future>(
        &self,
        silences: u64,
        answer: F,
    ) -> Result<F::Output, Fault> {
        tokio::select! {
            biased;
            output = answer => Ok(output),
            fault = self.run_out(silences, None) => Err(fault),
        }
    }

    /// As [`wait`](Self::wait), for a statement of a transaction.
    pub(crate) async fn wait_inside<F: Future>(
        &self,
        silences: u64,
        answer: F,
    ) -> Result<F::Output, Fault> {
        let inside = self.inside();
        tokio::select! {
            biased;
            output = answer => Ok(output),
            fault = self.run_out(silences, Some(&inside)) => Err(fault),
        }
    }

    /// Ends when there is no point in waiting any longer for the next row of a stream.
    pub(crate) fn run_out_inside(&self) -> impl Future<Output = Fault> + Send + use<> {
        let (patience, inside) = (self.clone(), self.inside());
        async move {
            let silences = patience.silences();
            patience.run_out(silences, Some(&inside)).await
        }
    }

    /// Ends when there is no point in waiting any longer.
    async fn run_out(&self, silences: u64, inside: Option<&Inside>) -> Fault {
        let limit = self.limit.unwrap_or(LONGEST);
        let slow = SLOW_ANSWER.min(limit);
        sleep(slow).await;
        self.suspect();
        let begun = Instant::now();
        let mut fallen = self.silences.subscribe();
        tokio::select! {
            biased;
            () = sleep(limit.saturating_sub(slow)) => Fault::QueryTimeout(limit),
            _ = fallen.wait_for(|now| *now != silences) => Fault::Silent(slow + begun.elapsed()),
            never = beats(inside) => match never {},
        }
    }

    /// For a transaction that begins now.
    pub(crate) fn begun(&self) -> Self {
        Self {
            since: self.fences.load(Ordering::Acquire),
            ..self.clone()
        }
    }

    /// The same, on a connection of the pool that was made after so many `moves`.
    pub(crate) fn after(self, moves: u64) -> Self {
        Self {
            known_moves: moves,
            ..self
        }
    }

    /// Another node is the primary: whatever is written here from now on is lost.
    pub(crate) fn fence(&self) {
        self.fences.fetch_add(1, Ordering::Release);
    }

    /// Whether that happened since the transaction began.
    pub(crate) fn is_fenced(&self) -> bool {
        self.fences.load(Ordering::Acquire) != self.since
    }

    pub(crate) fn answered(&self) {
        self.answers.fetch_add(1, Ordering::Relaxed);
    }

    /// How much it answered outside of single calls.
    pub(crate) fn answers(&self) -> u64 {
        self.answers.load(Ordering::Relaxed)
    }

    /// A transaction or a stream waits for an answer until this is dropped.
    fn inside(&self) -> Inside {
        let waits = Arc::clone(&self.inside);
        let id = waits.begun.fetch_add(1, Ordering::Relaxed);
        waits.looked_at(id);
        Inside { waits, id }
    }

    /// How many do, and would know of an end of their connection.
    pub(crate) fn waits_inside(&self) -> u32 {
        let waits = self.inside.all();
        let lately = waits.values().filter(|at| at.elapsed() <= LATELY).count();
        u32::try_from(lately).unwrap_or(u32::MAX)
    }

    /// The server of this transaction takes no writes any more.
    pub(crate) fn refused(&self) {
        self.refused_after(self.known_moves);
    }

    /// The server to which connections led after so many `moves` takes no writes any more; new ones may lead to one that
    /// does. However many say so, that is one move.
    pub(crate) fn refused_after(&self, moves: u64) {
        let next = moves + 1;
        // An error: somebody said so before, and the connections of now are newer.
        let _ = self
            .moves
            .compare_exchange(moves, next, Ordering::Relaxed, Ordering::Relaxed);
        self.suspect();
    }

    /// How often that was so.
    pub(crate) fn moves(&self) -> u64 {
        self.moves.load(Ordering::Relaxed)
    }

    /// The same, for whoever follows it.
    pub(crate) fn follow_moves(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.moves)
    }

    /// Has the node looked at.
    pub(crate) fn suspect(&self) {
        if let Some(suspicion) = &self.suspicion {
            suspicion.notify_one();
        }
    }

    pub(crate) fn node(&self) -> &str {
        &self.node
    }

    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// What a caller of SeaORM sees.
    pub(crate) fn db_err(&self, fault: Fault) -> DbErr {
        fault.into_db_err(&self.node, &self.address)
    }
}

/// When each wait of a transaction or a stream was looked at.
#[derive(Debug, Default)]
struct Waits {
    begun: AtomicU64,
    last: Mutex<HashMap<u64, time::Instant>>,
}

impl Waits {
    fn all(&self) -> MutexGuard<'_, HashMap<u64, time::Instant>> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn looked_at(&self, id: u64) {
        self.all().insert(id, time::Instant::now());
    }
}

/// The wait of a transaction or a stream. With its server it would be cut, so it shows that this one is there.
#[derive(Debug)]
struct Inside {
    waits: Arc<Waits>,
    id: u64,
}

impl Drop for Inside {
    fn drop(&mut self) {
        self.waits.all().remove(&self.id);
    }
}

/// Notes again and again that somebody looks, for as long as somebody does.
async fn beats(inside: Option<&Inside>) -> Infallible {
    let Some(inside) = inside else {
        return pending().await;
    };
    loop {
        inside.waits.looked_at(inside.id);
        sleep(SLOW_ANSWER).await;
    }
}

impl fmt::Debug for Patience {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Patience")
            .field("node", &self.node)
            .field("limit", &self.limit)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::pin::Pin;

    use super::*;

    fn patience() -> Patience {
        Patience::new("r1".into(), "nowhere".into(), None, None)
    }

    async fn is_looked_at(wait: &mut Pin<Box<impl Future>>) {
        let looked = std::future::poll_fn(|context| {
            std::task::Poll::Ready(wait.as_mut().poll(context).is_pending())
        });
        assert!(looked.await, "it has no answer");
    }

    #[tokio::test(start_paused = true)]
    async fn a_wait_that_nobody_looks_at_shows_nothing() {
        let patience = patience();
        let row = patience.run_out_inside();
        let mut row = Box::pin(row);
        let mut answer = Box::pin(patience.wait_inside(0, pending::<()>()));
        for _ in 0..3 {
            is_looked_at(&mut row).await;
            is_looked_at(&mut answer).await;
            assert_eq!(patience.waits_inside(), 2);
            time::advance(LATELY / 2).await;
            is_looked_at(&mut row).await;
            time::advance(LATELY / 2 + SLOW_ANSWER).await;
            assert_eq!(patience.waits_inside(), 1);
            time::advance(LATELY).await;
            assert_eq!(patience.waits_inside(), 0);
        }
        drop(row);
        is_looked_at(&mut answer).await;
        assert_eq!(patience.waits_inside(), 1);
        drop(answer);
        assert_eq!(patience.waits_inside(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_wait_of_a_task_goes_on_to_show_that_its_server_is_there() {
        let patience = patience();
        let waits = patience.clone();
        let task = tokio::spawn(async move { waits.wait_inside(0, pending::<()>()).await });
        for _ in 0..20 {
            sleep(LATELY).await;
            assert_eq!(patience.waits_inside(), 1);
        }
        task.abort();
    }
}
