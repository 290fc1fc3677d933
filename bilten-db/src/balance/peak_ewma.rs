//! The better of two drawn by lot, by latency and load.
//!
//! Two choices keep the herd off a replica that looks best to everybody at once, at a fraction of the cost of comparing
//! all (M. Mitzenmacher, "The Power of Two Choices in Randomized Load Balancing", 2001).

use super::{Load, Mask};

/// Draws two by `turn` and takes the one whose queue promises the earlier answer.
pub(super) fn choose(among: Mask, load: impl Fn(usize) -> Load, turn: u64) -> usize {
    let dice = mixed(turn);
    let first = dice % among.len().max(1);
    // One of the others, each with the same chance.
    let second = (first + 1 + (dice >> 32) % (among.len().max(2) - 1)) % among.len().max(1);
    let (first, second) = (among.nth(first), among.nth(second));
    if wait(load(second)) < wait(load(first)) {
        second
    } else {
        first
    }
}

/// The wait that a new statement can expect, in microseconds for each unit of weight.
///
/// One microsecond is added, so that the queue counts even where the latency has decayed to nothing.
fn wait(load: Load) -> u64 {
    let queue = u64::from(load.latency_us) + 1;
    queue.saturating_mul(u64::from(load.in_flight) + 1) / u64::from(load.weight.max(1))
}

/// The finalizer of SplitMix64 (G. Steele et al., 2014): neighbouring turns draw unrelated lots.
fn mixed(turn: u64) -> u64 {
    let mut z = turn.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(in_flight: u32, weight: u32, latency_us: u32) -> Load {
        Load {
            in_flight,
            weight,
            latency_us,
        }
    }

    #[test]
    fn the_earlier_answer_wins() {
        // Of two both are always drawn, so the order decides alone.
        let table = [
            (load(0, 1, 500), load(0, 1, 900), 0),
            (load(0, 1, 900), load(0, 1, 500), 1),
            (load(3, 1, 300), load(0, 1, 900), 1),
            (load(1, 2, 900), load(0, 1, 950), 0),
            (load(1, 1, 0), load(0, 1, 0), 1),
        ];
        let both: Mask = [0, 1].into_iter().collect();
        for (first, second, winner) in table {
            for turn in 0..20 {
                let chosen = choose(both, |index| [first, second][index], turn);
                assert_eq!(chosen, winner, "{first:?} {second:?} turn {turn}");
            }
        }
    }

    #[test]
    fn every_pair_is_drawn_and_the_slowest_never_wins() {
        let members: Mask = [2, 4, 6, 8].into_iter().collect();
        let mut chosen = [0_u32; Mask::MOST];
        for turn in 0..4000 {
            let slow = |index| load(0, 1, u32::from(index == 8) * 1000);
            chosen[choose(members, slow, turn)] += 1;
        }
        assert_eq!(chosen[8], 0);
        for member in [2, 4, 6] {
            assert!(chosen[member] > 1000, "{chosen:?}");
        }
    }

    #[test]
    fn one_alone_is_chosen() {
        let alone: Mask = [3].into_iter().collect();
        assert!((0..50).all(|turn| choose(alone, |_| load(9, 1, 9), turn) == 3));
    }
}
