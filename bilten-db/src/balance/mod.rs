//! Which of several replicas that are all fit serves the next read: pure functions over a snapshot.

mod least_in_flight;
mod mask;
mod peak_ewma;
mod round_robin;
mod weighted;

pub(crate) use mask::Mask;

/// How reads are shared among the replicas that are in rotation.
///
/// Replicas that are out, too far behind, full, or in another zone than their like are put aside first; this decides
/// among the rest. The choice does no I/O, takes no lock and allocates nothing.
///
/// ```
/// use bilten_db::{Balance, Cluster, Replica};
///
/// let builder = Cluster::builder()
///     .balance(Balance::Weighted)
///     .replica("large", Replica::new("postgres://app@db-2/shop").weight(3))
///     .replica("small", "postgres://app@db-3/shop");
/// # drop(builder);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Balance {
    /// Each in turn, all the same share. The default.
    #[default]
    RoundRobin,
    /// In turn, each as often as its [`weight`](crate::Replica::weight) says: with 3 and 1, three reads of four.
    Weighted,
    /// Where the fewest statements run, measured by weight; in turn among equals.
    LeastInFlight,
    /// Of two drawn by lot, the one that promises the earlier answer: its latency times the statements before it, by
    /// weight.
    ///
    /// The latency is a moving average over some ten seconds that follows a rise at once. A replica that became slow
    /// is left within a few answers, and asked again from time to time. For replicas of different speed or distance.
    PeakEwma,
}

/// What the choice knows about a replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Load {
    /// Statements that run or wait there.
    pub(crate) in_flight: u32,
    /// Its share; at least 1.
    pub(crate) weight: u32,
    /// What an answer takes, in microseconds.
    pub(crate) latency_us: u32,
}

impl Balance {
    /// The index of one of `among`, which must not be empty.
    ///
    /// `turn` grows by one from choice to choice.
    pub(crate) fn choose(self, among: Mask, load: impl Fn(usize) -> Load, turn: u64) -> usize {
        match self {
            Self::RoundRobin => round_robin::choose(among, turn),
            Self::Weighted => weighted::choose(among, load, turn),
            Self::LeastInFlight => least_in_flight::choose(among, load, turn),
            Self::PeakEwma => peak_ewma::choose(among, load, turn),
        }
    }

    /// Which of some replicas of equal weight and latency this balance would take, given the statements that run on each:
    /// to try a balance out, or to measure it. `None` without any; looks at the first 32.
    ///
    /// ```
    /// use bilten_db::Balance;
    ///
    /// assert_eq!(Balance::LeastInFlight.preview(&[4, 1, 7], 0), Some(1));
    /// assert_eq!(Balance::RoundRobin.preview(&[4, 1, 7], 5), Some(2));
    /// ```
    #[must_use]
    pub fn preview(self, in_flight: &[u32], turn: u64) -> Option<usize> {
        let all: Mask = (0..in_flight.len().min(Mask::MOST)).collect();
        let load = |index: usize| Load {
            in_flight: in_flight[index],
            weight: 1,
            latency_us: 1000,
        };
        (!all.is_empty()).then(|| self.choose(all, load, turn))
    }

    /// Whether the weight of a replica means anything.
    pub(crate) fn weighs(self) -> bool {
        self != Self::RoundRobin
    }
}
