//! The board's series, with what is new in each since the last look.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::dashboard::board::{Board, Cell, Series};
use crate::dashboard::number::rate;
use crate::registry::cut;
use crate::stats::{Counts, Histogram};

/// Looks after which the older copy of a histogram is replaced; percentiles are of one to two times as many.
const TURN: u32 = 60;

/// One series at this moment.
#[derive(Debug)]
pub(in crate::dashboard) struct Reading {
    pub(super) series: Arc<Series>,
    /// A counter's or gauge's value, or how many times a histogram holds.
    pub(super) total: f64,
    /// What is new since the last look.
    pub(super) new: u64,
    /// The same, each second.
    pub(super) rate: f32,
    /// p50 and p95 of the last one to two minutes; zero without values.
    pub(super) took: [Duration; 2],
    /// When something new was last seen, in milliseconds since 1970.
    pub(super) touched: Option<u64>,
}

impl Reading {
    /// A label's value, a long one cut as names are; empty when the series has no such label.
    pub(super) fn label(&self, name: &str) -> Cow<'_, str> {
        let mut labels = self.series.key.labels();
        labels
            .find(|label| label.key() == name)
            .map_or(Cow::Borrowed(""), |label| cut(label.value()))
    }
}

/// What was seen at the last look, in the board's order.
#[derive(Debug, Default)]
pub(in crate::dashboard) struct Readings {
    before: Vec<(Arc<Series>, Before)>,
    looks: u32,
}

#[derive(Debug, Default)]
struct Before {
    total: u64,
    touched: Option<u64>,
    window: Option<Window>,
}

/// A histogram one to two turns ago, and less than one turn ago.
#[derive(Debug)]
struct Window {
    old: Box<[u32]>,
    recent: Box<[u32]>,
}

impl Readings {
    /// Reads everything. `seconds` have passed since the last look; `at` is the time of day in milliseconds.
    pub(in crate::dashboard) fn read(
        &mut self,
        board: &Board,
        seconds: f64,
        at: u64,
    ) -> Vec<Reading> {
        let all = board.all();
        self.looks += 1;
        let turns = self.looks.is_multiple_of(TURN);
        self.follow(&all);
        let each = all.into_iter().zip(&mut self.before);
        each.map(|(series, (_, before))| before.read(series, seconds, at, turns))
            .collect()
    }

    /// Drops what was seen of series that are gone, and begins with those that are new.
    fn follow(&mut self, all: &[Arc<Series>]) {
        let mut known = std::mem::take(&mut self.before).into_iter();
        let same = |series: &Arc<Series>| {
            let found = known.find(|(known, _)| Arc::ptr_eq(known, series));
            found.unwrap_or_else(|| (Arc::clone(series), Before::default()))
        };
        self.before = all.iter().map(same).collect();
    }
}

impl Before {
    #[expect(clippy::cast_precision_loss, reason = "a page shows four digits")]
    fn read(&mut self, series: Arc<Series>, seconds: f64, at: u64, turns: bool) -> Reading {
        let mut took = [Duration::ZERO; 2];
        let (total, gauge) = match &series.cell {
            Cell::Counter(cell) => (cell.load(Ordering::Relaxed), None),
            Cell::Gauge(cell) => (0, Some(f64::from_bits(cell.load(Ordering::Relaxed)))),
            Cell::Times(times) => {
                let (total, quantiles) = self.window(times, turns);
                took = quantiles;
                (total, None)
            }
        };
        let new = total.saturating_sub(self.total);
        self.total = total;
        if new > 0 {
            self.touched = Some(at);
        }
        Reading {
            series,
            total: gauge.unwrap_or(total as f64),
            new,
            rate: rate(new, seconds),
            took,
            touched: self.touched,
        }
    }

    fn window(&mut self, times: &Histogram, turns: bool) -> (u64, [Duration; 2]) {
        let window = self.window.get_or_insert_with(|| Window {
            old: Histogram::nothing(),
            recent: Histogram::nothing(),
        });
        if turns {
            std::mem::swap(&mut window.old, &mut window.recent);
            times.add_new_to(&mut window.recent, &mut Counts::new());
        }
        let (mut all, mut late) = (Counts::new(), Counts::new());
        let longest = times.add_to(&mut all);
        times.add_new_to(&mut window.old.clone(), &mut late);
        let quantile = |per_mille| Duration::from_nanos(late.quantile(per_mille).min(longest));
        (all.total(), [quantile(500), quantile(950)])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use metrics::Key;

    #[test]
    fn a_counter_tells_what_is_new_and_a_gauge_what_is() {
        let (board, mut readings) = (Board::default(), Readings::default());
        let cell = board.cell(&Key::from_name("bilten_cache_loads_total"), || {
            Cell::Counter(Arc::default())
        });
        let Some(Cell::Counter(counter)) = cell else {
            panic!("a counter")
        };
        board.cell(&Key::from_name("bilten_db_node_up"), || {
            Cell::Gauge(Arc::new(1f64.to_bits().into()))
        });
        counter.store(10, Ordering::Relaxed);
        readings.read(&board, 1.0, 1000);
        counter.store(16, Ordering::Relaxed);
        let [loads, up] = &readings.read(&board, 2.0, 3000)[..] else {
            panic!("two")
        };
        assert_eq!(
            (loads.total, loads.new, loads.rate, loads.touched),
            (16.0, 6, 3.0, Some(3000))
        );
        assert_eq!((up.total, up.new, up.touched), (1.0, 0, None));
    }

    #[test]
    fn a_name_of_a_megabyte_is_cut_and_two_of_them_stay_apart() {
        let (board, mut readings) = (Board::default(), Readings::default());
        for last in ["x", "y"] {
            let name = "é".repeat(1 << 19) + last;
            let label = metrics::Label::new("node", name);
            let key = Key::from_parts("bilten_db_node_up", vec![label]);
            board.cell(&key, || Cell::Gauge(Arc::new(1f64.to_bits().into())));
        }
        let all = readings.read(&board, 1.0, 0);
        let shown: Vec<_> = all.iter().map(|reading| reading.label("node")).collect();
        assert!(shown.iter().all(|name| (100..250).contains(&name.len())));
        assert_ne!(shown[0], shown[1]);
        assert_eq!(all[0].label("check"), "");
    }

    #[test]
    fn a_series_that_went_takes_nothing_of_another_along() {
        use crate::dashboard::board::MOST;

        let (board, mut readings) = (Board::default(), Readings::default());
        let counter = |at: u64, cache: &str| {
            let label = metrics::Label::new("cache", cache.to_owned());
            let key = Key::from_parts("bilten_cache_flushes_total", vec![label]);
            match board.cell_at(Duration::from_secs(at), &key, || {
                Cell::Counter(Arc::default())
            }) {
                Some(Cell::Counter(counter)) => counter,
                other => panic!("{other:?}"),
            }
        };
        counter(0, "goes").store(5, Ordering::Relaxed);
        let held: Vec<_> = (1..MOST).map(|n| counter(0, &n.to_string())).collect();
        let news = |readings: &mut Readings| {
            let read = readings.read(&board, 1.0, 0);
            let new: Vec<_> = read
                .iter()
                .filter(|reading| reading.new > 0)
                .map(|reading| (reading.label("cache").into_owned(), reading.new))
                .collect();
            new
        };
        held[MOST - 2].store(7, Ordering::Relaxed);
        let last = (MOST - 1).to_string();
        assert_eq!(
            news(&mut readings),
            [("goes".to_owned(), 5), (last.clone(), 7)]
        );
        counter(60, "comes").store(3, Ordering::Relaxed);
        held[MOST - 2].store(9, Ordering::Relaxed);
        assert_eq!(news(&mut readings), [(last, 2), ("comes".to_owned(), 3)]);
    }

    #[test]
    fn percentiles_forget_within_two_turns() {
        let (board, mut readings) = (Board::default(), Readings::default());
        let cell = board.cell(&Key::from_name("bilten_db_statement_seconds"), || {
            Cell::Times(Arc::default())
        });
        let Some(Cell::Times(times)) = cell else {
            panic!("times")
        };
        times.record(50_000_000);
        let p95 = |readings: &mut Readings| readings.read(&board, 1.0, 0)[0].took[1];
        assert_eq!(p95(&mut readings), Duration::from_millis(50));
        let forgotten_after = (1..)
            .find(|_| p95(&mut readings).is_zero())
            .expect("some time");
        assert!(
            (TURN..=2 * TURN).contains(&forgotten_after),
            "{forgotten_after}"
        );
    }
}
