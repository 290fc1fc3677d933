//! Bucket bounds: the conventional ones, and every threshold.

use std::time::Duration;

use crate::nanos::{nanos, seconds};

/// Rising bounds without repetition, with every threshold among them: without its own bound nobody can tell
/// how many operations were slower than a threshold.
pub(super) fn bounds(conventional: &[f64], thresholds: &[Duration]) -> Vec<f64> {
    let mut bounds = conventional.to_vec();
    bounds.extend(thresholds.iter().map(|limit| seconds(nanos(*limit))));
    bounds.sort_by(f64::total_cmp);
    bounds.dedup();
    bounds
}

/// What is wrong with bounds that somebody gave.
pub(super) fn fault(bounds: &[f64]) -> Option<&'static str> {
    if bounds.is_empty() {
        return Some("there are none");
    }
    if bounds.iter().any(|bound| !bound.is_finite()) {
        return Some("one is not a finite number");
    }
    let rising = bounds
        .windows(2)
        .all(|pair| matches!(pair, [low, high] if low < high));
    (!rising).then_some("they do not rise")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_threshold_is_a_bound_exactly_once_and_in_its_place() {
        let millis = Duration::from_millis;
        assert_eq!(bounds(&[0.1, 0.5], &[millis(300)]), [0.1, 0.3, 0.5]);
        assert_eq!(bounds(&[0.1, 0.5], &[millis(500), millis(500)]), [0.1, 0.5]);
        assert_eq!(
            bounds(&[0.1], &[millis(2000), millis(1)]),
            [0.001, 0.1, 2.0]
        );
    }

    #[test]
    fn what_took_exactly_as_long_as_a_threshold_is_not_above_it() {
        for took in [1_391_234_714, 15_404_608_423] {
            let bounds = bounds(&[], &[Duration::from_nanos(took)]);
            assert!(seconds(took) <= bounds[0], "{took}");
        }
    }

    #[test]
    fn bounds_that_do_not_rise_are_told() {
        assert_eq!(fault(&[1.0, 2.0]), None);
        assert_eq!(fault(&[]), Some("there are none"));
        assert_eq!(fault(&[1.0, f64::NAN]), Some("one is not a finite number"));
        assert_eq!(fault(&[1.0, 1.0]), Some("they do not rise"));
    }
}
