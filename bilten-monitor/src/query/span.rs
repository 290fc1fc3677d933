use std::fmt;
use std::sync::Arc;

use super::series::QuerySeries;
use crate::outcome::Outcome;
use crate::slots::Place;

/// One operation under way, for code that is neither one future nor one closure.
///
/// Dropping it without [`finish`](Self::finish) counts it as cancelled, or as panicked while unwinding.
///
/// ```
/// use bilten_monitor::{Monitor, Outcome};
///
/// let monitor = Monitor::builder().build()?;
/// let mut span = monitor.query("copy_events").start();
/// span.rows(250);
/// span.finish(Outcome::Success);
/// # Ok::<(), bilten_monitor::Error>(())
/// ```
#[must_use = "a span that is dropped at once counts as a cancelled operation"]
pub struct Span {
    series: Arc<QuerySeries>,
    /// None when another one stands for this one.
    began: Option<(u64, Place)>,
    rows: Option<u64>,
    open: bool,
    /// A drop that runs during an unwinding which was under way before is a cancellation.
    was_unwinding: bool,
}

impl Span {
    pub(crate) fn begin(series: Arc<QuerySeries>) -> Self {
        let began = series.begin();
        Self {
            series,
            began,
            rows: None,
            open: true,
            was_unwinding: std::thread::panicking(),
        }
    }

    /// How many rows came back: recorded when the operation ends, and told in a slow-query alert.
    pub const fn rows(&mut self, rows: u64) {
        self.rows = Some(rows);
    }

    /// Ends the operation.
    pub fn finish(mut self, outcome: Outcome) {
        self.close(outcome);
    }

    fn close(&mut self, outcome: Outcome) {
        self.open = false;
        if let Some(began) = self.began {
            self.series.end(began, outcome, self.rows);
        }
    }
}

impl Drop for Span {
    fn drop(&mut self) {
        if self.open {
            let panicked = std::thread::panicking() && !self.was_unwinding;
            self.close(if panicked {
                Outcome::Panicked
            } else {
                Outcome::Cancelled
            });
        }
    }
}

impl fmt::Debug for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Span")
            .field("query", &self.series.name)
            .finish_non_exhaustive()
    }
}
