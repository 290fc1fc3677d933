//! From many statuses to one: pure.

use crate::status::Status;

/// Decides the status of a group from its checks.
///
/// The default, [`Worst`], takes the worst status; a check that is not critical counts as `Degraded` at most.
/// Any `Fn(&[Part]) -> Status` is an aggregator too.
///
/// ```
/// use bilten_health::{Health, Status, aggregate::Part};
///
/// // Two of three is enough.
/// let quorum = |parts: &[Part]| {
///     let up = parts.iter().filter(|part| part.status.is_healthy()).count();
///     if up * 2 > parts.len() { Status::Up } else { Status::Down }
/// };
/// assert!(Health::builder().aggregator(quorum).build().is_ok());
/// ```
pub trait Aggregate: Send + Sync + 'static {
    /// The status of a group whose checks are `parts`, in the order of registration.
    fn aggregate(&self, parts: &[Part]) -> Status;
}

/// What an aggregator sees of one check. Example at [`Aggregate`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Part {
    /// The check's status.
    pub status: Status,
    /// Whether the service cannot work without it.
    pub critical: bool,
}

impl Part {
    /// A part with this status.
    #[must_use]
    pub const fn new(status: Status, critical: bool) -> Self {
        Self { status, critical }
    }
}

/// The worst status wins; a check that is not critical cannot make it worse than `Degraded`.
///
/// ```
/// use bilten_health::{Status, aggregate::{Aggregate, Part, Worst}};
///
/// let parts = [Part::new(Status::Up, true), Part::new(Status::Down, false)];
/// assert_eq!(Worst::default().aggregate(&parts), Status::Degraded);
/// ```
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct Worst;

impl Aggregate for Worst {
    fn aggregate(&self, parts: &[Part]) -> Status {
        let weigh = |part: &Part| {
            if part.critical {
                part.status
            } else {
                part.status.min(Status::Degraded)
            }
        };
        parts.iter().map(weigh).max().unwrap_or(Status::Up)
    }
}

impl<F: Fn(&[Part]) -> Status + Send + Sync + 'static> Aggregate for F {
    fn aggregate(&self, parts: &[Part]) -> Status {
        self(parts)
    }
}

#[cfg(test)]
mod tests {
    use super::{Aggregate, Part, Worst};
    use crate::status::Status::{self, Degraded, Down, Unknown, Up};

    #[test]
    fn worst_wins_and_non_critical_only_degrades() {
        let table: [(&[(Status, bool)], Status); 8] = [
            (&[], Up),
            (&[(Up, true), (Up, false)], Up),
            (&[(Up, true), (Down, true)], Down),
            (&[(Up, true), (Down, false)], Degraded),
            (&[(Down, true), (Down, false)], Down),
            (&[(Unknown, true), (Degraded, true)], Unknown),
            (&[(Unknown, false)], Degraded),
            (&[(Degraded, true), (Up, true)], Degraded),
        ];
        for (parts, expected) in table {
            let parts: Vec<_> = parts.iter().map(|&(s, c)| Part::new(s, c)).collect();
            assert_eq!(Worst::default().aggregate(&parts), expected, "{parts:?}");
        }
    }
}
