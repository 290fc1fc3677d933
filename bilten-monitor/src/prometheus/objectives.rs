use std::time::Duration;

use crate::error::Error;

/// No request is waited for longer: an objective beyond it would always be met.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// What the service promises, for the rules that watch its error budget.
///
/// ```
/// use std::time::Duration;
/// use bilten_monitor::{Naming, prometheus::{self, Objectives}};
///
/// let objectives = Objectives::default().success(0.995).latency(Duration::from_millis(250), 0.95);
/// let rules = prometheus::rules(Naming::OpenTelemetry, objectives)?;
/// assert!(rules.contains("alert: RequestLatencyBudgetBurnsFast"));
/// # Ok::<(), bilten_monitor::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
#[must_use = "objectives do nothing until rules are made of them"]
pub struct Objectives {
    pub(super) success: f64,
    pub(super) latency: Option<(Duration, f64)>,
}

impl Default for Objectives {
    fn default() -> Self {
        Self {
            success: 0.999,
            latency: None,
        }
    }
}

impl From<f64> for Objectives {
    /// The share of requests and queries that succeed.
    fn from(success: f64) -> Self {
        Self::default().success(success)
    }
}

impl Objectives {
    /// The share of requests and queries that succeed. Defaults to 0.999.
    pub const fn success(mut self, share: f64) -> Self {
        self.success = share;
        self
    }

    /// The share of requests that end within `limit`, at most a day. Not watched by default.
    ///
    /// The exporter needs `limit` as a bucket bound: [`Options::threshold`](super::Options::threshold).
    pub const fn latency(mut self, limit: Duration, share: f64) -> Self {
        self.latency = Some((limit, share));
        self
    }

    pub(super) fn check(&self) -> Result<(), Error> {
        let shares = [Some(self.success), self.latency.map(|(_, share)| share)];
        for share in shares.into_iter().flatten() {
            if !(share > 0.0 && share < 1.0) {
                return Err(Error::Objective { success: share });
            }
        }
        if self.latency.is_some_and(|(limit, _)| limit > LONGEST) {
            return Err(Error::TooLong {
                field: "latency",
                most: LONGEST,
            });
        }
        if self.latency.is_some_and(|(limit, _)| limit.is_zero()) {
            return Err(Error::Zero {
                field: "latency",
                remedy: "give a positive duration, or leave the objective out",
            });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_objective_that_is_no_share_is_refused() {
        for bad in [0.0, 1.0, 99.9, -0.5, f64::NAN] {
            let refused = |objectives: Objectives| objectives.check().is_err();
            assert!(refused(bad.into()), "{bad}");
            assert!(refused(
                Objectives::default().latency(Duration::from_millis(9), bad)
            ));
        }
        let endless = Objectives::default().latency(Duration::MAX, 0.9).check();
        assert_eq!(
            endless.expect_err("refused").to_string(),
            "latency is longer than 86400s: give a shorter time, or leave the setter out"
        );
        let zero = Objectives::default().latency(Duration::ZERO, 0.9).check();
        assert!(matches!(
            zero,
            Err(Error::Zero {
                field: "latency",
                ..
            })
        ));
    }
}
