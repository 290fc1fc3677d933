//! In turn, as often as the weights say.

use super::{Load, Mask};

/// 2^64 divided by the golden ratio. Its multiples fall evenly over all numbers, whatever part of them is looked at.
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// Lays the weights side by side and lets each turn point at one of them.
///
/// The points of successive turns are spread evenly (a Weyl sequence), so a replica of weight 3 is not asked three
/// times in a row, and the shares are met over any stretch of turns without a memory of the last choices.
pub(super) fn choose(among: Mask, load: impl Fn(usize) -> Load, turn: u64) -> usize {
    let weight = |index| u64::from(load(index).weight.max(1));
    let sum: u64 = among.iter().map(weight).sum();
    let point = u128::from(turn.wrapping_mul(GOLDEN)) * u128::from(sum);
    let mut point = u64::try_from(point >> 64).unwrap_or(0);
    for index in among.iter() {
        match point.checked_sub(weight(index)) {
            Some(rest) => point = rest,
            None => return index,
        }
    }
    among.nth(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shares(weights: &[u32], from: u64, turns: u64) -> Vec<u64> {
        let mut shares = vec![0; weights.len()];
        let load = |index: usize| Load {
            weight: weights[index],
            ..Load::default()
        };
        for turn in from..from + turns {
            shares[choose((0..weights.len()).collect(), load, turn)] += 1;
        }
        shares
    }

    #[test]
    fn shares_follow_the_weights_over_any_stretch() {
        let table: [&[u32]; 5] = [&[1], &[1, 1], &[3, 1], &[5, 0, 2], &[100, 1]];
        for weights in table {
            let sum: u64 = weights.iter().map(|w| u64::from(*w).max(1)).sum();
            for from in [0, 7, 123_456] {
                let shares = shares(weights, from, 1000);
                for (share, weight) in shares.iter().zip(weights) {
                    let fair = 1000 * u64::from(*weight).max(1) / sum;
                    assert!(share.abs_diff(fair) <= 4, "{weights:?}: {shares:?}");
                }
            }
        }
    }

    #[test]
    fn a_heavy_replica_is_not_asked_in_one_long_row() {
        let load = |index: usize| Load {
            weight: [3, 1][index],
            ..Load::default()
        };
        let both: Mask = [0, 1].into_iter().collect();
        let chosen: Vec<usize> = (0..200).map(|turn| choose(both, load, turn)).collect();
        assert!(chosen.windows(6).all(|six| six.contains(&1)), "{chosen:?}");
    }
}
