//! A set of replicas by their index.

/// Some of the replicas of a cluster, at most [`Mask::MOST`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Mask(u32);

impl Mask {
    /// One bit each.
    pub(crate) const MOST: usize = u32::BITS as usize;

    pub(crate) fn insert(&mut self, index: usize) {
        debug_assert!(index < Self::MOST, "a cluster has at most as many replicas");
        self.0 |= 1 << index;
    }

    pub(crate) fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub(crate) fn len(self) -> u64 {
        u64::from(self.0.count_ones())
    }

    /// The index of the `n`th, counted from 0; the highest when there are not so many.
    pub(crate) fn nth(self, n: u64) -> usize {
        let mut left = self.0;
        for _ in 0..n.min(self.len().saturating_sub(1)) {
            left &= left - 1;
        }
        left.trailing_zeros() as usize
    }

    /// Each index, lowest first.
    pub(crate) fn iter(self) -> impl Iterator<Item = usize> {
        let mut left = self.0;
        std::iter::from_fn(move || {
            let index = (left != 0).then(|| left.trailing_zeros() as usize)?;
            left &= left - 1;
            Some(index)
        })
    }
}

impl FromIterator<usize> for Mask {
    fn from_iter<I: IntoIterator<Item = usize>>(indices: I) -> Self {
        let mut mask = Self::default();
        indices.into_iter().for_each(|index| mask.insert(index));
        mask
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_counted_off_from_the_lowest() {
        let mask: Mask = [1, 5, 31].into_iter().collect();
        assert_eq!((mask.len(), mask.is_empty()), (3, false));
        assert_eq!([0, 1, 2, 3].map(|n| mask.nth(n)), [1, 5, 31, 31]);
        assert_eq!(mask.iter().collect::<Vec<_>>(), [1, 5, 31]);
        assert!(Mask::default().is_empty() && Mask::default().iter().next().is_none());
    }
}
