//! Where the fewest statements run.

use super::{Load, Mask, round_robin};

/// The fewest for each unit of weight, the new one counted; in turn among equals.
pub(super) fn choose(among: Mask, load: impl Fn(usize) -> Load, turn: u64) -> usize {
    let mut fewest = Mask::default();
    let mut best = (u64::MAX, 1);
    for index in among.iter() {
        let load = load(index);
        let (running, weight) = (u64::from(load.in_flight) + 1, u64::from(load.weight.max(1)));
        // running / weight, compared without a division.
        let (mine, theirs) = (
            u128::from(running) * u128::from(best.1),
            u128::from(best.0) * u128::from(weight),
        );
        if mine < theirs {
            best = (running, weight);
            fewest = Mask::default();
        }
        if mine <= theirs {
            fewest.insert(index);
        }
    }
    round_robin::choose(fewest, turn)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_idlest_is_chosen_by_weight_and_equals_in_turn() {
        // (in flight, weight) of each, and who is chosen in turns 0 and 1
        type Row = (&'static [(u32, u32)], [usize; 2]);
        let table: [Row; 6] = [
            (&[(0, 1)], [0, 0]),
            (&[(5, 1), (4, 1)], [1, 1]),
            (&[(4, 1), (4, 1)], [0, 1]),
            (&[(5, 3), (3, 1)], [0, 0]),
            (&[(5, 3), (1, 1), (0, 1)], [2, 2]),
            (&[(u32::MAX, u32::MAX), (1, 1)], [0, 0]),
        ];
        for (nodes, expected) in table {
            let load = |index: usize| Load {
                in_flight: nodes[index].0,
                weight: nodes[index].1,
                latency_us: 0,
            };
            let all: Mask = (0..nodes.len()).collect();
            assert_eq!(
                [0, 1].map(|turn| choose(all, load, turn)),
                expected,
                "{nodes:?}"
            );
        }
    }
}
