//! Numbers as the page gets them: short, and never NaN, which JSON does not have.

use std::time::Duration;

/// Four digits are more than a screen shows.
pub(super) fn short(value: f64) -> f32 {
    if !value.is_finite() || value == 0.0 {
        return 0.0;
    }
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the magnitude of a finite number is small, and a page's number fits"
    )]
    {
        let scale = 10f64.powi(3 - value.abs().log10().floor() as i32);
        ((value * scale).round() / scale) as f32
    }
}

/// Milliseconds.
pub(super) fn millis(time: Duration) -> f32 {
    short(time.as_secs_f64() * 1000.0)
}

/// Events a second.
#[expect(
    clippy::cast_precision_loss,
    reason = "events of one second are far below 2^53"
)]
pub(super) fn rate(events: u64, seconds: f64) -> f32 {
    if seconds > 0.0 {
        short(events as f64 / seconds)
    } else {
        0.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn four_digits_stay() {
        for (value, expected) in [
            (12.345_67, 12.35),
            (0.000_123_456, 0.000_123_5),
            (123_456.0, 123_500.0),
            (0.0, 0.0),
            (f64::NAN, 0.0),
            (f64::INFINITY, 0.0),
        ] {
            assert_eq!(short(value), expected, "{value}");
        }
        assert_eq!(millis(Duration::from_micros(1500)), 1.5);
        assert_eq!((rate(3, 2.0), rate(3, 0.0)), (1.5, 0.0));
    }
}
