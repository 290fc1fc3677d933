//! The reports that may be repeated.

use crate::answer::Answer;
use crate::group::Question;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use tokio::sync::watch;
use tokio::time::Instant;

/// Keeps one answer per question until a result changes or runs out.
///
/// Every change of any input raises the epoch *after* it is visible; whoever puts a report together reads the epoch *before* it
/// reads the inputs. So a report made from old inputs carries an old epoch and is never repeated.
#[derive(Debug, Default)]
pub(crate) struct Board {
    epoch: AtomicU64,
    raised: watch::Sender<()>,
    kept: RwLock<HashMap<Question, Kept>>,
}

#[derive(Debug)]
struct Kept {
    answer: Arc<Answer>,
    epoch: u64,
    until: Instant,
}

impl Board {
    pub(crate) fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::SeqCst)
    }

    pub(crate) fn raise(&self) {
        self.epoch.fetch_add(1, Ordering::SeqCst);
        self.raised.send_replace(());
    }

    pub(crate) fn subscribe(&self) -> watch::Receiver<()> {
        self.raised.subscribe()
    }

    pub(crate) fn get(&self, question: Question, now: Instant) -> Option<Arc<Answer>> {
        let kept = self.kept.read().unwrap_or_else(PoisonError::into_inner);
        let found = kept.get(&question)?;
        (found.epoch == self.epoch() && now < found.until).then(|| Arc::clone(&found.answer))
    }

    pub(crate) fn put(&self, question: Question, answer: &Arc<Answer>, epoch: u64, until: Instant) {
        let answer = Arc::clone(answer);
        let mut kept = self.kept.write().unwrap_or_else(PoisonError::into_inner);
        // A slow writer must not put an older report over a newer one.
        if kept.get(&question).is_none_or(|found| found.epoch <= epoch) {
            kept.insert(
                question,
                Kept {
                    answer,
                    epoch,
                    until,
                },
            );
        }
    }
}
