//! Following the status of a group.

use crate::group::{Group, Question};
use crate::health::Health;
use crate::runner::Runner;
use crate::status::Status;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};

/// A watch asks at least this often, so that a result that runs out is noticed as well.
const ASK_EVERY: Duration = Duration::from_secs(1);

/// And at most this often: each question may run checks, whose results wake the watch again.
const ASK_AT_MOST_EVERY: Duration = Duration::from_millis(100);

/// Follows the status of a group: made by [`Health::watch`].
///
/// ```
/// use bilten_health::{Group, Health, Status, check};
///
/// # async fn run() -> Result<(), bilten_health::BuildError> {
/// let health = Health::builder().check(check("orders", || async {}).in_readiness()).build()?;
/// let mut watch = health.watch(Group::Readiness);
/// assert_eq!(watch.next().await, Status::Up); // the first answer comes at once
/// health.begin_shutdown();
/// assert_eq!(watch.next().await, Status::ShuttingDown); // each further one with a change
/// # Ok(())
/// # }
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(run()).unwrap();
/// ```
#[derive(Debug)]
pub struct Watch {
    runner: Arc<Runner>,
    raised: watch::Receiver<()>,
    question: Question,
    told: Option<Status>,
    asked: Option<Instant>,
}

impl Health {
    /// Follows a group's status. While somebody waits for [`Watch::next`], the checks are asked as often as their cache time
    /// allows, but at least once a second and at most ten times.
    #[must_use]
    pub fn watch(&self, group: Group) -> Watch {
        self.watch_question(group.into())
    }

    pub(crate) fn watch_question(&self, question: Question) -> Watch {
        Watch {
            runner: Arc::clone(&self.runner),
            raised: self.runner.subscribe(),
            question,
            told: None,
            asked: None,
        }
    }
}

impl Watch {
    /// The status at the first call; after that, waits until it is another one than told last.
    ///
    /// Changes that come and go between two calls are not told.
    ///
    /// # Panics
    ///
    /// Outside a Tokio runtime with time enabled.
    ///
    /// # Cancellation
    ///
    /// Nothing is lost when it is dropped.
    pub async fn next(&mut self) -> Status {
        loop {
            self.pause().await;
            self.asked = Some(Instant::now());
            // Marked as seen before the report is made: a change in between wakes the wait below.
            self.raised.mark_unchanged();
            let status = self.runner.answer(self.question).await.public.status;
            if self.told.replace(status) != Some(status) {
                return status;
            }
            let _ = timeout(ASK_EVERY, self.raised.changed()).await;
        }
    }

    /// Waits until it may ask again; a shutdown is told at once.
    async fn pause(&self) {
        let Some(asked) = self.asked else {
            return;
        };
        let is_open =
            self.question.group.ends_with_shutdown() && self.told != Some(Status::ShuttingDown);
        tokio::select! {
            () = sleep_until(asked + ASK_AT_MOST_EVERY) => {}
            () = self.runner.life.shutdown_begun(), if is_open => {}
        }
    }
}
