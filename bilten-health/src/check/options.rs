//! The settings of one check and what is wrong with them.

use super::contract::DynCheck;
#[cfg(any(feature = "net", feature = "disk"))]
use super::rules::shown_target;
use super::rules::{SHORTEST, not_too_long, not_too_short, presentable, valid_name};
use crate::error::BuildError;
use crate::history::Thresholds;
use std::sync::Arc;
use std::time::Duration;

/// A named check with its settings, ready to be handed to [`HealthBuilder::check`](crate::HealthBuilder::check).
///
/// Made by [`check()`](crate::check()) and by the functions in [`checks`](crate::checks).
///
/// ```
/// use bilten_health::{Health, check};
/// use std::time::Duration;
///
/// let health = Health::builder()
///     .check(check("ledger", || async {}).in_readiness().timeout(Duration::from_millis(300)))
///     .check(check("mail", || async {}).non_critical().background(Duration::from_secs(10)).tags(["external"]))
///     .build();
/// assert!(health.is_ok());
/// ```
#[must_use = "a check does nothing until it is given to a builder"]
pub struct CheckBuilder {
    pub(crate) name: String,
    pub(crate) check: Arc<dyn DynCheck>,
    pub(crate) options: Options,
    refusal: Option<BuildError>,
    shortest_run: Duration,
}

/// Everything a check can be set to; `None` is "the default of the whole set".
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) timeout: Option<Duration>,
    pub(crate) cache: Option<Duration>,
    pub(crate) critical: bool,
    pub(crate) readiness: bool,
    pub(crate) startup: bool,
    pub(crate) liveness: bool,
    pub(crate) local: bool,
    pub(crate) external_liveness: bool,
    pub(crate) peer: bool,
    pub(crate) tags: Vec<&'static str>,
    pub(crate) background: Option<Duration>,
    pub(crate) max_staleness: Option<Duration>,
    pub(crate) initial_delay: Duration,
    pub(crate) degraded_above: Option<Duration>,
    pub(crate) thresholds: Thresholds,
}

impl CheckBuilder {
    pub(crate) fn new(name: String, check: Arc<dyn DynCheck>) -> Self {
        let options = Options {
            timeout: None,
            cache: None,
            critical: true,
            readiness: false,
            startup: false,
            liveness: false,
            local: check.is_local(),
            external_liveness: false,
            peer: false,
            tags: Vec::new(),
            background: None,
            max_staleness: None,
            initial_delay: Duration::ZERO,
            degraded_above: None,
            thresholds: Thresholds {
                failure: 1,
                success: 1,
            },
        };
        Self {
            name,
            check,
            options,
            refusal: None,
            shortest_run: Duration::ZERO,
        }
    }

    /// How long one run may take, at least 1 ms. Defaults to the set's `default_timeout`, 500 ms.
    pub const fn timeout(mut self, timeout: Duration) -> Self {
        self.options.timeout = Some(timeout);
        self
    }

    /// How long a result counts before a question runs the check again, failures included. Defaults to the set's `cache`,
    /// 1 s. Zero: each question runs it, but never two at once.
    pub const fn cache(mut self, cache: Duration) -> Self {
        self.options.cache = Some(cache);
        self
    }

    /// The service cannot work without it: when it is down, so is the group. The default.
    pub const fn critical(mut self) -> Self {
        self.options.critical = true;
        self
    }

    /// The service works without it: when it is down, the group is degraded.
    pub const fn non_critical(mut self) -> Self {
        self.options.critical = false;
        self
    }

    /// Takes part in `/readyz`. A dependency shared by all instances takes all of them out of traffic at once.
    pub const fn in_readiness(mut self) -> Self {
        self.options.readiness = true;
        self
    }

    /// Has to succeed once before the service counts as started; refused for a check that is registered after that.
    pub const fn in_startup(mut self) -> Self {
        self.options.startup = true;
        self
    }

    /// Takes part in `/livez`: when it is down, the process is killed. Refused at build for a check that is not local.
    pub const fn in_liveness(mut self) -> Self {
        self.options.liveness = true;
        self
    }

    /// Declares that the check asks nothing outside this process. It cannot be said of a [`peer`](CheckBuilder::peer).
    pub const fn local(mut self) -> Self {
        self.options.local = true;
        self
    }

    /// Declares that the check asks another service how it is, which may ask this one in turn: a request that comes from such
    /// a check is answered without it. `checks::http` says so already; see [`Health::check_own`](crate::Health::check_own).
    pub const fn peer(mut self) -> Self {
        self.options.peer = true;
        self
    }

    /// Allows a check in liveness that asks something outside, although its outage restarts every instance.
    pub const fn allow_external_liveness(mut self) -> Self {
        self.options.external_liveness = true;
        self
    }

    /// Adds tags, by which [`Group::Tag`](crate::Group::Tag) finds it, whatever the case.
    pub fn tags(mut self, tags: impl IntoIterator<Item = &'static str>) -> Self {
        self.options.tags.extend(tags);
        self
    }

    /// Runs it every `interval` (10 % sooner or later, so that instances do not march in step) instead of on demand;
    /// questions get the last result at once. At least 1 ms.
    ///
    /// It runs in the Tokio runtime in which the set was built or first asked. Once that has ended, it goes on in the one where the
    /// next question is asked; and when the other one still exists but nobody drives it, as soon as its last result is too old. A run
    /// that was under way there counts as still running until somebody drives or drops that runtime.
    pub const fn background(mut self, interval: Duration) -> Self {
        self.options.background = Some(interval);
        self
    }

    /// A background result older than this counts as unknown, and so does a status that is up although the last success is older:
    /// `thresholds` spare failures, but not for ever. Defaults to three intervals, or, where that is longer, to the timeout and 1.1
    /// intervals: the most that can lie between two results; and to one interval more for each failure that `thresholds` spare.
    pub const fn max_staleness(mut self, age: Duration) -> Self {
        self.options.max_staleness = Some(age);
        self
    }

    /// Waits this long after registration before the first run; until then it is unknown. Defaults to zero.
    pub const fn initial_delay(mut self, delay: Duration) -> Self {
        self.options.initial_delay = delay;
        self
    }

    /// So many failures in a row make it down, so many successes make it up, the first time as well: until then it is unknown.
    /// Defaults to 1 and 1; zero counts as 1. A check that never succeeded is never up, whatever the threshold, and one whose last
    /// success is older than its [`max_staleness`](CheckBuilder::max_staleness) is up no longer. A Kubernetes probe has thresholds of its own: these multiply.
    pub fn thresholds(mut self, failures: u32, successes: u32) -> Self {
        self.options.thresholds = Thresholds {
            failure: failures.max(1),
            success: successes.max(1),
        };
        self
    }

    /// A successful run that took longer than this counts as degraded. Off by default; at least 1 ms and shorter than the timeout.
    pub const fn degraded_above(mut self, duration: Duration) -> Self {
        self.options.degraded_above = Some(duration);
        self
    }

    /// Remembers that what the check asks cannot be meant; told at build.
    #[cfg(any(feature = "net", feature = "disk"))]
    pub(crate) fn refuse(
        mut self,
        target: &str,
        problem: Option<&'static str>,
        wanted: &'static str,
    ) -> Self {
        self.refusal = problem.map(|problem| BuildError::InvalidTarget {
            check: self.name.clone(),
            target: shown_target(target),
            problem,
            wanted,
        });
        self
    }

    /// Remembers that with this limit the check could never be up; told at build. `shown` is the limit, if it is none.
    pub(crate) fn refuse_limit(
        mut self,
        setting: &'static str,
        shown: Option<String>,
        wanted: &'static str,
    ) -> Self {
        self.refusal = shown.map(|value| BuildError::NeverUp {
            check: self.name.clone(),
            setting,
            value,
            wanted,
        });
        self
    }

    /// The same for a limit that is shorter than a timer can tell.
    pub(crate) fn refuse_short(
        self,
        setting: &'static str,
        limit: Duration,
        wanted: &'static str,
    ) -> Self {
        let shown = (limit < SHORTEST).then(|| format!("{limit:?}"));
        self.refuse_limit(setting, shown, wanted)
    }

    /// No run is shorter than this, so no timeout may be.
    pub(crate) const fn shortest_run(mut self, run: Duration) -> Self {
        self.shortest_run = run;
        self
    }

    /// Everything that can be said about this check alone; the builder looks at the whole set.
    pub(crate) fn validate(&self, timeout: Duration, deadline: Duration) -> Result<(), BuildError> {
        valid_name("check", &self.name)?;
        if let Some(refusal) = &self.refusal {
            return Err(refusal.clone());
        }
        for tag in &self.options.tags {
            valid_name("tag", tag)?;
        }
        let of = || format!("check `{}`", self.name);
        let options = &self.options;
        not_too_short("timeout", of, options.timeout)?;
        not_too_short("background", of, options.background)?;
        not_too_short("degraded_above", of, options.degraded_above)?;
        for (setting, value) in [
            ("timeout", options.timeout),
            ("cache", options.cache),
            ("background", options.background),
            ("max_staleness", options.max_staleness),
            ("initial_delay", Some(options.initial_delay)),
        ] {
            not_too_long(setting, of, value)?;
        }
        self.fits_together(timeout, deadline)?;
        let leaves = !options.local || options.peer;
        if options.liveness && leaves && !options.external_liveness {
            let check = self.name.clone();
            return Err(BuildError::ExternalInLiveness { check });
        }
        Ok(())
    }

    /// Whether one duration leaves the others a meaning.
    fn fits_together(&self, timeout: Duration, deadline: Duration) -> Result<(), BuildError> {
        let check = || self.name.clone();
        let options = &self.options;
        if timeout <= self.shortest_run {
            return Err(BuildError::NeverUp {
                check: check(),
                setting: "timeout",
                value: format!("{timeout:?}"),
                wanted: "more time than the check itself sleeps, best 100 ms or more",
            });
        }
        if let Some(degraded_above) = options.degraded_above.filter(|above| *above >= timeout) {
            return Err(BuildError::NeverDegraded {
                check: check(),
                degraded_above,
                timeout,
            });
        }
        match (options.background, options.max_staleness) {
            (None, None) if timeout > deadline => Err(BuildError::TimeoutBeyondDeadline {
                check: check(),
                timeout,
                deadline,
            }),
            (None, Some(_)) => Err(BuildError::StalenessWithoutBackground { check: check() }),
            (Some(interval), Some(max_staleness)) => {
                // A timeout above the interval guards against runs that hang; how old a result may get then is a choice.
                let needed = between_results(interval, timeout.min(interval));
                match max_staleness < needed {
                    true => Err(BuildError::StaleBeforeNextRun {
                        check: check(),
                        max_staleness,
                        interval,
                        needed,
                    }),
                    false => Ok(()),
                }
            }
            _ => Ok(()),
        }
    }
}

impl Options {
    /// How old a result may get that no setting limits: none for a check that runs on demand.
    pub(crate) fn staleness(&self, timeout: Duration) -> Option<Duration> {
        let by_default =
            |interval: Duration| (interval * 3).max(between_results(interval, timeout));
        // A success has to last for as many failures as are spared.
        let spared = self.thresholds.failure - 1;
        let by_default = |interval: Duration| {
            by_default(interval).saturating_add(interval.saturating_mul(spared))
        };
        self.max_staleness.or(self.background.map(by_default))
    }
}

/// The longest that lies between two results of a background check whose runs take at most `run`: jitter adds a tenth.
fn between_results(interval: Duration, run: Duration) -> Duration {
    interval + interval / 10 + run
}

impl std::fmt::Debug for CheckBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CheckBuilder")
            .field("name", &presentable(&self.name))
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use crate::check::check;
    use std::time::Duration;

    #[test]
    fn staleness_leaves_room_for_the_next_result() {
        let ms = Duration::from_millis;
        for (interval, timeout, set, expected) in [
            (None, 500, None, None),
            (Some(10_000), 500, None, Some(30_000)),
            (Some(100), 500, None, Some(610)),
            (Some(1000), 10_000, None, Some(11_100)),
            (Some(1000), 10_000, Some(2500), Some(2500)),
        ] {
            let mut options = check("a", || async {}).options;
            options.background = interval.map(ms);
            options.max_staleness = set.map(ms);
            let staleness = options.staleness(ms(timeout));
            assert_eq!(
                staleness,
                expected.map(ms),
                "{interval:?} {timeout} {set:?}"
            );
        }
    }
}
