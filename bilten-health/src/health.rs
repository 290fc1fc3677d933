//! The handle a service keeps.

use crate::check::{CheckBuilder, Options};
use crate::error::BuildError;
use crate::group::{Group, Question};
use crate::report::Report;
use crate::requests::Requests;
use crate::runner::Runner;
use crate::slot::{Settings, Slot};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// A set of checks and what is known about them. Cheap to clone; all clones share everything.
///
/// ```
/// use bilten_health::{Health, check};
///
/// # async fn run() -> Result<(), bilten_health::BuildError> {
/// let health = Health::builder()
///     .check(check("orders", || async { Ok::<(), std::io::Error>(()) }).in_readiness())
///     .build()?;
/// assert!(health.check().await.healthy);
/// # Ok(())
/// # }
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(run()).unwrap();
/// ```
#[derive(Clone, Debug)]
pub struct Health {
    pub(crate) runner: Arc<Runner>,
    pub(crate) defaults: Defaults,
    pub(crate) requests: Arc<Requests>,
}

/// What a check gets when it does not say otherwise.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Defaults {
    pub(crate) timeout: Duration,
    pub(crate) cache: Duration,
    pub(crate) deadline: Duration,
}

impl Health {
    /// The report of all checks: those without a result that counts are run, all at once, each within its timeout, all
    /// within the deadline. Any number of callers within the cache time share one run.
    ///
    /// # Panics
    ///
    /// Outside a Tokio runtime with time enabled.
    ///
    /// # Cancellation
    ///
    /// Dropping it stops the waiting, never a run: the result is stored for whoever asks next.
    pub async fn check(&self) -> Arc<Report> {
        self.check_group(Group::All).await
    }

    /// The same for one group.
    ///
    /// # Panics
    ///
    /// Outside a Tokio runtime with time enabled.
    ///
    /// # Cancellation
    ///
    /// As [`Health::check`].
    pub async fn check_group(&self, group: Group) -> Arc<Report> {
        self.report(group.into()).await
    }

    /// The same without the checks that ask other services how they are: `checks::http`, and what says
    /// [`peer`](CheckBuilder::peer).
    ///
    /// The endpoints give it to a request with the header `x-health-hop`, which comes from the health check of another service. A
    /// handler of your own does the same.
    ///
    /// ```
    /// use bilten_health::{Group, Health, check};
    ///
    /// # async fn run() -> Result<(), bilten_health::BuildError> {
    /// let payments = check("payments", || async { Err::<(), _>("they say that we are down") }).peer();
    /// let health = Health::builder().check(payments.in_readiness()).build()?;
    /// assert!(!health.check_group(Group::Readiness).await.healthy);
    /// assert!(health.check_own(Group::Readiness).await.healthy);
    /// # Ok(())
    /// # }
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(run()).unwrap();
    /// ```
    ///
    /// # Panics
    ///
    /// Outside a Tokio runtime with time enabled.
    ///
    /// # Cancellation
    ///
    /// As [`Health::check`].
    pub async fn check_own(&self, group: Group) -> Arc<Report> {
        self.report(Question { group, own: true }).await
    }

    /// The report of a group from what is stored: starts no run and does not wait.
    ///
    /// A check that never ran is `Unknown`, and so is one whose result is too old.
    #[must_use]
    pub fn last(&self, group: Group) -> Arc<Report> {
        let deadline = Instant::now() + self.runner.deadline();
        self.runner.stored(group.into()).report_at_once(deadline)
    }

    /// The service has started: `/startupz` is 200 from now on, for ever, and `/readyz` depends on its checks alone.
    pub fn mark_started(&self) {
        self.runner.mark_started();
    }

    /// The service is about to stop: once this returns, every readiness answer is 503, for ever. Liveness stays as it is.
    /// A second call does nothing.
    pub fn begin_shutdown(&self) {
        self.runner.begin_shutdown();
    }

    /// Adds a check while the service runs; the next question includes it.
    ///
    /// # Errors
    ///
    /// As [`HealthBuilder::build`](crate::HealthBuilder::build), when the name is taken, and when the check is
    /// [`in_startup`](CheckBuilder::in_startup) although the service has started.
    pub fn register(&self, check: CheckBuilder) -> Result<(), BuildError> {
        let slot = Arc::new(self.defaults.slot(check)?);
        if slot.settings.startup && self.runner.life.phase().started {
            let check = slot.name.to_string();
            return Err(BuildError::AlreadyStarted { check });
        }
        self.runner.registry.add(Arc::clone(&slot))?;
        self.start_ticker(&slot);
        self.runner.members_changed();
        Ok(())
    }

    /// Removes a check while the service runs; says whether there was one. Its name is compared without case. A run under way
    /// goes on, but nobody is told of its result, and the gauges of the check, `health_check_up`
    /// and `health_check_degraded`, become NaN, which is no value.
    #[allow(clippy::must_use_candidate)] // most callers only want it gone
    pub fn unregister(&self, name: &str) -> bool {
        let removed = self.runner.registry.remove(name);
        if let Some(slot) = &removed {
            self.runner.retire(slot);
        }
        removed.is_some()
    }

    async fn report(&self, question: Question) -> Arc<Report> {
        let deadline = Instant::now() + self.runner.deadline();
        let report = self.runner.answer(question).await.report(deadline).await;
        match self.runner.unless_shut_down(question, &report) {
            Some(found) => found.report_at_once(deadline),
            None => report,
        }
    }

    /// Without a runtime the first question starts it.
    pub(crate) fn start_ticker(&self, slot: &Arc<Slot>) {
        if tokio::runtime::Handle::try_current().is_ok() {
            self.runner.keep_ticking(slot);
        }
    }
}

impl Defaults {
    /// Validates the check and fills in what it leaves open.
    pub(crate) fn slot(&self, check: CheckBuilder) -> Result<Slot, BuildError> {
        let timeout = check.options.timeout.unwrap_or(self.timeout);
        check.validate(timeout, self.deadline)?;
        let CheckBuilder {
            name,
            check,
            options,
            ..
        } = check;
        let max_staleness = options.staleness(timeout);
        let Options {
            critical,
            readiness,
            startup,
            liveness,
            peer,
            tags,
            ..
        } = options;
        let settings = Settings {
            timeout,
            cache: options.cache.unwrap_or(self.cache),
            max_staleness,
            critical,
            readiness,
            startup,
            liveness,
            peer,
            tags: tags.into(),
            background: options.background,
            initial_delay: options.initial_delay,
            degraded_above: options.degraded_above,
            thresholds: options.thresholds,
        };
        Ok(Slot::new(&name, check, settings))
    }
}

#[cfg(all(test, feature = "metrics"))]
mod tests {
    use crate::check::check;
    use crate::health::Health;
    use metrics_util::debugging::{DebugValue, DebuggingRecorder};

    // The order: one thread has removed the check, another one registers one of its name, which runs; only then the first one goes on.
    #[test]
    fn the_level_of_a_check_outlives_the_end_of_one_that_had_its_name() {
        let recorder = DebuggingRecorder::new();
        let snapshots = recorder.snapshotter();
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_all().build().unwrap();
        let mail = || check("mail", || async {});
        let health = Health::builder().check(mail()).build().unwrap();
        metrics::with_local_recorder(&recorder, || {
            runtime.block_on(async {
                health.check().await;
                let removed = health.runner.registry.remove("mail").unwrap();
                health.register(mail()).unwrap();
                health.check().await;
                health.runner.retire(&removed);
            });
        });
        let all = snapshots.snapshot().into_vec();
        let levels = all.into_iter().filter_map(|(key, _, _, value)| {
            let is_level = key.key().name() == "health_check_up";
            match value {
                DebugValue::Gauge(level) if is_level => Some(level.into_inner()),
                _ => None,
            }
        });
        assert_eq!(levels.collect::<Vec<_>>(), [1.0]);
    }
}
