//! The work that every peer is given, one file per scenario.

mod hit_ratio;
mod l1_hit;
mod l2_hit;
mod leader;
mod many;
mod miss;
mod pattern;
mod race;
mod resident;
mod stampede;

pub(crate) use leader::PANIC;
pub(crate) use resident::measure as measure_resident;

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::LocalBoxFuture;
use futures_util::{StreamExt, TryStreamExt};

use crate::peer::{Failure, Peer, Setup};
use crate::server::Server;
use crate::workload::Item;

/// One round of a readied peer.
pub(crate) type Round = Box<dyn FnMut() -> LocalBoxFuture<'static, Result<Sample, Failure>>>;

/// The figures of one round, in the order of the scenario's columns.
#[derive(Debug)]
pub(crate) struct Sample {
    pub(crate) figures: Vec<f64>,
    /// Shown below the table: what the figures do not say.
    pub(crate) remark: Option<String>,
}

impl Sample {
    fn of(figures: impl Into<Vec<f64>>) -> Self {
        Self {
            figures: figures.into(),
            remark: None,
        }
    }
}

/// How much work a run does.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    pub(crate) rounds: usize,
    pub(crate) l1_keys: usize,
    pub(crate) l1_reads: usize,
    pub(crate) ratio_reads: usize,
    pub(crate) resident_keys: usize,
    pub(crate) l2_reads: usize,
    pub(crate) misses: usize,
    pub(crate) race_keys: usize,
    pub(crate) pattern_keys: usize,
}

impl Plan {
    pub(crate) fn full() -> Self {
        Self {
            rounds: 7,
            l1_keys: 100_000,
            l1_reads: 1_000_000,
            ratio_reads: 400_000,
            resident_keys: 200_000,
            l2_reads: 4_000,
            misses: 2_000,
            race_keys: 200,
            pattern_keys: 100_000,
        }
    }

    pub(crate) fn quick() -> Self {
        Self {
            rounds: 3,
            l1_keys: 20_000,
            l1_reads: 100_000,
            ratio_reads: 100_000,
            resident_keys: 50_000,
            l2_reads: 1_000,
            misses: 500,
            race_keys: 200,
            pattern_keys: 5_000,
        }
    }
}

/// What a peer needs to take part: the server, its database there and the plan.
#[derive(Clone)]
pub(crate) struct Stand {
    pub(crate) server: Arc<Server>,
    pub(crate) redis_url: String,
    pub(crate) plan: Plan,
}

impl Stand {
    fn setup(&self, capacity: usize) -> Setup {
        Setup {
            redis_url: self.redis_url.clone(),
            capacity,
            patterns: false,
            alone: false,
        }
    }
}

/// A column of a table.
#[derive(Debug)]
pub(crate) struct Column {
    pub(crate) title: &'static str,
    pub(crate) decimals: usize,
    /// Whether a ratio to the baseline says something.
    pub(crate) compared: bool,
}

const fn timed(title: &'static str, decimals: usize) -> Column {
    Column {
        title,
        decimals,
        compared: true,
    }
}

const fn compared(title: &'static str, decimals: usize) -> Column {
    timed(title, decimals)
}

const fn counted(title: &'static str, decimals: usize) -> Column {
    Column {
        title,
        decimals,
        compared: false,
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scenario {
    L1Hit,
    HitRatio,
    Resident,
    L2Hit,
    Many,
    Miss,
    Stampede,
    LeaderCancelled,
    LoaderPanics,
    InvalidationRace,
    Pattern,
}

impl Scenario {
    pub(crate) const ALL: [Self; 11] = [
        Self::L1Hit,
        Self::HitRatio,
        Self::Resident,
        Self::L2Hit,
        Self::Many,
        Self::Miss,
        Self::Stampede,
        Self::LeaderCancelled,
        Self::LoaderPanics,
        Self::InvalidationRace,
        Self::Pattern,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::L1Hit => "l1-hit",
            Self::HitRatio => "hit-ratio",
            Self::Resident => "resident",
            Self::L2Hit => "l2-hit",
            Self::Many => "many",
            Self::Miss => "miss",
            Self::Stampede => "stampede",
            Self::LeaderCancelled => "leader-cancelled",
            Self::LoaderPanics => "loader-panics",
            Self::InvalidationRace => "invalidation-race",
            Self::Pattern => "pattern",
        }
    }

    /// What is done, in one sentence with its sizes.
    pub(crate) fn about(self, plan: &Plan) -> String {
        match self {
            Self::L1Hit => l1_hit::about(plan),
            Self::HitRatio => hit_ratio::about(plan),
            Self::Resident => resident::about(plan),
            Self::L2Hit => l2_hit::about(plan),
            Self::Many => many::about(plan),
            Self::Miss => miss::about(plan),
            Self::Stampede => stampede::ABOUT.to_owned(),
            Self::LeaderCancelled => leader::ABOUT_CANCELLED.to_owned(),
            Self::LoaderPanics => leader::ABOUT_PANIC.to_owned(),
            Self::InvalidationRace => race::about(plan),
            Self::Pattern => pattern::about(plan),
        }
    }

    pub(crate) fn columns(self) -> &'static [Column] {
        match self {
            Self::L1Hit => l1_hit::COLUMNS,
            Self::HitRatio => hit_ratio::COLUMNS,
            Self::Resident => resident::COLUMNS,
            Self::L2Hit => l2_hit::COLUMNS,
            Self::Many => many::COLUMNS,
            Self::Miss => miss::COLUMNS,
            Self::Stampede => stampede::COLUMNS,
            Self::LeaderCancelled | Self::LoaderPanics => leader::COLUMNS,
            Self::InvalidationRace => race::COLUMNS,
            Self::Pattern => pattern::COLUMNS,
        }
    }

    /// Whether ratios are to the Redis baseline; otherwise they are to the memory baseline.
    pub(crate) fn is_about_redis(self) -> bool {
        matches!(self, Self::L2Hit | Self::Many | Self::Miss | Self::Pattern)
    }

    /// Rounds of the plan: what is counted and not timed needs one.
    pub(crate) fn rounds(self, plan: &Plan) -> usize {
        match self {
            Self::HitRatio => 1,
            _ => plan.rounds,
        }
    }

    /// Starts the peer and does what comes before the first round; `None` when the peer
    /// cannot take part.
    pub(crate) async fn prepare<P: Peer>(self, stand: Stand) -> Result<Option<Round>, Failure> {
        match self {
            Self::L1Hit => l1_hit::prepare::<P>(stand).await,
            Self::HitRatio => hit_ratio::prepare::<P>(stand).await,
            Self::Resident => resident::prepare::<P>(stand).await,
            Self::L2Hit => l2_hit::prepare::<P>(stand).await,
            Self::Many => many::prepare::<P>(stand).await,
            Self::Miss => miss::prepare::<P>(stand).await,
            Self::Stampede => stampede::prepare::<P>(stand).await,
            Self::LeaderCancelled => leader::prepare::<P>(stand, leader::Fate::Cancelled).await,
            Self::LoaderPanics => leader::prepare::<P>(stand, leader::Fate::Panics).await,
            Self::InvalidationRace => race::prepare::<P>(stand).await,
            Self::Pattern => pattern::prepare::<P>(stand).await,
        }
    }
}

/// A caller that waits longer than this counts as not served.
const PATIENCE: Duration = Duration::from_secs(3);

/// Reads every key once, 64 at a time, with an immediate loader.
async fn fill<P: Peer>(peer: &P, keys: &[String]) -> Result<(), Failure> {
    let reads = keys
        .iter()
        .zip(0..)
        .map(|(key, id)| peer.read(key, move || item(id, 0)));
    let reads = futures_util::stream::iter(reads).buffer_unordered(64);
    reads.try_for_each(|_| async { Ok(()) }).await
}

/// An immediate load.
async fn item(id: u64, version: u64) -> Item {
    Item::new(id, version)
}
