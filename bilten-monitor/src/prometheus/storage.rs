//! What the exporter keeps of each series.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use metrics::atomics::AtomicU64 as Number;
use metrics::{CounterFn, GaugeFn, HistogramFn, Key};
use metrics_util::registry::Storage;

use super::distribution::Distribution;
use crate::names::exported;

/// Makes series, with the bounds that their name asks for.
#[derive(Debug)]
pub(super) struct Shelf {
    pub(super) general: Arc<[f64]>,
    /// By exported name.
    pub(super) bounds: HashMap<String, Arc<[f64]>>,
    pub(super) refused: Arc<AtomicU64>,
    pub(super) born: AtomicU64,
}

/// One series.
#[derive(Debug)]
pub(super) struct Kept<T> {
    pub(super) value: T,
    /// Older series keep a name that two of them want.
    pub(super) born: u64,
    touched: AtomicBool,
    /// When a scrape last found it touched.
    touched_at: AtomicU64,
    refused: Arc<AtomicU64>,
}

impl<T> Kept<T> {
    fn touch(&self) {
        // Read first: a store would take the cache line away from other threads each time.
        if !self.touched.load(Ordering::Relaxed) {
            self.touched.store(true, Ordering::Relaxed);
        }
    }

    fn refuse(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    /// Whether it got nothing for longer than `limit`. Times are nanoseconds.
    pub(super) fn is_idle(&self, now: u64, limit: u64) -> bool {
        if self.touched.swap(false, Ordering::Relaxed) {
            self.touched_at.store(now, Ordering::Relaxed);
        }
        now.saturating_sub(self.touched_at.load(Ordering::Relaxed)) > limit
    }
}

impl Shelf {
    fn kept<T>(&self, value: T) -> Arc<Kept<T>> {
        Arc::new(Kept {
            value,
            born: self.born.fetch_add(1, Ordering::Relaxed),
            touched: AtomicBool::new(true),
            touched_at: AtomicU64::new(0),
            refused: Arc::clone(&self.refused),
        })
    }
}

/// A gauge's bits; its own type, so that it does not count.
#[derive(Debug)]
pub(super) struct Level(pub(super) Number);

impl Storage<Key> for Shelf {
    type Counter = Arc<Kept<Number>>;
    type Gauge = Arc<Kept<Level>>;
    type Histogram = Arc<Kept<Distribution>>;

    fn counter(&self, _: &Key) -> Self::Counter {
        self.kept(Number::new(0))
    }

    fn gauge(&self, _: &Key) -> Self::Gauge {
        self.kept(Level(Number::new(0)))
    }

    fn histogram(&self, key: &Key) -> Self::Histogram {
        let own = self.bounds.get(&exported(key.name()));
        self.kept(Distribution::new(Arc::clone(own.unwrap_or(&self.general))))
    }
}

/// Adds, and stays at the largest number once it is there: a counter that begins anew looks like a restart.
pub(super) fn add(number: &Number, value: u64) {
    // Far from the end nobody can get past it in between, and one addition is cheaper than compare and exchange.
    let is_far = value <= u32::MAX.into() && number.load(Ordering::Relaxed) < 1 << 63;
    if is_far {
        number.fetch_add(value, Ordering::Relaxed);
        return;
    }
    let sum = |number: u64| Some(number.saturating_add(value));
    let _ = number.fetch_update(Ordering::Relaxed, Ordering::Relaxed, sum);
}

impl CounterFn for Kept<Number> {
    fn increment(&self, value: u64) {
        add(&self.value, value);
        self.touch();
    }

    fn absolute(&self, value: u64) {
        CounterFn::absolute(&self.value, value);
        self.touch();
    }
}

impl Level {
    /// None once it was set to NaN, which is how a gauge says that what it measured is gone.
    pub(super) fn read(&self) -> Option<f64> {
        let level = f64::from_bits(self.0.load(Ordering::Relaxed));
        (!level.is_nan()).then_some(level)
    }
}

impl Kept<Level> {
    /// Infinity is a level; NaN would stay one for ever once something is added to it.
    fn add(&self, value: f64) {
        if value.is_nan() {
            self.refuse();
            return;
        }
        let sum = |bits| {
            let level = f64::from_bits(bits);
            Some((if level.is_nan() { value } else { level + value }).to_bits())
        };
        let _ = self
            .value
            .0
            .fetch_update(Ordering::AcqRel, Ordering::Relaxed, sum);
        self.touch();
    }
}

impl GaugeFn for Kept<Level> {
    fn increment(&self, value: f64) {
        self.add(value);
    }

    fn decrement(&self, value: f64) {
        self.add(-value);
    }

    fn set(&self, value: f64) {
        GaugeFn::set(&self.value.0, value);
        self.touch();
    }
}

impl HistogramFn for Kept<Distribution> {
    fn record(&self, value: f64) {
        self.record_many(value, 1);
    }

    fn record_many(&self, value: f64, count: usize) {
        if self.value.record(value, count as u64) {
            self.touch();
        } else {
            self.refuse();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_at_its_end_stays_there() {
        let number = Number::new(0);
        for (added, expected) in [
            (5, 5),
            (1 << 63, (1 << 63) + 5),
            (7, (1 << 63) + 12),
            (u64::MAX, u64::MAX),
            (1, u64::MAX),
            (u64::MAX, u64::MAX),
        ] {
            add(&number, added);
            assert_eq!(number.load(Ordering::Relaxed), expected, "{added}");
        }
    }
}
