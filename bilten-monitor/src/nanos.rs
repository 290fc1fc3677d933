//! Time as a number of nanoseconds.

use std::time::Duration;

/// A duration in nanoseconds; what does not fit is the largest value.
pub(crate) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// Nanoseconds as the seconds that a histogram records.
#[expect(
    clippy::cast_precision_loss,
    reason = "53 bits hold 104 days in nanoseconds"
)]
pub(crate) fn seconds(nanos: u64) -> f64 {
    nanos as f64 / 1e9
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_too_long_is_the_largest_value() {
        assert_eq!(nanos(Duration::MAX), u64::MAX);
        assert!((seconds(2_500_000_000) - 2.5).abs() < f64::EPSILON);
    }
}
