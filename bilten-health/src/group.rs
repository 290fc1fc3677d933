//! Which checks are asked together.

/// A set of checks that is asked, cached and answered together.
///
/// Names of groups and tags, like those of checks, are compared without case.
///
/// ```
/// use bilten_health::{Group, Health, check};
///
/// # async fn run() -> Result<(), bilten_health::BuildError> {
/// let health = Health::builder()
///     .check(check("mail", || async {}))
///     .group("edge", ["mail"])
///     .build()?;
/// assert!(health.check_group(Group::Named("edge")).await.healthy);
/// assert!(health.check_group(Group::Liveness).await.healthy); // no check in it: up
/// # Ok(())
/// # }
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(run()).unwrap();
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Group {
    /// Every check: what `/healthz` and [`Health::check`](crate::Health::check) answer.
    All,
    /// Should this process be killed and started again? Local checks only, never affected by shutdown.
    Liveness,
    /// Should this process get traffic? Not before it has started, not once it shuts down.
    Readiness,
    /// Has this process started? Once true, true for ever.
    Startup,
    /// A group named with [`HealthBuilder::group`](crate::HealthBuilder::group).
    Named(&'static str),
    /// All checks that carry this tag.
    Tag(&'static str),
}

impl Group {
    /// Whether a shutdown turns this group's answer into 503.
    pub(crate) const fn ends_with_shutdown(self) -> bool {
        !matches!(self, Self::Liveness | Self::Startup)
    }
}

/// What is asked: a group, whole or without what other services say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Question {
    pub(crate) group: Group,
    /// Leaves out the checks that ask other services.
    pub(crate) own: bool,
}

impl From<Group> for Question {
    fn from(group: Group) -> Self {
        Self { group, own: false }
    }
}

impl Group {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Liveness => "liveness",
            Self::Readiness => "readiness",
            Self::Startup => "startup",
            Self::Named(name) | Self::Tag(name) => name,
        }
    }
}

impl std::fmt::Display for Group {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}
