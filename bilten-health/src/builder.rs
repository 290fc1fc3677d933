//! Puts a set of checks together and refuses what cannot be meant.

use crate::aggregate::{Aggregate, Worst};
use crate::change::{Change, Listener, Listeners};
use crate::check::{CheckBuilder, not_too_long, not_too_short, presentable, valid_group};
use crate::error::BuildError;
use crate::group::Group;
use crate::health::{Defaults, Health};
use crate::life::Life;
use crate::redact::prepare;
use crate::registry::{NamedGroup, Registry};
use crate::runner::Runner;
use crate::slot::Slot;
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

/// Collects checks and settings; [`build`](Self::build) looks at all of them together.
///
/// ```
/// use bilten_health::{Health, check};
/// use std::time::Duration;
///
/// let health = Health::builder()
///     .check(check("orders", || async {}))
///     .cache(Duration::from_secs(2))
///     .build();
/// assert!(health.is_ok());
/// ```
#[must_use = "call `build` to get a `Health`"]
pub struct HealthBuilder {
    checks: Vec<CheckBuilder>,
    groups: Vec<(&'static str, Vec<String>)>,
    default_timeout: Option<Duration>,
    cache: Duration,
    deadline: Duration,
    aggregator: Arc<dyn Aggregate>,
    listeners: Vec<Listener>,
    wait_for_start: bool,
}

impl Health {
    /// Starts with no checks and the defaults of each setter.
    pub fn builder() -> HealthBuilder {
        HealthBuilder {
            checks: Vec::new(),
            groups: Vec::new(),
            default_timeout: None,
            cache: Duration::from_secs(1),
            deadline: Duration::from_millis(900),
            aggregator: Arc::new(Worst),
            listeners: Vec::new(),
            wait_for_start: false,
        }
    }
}

impl HealthBuilder {
    /// Adds a check. Reports list checks in this order.
    pub fn check(mut self, check: CheckBuilder) -> Self {
        self.checks.push(check);
        self
    }

    /// Names a group of checks, found again with [`Group::Named`] and at `/healthz/NAME`, whatever the case.
    pub fn group(
        mut self,
        name: &'static str,
        checks: impl IntoIterator<Item = impl Into<String>>,
    ) -> Self {
        let members = checks.into_iter().map(Into::into).collect();
        self.groups.push((name, members));
        self
    }

    /// How long a result counts, good or bad. Defaults to 1 s. Zero: each question runs the checks.
    pub const fn cache(mut self, cache: Duration) -> Self {
        self.cache = cache;
        self
    }

    /// After how long a group is answered, come what may. Defaults to 900 ms, because Kubernetes gives a probe 1 s.
    pub const fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// The timeout of checks that have none of their own. Defaults to 500 ms, or to the deadline where that is shorter. One that is
    /// longer than the deadline is for background checks; any other check needs a shorter one of its own then.
    pub const fn default_timeout(mut self, timeout: Duration) -> Self {
        self.default_timeout = Some(timeout);
        self
    }

    /// Replaces the rule by which checks make up a group's status. Defaults to [`Worst`].
    pub fn aggregator(mut self, aggregator: impl Aggregate) -> Self {
        self.aggregator = Arc::new(aggregator);
        self
    }

    /// Not started, and so not ready, until [`Health::mark_started`] is called. By default the service counts as started once
    /// all checks with [`in_startup`](CheckBuilder::in_startup) have succeeded once, each at any time, at once when there are none.
    pub const fn wait_for_start(mut self) -> Self {
        self.wait_for_start = true;
        self
    }

    /// Calls `listener` once for each change of a check's reported status, in order, on a thread where it may block. It
    /// delays no answer; a panic in it is logged. When it is more than 1,024 changes behind, the oldest are left out.
    pub fn on_change(mut self, listener: impl Fn(&Change) + Send + Sync + 'static) -> Self {
        self.listeners.push(Arc::new(listener));
        self
    }

    /// Checks the settings and puts the set together. Background checks start at once within a Tokio runtime, else with the
    /// first question.
    ///
    /// # Errors
    ///
    /// Names the check or setting that cannot be meant: see [`BuildError`].
    pub fn build(self) -> Result<Health, BuildError> {
        let defaults = self.defaults();
        let Self {
            checks,
            groups,
            aggregator,
            listeners,
            wait_for_start,
            ..
        } = self;
        prepare();
        let whole = || "the whole set".to_owned();
        for (setting, value) in [
            ("deadline", defaults.deadline),
            ("default_timeout", defaults.timeout),
        ] {
            not_too_short(setting, whole, Some(value))?;
            not_too_long(setting, whole, Some(value))?;
        }
        not_too_long("cache", whole, Some(defaults.cache))?;
        let mut names = HashSet::with_capacity(checks.len());
        let mut slots = Vec::with_capacity(checks.len());
        for check in checks {
            let slot = Arc::new(defaults.slot(check)?);
            if !names.insert(slot.name.to_ascii_lowercase()) {
                return Err(BuildError::DuplicateName {
                    name: slot.name.to_string(),
                });
            }
            slots.push(slot);
        }
        let groups = valid_groups(groups, &names)?;
        let started = !wait_for_start
            && !slots
                .iter()
                .any(|slot: &Arc<Slot>| slot.is_in(Group::Startup));
        let life = Life::new(!wait_for_start, started);
        let registry = Registry::new(slots, groups);
        let runner = Runner::new(
            registry,
            life,
            defaults.deadline,
            aggregator,
            Listeners::new(listeners),
        );
        let health = Health {
            runner: Arc::new(runner),
            defaults,
            requests: Arc::default(),
        };
        for slot in health.runner.registry.snapshot().iter() {
            health.start_ticker(slot);
        }
        Ok(health)
    }
}

impl HealthBuilder {
    /// A deadline shortened below the timeout that nobody has set shortens it, too.
    fn defaults(&self) -> Defaults {
        let shortest = || Duration::from_millis(500).min(self.deadline);
        Defaults {
            timeout: self.default_timeout.unwrap_or_else(shortest),
            cache: self.cache,
            deadline: self.deadline,
        }
    }
}

fn valid_groups(
    groups: Vec<(&'static str, Vec<String>)>,
    checks: &HashSet<String>,
) -> Result<Vec<NamedGroup>, BuildError> {
    let mut taken: HashSet<String> =
        HashSet::from(["all", "liveness", "readiness", "startup"].map(str::to_owned));
    let mut valid = Vec::with_capacity(groups.len());
    for (name, members) in groups {
        valid_group(name)?;
        let group = || name.to_owned();
        if !taken.insert(name.to_ascii_lowercase()) {
            return Err(BuildError::DuplicateGroup { group: group() });
        }
        if members.is_empty() {
            return Err(BuildError::EmptyGroup { group: group() });
        }
        let known = |member: &&String| checks.contains(&member.to_ascii_lowercase());
        if let Some(stranger) = members.iter().find(|member| !known(member)) {
            return Err(BuildError::UnknownMember {
                group: group(),
                check: presentable(stranger),
            });
        }
        let members = members.iter().map(|member| member.to_ascii_lowercase());
        valid.push(NamedGroup {
            name,
            members: members.collect(),
        });
    }
    Ok(valid)
}

impl std::fmt::Debug for HealthBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HealthBuilder")
            .field("checks", &self.checks)
            .field("defaults", &self.defaults())
            .finish_non_exhaustive()
    }
}
