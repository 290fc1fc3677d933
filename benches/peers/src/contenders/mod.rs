//! The caches under test, one file each.

mod bilten;
mod cachet;
mod diy;
mod fred_only;
mod moka_future;
mod moka_sync;
mod multi_tier;
mod quick_cache;
mod shelf;

use futures_util::future::LocalBoxFuture;

use crate::peer::{Failure, Levels, Peer};
use crate::scenarios::{Round, Scenario, Stand, measure_resident};

/// The baseline of everything that stays in this process.
pub(crate) const MEMORY_BASELINE: &str = moka_sync::MokaSync::NAME;
/// The baseline of everything that talks to Redis.
pub(crate) const REDIS_BASELINE: &str = fred_only::FredOnly::NAME;

/// All peers, baselines first, ours last.
pub(crate) fn all() -> Vec<Contender> {
    vec![
        Contender::of::<moka_sync::MokaSync>(),
        Contender::of::<moka_future::MokaFuture>(),
        Contender::of::<quick_cache::QuickCache>(),
        Contender::of::<fred_only::FredOnly>(),
        Contender::of::<diy::Diy>(),
        Contender::of::<multi_tier::MultiTier>(),
        Contender::of::<cachet::Cachet>(),
        Contender::of::<bilten::Bilten>(),
    ]
}

type Prepare = fn(Scenario, Stand) -> LocalBoxFuture<'static, Result<Option<Round>, Failure>>;
type Resident = fn(usize) -> LocalBoxFuture<'static, Result<u64, Failure>>;

/// A peer whose type was forgotten; the work inside a round is still compiled for the type.
pub(crate) struct Contender {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    pub(crate) levels: Levels,
    prepare: Prepare,
    resident: Resident,
}

impl Contender {
    fn of<P: Peer>() -> Self {
        Self {
            name: P::NAME,
            about: P::ABOUT,
            levels: P::LEVELS,
            prepare: |scenario, stand| Box::pin(scenario.prepare::<P>(stand)),
            resident: |entries| Box::pin(measure_resident::<P>(entries)),
        }
    }

    /// By how many bytes this process grows with so many entries; see the scenario `resident`.
    pub(crate) async fn resident(&self, entries: usize) -> Result<u64, Failure> {
        (self.resident)(entries).await
    }

    /// Readies the peer for `scenario`; `None` when it cannot take part.
    pub(crate) async fn prepare(
        &self,
        scenario: Scenario,
        stand: Stand,
    ) -> Result<Option<Round>, Failure> {
        (self.prepare)(scenario, stand).await
    }
}
