//! What can be wrong with a set of checks.

use std::time::Duration;

/// Why a [`HealthBuilder`](crate::HealthBuilder) or a registration at run time was refused.
///
/// Every message names the check or the setting and says what to do.
///
/// ```
/// use bilten_health::{BuildError, Health, check};
///
/// let error = Health::builder()
///     .check(check("db", || async {}))
///     .check(check("DB", || async {}))
///     .build()
///     .unwrap_err();
/// assert!(matches!(error, BuildError::DuplicateName { .. }));
/// assert_eq!(
///     error.to_string(),
///     "check `DB` is registered twice (names are compared without case): rename or remove one of them"
/// );
/// ```
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum BuildError {
    /// A name is empty, too long or has characters that do not belong into a name.
    #[error("{kind} name `{name}` {problem}: use {allowed}")]
    InvalidName {
        /// What was to be named: `check`, `group` or `tag`.
        kind: &'static str,
        /// The name, escaped, cut to 64 characters; credentials masked.
        name: String,
        /// What is wrong with it.
        problem: &'static str,
        /// What it may be made of.
        allowed: &'static str,
    },
    /// What a check is to ask is no address or URL.
    #[error("check `{check}` cannot ask `{target}`, which {problem}: give it {wanted}")]
    InvalidTarget {
        /// The check.
        check: String,
        /// What was given; credentials masked.
        target: String,
        /// What is wrong with it.
        problem: &'static str,
        /// What it should look like.
        wanted: &'static str,
    },
    /// Two checks have the same name.
    #[error(
        "check `{name}` is registered twice (names are compared without case): rename or remove one of them"
    )]
    DuplicateName {
        /// The name.
        name: String,
    },
    /// A duration is zero or shorter than a timer can tell.
    #[error(
        "`{setting}` of {of} is {value:?}: give it at least 1 ms or leave it out to get the default"
    )]
    TooShort {
        /// The setting, as its setter is called.
        setting: &'static str,
        /// The check it belongs to, or `the whole set`.
        of: String,
        /// What was given.
        value: Duration,
    },
    /// A duration is longer than a day: most likely meant as "for ever".
    #[error("`{setting}` of {of} is {value:?}: every wait needs an end, the longest is 24 h")]
    TooLong {
        /// The setting, as its setter is called.
        setting: &'static str,
        /// The check it belongs to, or `the whole set`.
        of: String,
        /// What was given.
        value: Duration,
    },
    /// A limit that no run can keep.
    #[error("`{setting}` of check `{check}` is {value}, so it could never be up: give it {wanted}")]
    NeverUp {
        /// The check.
        check: String,
        /// The setting or argument.
        setting: &'static str,
        /// What was given.
        value: String,
        /// What would do.
        wanted: &'static str,
    },
    /// A check's timeout is longer than the deadline of the answer it is part of.
    #[error(
        "`timeout` of check `{check}` is {timeout:?}, but an answer is given after {deadline:?}: shorten it, raise `deadline`, \
         or run the check with `background`"
    )]
    TimeoutBeyondDeadline {
        /// The check.
        check: String,
        /// Its timeout.
        timeout: Duration,
        /// The deadline of the whole set.
        deadline: Duration,
    },
    /// A check would be given up before it could count as slow.
    #[error(
        "`degraded_above` of check `{check}` is {degraded_above:?}, but the check is given up after {timeout:?}: make it shorter \
         than `timeout`"
    )]
    NeverDegraded {
        /// The check.
        check: String,
        /// From when on it would count as slow.
        degraded_above: Duration,
        /// Its timeout.
        timeout: Duration,
    },
    /// A background check would be stale before its next run ends.
    #[error(
        "`max_staleness` of check `{check}` is {max_staleness:?}, but with runs every {interval:?} a new result may be {needed:?} \
         away: make it at least as long, best three times `background`"
    )]
    StaleBeforeNextRun {
        /// The check.
        check: String,
        /// Its staleness limit.
        max_staleness: Duration,
        /// The interval of its runs.
        interval: Duration,
        /// The longest that may lie between two results: a tenth more than the interval, and a run.
        needed: Duration,
    },
    /// `max_staleness` was given to a check without background runs.
    #[error(
        "`max_staleness` of check `{check}` has no meaning without `background`: use `cache` for how long a result counts"
    )]
    StalenessWithoutBackground {
        /// The check.
        check: String,
    },
    /// A liveness check asks something outside the process.
    #[error(
        "check `{check}` is in liveness, but asks something outside this process: its outage would restart every instance. Use \
         `in_readiness`, mark it with `local` if it stays inside, or insist with `allow_external_liveness`"
    )]
    ExternalInLiveness {
        /// The check.
        check: String,
    },
    /// A check that start-up is to wait for came after it.
    #[error(
        "check `{check}` is in start-up, but the service has started, so nobody would wait for it: give it to the builder, let the \
         builder `wait_for_start`, or leave `in_startup` out"
    )]
    AlreadyStarted {
        /// The check.
        check: String,
    },
    /// A group names a check that is not registered.
    #[error(
        "group `{group}` names the check `{check}`, which is not registered: register it or correct the name"
    )]
    UnknownMember {
        /// The group.
        group: String,
        /// The name in question, escaped, cut to 64 characters; credentials masked.
        check: String,
    },
    /// Two groups have the same name, or one has the name of a built-in group.
    #[error(
        "group `{group}` exists already (names are compared without case): choose another name than all, liveness, readiness, startup and your own groups"
    )]
    DuplicateGroup {
        /// The group.
        group: String,
    },
    /// A group has no member and would always be up.
    #[error("group `{group}` has no checks and would always be up: name at least one")]
    EmptyGroup {
        /// The group.
        group: String,
    },
}
