//! Looks at the monitor once a second and keeps the history.

use std::collections::HashMap;
use std::ptr;
use std::sync::{Arc, PoisonError, Weak};

use super::board::Board;
use super::frame::{self, AlertFrame, Full, Now, Row, Table, Tick};
use super::history::{History, Stretch};
use super::number::rate;
use super::parts::{Readings, caches, checks, nodes};
use super::ring::Ring;
use crate::alert::Alert;
use crate::hub::Hub;
use crate::slots::Watched;
use crate::stats::{Busy, Recent, Seen, Side, Stats};

/// Rows of each table; the busiest ones are shown.
const ROWS: usize = 100;
/// Looks of which each row's curve is made.
const TREND: usize = 60;

/// What is known of one name since the last look.
#[derive(Debug)]
struct Track {
    seen: Seen,
    count: u64,
    errors: u64,
    trend: Ring<f32>,
}

impl Default for Track {
    fn default() -> Self {
        Self {
            seen: Seen::new(),
            count: 0,
            errors: 0,
            trend: Ring::new(TREND),
        }
    }
}

/// What is known of one thing that is watched, by name: two layers may have routes of one name.
#[derive(Debug)]
struct Source {
    /// Held weakly, so that a layer that is gone can go, and no other can have its address before this does.
    watched: Weak<dyn Watched>,
    tracks: HashMap<String, Track>,
}

impl Source {
    fn new(watched: &Arc<dyn Watched>) -> Self {
        Self {
            watched: Arc::downgrade(watched),
            tracks: HashMap::new(),
        }
    }

    fn is(&self, watched: &Arc<dyn Watched>) -> bool {
        ptr::addr_eq(self.watched.as_ptr(), Arc::as_ptr(watched))
    }
}

/// Everything that the page shows, as of the last look.
#[derive(Debug)]
pub(super) struct Sampler {
    hub: Arc<Hub>,
    board: Arc<Board>,
    started: u64,
    looked: Option<u64>,
    sources: Vec<Source>,
    readings: Readings,
    stretch: Stretch,
    history: History,
    now: Now,
}

impl Sampler {
    pub(super) fn new(hub: Arc<Hub>, board: Arc<Board>) -> Self {
        Self {
            started: hub.time.now(),
            looked: None,
            sources: Vec::new(),
            readings: Readings::default(),
            stretch: Stretch::new(),
            history: History::new(),
            now: Now::default(),
            hub,
            board,
        }
    }

    /// Looks. `at` is the time of day in milliseconds. The first look only learns where the counts stand.
    pub(super) fn look(&mut self, at: u64) -> Option<Vec<u8>> {
        let now = self.hub.time.now();
        let before = self.looked.replace(now);
        #[expect(clippy::cast_precision_loss, reason = "a second or so in nanoseconds")]
        let seconds = before.map_or(0.0, |before| now.saturating_sub(before) as f64 / 1e9);
        self.stretch.clear();
        self.stretch.seconds = seconds;
        let [requests, queries] = self.tables(now, seconds);
        let readings = self.readings.read(&self.board, seconds, at);
        let (caches, reads) = caches(&readings);
        self.stretch.reads = reads;
        self.now = Now {
            at,
            up: now.saturating_sub(self.started) / 1_000_000_000,
            requests,
            queries,
            caches,
            nodes: nodes(&readings),
            checks: checks(&readings, at),
            runtime: self.runtime(),
            losses: frame::losses(&self.hub.tallies.losses(), self.board.left_out()),
        };
        before?;
        let (point, coarse) = self.history.push(at, &self.stretch);
        let tick = Tick {
            point,
            coarse,
            now: &self.now,
        };
        serde_json::to_vec(&tick).ok()
    }

    fn runtime(&self) -> Option<Busy> {
        let kept = self.hub.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.iter().rev().find_map(|kept| kept.busy())
    }

    /// Everything there is to show, as JSON. Alerts have their facts only when `details` are allowed.
    pub(super) fn full(&self, title: &str, details: bool) -> Vec<u8> {
        let trend = |row: &Row| Some(&self.sources.get(row.source)?.tracks.get(&row.name)?.trend);
        let tables = [&self.now.requests, &self.now.queries];
        let alerts = self.hub.desk.shelf.newest();
        let full = Full {
            title,
            history: &self.history,
            now: &self.now,
            trends: tables.map(|table| table.rows.iter().map(trend).collect()),
            alerts: frames(&alerts, details),
        };
        // Nothing in it can fail: no maps with odd keys, and the numbers are finite.
        serde_json::to_vec(&full).unwrap_or_default()
    }

    /// The last alerts as JSON, and the number by which to see that there are newer ones.
    pub(super) fn alerts(&self, details: bool) -> (u64, Vec<u8>) {
        let shelf = &self.hub.desk.shelf;
        let version = shelf.version();
        let alerts = shelf.newest();
        let text = serde_json::to_vec(&frames(&alerts, details)).unwrap_or_default();
        (version, text)
    }

    pub(super) fn alerts_version(&self) -> u64 {
        self.hub.desk.shelf.version()
    }

    fn tables(&mut self, now: u64, seconds: f64) -> [Table; 2] {
        let (mut requests, mut queries) = (Vec::new(), Vec::new());
        let all = self.hub.watched();
        self.sources
            .retain(|source| all.iter().any(|watched| source.is(watched)));
        for watched in &all {
            let source = position(&mut self.sources, watched);
            let tracks = &mut self.sources[source].tracks;
            let stretch = &mut self.stretch;
            watched.each(&mut |side: Side, name: &str, recent: &Recent| {
                let (load, rows) = match side {
                    Side::Request => (&mut stretch.requests, &mut requests),
                    Side::Query => (&mut stretch.queries, &mut queries),
                };
                let stats = recent.stats(name, now);
                if stats.count + stats.in_flight > 0 {
                    let track = track(tracks, name);
                    let errors = stats.errors.saturating_sub(track.errors);
                    load.add(errors, |counts| {
                        recent.add_new_to(now, &mut track.seen, counts)
                    });
                    let rate = track.update(&stats, seconds);
                    rows.push(Row::new(source, stats, rate));
                }
            });
        }
        [table(requests), table(queries)]
    }
}

impl Track {
    /// Takes the counts over, and says how many operations a second they are.
    fn update(&mut self, stats: &Stats, seconds: f64) -> f32 {
        let rate = rate(stats.count.saturating_sub(self.count), seconds);
        self.count = stats.count;
        self.errors = stats.errors;
        self.trend.push(rate);
        rate
    }
}

/// Where this one is among the sources; a new one comes last.
fn position(sources: &mut Vec<Source>, watched: &Arc<dyn Watched>) -> usize {
    let known = sources.iter().position(|source| source.is(watched));
    known.unwrap_or_else(|| {
        sources.push(Source::new(watched));
        sources.len() - 1
    })
}

fn track<'a>(tracks: &'a mut HashMap<String, Track>, name: &str) -> &'a mut Track {
    tracks.entry(name.to_owned()).or_default()
}

fn frames(alerts: &[Arc<Alert>], details: bool) -> Vec<AlertFrame<'_>> {
    alerts
        .iter()
        .map(|alert| AlertFrame::new(alert, details))
        .collect()
}

fn table(mut rows: Vec<Row>) -> Table {
    rows.sort_by(|one, other| {
        other
            .count
            .cmp(&one.count)
            .then_with(|| one.name.cmp(&other.name))
    });
    let active = rows.iter().map(|row| row.active).sum();
    let more = rows.len().saturating_sub(ROWS);
    rows.truncate(ROWS);
    Table { rows, more, active }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::time::Duration;

    use serde_json::Value;

    use super::*;
    use crate::{Clock, Monitor, Outcome};

    #[derive(Clone, Default)]
    struct Turned(Arc<AtomicU64>);

    impl Clock for Turned {
        fn now(&self) -> Duration {
            Duration::from_millis(self.0.load(Ordering::SeqCst))
        }
    }

    #[test]
    fn a_second_has_its_own_rate_and_percentiles() {
        let clock = Turned::default();
        let monitor = Monitor::builder()
            .clock(clock.clone())
            .build()
            .expect("a monitor");
        let mut sampler = Sampler::new(Arc::clone(&monitor.inner().hub), Arc::default());
        let query = |ms: u64, outcome| {
            let span = monitor.query("list").start();
            clock.0.fetch_add(ms, Ordering::SeqCst);
            span.finish(outcome);
        };
        query(500, Outcome::Success);
        assert_eq!(
            sampler.look(1_000),
            None,
            "what was before is nobody's second"
        );
        (0..9).for_each(|_| query(10, Outcome::Success));
        query(410, Outcome::Error("query"));
        clock.0.fetch_add(500, Ordering::SeqCst);
        let tick: Value =
            serde_json::from_slice(&sampler.look(2_000).expect("a tick")).expect("JSON");
        assert_eq!(tick["point"][0], 2_000);
        let [rate, errors, p50, _, p99] =
            [0, 1, 2, 3, 4].map(|at| tick["point"][2][at].as_f64().expect("a number"));
        assert_eq!((rate, errors), (10.0, 1.0));
        assert!(
            (10.0..10.7).contains(&p50) && (410.0..440.0).contains(&p99),
            "{p50} {p99}"
        );
        let row = &tick["now"]["queries"]["rows"][0];
        assert_eq!(
            (&row["name"], &row["count"], &row["errors"], &row["rate"]),
            (&"list".into(), &11.into(), &1.into(), &10.0.into())
        );
        let full: Value = serde_json::from_slice(&sampler.full("shop", false)).expect("JSON");
        assert_eq!(full["trends"][1][0], serde_json::json!([0.0, 10.0]));
        assert_eq!(full["history"]["minutes"].as_array().map(Vec::len), Some(1));
    }

    /// A layer with one route.
    #[derive(Debug, Default)]
    struct Layer(Recent);

    impl Layer {
        fn serve(&self, times: u64) {
            for _ in 0..times {
                self.0.begin();
                self.0.end(0, 1_000_000, Outcome::Success);
            }
        }
    }

    impl Watched for Layer {
        fn look(&self, _: u64) {}

        fn each(&self, visit: &mut dyn FnMut(Side, &str, &Recent)) {
            visit(Side::Request, "/a", &self.0);
        }
    }

    #[test]
    fn a_layer_that_goes_away_changes_the_rates_of_no_other() {
        let clock = Turned::default();
        let builder = Monitor::builder().clock(clock.clone());
        let monitor = builder.build().expect("a monitor");
        let hub = &monitor.inner().hub;
        let mut sampler = Sampler::new(Arc::clone(hub), Arc::default());
        let (first, second) = (Arc::new(Layer::default()), Arc::new(Layer::default()));
        for layer in [&first, &second] {
            hub.watch(Arc::downgrade(layer) as Weak<dyn Watched>);
        }
        let mut look = || {
            clock.0.fetch_add(1000, Ordering::SeqCst);
            let tick = sampler.look(0).unwrap_or_else(|| b"{}".to_vec());
            serde_json::from_slice::<Value>(&tick).expect("JSON")
        };
        first.serve(7);
        second.serve(500);
        look();
        second.serve(3);
        drop(first);
        let tick = look();
        assert_eq!(tick["point"][1][0], 3.0, "requests a second");
        assert_eq!(tick["now"]["requests"]["rows"][0]["rate"], 3.0);
        second.serve(2);
        assert_eq!(look()["point"][1][0], 2.0);
        assert_eq!(
            sampler.sources.len(),
            3,
            "the queries, the program's own metrics and one layer"
        );
    }

    #[test]
    fn facts_of_an_alert_are_only_for_whom_they_are_allowed() {
        let clock = Turned::default();
        let monitor = Monitor::builder()
            .clock(clock.clone())
            .build()
            .expect("a monitor");
        let sampler = Sampler::new(Arc::clone(&monitor.inner().hub), Arc::default());
        let mut span = monitor.query("list").start();
        span.rows(4711);
        clock.0.fetch_add(500, Ordering::SeqCst);
        span.finish(Outcome::Success);
        let text = |details| String::from_utf8(sampler.alerts(details).1).expect("text");
        assert!(text(false).contains("slow query") && !text(false).contains("4711"));
        assert!(text(true).contains("4711"), "{}", text(true));
        let full = |details| String::from_utf8(sampler.full("", details)).expect("text");
        assert!(!full(false).contains("4711") && full(true).contains("4711"));
    }
}
