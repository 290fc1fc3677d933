//! One call for the keys of several reads.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared, join_all};
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::remote::gate::whole;
use crate::remote::{Remote, RemoteError};

pub(super) type Answer = Result<Option<Bytes>, RemoteError>;

#[derive(Debug)]
pub(super) struct Asks {
    pub(super) key: Arc<str>,
    pub(super) until: Instant,
    pub(super) hears: oneshot::Sender<Answer>,
}

/// How a call ended, which says how many keys the next one may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    Came,
    /// The store's own limit came before that of the callers.
    TooLate,
    Failed,
}

/// What is done for a call. Whoever has it may go on with it.
pub(super) type Work = Shared<BoxFuture<'static, End>>;

/// One call for many, which answers all of them. Whoever has it may see to it.
#[derive(Debug, Clone)]
pub(super) struct Call {
    pub(super) round: u64,
    pub(super) keys: usize,
    /// When the last of its callers gives up.
    pub(super) until: Instant,
    pub(super) work: Work,
}

impl Call {
    pub(super) fn new(remote: &Arc<dyn Remote>, round: u64, asked: Vec<Asks>) -> Self {
        let last = asked.iter().map(|asks| asks.until).max();
        Self {
            round,
            keys: asked.len(),
            until: last.unwrap_or_else(Instant::now),
            work: ask_for(Arc::clone(remote), asked).boxed().shared(),
        }
    }
}

/// Answers everybody. Nothing here looks at a clock: that would be the one of a runtime which may stand still.
async fn ask_for(remote: Arc<dyn Remote>, asked: Vec<Asks>) -> End {
    let keys: Vec<Arc<str>> = asked.iter().map(|asks| Arc::clone(&asks.key)).collect();
    let read = AssertUnwindSafe(async { remote.read_many(&keys).await }).catch_unwind();
    let found = match read.await {
        Ok(Ok(found)) if found.len() == keys.len() => Ok(found),
        Ok(Ok(_)) => Err(RemoteError::Unavailable(
            "it answered for other keys than were asked for".to_owned(),
        )),
        Ok(Err(error)) => Err(error),
        // The store, or what it uses of a runtime that has ended: each asks for itself.
        Err(_) => return End::Failed,
    };
    match found {
        Ok(found) => {
            for (asks, value) in asked.into_iter().zip(found) {
                let _ = asks.hears.send(Ok(value));
            }
            End::Came
        }
        // What is refused of all of them may be well of each but one.
        Err(RemoteError::Refused(_)) if keys.len() > 1 => {
            ask_each(&*remote, asked).await;
            End::Failed
        }
        Err(error) => {
            for asks in asked {
                let _ = asks.hears.send(Err(error.clone()));
            }
            match error {
                RemoteError::Timeout => End::TooLate,
                _ => End::Failed,
            }
        }
    }
}

async fn ask_each(remote: &dyn Remote, mut asked: Vec<Asks>) {
    asked.retain(|asks| !asks.hears.is_closed());
    let each = asked.into_iter().map(async |asks| {
        let read = whole(async { remote.read(&asks.key).await }).await;
        let _ = asks.hears.send(read);
    });
    join_all(each).await;
}
