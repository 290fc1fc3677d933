//! What a node is asked between two probes, for one call.

use std::sync::Arc;
use std::time::Instant;

use crate::driver::Sample;
use crate::fault::Fault;
use crate::node::Node;

impl Node {
    /// Asks for the start of the server when it may have been started again unnoticed: then a connection was opened since,
    /// or none is open, or one was found broken. The fault when it cannot be asked.
    pub(crate) async fn make_sure_of_start(&self) -> Result<(), Fault> {
        let opened = self.backend.opened();
        let is_sure = self.past.knows(opened) && self.backend.load().size > 0;
        if is_sure && self.seen().is_some() {
            return Ok(());
        }
        let sample = self.backend.sample().await?;
        if self.past.restarted(sample.started, self.backend.moves()) {
            self.backend.discard();
        }
        self.past.told_after(opened);
        Ok(())
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
