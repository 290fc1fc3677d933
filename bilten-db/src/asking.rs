//! What a node is asked between two probes, for one call.

use std::sync::Arc;
use std::time::Instant;

use crate::driver::Sample;
use crate::fault::{Fault, Trouble};
use crate::node::Node;

impl Node {
    /// Asks for the start of the server when it may have been started again unnoticed: then a connection was opened since,
    /// or none is open, or one was found broken. The fault when it cannot be asked.
    ///
    /// On a connection of its own, because who asks may hold one of the pool and would wait for a second; one at a time, so
    /// that a pool which grows is asked about once. A server that takes no more connections was not started again.
    pub(crate) async fn make_sure_of_start(&self) -> Result<(), Fault> {
        if !self.backend.is_watched() || self.is_sure_of_start() {
            return Ok(());
        }
        let _turn = self.asking_start.lock().await;
        if self.is_sure_of_start() {
            return Ok(());
        }
        let opened = self.backend.opened();
        let sample = match self.backend.prober().probe().await {
            Ok(sample) => sample,
            Err(fault) if fault.trouble() == Trouble::Busy => return Ok(()),
            Err(fault) => return Err(fault),
        };
        if self.past.restarted(sample.started, self.backend.moves()) {
            self.backend.discard();
        }
        self.past.told_after(opened);
        Ok(())
    }

    fn is_sure_of_start(&self) -> bool {
        let is_told = self.past.knows(self.backend.opened()) && self.backend.load().size > 0;
        is_told && self.seen().is_some()
    }

    /// Where it is now. Many who ask at once share one answer; whoever goes away does not end the question.
    pub(crate) async fn position(self: &Arc<Self>) -> Option<Sample> {
        let begun = Instant::now();
        let turn = Arc::clone(&self.asking).lock_owned().await;
        if let Some(seen) = self.seen().filter(|seen| seen.at >= begun) {
            return Some(seen.sample);
        }
        let node = Arc::clone(self);
        let asked = tokio::spawn(async move {
            let asked = Instant::now();
            let sample = node.backend.sample().await.ok()?;
            node.saw(asked, sample.clone());
            drop(turn);
            Some(sample)
        });
        asked.await.ok()?
    }

    /// Asks the node itself, on a new connection.
    pub(crate) async fn answers(&self) -> bool {
        self.backend.prober().probe().await.is_ok()
    }
}
