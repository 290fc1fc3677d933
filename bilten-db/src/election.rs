//! Decides who is the primary from what the nodes say about themselves.

/// What a node said in its last probe.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Claim {
    /// It answered, belongs to this cluster, and takes writes.
    pub(crate) writable: bool,
    /// On which it takes writes, or took them when it was last seen; 0 for a standby. Grows by one with each promotion.
    pub(crate) timeline: u32,
}

/// The node that should be the primary, given the present one.
///
/// Among writable nodes the highest timeline wins: it was promoted last. On a tie, which is a split brain, the present
/// primary stays, so that writes do not flap between two histories. Without a writable node nothing changes.
///
/// When a node that is away wrote a newer history than all that are there, it is the primary all the same: what they take
/// now would be lost when it comes back.
pub(crate) fn elect(present: usize, claims: &[Claim]) -> usize {
    if !claims.iter().any(|claim| claim.writable) {
        return present;
    }
    let newest = |away: bool| {
        let there = claims.iter().filter(|claim| away || claim.writable);
        there.map(|claim| claim.timeline).max().unwrap_or(0)
    };
    let (highest, known) = (newest(false), newest(true));
    let mut highest = claims
        .iter()
        .enumerate()
        .filter(|(_, claim)| claim.timeline == known && (claim.writable || known > highest))
        .map(|(index, _)| index);
    match highest.next() {
        Some(first) if first == present || !highest.any(|other| other == present) => first,
        _ => present,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn writes(timeline: u32) -> Claim {
        Claim {
            writable: true,
            timeline,
        }
    }

    const READS: Claim = Claim {
        writable: false,
        timeline: 0,
    };

    const fn away(timeline: u32) -> Claim {
        Claim {
            writable: false,
            timeline,
        }
    }

    #[test]
    fn the_last_promoted_node_is_the_primary() {
        let table: [(usize, &[Claim], usize); 14] = [
            (0, &[writes(1), READS, READS], 0),
            (0, &[READS, READS], 0),
            (0, &[READS, writes(2), READS], 1),
            (0, &[writes(1), writes(2)], 1),
            (1, &[writes(1), writes(2)], 1),
            (1, &[writes(2), writes(2)], 1),
            (0, &[writes(2), writes(2)], 0),
            (2, &[writes(2), writes(2), READS], 0),
            (0, &[away(2), writes(1)], 0),
            (0, &[writes(1), away(2)], 1),
            (0, &[away(2), writes(2)], 1),
            (0, &[away(1), writes(2)], 1),
            (0, &[away(0), writes(0)], 1),
            (0, &[away(2), READS], 0),
        ];
        for (present, claims, elected) in table {
            assert_eq!(elect(present, claims), elected, "{present} {claims:?}");
        }
    }
}
