//! Where the time comes from.

use std::fmt;
use std::time::Duration;

use crate::counter::System;
use crate::nanos::nanos;

/// A monotonic clock. The default is the operating system's, or the counter that it reads itself; tests and simulated time bring their own.
///
/// ```
/// use std::time::Duration;
/// use bilten_monitor::{Clock, Monitor};
///
/// struct Stopped;
/// impl Clock for Stopped {
///     fn now(&self) -> Duration {
///         Duration::from_secs(5)
///     }
/// }
/// let monitor = Monitor::builder().clock(Stopped).build()?;
/// # Ok::<(), bilten_monitor::Error>(())
/// ```
pub trait Clock: Send + Sync + 'static {
    /// The time since a fixed point in the past; never goes back, and never panics: it is asked in the middle of what is
    /// measured.
    fn now(&self) -> Duration;
}

/// The clock a monitor reads. The system's own is not behind a pointer: it is read twice per query.
pub(crate) enum Time {
    System(System),
    Custom(Box<dyn Clock>),
}

impl Time {
    pub(crate) fn system() -> Self {
        Self::System(System::new())
    }

    /// Nanoseconds since a fixed point; 584 years fit.
    pub(crate) fn now(&self) -> u64 {
        match self {
            Self::System(system) => system.now(),
            Self::Custom(clock) => nanos(clock.now()),
        }
    }
}

impl fmt::Debug for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::System(_) => "System",
            Self::Custom(_) => "Custom",
        })
    }
}
