//! Alerts: what is raised, and the sinks it goes to.

mod channel;
mod crowd;
mod desk;
mod gate;
mod shelf;
mod trace;
mod tracing_sink;
#[cfg(feature = "webhook")]
mod webhook;

use std::time::{Duration, SystemTime};

pub use channel::{AlertReceiver, ChannelSink};
pub use trace::TraceId;
pub use tracing_sink::TracingSink;
#[cfg(feature = "webhook")]
pub use webhook::{WebhookSink, WebhookSinkBuilder};

pub(crate) use desk::{Desk, Incident, Policy, TraceOf};
pub(crate) use gate::Gate;

use crate::outcome::Outcome;

/// What an alert is about.
///
/// ```
/// use bilten_monitor::alert::AlertKind;
///
/// assert_eq!(AlertKind::SlowQuery.label(), "slow query");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum AlertKind {
    /// A query took longer than its threshold.
    SlowQuery,
    /// A request took longer than its threshold.
    SlowRequest,
    /// A query or a request is over its threshold and has not ended; another alert follows when it has.
    StillRunning,
    /// One request ran the same query again and again, one after the other.
    NPlusOne,
    /// A label has more values than the monitor keeps; further ones are counted under `other`.
    TooManyLabels,
    /// So many requests fail that the error budget is used up far too fast.
    BudgetBurns,
    /// More subjects had something to tell than one window has room for: the fact `subjects` names those that were
    /// held back.
    TooManyAlerts,
}

impl AlertKind {
    /// The kind in words.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::SlowQuery => "slow query",
            Self::SlowRequest => "slow request",
            Self::StillRunning => "still running",
            Self::NPlusOne => "repeated query",
            Self::TooManyLabels => "too many labels",
            Self::BudgetBurns => "budget burns",
            Self::TooManyAlerts => "too many alerts",
        }
    }

    /// Whether it tells when its cause is gone.
    const fn ends(self) -> bool {
        matches!(
            self,
            Self::SlowQuery | Self::SlowRequest | Self::NPlusOne | Self::BudgetBurns
        )
    }

    pub(crate) const ALL: [Self; 7] = [
        Self::SlowQuery,
        Self::SlowRequest,
        Self::StillRunning,
        Self::NPlusOne,
        Self::TooManyLabels,
        Self::BudgetBurns,
        Self::TooManyAlerts,
    ];
}

/// One alert, as a sink gets it.
///
/// ```
/// use bilten_monitor::alert::{Alert, AlertSink, Refused};
///
/// #[derive(Debug)]
/// struct Pager;
/// impl AlertSink for Pager {
///     fn deliver(&self, alert: &Alert) -> Result<(), Refused> {
///         let text = format!("{} {}: {:?}", alert.kind.label(), alert.subject, alert.duration);
///         if text.is_empty() { Err("nothing to say".into()) } else { Ok(()) }
///     }
/// }
/// let monitor = bilten_monitor::Monitor::builder().alert_sink(Pager).build()?;
/// # Ok::<(), bilten_monitor::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Alert {
    /// What it is about.
    pub kind: AlertKind,
    /// The query's name, the request's route or the label's name.
    pub subject: String,
    /// How long this one took; zero where no time is meant.
    pub duration: Duration,
    /// The threshold it was over.
    pub threshold: Duration,
    /// The longest since the last alert of this kind and subject, this one included.
    pub worst: Duration,
    /// How it ended; `Success` where nothing has ended, as for one that is still running.
    pub outcome: Outcome,
    /// How many alerts of this kind and subject were held back since the last one.
    pub suppressed: u64,
    /// A notice that nothing of this kind and subject happened for a whole window, and no alert. Off by default:
    /// [`recovery_notices`](crate::MonitorBuilder::recovery_notices).
    pub recovered: bool,
    /// The trace it belongs to, where one is known.
    pub trace_id: Option<TraceId>,
    /// When it was raised.
    pub at: SystemTime,
    /// Facts that are no labels: the method, the status, `userId` and whatever the request's context holds.
    pub facts: Vec<(&'static str, String)>,
}

/// A name and a value that go into an alert and never into a label.
pub(crate) type Fact = (&'static str, String);

/// Why a sink did not take an alert.
pub type Refused = Box<dyn std::error::Error + Send + Sync>;

/// Where alerts go.
///
/// Each sink has its own bounded queue and its own thread, so it may block: what is measured never waits for
/// it, and neither does another sink. An error or a panic is counted as a sink failure and logged.
pub trait AlertSink: Send + Sync + 'static {
    /// Delivers one alert. Runs on the sink's own thread.
    ///
    /// # Errors
    ///
    /// Says why the alert was not delivered; it is counted and not tried again by the monitor.
    fn deliver(&self, alert: &Alert) -> Result<(), Refused>;
}
