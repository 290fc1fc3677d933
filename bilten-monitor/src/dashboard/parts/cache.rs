//! `bilten-cache`: where each region's reads were answered.

use serde::Serialize;

use super::reading::Reading;
use crate::dashboard::history::Reads;
use crate::dashboard::number::millis;

/// One cache with its regions.
#[derive(Debug, Default, PartialEq, Serialize)]
pub(in crate::dashboard) struct Cache {
    name: String,
    regions: Vec<Region>,
    remote_failures: f64,
    breaker_opened: f64,
    invalidations: f64,
    log_gaps: f64,
    flushes: f64,
    /// Records of the log that were not applied yet, and invalidations that did not reach the second level yet.
    log_lag: f64,
    waiting: f64,
}

/// Counts since the start; rates and times are of this moment.
#[derive(Debug, Default, PartialEq, Serialize)]
struct Region {
    name: String,
    memory: f64,
    remote: f64,
    missed: f64,
    reads_rate: f32,
    coalesced: f64,
    loads: f64,
    load_errors: f64,
    refused: f64,
    /// Milliseconds.
    load_p50: f32,
    load_p95: f32,
}

/// Every cache of the process, and what all of them together were asked since the last look.
pub(in crate::dashboard) fn caches(readings: &[Reading]) -> (Vec<Cache>, Reads) {
    let mut caches = Vec::new();
    let mut reads = Reads::default();
    let of_caches = readings
        .iter()
        .filter(|reading| reading.series.key.name().starts_with("bilten_cache_"));
    for reading in of_caches {
        let cache = cache_named(&mut caches, &reading.label("cache"));
        match &*reading.label("region") {
            "" => whole(cache, reading),
            name => region(cache.region(name), reading, &mut reads),
        }
    }
    (caches, reads)
}

fn cache_named<'a>(caches: &'a mut Vec<Cache>, name: &str) -> &'a mut Cache {
    let at = caches
        .iter()
        .position(|cache| cache.name == name)
        .unwrap_or_else(|| {
            caches.push(Cache {
                name: name.to_owned(),
                ..Cache::default()
            });
            caches.len() - 1
        });
    &mut caches[at]
}

impl Cache {
    fn region(&mut self, name: &str) -> &mut Region {
        let at = self
            .regions
            .iter()
            .position(|region| region.name == name)
            .unwrap_or_else(|| {
                self.regions.push(Region {
                    name: name.to_owned(),
                    ..Region::default()
                });
                self.regions.len() - 1
            });
        &mut self.regions[at]
    }
}

fn whole(cache: &mut Cache, reading: &Reading) {
    match reading.series.key.name() {
        "bilten_cache_remote_failures_total" => cache.remote_failures = reading.total,
        "bilten_cache_breaker_opened_total" => cache.breaker_opened = reading.total,
        "bilten_cache_invalidations_total" => cache.invalidations = reading.total,
        "bilten_cache_log_gaps_total" => cache.log_gaps = reading.total,
        "bilten_cache_flushes_total" => cache.flushes = reading.total,
        "bilten_cache_log_lag_records" => cache.log_lag = reading.total,
        "bilten_cache_waiting" => cache.waiting = reading.total,
        _ => {}
    }
}

fn region(region: &mut Region, reading: &Reading, reads: &mut Reads) {
    match (reading.series.key.name(), &*reading.label("level")) {
        ("bilten_cache_hits_total", "memory") => {
            region.memory = reading.total;
            reads.memory += reading.new;
            region.reads_rate += reading.rate;
        }
        ("bilten_cache_hits_total", _) => {
            region.remote += reading.total;
            reads.remote += reading.new;
            region.reads_rate += reading.rate;
        }
        ("bilten_cache_misses_total", _) => {
            region.missed = reading.total;
            reads.missed += reading.new;
            region.reads_rate += reading.rate;
        }
        ("bilten_cache_coalesced_total", _) => region.coalesced = reading.total,
        ("bilten_cache_loads_total", _) => region.loads = reading.total,
        ("bilten_cache_load_errors_total", _) => region.load_errors = reading.total,
        ("bilten_cache_refused_total", _) => region.refused += reading.total,
        ("bilten_cache_load_seconds", _) => {
            [region.load_p50, region.load_p95] = reading.took.map(millis);
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::Ordering;

    use metrics::{Key, Label};

    use super::super::reading::Readings;
    use super::*;
    use crate::dashboard::board::{Board, Cell};

    fn count(
        board: &Board,
        name: &'static str,
        labels: &[(&'static str, &'static str)],
        value: u64,
    ) {
        let labels: Vec<_> = labels
            .iter()
            .map(|&(name, value)| Label::new(name, value))
            .collect();
        let cell = board.cell(&Key::from_parts(name, labels), || {
            Cell::Counter(Arc::default())
        });
        let Some(Cell::Counter(cell)) = cell else {
            panic!("a counter")
        };
        cell.fetch_add(value, Ordering::Relaxed);
    }

    #[test]
    fn reads_are_told_by_level_and_region() {
        let (board, mut readings) = (Board::default(), Readings::default());
        for region in ["events", "lists"] {
            let of = [("cache", "shop"), ("region", region)];
            let hits = |level| [of[0], of[1], ("level", level)];
            count(&board, "bilten_cache_hits_total", &hits("memory"), 90);
            count(&board, "bilten_cache_hits_total", &hits("remote"), 6);
            count(&board, "bilten_cache_misses_total", &of, 4);
            count(
                &board,
                "bilten_cache_refused_total",
                &[of[0], of[1], ("reason", "ticket")],
                1,
            );
            count(
                &board,
                "bilten_cache_refused_total",
                &[of[0], of[1], ("reason", "lease")],
                2,
            );
        }
        count(
            &board,
            "bilten_cache_breaker_opened_total",
            &[("cache", "shop")],
            1,
        );
        count(&board, "bilten_db_failovers_total", &[("node", "a")], 1);
        let (caches, reads) = caches(&readings.read(&board, 2.0, 0));
        let [shop] = &caches[..] else {
            panic!("one cache: {caches:?}")
        };
        assert_eq!(
            (shop.name.as_str(), shop.breaker_opened, shop.regions.len()),
            ("shop", 1.0, 2)
        );
        let lists = &shop.regions[1];
        assert_eq!(
            (lists.memory, lists.remote, lists.missed, lists.refused),
            (90.0, 6.0, 4.0, 3.0)
        );
        assert_eq!(lists.reads_rate, 50.0);
        assert_eq!(
            reads,
            Reads {
                memory: 180,
                remote: 12,
                missed: 8
            }
        );
    }
}
