//! A background task that has to show that it is alive.

use crate::check::{CheckBuilder, Verdict, check};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// Kept by a background task, which calls [`beat`](Self::beat) each time it gets round. Example at [`heartbeat`].
#[derive(Clone, Debug)]
pub struct Heartbeat(Arc<Mutex<Option<Instant>>>);

impl Heartbeat {
    /// The task is alive.
    pub fn beat(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    fn last(&self) -> Option<Instant> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A task in this process has to show up at least every `max_age`; unknown before the first time. Less than 1 ms is refused at
/// build; with [`Duration::MAX`] only the first time counts.
///
/// It is local and so fit for liveness.
///
/// ```
/// use bilten_health::{Health, checks};
/// use std::time::Duration;
///
/// # async fn run() -> Result<(), bilten_health::BuildError> {
/// let (heartbeat, check) = checks::heartbeat("mailer", Duration::from_secs(30));
/// let health = Health::builder().check(check.in_liveness()).build()?;
/// heartbeat.beat(); // in the mailer's loop
/// assert!(health.check().await.healthy);
/// # Ok(())
/// # }
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(run()).unwrap();
/// ```
pub fn heartbeat(name: impl Into<String>, max_age: Duration) -> (Heartbeat, CheckBuilder) {
    let heartbeat = Heartbeat(Arc::default());
    let watched = heartbeat.clone();
    let builder = check(name, move || {
        let verdict = judge(watched.last().map(|last| last.elapsed()), max_age);
        async move { verdict }
    });
    let builder = builder.refuse_short(
        "max_age",
        max_age,
        "two to three times what the task takes to come round",
    );
    (heartbeat, builder.local())
}

fn judge(age: Option<Duration>, max_age: Duration) -> Verdict {
    match age {
        None => Verdict::unknown("no heartbeat yet"),
        Some(age) if age > max_age => {
            Verdict::down(format!("last heartbeat {age:?} ago, more than {max_age:?}"))
        }
        Some(age) => {
            Verdict::up().detail("age_ms", u64::try_from(age.as_millis()).unwrap_or(u64::MAX))
        }
    }
}
