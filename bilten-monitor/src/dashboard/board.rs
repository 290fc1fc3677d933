//! What the other bilten crates record, kept where the page can read it.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::{Duration, Instant};

use metrics::Key;

use crate::nanos::nanos;
use crate::stats::Histogram;

/// Series that are kept: those of the largest cluster and of fifty regions are half of them.
pub(super) const MOST: usize = 2048;
/// An owner that was asked for within this time is there, although nobody holds what it records with.
const THERE: Duration = Duration::from_secs(10);
/// To look for room costs a look at every series: where there was none, nobody looks again for so long.
const NO_ROOM: Duration = Duration::from_millis(100);
/// What the page shows, with the label that tells whose it is. All else goes to the recorder alone.
const SHOWN: [(&str, &[&str]); 3] = [
    (
        "cache",
        &[
            "bilten_cache_breaker_opened_total",
            "bilten_cache_coalesced_total",
            "bilten_cache_flushes_total",
            "bilten_cache_hits_total",
            "bilten_cache_invalidations_total",
            "bilten_cache_load_errors_total",
            "bilten_cache_load_seconds",
            "bilten_cache_loads_total",
            "bilten_cache_log_gaps_total",
            "bilten_cache_log_lag_records",
            "bilten_cache_misses_total",
            "bilten_cache_refused_total",
            "bilten_cache_remote_failures_total",
            "bilten_cache_waiting",
        ],
    ),
    (
        "node",
        &[
            "bilten_db_acquire_seconds",
            "bilten_db_ejections_total",
            "bilten_db_failovers_total",
            "bilten_db_in_flight",
            "bilten_db_node_up",
            "bilten_db_statement_seconds",
            "bilten_db_statements_total",
        ],
    ),
    (
        "check",
        &[
            "health_check_degraded",
            "health_check_duration_seconds",
            "health_check_up",
            "health_status_changes_total",
        ],
    ),
];

/// The one board of the process, as the metrics recorder is one.
static PROCESS: LazyLock<Arc<Board>> = LazyLock::new(Arc::default);

/// A bounded set of series.
#[derive(Debug)]
pub(super) struct Board {
    began: Instant,
    kept: Mutex<Kept>,
    left_out: AtomicU64,
}

impl Default for Board {
    fn default() -> Self {
        Self {
            began: Instant::now(),
            kept: Mutex::default(),
            left_out: AtomicU64::new(0),
        }
    }
}

#[derive(Debug, Default)]
struct Kept {
    by_key: HashMap<Key, Arc<Series>>,
    in_order: Vec<Arc<Series>>,
    /// Until when there is no room for another one.
    full_until: Duration,
}

/// Whose series it is: a cache, a node or a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Owner<'a>(&'static str, &'a str);

/// What decides whether an owner's series may go.
#[derive(Debug, Default)]
struct Claim {
    is_held: bool,
    has_left: bool,
    asked: u64,
}

impl Claim {
    /// Who only was not asked for a moment would be back, and would make another one go in turn: so they would go round
    /// in a circle, and none of them would be shown.
    fn may_go(&self, now: Duration) -> bool {
        let is_there = now.saturating_sub(Duration::from_nanos(self.asked)) < THERE;
        !self.is_held && (self.has_left || !is_there)
    }
}

/// One series and its value.
#[derive(Debug)]
pub(super) struct Series {
    pub(super) key: Key,
    pub(super) cell: Cell,
    /// When somebody last got a handle of it, in nanoseconds since the board's beginning.
    asked: AtomicU64,
}

impl Series {
    fn owner(&self) -> Owner<'_> {
        let label = label_of(&self.key).unwrap_or_default();
        let mut labels = self.key.labels();
        let owner = labels.find(|one| one.key() == label);
        Owner(label, owner.map_or("", |one| one.value()))
    }

    /// A node or check that is gone says so through its level.
    fn has_left(&self) -> bool {
        matches!(&self.cell, Cell::Gauge(level) if f64::from_bits(level.load(Ordering::Relaxed)).is_nan())
    }
}

/// The label that tells whose it is; `None` for what the page does not show.
fn label_of(key: &Key) -> Option<&'static str> {
    let name = key.name();
    // Asked of every metric of the program: for almost all of them this is all.
    if !(name.starts_with("bilten_") || name.starts_with("health_")) {
        return None;
    }
    let mut shown = SHOWN.iter();
    let found = shown.find(|(_, names)| names.contains(&name));
    found.map(|(label, _)| *label)
}

/// A value that is written by whoever measures and read by the page.
#[derive(Clone, Debug)]
pub(super) enum Cell {
    Counter(Arc<AtomicU64>),
    /// The bits of the number.
    Gauge(Arc<AtomicU64>),
    Times(Arc<Histogram>),
}

impl Cell {
    /// Whether somebody has a handle to write it with.
    fn is_held(&self) -> bool {
        let holders = match self {
            Self::Counter(cell) | Self::Gauge(cell) => Arc::strong_count(cell),
            Self::Times(times) => Arc::strong_count(times),
        };
        holders > 1
    }
}

impl Kept {
    /// Forgets the series of an owner that nobody holds and that is not there: of one that left before others, and of the one
    /// that was asked for the longest time ago. Whoever asks for one of them later begins anew, as after a start.
    fn make_room(&mut self, now: Duration) -> bool {
        let mut claims: HashMap<Owner<'_>, Claim> = HashMap::new();
        for series in &self.in_order {
            let claim = claims.entry(series.owner()).or_default();
            claim.is_held |= series.cell.is_held();
            claim.has_left |= series.has_left();
            claim.asked = claim.asked.max(series.asked.load(Ordering::Relaxed));
        }
        let free = claims.into_iter().filter(|(_, claim)| claim.may_go(now));
        let Some((owner, _)) = free.min_by_key(|(_, claim)| (!claim.has_left, claim.asked)) else {
            self.full_until = now + NO_ROOM;
            return false;
        };
        let goes = |series: &&Arc<Series>| series.owner() == owner;
        let gone: HashSet<Key> = self
            .in_order
            .iter()
            .filter(goes)
            .map(|one| one.key.clone())
            .collect();
        self.in_order.retain(|series| !gone.contains(&series.key));
        self.by_key.retain(|key, _| !gone.contains(key));
        true
    }
}

impl Board {
    pub(super) fn of_process() -> Arc<Self> {
        Arc::clone(&PROCESS)
    }

    /// The cell of this series, made on first use; `None` for what the page does not show, and where there is no room.
    pub(super) fn cell(&self, key: &Key, make: impl FnOnce() -> Cell) -> Option<Cell> {
        label_of(key)?;
        self.cell_at(self.began.elapsed(), key, make)
    }

    pub(in crate::dashboard) fn cell_at(
        &self,
        now: Duration,
        key: &Key,
        make: impl FnOnce() -> Cell,
    ) -> Option<Cell> {
        let asked = nanos(now);
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(series) = kept.by_key.get(key) {
            series.asked.store(asked, Ordering::Relaxed);
            return Some(series.cell.clone());
        }
        let is_full = kept.in_order.len() >= MOST;
        if is_full && (now < kept.full_until || !kept.make_room(now)) {
            self.left_out.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        let series = Arc::new(Series {
            key: key.to_retained(),
            cell: make(),
            asked: asked.into(),
        });
        kept.in_order.push(Arc::clone(&series));
        let cell = series.cell.clone();
        kept.by_key.insert(series.key.clone(), series);
        Some(cell)
    }

    /// Every series, in the order in which they came: later calls leave some out and add others at the end.
    pub(super) fn all(&self) -> Vec<Arc<Series>> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.in_order.clone()
    }

    /// How often a series found no room.
    pub(super) fn left_out(&self) -> u64 {
        self.left_out.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counter() -> Cell {
        Cell::Counter(Arc::default())
    }

    #[test]
    fn only_the_names_of_the_other_crates_are_kept_and_each_once() {
        let board = Board::default();
        assert!(
            board
                .cell(&Key::from_name("http_requests"), counter)
                .is_none()
        );
        let key = Key::from_name("bilten_cache_loads_total");
        for _ in 0..2 {
            let Some(Cell::Counter(cell)) = board.cell(&key, counter) else {
                panic!("a counter")
            };
            cell.fetch_add(1, Ordering::Relaxed);
        }
        let all = board.all();
        assert!(
            matches!(&all[..], [one] if matches!(&one.cell, Cell::Counter(cell) if cell.load(Ordering::Relaxed) == 2))
        );
    }

    #[test]
    fn what_finds_no_room_is_counted() {
        let board = Board::default();
        let held: Vec<_> = (0..MOST + 3)
            .map(|n| board.cell(&of_cache(&n.to_string(), "r"), counter))
            .collect();
        assert_eq!(held.iter().flatten().count(), MOST);
        assert_eq!((board.all().len(), board.left_out()), (MOST, 3));
    }

    fn of_cache(cache: &str, region: &str) -> Key {
        let labels = [("cache", cache), ("region", region)];
        let labels = labels.map(|(name, value)| metrics::Label::new(name, value.to_owned()));
        Key::from_parts("bilten_cache_loads_total", labels.to_vec())
    }

    fn caches(board: &Board) -> HashSet<String> {
        let value = |series: &Arc<Series>| series.owner().1.to_owned();
        board.all().iter().map(value).collect()
    }

    const fn second(at: u64) -> Duration {
        Duration::from_secs(at)
    }

    #[test]
    fn what_nobody_holds_makes_room_all_at_once_and_what_was_asked_for_last_stays() {
        let board = Board::default();
        let ask = |at: u64, cache: &str, region| {
            board.cell_at(second(at), &of_cache(cache, region), counter)
        };
        let held = ask(0, "held", "r");
        for (at, cache) in [(1, "quiet"), (2, "busy"), (3, "odd")] {
            for region in ["r", "s"] {
                assert!(ask(at, cache, region).is_some());
            }
        }
        let odd = ask(4, "odd", "s");
        let rest: Vec<_> = (0..MOST - 7).map(|n| ask(5, &n.to_string(), "r")).collect();
        ask(6, "busy", "s");
        let names = || {
            let all = caches(&board);
            ["held", "quiet", "busy", "odd", "new", "newer", "newest"]
                .map(|name| all.contains(name))
        };
        let new = ["r", "s"].map(|region| ask(20, "new", region));
        assert!(new.iter().all(Option::is_some));
        assert_eq!(names(), [true, false, true, true, true, false, false]);
        let newer = ask(21, "newer", "r");
        assert!(newer.is_some());
        assert_eq!(names(), [true, false, false, true, true, true, false]);
        // There is a place left; then all that is there is held.
        let last = ask(22, "newer", "s");
        assert!(last.is_some() && ask(23, "newest", "r").is_none());
        assert_eq!((board.all().len(), board.left_out()), (MOST, 1));
        drop((held, odd, rest));
    }

    /// A thousand checks with three series each, of which nobody holds any, and each is asked for once a second.
    #[test]
    fn more_owners_than_there_is_room_for_do_not_go_round_in_a_circle() {
        let board = Board::default();
        let series = |check: u64, name: &'static str| {
            let label = metrics::Label::new("check", check.to_string());
            Key::from_parts(name, vec![label])
        };
        let round = |at: u64| {
            for (check, part) in (0..1000).flat_map(|check| [(check, 0), (check, 1), (check, 2)]) {
                let name = SHOWN[2].1[part];
                board.cell_at(second(at), &series(check, name), counter);
            }
            board.all()
        };
        let first = round(0);
        for at in 1..60 {
            let now = round(at);
            assert_eq!(now.len(), MOST);
            let same = first
                .iter()
                .zip(&now)
                .all(|(one, other)| Arc::ptr_eq(one, other));
            assert!(same, "nothing went within {at} seconds");
        }
        assert_eq!(board.left_out(), 60 * (3000 - MOST as u64));
    }

    #[test]
    fn where_there_was_no_room_nobody_looks_again_at_once() {
        let board = Board::default();
        let level = |millis: u64, node: &'static str| {
            let key = Key::from_parts("bilten_db_node_up", vec![metrics::Label::new("node", node)]);
            let at = Duration::from_millis(millis);
            board.cell_at(at, &key, || Cell::Gauge(Arc::default()))
        };
        let node = level(0, "leaves");
        let rest: Vec<_> = (0..MOST - 1)
            .map(|n| board.cell_at(second(0), &of_cache(&n.to_string(), "r"), counter))
            .collect();
        assert!(level(0, "new").is_none());
        let Some(Cell::Gauge(left)) = node else {
            panic!("a gauge")
        };
        left.store(f64::NAN.to_bits(), Ordering::Relaxed);
        drop(left);
        assert!(level(99, "new").is_none(), "nobody looked");
        assert!(level(100, "new").is_some());
        assert_eq!(board.left_out(), 2);
        drop(rest);
    }

    #[test]
    fn who_said_that_it_left_goes_before_who_was_not_asked_for() {
        let board = Board::default();
        let level = |node: &'static str, level: f64| {
            let key = Key::from_parts("bilten_db_node_up", vec![metrics::Label::new("node", node)]);
            let cell = || Cell::Gauge(Arc::new(level.to_bits().into()));
            board.cell_at(second(0), &key, cell);
        };
        level("quiet", 1.0);
        level("left", f64::NAN);
        let rest: Vec<_> = (0..MOST - 1)
            .map(|n| board.cell_at(second(60), &of_cache(&n.to_string(), "r"), counter))
            .collect();
        assert!(rest.iter().all(Option::is_some));
        let owners = caches(&board);
        assert_eq!(
            (owners.contains("quiet"), owners.contains("left")),
            (true, false)
        );
    }
}
