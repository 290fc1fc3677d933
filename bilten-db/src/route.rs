//! Picks the replica that serves a read: a pure function over a snapshot of what is known about each.

use std::time::Instant;

use crate::balance::{Balance, Load, Mask};

/// What the choice needs to know about a replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct View {
    /// In rotation, and not tried before by this call.
    pub(crate) eligible: bool,
    /// Has a connection to spare, or may open one.
    pub(crate) free: bool,
    /// In the zone of this process, or zones do not matter.
    pub(crate) near: bool,
    /// Lost a hedge not long ago.
    pub(crate) slow: bool,
    pub(crate) load: Load,
}

/// All replicas at one moment. Looking at them twice could find nobody in between two states.
#[derive(Debug, Default)]
pub(crate) struct Views {
    views: [View; Mask::MOST],
    len: usize,
}

impl Views {
    fn mask(&self, fits: impl Fn(&View) -> bool) -> Mask {
        let views = self.views[..self.len].iter().enumerate();
        views
            .filter(|(_, view)| fits(view))
            .map(|(index, _)| index)
            .collect()
    }
}

impl FromIterator<View> for Views {
    fn from_iter<I: IntoIterator<Item = View>>(views: I) -> Self {
        let mut all = Self::default();
        for (slot, view) in all.views.iter_mut().zip(views) {
            *slot = view;
            all.len += 1;
        }
        all
    }
}

/// The index of the replica that serves the next read.
///
/// One of the own zone with a connection to spare, else one elsewhere, and one that lost a hedge only after all of these.
/// A full replica is passed over while another has a connection to spare. When all are full, the call waits where the fewest are before it, in whatever zone.
pub(crate) fn pick(balance: Balance, views: &Views, turn: u64) -> Option<usize> {
    let load = |index: usize| views.views[index].load;
    let free = |near, slow| {
        views.mask(|view| view.eligible && view.free && view.near == near && view.slow == slow)
    };
    let full = || views.mask(|view| view.eligible);
    let choose = |balance: Balance, among: Mask| {
        (!among.is_empty()).then(|| balance.choose(among, load, turn))
    };
    choose(balance, free(true, false))
        .or_else(|| choose(balance, free(false, false)))
        .or_else(|| choose(balance, free(true, true)))
        .or_else(|| choose(balance, free(false, true)))
        .or_else(|| choose(Balance::LeastInFlight, full()))
}

/// As [`pick`] where all lag more than allowed: one that lags least, whatever its zone.
///
/// `as_of` tells until when a replica has everything, and is asked once of each; one of which nobody knows comes last. A full replica
/// is passed over all the same.
pub(crate) fn pick_stale(
    balance: Balance,
    views: &Views,
    as_of: impl Fn(usize) -> Option<Instant>,
    turn: u64,
) -> Option<usize> {
    let free = views.mask(|view| view.eligible && view.free);
    let mut seen = [None; Mask::MOST];
    free.iter().for_each(|index| seen[index] = as_of(index));
    let Some(newest) = free.iter().map(|index| seen[index]).max() else {
        return pick(balance, views, turn);
    };
    let least = free.iter().filter(|index| seen[*index] == newest).collect();
    Some(balance.choose(least, |index| views.views[index].load, turn))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const FREE: View = view(true, true, true, 3);
    const FULL: View = view(true, false, true, 4);
    const FULLER: View = view(true, false, true, 9);
    const OUT: View = view(false, true, true, 0);
    const FAR: View = view(true, true, false, 0);
    const SLOW: View = View { slow: true, ..FREE };
    const FAR_FULL: View = view(true, false, false, 2);

    const fn view(eligible: bool, free: bool, near: bool, in_flight: u32) -> View {
        View {
            eligible,
            free,
            near,
            slow: false,
            load: Load {
                in_flight,
                weight: 1,
                latency_us: 0,
            },
        }
    }

    fn shares(balance: Balance, views: &[View], turns: u64) -> Vec<usize> {
        let mut shares = vec![0; views.len()];
        let views: Views = views.iter().copied().collect();
        for turn in 0..turns {
            if let Some(index) = pick(balance, &views, turn) {
                shares[index] += 1;
            }
        }
        shares
    }

    #[test]
    fn turns_are_dealt_evenly_whoever_is_out() {
        let table: [(&[View], &[usize]); 15] = [
            (&[], &[]),
            (&[OUT], &[0]),
            (&[FREE], &[60]),
            (&[FREE, FREE], &[30, 30]),
            (&[OUT, FREE, FREE], &[0, 30, 30]),
            (&[FREE, FULL, FREE], &[30, 0, 30]),
            (&[FULL, OUT, FULL], &[30, 0, 30]),
            (&[FULLER, FULL, FULLER], &[0, 60, 0]),
            (&[FREE, FAR, FREE], &[30, 0, 30]),
            (&[FULL, FAR, FAR], &[0, 30, 30]),
            (&[OUT, FAR, FAR_FULL], &[0, 60, 0]),
            (&[FULL, FAR_FULL], &[0, 60]),
            (&[SLOW, FREE, FREE], &[0, 30, 30]),
            (&[SLOW, FULL, FAR], &[0, 0, 60]),
            (&[SLOW, FULL, SLOW], &[30, 0, 30]),
        ];
        for (views, expected) in table {
            assert_eq!(
                shares(Balance::RoundRobin, views, 60),
                expected,
                "{views:?}"
            );
        }
    }

    type Row<'a> = (&'a [View], &'a [Option<Instant>], &'a [usize]);

    #[test]
    fn of_those_that_lag_the_one_that_lags_least_serves() {
        let now = Instant::now();
        let ago = |seconds| Some(now - Duration::from_secs(seconds));
        let table: [Row<'_>; 8] = [
            (&[], &[], &[]),
            (&[FREE, FREE], &[ago(9), ago(3)], &[0, 60]),
            (&[FREE, FAR], &[ago(9), ago(3)], &[0, 60]),
            (&[FREE, FREE, FREE], &[ago(3), ago(9), ago(3)], &[30, 0, 30]),
            (&[FREE, OUT], &[ago(9), ago(3)], &[60, 0]),
            (&[FREE, FREE], &[None, ago(900)], &[0, 60]),
            (&[FREE, FULL], &[ago(9), ago(3)], &[60, 0]),
            (&[FULL, FULLER], &[ago(9), ago(3)], &[60, 0]),
        ];
        for (views, as_of, expected) in table {
            let mut shares = vec![0; views.len()];
            let all: Views = views.iter().copied().collect();
            for turn in 0..60 {
                let chosen = pick_stale(Balance::RoundRobin, &all, |index| as_of[index], turn);
                if let Some(index) = chosen {
                    shares[index] += 1;
                }
            }
            assert_eq!(shares, expected, "{views:?} {as_of:?}");
        }
    }

    #[test]
    fn every_balance_keeps_to_those_that_are_fit() {
        let fit = [
            Balance::RoundRobin,
            Balance::Weighted,
            Balance::LeastInFlight,
            Balance::PeakEwma,
        ];
        for balance in fit {
            let shares = shares(balance, &[OUT, FREE, FULL, FAR, FREE], 400);
            assert_eq!((shares[0], shares[2], shares[3]), (0, 0, 0), "{balance:?}");
            assert!(
                shares[1] >= 150 && shares[4] >= 150,
                "{balance:?} {shares:?}"
            );
        }
    }

    #[test]
    fn as_many_replicas_as_there_may_be() {
        let views: Views = std::iter::repeat_n(FREE, Mask::MOST + 5).collect();
        assert_eq!(views.len, Mask::MOST);
        assert_eq!(pick(Balance::RoundRobin, &views, 31), Some(31));
    }
}
