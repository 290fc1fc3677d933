//! What the other bilten crates record, kept where the page can read it.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use metrics::Key;

use crate::stats::Histogram;

/// Series that are kept; further ones go to the recorder alone.
const MOST: usize = 512;
/// What the names of the other crates begin with.
const PREFIXES: [&str; 3] = ["bilten_cache_", "bilten_db_", "health_"];

/// The one board of the process, as the metrics recorder is one.
static PROCESS: LazyLock<Arc<Board>> = LazyLock::new(Arc::default);

/// A bounded set of series.
#[derive(Debug, Default)]
pub(super) struct Board {
    kept: Mutex<Kept>,
    left_out: AtomicU64,
}

#[derive(Debug, Default)]
struct Kept {
    by_key: HashMap<Key, Arc<Series>>,
    in_order: Vec<Arc<Series>>,
}

/// One series and its value.
#[derive(Debug)]
pub(super) struct Series {
    pub(super) key: Key,
    pub(super) cell: Cell,
}

/// A value that is written by whoever measures and read by the page.
#[derive(Clone, Debug)]
pub(super) enum Cell {
    Counter(Arc<AtomicU64>),
    /// The bits of the number.
    Gauge(Arc<AtomicU64>),
    Times(Arc<Histogram>),
}

impl Board {
    pub(super) fn of_process() -> Arc<Self> {
        Arc::clone(&PROCESS)
    }

    /// The cell of this series, made on first use; `None` for what the page does not show.
    pub(super) fn cell(&self, key: &Key, make: impl FnOnce() -> Cell) -> Option<Cell> {
        if !PREFIXES.iter().any(|prefix| key.name().starts_with(prefix)) {
            return None;
        }
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(series) = kept.by_key.get(key) {
            return Some(series.cell.clone());
        }
        if kept.in_order.len() >= MOST {
            self.left_out.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        let series = Arc::new(Series {
            key: key.clone(),
            cell: make(),
        });
        kept.in_order.push(Arc::clone(&series));
        let cell = series.cell.clone();
        kept.by_key.insert(key.clone(), series);
        Some(cell)
    }

    /// Every series, in the order in which they came; later calls only add to the end.
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
        for n in 0..MOST + 3 {
            let label = metrics::Label::new("region", n.to_string());
            let key = Key::from_parts("bilten_cache_loads_total", vec![label]);
            assert_eq!(board.cell(&key, counter).is_some(), n < MOST);
        }
        assert_eq!((board.all().len(), board.left_out()), (MOST, 3));
    }
}
