//! Who may see details: asks, and does not wait for ever.

use crate::bystander::wake_another_thread;
use crate::caught::{Contained, Panic, caught};
use axum::http::request::Parts;
use std::pin::Pin;
use std::sync::Arc;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

type Answer = Pin<Box<dyn Future<Output = bool> + Send>>;

/// Says whether a request may see names, errors and details.
#[derive(Clone)]
pub(super) enum Authorise {
    Nobody,
    Now(Arc<dyn Fn(&Parts) -> bool + Send + Sync>),
    Later(Arc<dyn Fn(Parts) -> Answer + Send + Sync>),
}

/// The question, asked.
pub(super) enum Permission {
    Decided(bool),
    /// In a task of its own, which ends with this: it may panic, block, or never answer.
    Pending(JoinSet<Result<bool, Panic>>),
}

impl Authorise {
    /// Asks; what takes time goes on while the checks run.
    pub(super) fn ask(&self, parts: Parts) -> Permission {
        match self {
            Self::Nobody => Permission::Decided(false),
            Self::Now(authorise) => {
                let answer = caught(|| authorise(&parts));
                Permission::Decided(answer.unwrap_or_else(panicked))
            }
            Self::Later(authorise) => {
                let authorise = Arc::clone(authorise);
                let mut task = JoinSet::new();
                // The closure is called inside the task as well: it may panic before there is a future.
                task.spawn(Contained::new(async move { authorise(parts).await }));
                wake_another_thread();
                Permission::Pending(task)
            }
        }
    }
}

impl Permission {
    /// The answer, until `deadline`; none in time is a no.
    pub(super) async fn granted(self, deadline: Instant) -> bool {
        let mut task = match self {
            Self::Decided(answer) => return answer,
            Self::Pending(task) => task,
        };
        match timeout_at(deadline, task.join_next()).await {
            Ok(Some(Ok(Ok(answer)))) if Instant::now() <= deadline => answer,
            Ok(None | Some(Err(_) | Ok(Err(_)))) => panicked(),
            Ok(Some(Ok(Ok(_)))) | Err(_) => {
                tracing::warn!(
                    "the authoriser of health details took too long; the answer has none"
                );
                false
            }
        }
    }
}

/// An authoriser that panics has not said yes.
fn panicked() -> bool {
    tracing::error!("the authoriser of health details panicked; the answer has none");
    false
}
