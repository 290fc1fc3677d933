//! How fast an error budget may burn.

/// One tier of the error budget: how fast it burns, over which windows, and how urgent that is.
pub(super) struct Tier {
    pub(super) name: &'static str,
    pub(super) factor: f64,
    pub(super) long: &'static str,
    pub(super) short: &'static str,
    pub(super) severity: &'static str,
}

/// Multi-window, multi-burn-rate tiers: <https://sre.google/workbook/alerting-on-slos/>, chapter 5, table 5-8.
pub(super) const TIERS: [Tier; 3] = [
    Tier {
        name: "Fast",
        factor: 14.4,
        long: "1h",
        short: "5m",
        severity: "page",
    },
    Tier {
        name: "Medium",
        factor: 6.0,
        long: "6h",
        short: "30m",
        severity: "page",
    },
    Tier {
        name: "Slow",
        factor: 1.0,
        long: "3d",
        short: "6h",
        severity: "ticket",
    },
];

impl Tier {
    /// The share of failures above which it fires, as text; nothing when no share is that high.
    pub(super) fn limit(&self, success: f64) -> Option<String> {
        let limit = self.factor * (1.0 - success);
        // Rounded: the difference of two decimals has digits that nobody wrote.
        let text = format!("{limit:.9}");
        (limit < 1.0).then(|| text.trim_end_matches('0').trim_end_matches('.').to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_the_factor_times_the_budget_and_never_above_all() {
        let [fast, medium, slow] = &TIERS;
        assert_eq!(fast.limit(0.999).as_deref(), Some("0.0144"));
        assert_eq!(slow.limit(0.99).as_deref(), Some("0.01"));
        assert_eq!(fast.limit(0.9), None, "144 of 100 cannot fail");
        assert_eq!(medium.limit(0.9).as_deref(), Some("0.6"));
    }
}
