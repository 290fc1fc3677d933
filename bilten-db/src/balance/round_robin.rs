//! Each in turn.

use super::Mask;

/// Counts off only those that are fit, so the neighbour of a dead replica gets no double share.
pub(super) fn choose(among: Mask, turn: u64) -> usize {
    among.nth(turn % among.len().max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_member_gets_the_same_share_whoever_is_missing() {
        for members in [&[0][..], &[0, 1], &[1, 2], &[0, 3, 31]] {
            let mask: Mask = members.iter().copied().collect();
            let mut shares = [0; Mask::MOST];
            (0..60).for_each(|turn| shares[choose(mask, turn)] += 1);
            for member in members {
                assert_eq!(shares[*member], 60 / members.len(), "{members:?}");
            }
        }
        assert_eq!(choose([0, 1].into_iter().collect(), u64::MAX), 1);
    }
}
