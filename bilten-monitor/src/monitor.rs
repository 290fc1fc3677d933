//! The monitor itself.

use std::fmt;
use std::sync::{Arc, Weak};
use std::time::Duration;

use crate::alert::Alert;
use crate::family::Declared;
use crate::hub::Hub;
use crate::names;
use crate::query::{Queries, Query};
use crate::slots::Watched;
use crate::stats::{Recent, Side, Snapshot};
use crate::tally::Losses;

/// Times queries and requests, and tells of the slow ones. Cheap to clone; every clone is the same monitor.
///
/// One monitor for each recorder: two on the same one would overwrite each other's numbers in flight.
///
/// ```
/// use std::time::Duration;
/// use bilten_monitor::Monitor;
///
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// let monitor = Monitor::builder().slow_query(Duration::from_millis(50)).build()?;
/// let event = monitor.query("event_by_id").run(async { Ok::<_, std::io::Error>("a concert") }).await;
/// assert_eq!(event.ok(), Some("a concert"));
/// # Ok::<(), bilten_monitor::Error>(()) }).unwrap();
/// ```
#[derive(Clone)]
pub struct Monitor(Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) hub: Arc<Hub>,
    pub(crate) queries: Arc<Queries>,
    pub(crate) metrics: Arc<Declared>,
}

impl Monitor {
    pub(crate) fn new(hub: Arc<Hub>) -> Self {
        let queries = Arc::new(Queries::new(&hub));
        let queries_watched: Weak<dyn Watched> = Arc::downgrade(&queries) as Weak<dyn Watched>;
        hub.watch(queries_watched);
        let metrics = Arc::new(Declared::new(&hub));
        hub.watch(Arc::downgrade(&metrics) as Weak<dyn Watched>);
        Self(Arc::new(Inner {
            hub,
            queries,
            metrics,
        }))
    }

    /// A query of this name, to run something with. It takes a place among the names when it begins.
    ///
    /// The name becomes a label, so it is a constant of the program and never made from a user's data. An empty
    /// name is counted as `unnamed`. After the number of names that
    /// [`max_label_values`](crate::MonitorBuilder::max_label_values) allows, new ones are counted under `other`.
    pub fn query(&self, name: &'static str) -> Query {
        let name = if name.is_empty() {
            names::UNNAMED
        } else {
            name
        };
        Query::named(&self.0.queries, name)
    }

    /// How many queries are under way at this moment.
    #[must_use]
    pub fn queries_in_flight(&self) -> u64 {
        self.0.queries.in_flight()
    }

    /// What this monitor did not deliver, did not keep or counted elsewhere.
    #[must_use]
    pub fn losses(&self) -> Losses {
        self.0.hub.tallies.losses()
    }

    /// The last 64 alerts, the newest first, for a page of the service's own.
    ///
    /// What the rate limit held back is not among them; whether a sink took one makes no difference. Their facts may
    /// tell of a user: show those only to whom they concern.
    #[must_use]
    pub fn alerts(&self) -> Vec<Arc<Alert>> {
        self.0.hub.desk.shelf.newest()
    }

    /// Counts and percentiles of every query and route, for a page of the service's own.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let hub = &self.0.hub;
        let mut snapshot = Snapshot {
            losses: self.losses(),
            ..Snapshot::default()
        };
        let now = hub.time.now();
        let mut tell = |side, name: &str, recent: &Recent| {
            let stats = recent.stats(name, now);
            if stats.count + stats.in_flight > 0 {
                match side {
                    Side::Query => snapshot.queries.push(stats),
                    Side::Request => snapshot.requests.push(stats),
                }
            }
        };
        hub.watched()
            .iter()
            .for_each(|watched| watched.each(&mut tell));
        for list in [&mut snapshot.queries, &mut snapshot.requests] {
            list.sort_by(|one, other| {
                other
                    .count
                    .cmp(&one.count)
                    .then_with(|| one.name.cmp(&other.name))
            });
        }
        snapshot
    }

    /// Waits until the sinks have handled what was queued, at most `limit`; `false` when they have not.
    ///
    /// It also brings the gauges of numbers in flight and the monitor's own counters up to date, which else happens once
    /// a second and whenever [`Exporter`](crate::prometheus) writes its metrics; and it tells at once which subjects'
    /// alerts found no room ([`TooManyAlerts`](crate::alert::AlertKind)).
    ///
    /// For the end of a program. It blocks the thread, so call it after the runtime's work is done.
    #[must_use]
    pub fn flush(&self, limit: Duration) -> bool {
        self.0.hub.flush(limit)
    }

    pub(crate) fn inner(&self) -> &Inner {
        &self.0
    }
}

impl fmt::Debug for Monitor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Monitor")
            .field("losses", &self.losses())
            .finish_non_exhaustive()
    }
}
