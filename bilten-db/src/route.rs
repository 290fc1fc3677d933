//! Picks the replica that serves a read: a pure function over what is known about each.

/// What the choice needs to know about a replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct View {
    /// In rotation, and not tried before by this call.
    pub(crate) eligible: bool,
    /// Has a connection to spare, or may open one.
    pub(crate) free: bool,
    /// Statements that run or wait there.
    pub(crate) in_flight: u32,
}

/// The index of the replica whose turn it is.
///
/// Eligible replicas are filtered first and counted off by `turn`, so the neighbour of a dead replica gets no double
/// share. A full replica is passed over while another has a connection to spare; when all are full, the call waits
/// where the fewest are before it. The views are of one moment: looked at anew between the steps, a busy replica
/// would match none of them.
pub(crate) fn pick(views: &[View], turn: usize) -> Option<usize> {
    let free = |view: &View| view.eligible && view.free;
    nth(views, turn, free).or_else(|| {
        let fewest = views
            .iter()
            .filter(|view| view.eligible)
            .map(|view| view.in_flight)
            .min()?;
        nth(views, turn, |view| {
            view.eligible && view.in_flight == fewest
        })
    })
}

fn nth(views: &[View], turn: usize, fits: impl Fn(&View) -> bool) -> Option<usize> {
    let fitting = views.iter().filter(|view| fits(view)).count();
    let turn = turn.checked_rem(fitting)?;
    let mut fitting = views.iter().enumerate().filter(|(_, view)| fits(view));
    fitting.nth(turn).map(|(index, _)| index)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FREE: View = view(true, true, 3);
    const FULL: View = view(true, false, 4);
    const FULLER: View = view(true, false, 9);
    const OUT: View = view(false, true, 0);

    const fn view(eligible: bool, free: bool, in_flight: u32) -> View {
        View {
            eligible,
            free,
            in_flight,
        }
    }

    fn shares(views: &[View], turns: usize) -> Vec<usize> {
        let mut shares = vec![0; views.len()];
        for turn in 0..turns {
            if let Some(index) = pick(views, turn) {
                shares[index] += 1;
            }
        }
        shares
    }

    #[test]
    fn turns_are_dealt_evenly_whoever_is_out() {
        let table: [(&[View], &[usize]); 8] = [
            (&[], &[]),
            (&[OUT], &[0]),
            (&[FREE], &[60]),
            (&[FREE, FREE], &[30, 30]),
            (&[OUT, FREE, FREE], &[0, 30, 30]),
            (&[FREE, FULL, FREE], &[30, 0, 30]),
            (&[FULL, OUT, FULL], &[30, 0, 30]),
            (&[FULLER, FULL, FULLER], &[0, 60, 0]),
        ];
        for (views, expected) in table {
            assert_eq!(shares(views, 60), expected, "{views:?}");
        }
    }

    #[test]
    fn any_start_is_fine() {
        assert_eq!(pick(&[FREE, FREE], usize::MAX), Some(1));
    }
}
