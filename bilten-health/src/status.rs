//! What a check, a group or the whole service is.

use serde::{Serialize, Serializer};

/// The state of a check or of a group, ordered from best to worst.
///
/// `Up` and `Degraded` are healthy (HTTP 200), everything else is not (HTTP 503).
///
/// ```
/// use bilten_health::Status;
///
/// assert!(Status::Up < Status::Degraded && Status::Unknown < Status::Down);
/// assert!(Status::Degraded.is_healthy());
/// assert!(!Status::Unknown.is_healthy());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Status {
    /// Works.
    Up,
    /// Works, with less: slower, saturated, or without a non-critical part.
    Degraded,
    /// Not known: never succeeded, not started yet, or the last result is too old.
    Unknown,
    /// Does not work.
    Down,
    /// The process is about to stop and wants no more traffic.
    ShuttingDown,
}

impl Status {
    /// Whether traffic should go here: true for `Up` and `Degraded`.
    #[must_use]
    pub const fn is_healthy(self) -> bool {
        matches!(self, Self::Up | Self::Degraded)
    }

    /// The word used in JSON, plain text and metrics: `up`, `degraded`, `unknown`, `down`, `shutting_down`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Degraded => "degraded",
            Self::Unknown => "unknown",
            Self::Down => "down",
            Self::ShuttingDown => "shutting_down",
        }
    }
}

impl std::fmt::Display for Status {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for Status {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}
