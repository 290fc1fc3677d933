use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use metrics::{
    Counter, CounterFn, Gauge, GaugeFn, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder,
    SharedString, Unit,
};

use super::board::{Board, Cell};
use crate::lasting;
use crate::nanos::nanos;
use crate::stats;

/// A recorder that hands everything on, and keeps what the live page shows of the cache, the database and health.
///
/// [`prometheus::install`](crate::prometheus::install) puts one around its recorder by itself. Around another
/// recorder, or where there is none, install it before the other crates are built:
///
/// ```
/// use bilten_monitor::dashboard::Tap;
///
/// metrics::set_global_recorder(Tap::new(metrics::NoopRecorder))?;
/// metrics::counter!("bilten_cache_loads_total", "cache" => "shop", "region" => "price").increment(1);
/// # Ok::<(), metrics::SetRecorderError<Tap<metrics::NoopRecorder>>>(())
/// ```
///
/// It keeps what the page shows, 2,048 series at most. When a further one comes, all series of a node, check or cache
/// that nobody holds any more make room for it: of one that left before others, then of the one that was asked for the
/// longest time ago, unless that was within ten seconds. Where all of them are there, the further one is left out and
/// counted at the foot of the page. Any other metric keeps its recorder's own handle and costs nothing more; one that is kept costs one
/// more atomic addition.
pub struct Tap<R> {
    recorder: R,
    board: Arc<Board>,
}

impl<R: Recorder> Tap<R> {
    /// A tap on this recorder, for the pages of this process.
    pub fn new(recorder: R) -> Self {
        Self::on(recorder, Board::of_process())
    }

    pub(super) const fn on(recorder: R, board: Arc<Board>) -> Self {
        Self { recorder, board }
    }

    /// A handle of the recorder's; ours lasts where that one does.
    fn handed_on<H>(&self, register: impl FnOnce(&R) -> H) -> H {
        let handle = register(&self.recorder);
        if let Some(reach) = lasting::said_by(&self.recorder) {
            lasting::say(self, reach);
        }
        handle
    }
}

impl<R: Recorder> Recorder for Tap<R> {
    fn describe_counter(&self, key: KeyName, unit: Option<Unit>, text: SharedString) {
        self.recorder.describe_counter(key, unit, text);
    }

    fn describe_gauge(&self, key: KeyName, unit: Option<Unit>, text: SharedString) {
        self.recorder.describe_gauge(key, unit, text);
    }

    fn describe_histogram(&self, key: KeyName, unit: Option<Unit>, text: SharedString) {
        self.recorder.describe_histogram(key, unit, text);
    }

    fn register_counter(&self, key: &Key, metadata: &Metadata<'_>) -> Counter {
        let handle = self.handed_on(|recorder| recorder.register_counter(key, metadata));
        match self.board.cell(key, || Cell::Counter(Arc::default())) {
            Some(Cell::Counter(cell)) => Counter::from_arc(Arc::new(Both(handle, cell))),
            _ => handle,
        }
    }

    fn register_gauge(&self, key: &Key, metadata: &Metadata<'_>) -> Gauge {
        let handle = self.handed_on(|recorder| recorder.register_gauge(key, metadata));
        match self.board.cell(key, || Cell::Gauge(Arc::default())) {
            Some(Cell::Gauge(cell)) => Gauge::from_arc(Arc::new(Both(handle, cell))),
            _ => handle,
        }
    }

    fn register_histogram(&self, key: &Key, metadata: &Metadata<'_>) -> Histogram {
        let handle = self.handed_on(|recorder| recorder.register_histogram(key, metadata));
        if !key.name().ends_with("_seconds") {
            return handle;
        }
        match self.board.cell(key, || Cell::Times(Arc::default())) {
            Some(Cell::Times(times)) => Histogram::from_arc(Arc::new(Both(handle, times))),
            _ => handle,
        }
    }
}

impl<R> fmt::Debug for Tap<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tap").finish_non_exhaustive()
    }
}

/// The recorder's handle and the board's.
struct Both<H, C>(H, Arc<C>);

impl CounterFn for Both<Counter, AtomicU64> {
    fn increment(&self, value: u64) {
        self.0.increment(value);
        CounterFn::increment(&*self.1, value);
    }

    fn absolute(&self, value: u64) {
        self.0.absolute(value);
        CounterFn::absolute(&*self.1, value);
    }
}

impl GaugeFn for Both<Gauge, AtomicU64> {
    fn increment(&self, value: f64) {
        self.0.increment(value);
        GaugeFn::increment(&*self.1, value);
    }

    fn decrement(&self, value: f64) {
        self.0.decrement(value);
        GaugeFn::decrement(&*self.1, value);
    }

    fn set(&self, value: f64) {
        self.0.set(value);
        GaugeFn::set(&*self.1, value);
    }
}

impl HistogramFn for Both<Histogram, stats::Histogram> {
    fn record(&self, value: f64) {
        self.0.record(value);
        // Negative, infinite and NaN are no times; the recorder decides for itself what to make of them.
        if let Ok(time) = std::time::Duration::try_from_secs_f64(value) {
            self.1.record(nanos(time));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use metrics_util::debugging::{DebugValue, DebuggingRecorder};

    use super::*;

    #[test]
    fn both_the_recorder_and_the_board_get_every_value() {
        let board = Arc::new(Board::default());
        let inner = DebuggingRecorder::new();
        let snapshotter = inner.snapshotter();
        let tap = Tap::on(inner, Arc::clone(&board));
        metrics::with_local_recorder(&tap, || {
            metrics::counter!("bilten_cache_loads_total").increment(3);
            metrics::gauge!("bilten_db_node_up").set(1.0);
            metrics::histogram!("bilten_db_statement_seconds").record(0.25);
            metrics::histogram!("bilten_db_statement_seconds").record(f64::NAN);
            metrics::counter!("tickets_sold").increment(1);
        });
        let values = snapshotter.snapshot().into_vec();
        assert_eq!(values.len(), 4, "{values:?}");
        let loads = values
            .iter()
            .find(|(key, ..)| key.key().name() == "bilten_cache_loads_total");
        assert_eq!(
            loads.map(|(.., value)| value),
            Some(&DebugValue::Counter(3))
        );
        let [loads, up, times] = &board.all()[..] else {
            panic!("three series")
        };
        assert!(matches!(&loads.cell, Cell::Counter(cell) if cell.load(Ordering::Relaxed) == 3));
        assert!(
            matches!(&up.cell, Cell::Gauge(cell) if f64::from_bits(cell.load(Ordering::Relaxed)) == 1.0)
        );
        let mut counts = stats::Counts::new();
        assert!(
            matches!(&times.cell, Cell::Times(cell) if cell.add_to(&mut counts) == 250_000_000)
        );
        assert_eq!(counts.total(), 1);
    }
}
