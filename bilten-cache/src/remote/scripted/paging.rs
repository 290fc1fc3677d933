//! The markers of a log, page by page.

use std::time::Duration;

use tokio::time::Instant;

use super::reply;
use super::{Arg, Link, Scripted};
use crate::remote::{RemoteError, Scope, Snapshot};

/// How long markers are read. Behind a link that takes longer for them one marker on everything stands for the rest.
const LONGEST: Duration = Duration::from_secs(10);
/// Pages in a row that may fail to come in time: what was asked for before them may still be on its way.
const TRIES: u32 = 6;

impl<L: Link> Scripted<L> {
    pub(super) async fn take_snapshot(&self) -> Result<Snapshot, RemoteError> {
        let begun = Instant::now();
        let most = i64::from(self.markers.asked());
        let what = || {
            let [meta, log] = self.log_names();
            let names = [meta, log, self.names.demands().to_owned()];
            (names, [super::hex(fastrand::u64(1..)), Arg::Int(most)])
        };
        let answer = self.link.eval(&self.scripts.snapshot, what).await;
        let took = begun.elapsed();
        let answer = answer.inspect_err(|_| self.markers.failed(took, self.limit));
        let (snapshot, more) = reply::snapshot(&answer?)?;
        match more {
            true => self.read_markers(snapshot, begun, took).await,
            false => Ok(snapshot),
        }
    }

    /// Adds the markers that were too many for one answer. Those that come or rise meanwhile come with the log as well. `way` is what an answer
    /// without markers took.
    async fn read_markers(
        &self,
        mut snapshot: Snapshot,
        since: Instant,
        way: Duration,
    ) -> Result<Snapshot, RemoteError> {
        let (mut cursor, mut in_vain) = ("0".to_owned(), 0);
        loop {
            let begun = Instant::now();
            let most = i64::from(self.markers.asked());
            let what = || {
                let args = [Arg::Text(cursor.clone()), Arg::Int(most)];
                ([self.names.meta().to_owned()], args)
            };
            let page = self.link.eval(&self.scripts.markers, what).await;
            let took = begun.elapsed();
            match page {
                Ok(page) => {
                    cursor = reply::marker_page(&page, &mut snapshot)?;
                    self.markers.came(took, self.limit, way);
                    in_vain = 0;
                }
                Err(error) if took < self.limit / 2 || in_vain >= TRIES => return Err(error),
                Err(_) => {
                    self.markers.failed(took, self.limit);
                    in_vain += 1;
                    continue;
                }
            }
            if cursor == "0" {
                return Ok(snapshot);
            }
            if since.elapsed() >= LONGEST {
                return Ok(cut_short(snapshot));
            }
        }
    }
}

/// Whatever was not read stands at or below the position of the snapshot.
fn cut_short(mut snapshot: Snapshot) -> Snapshot {
    tracing::debug!("the link is too slow for all markers: what was stored until now is a miss");
    snapshot.markers = vec![(Scope::All, snapshot.position.number)];
    snapshot.cut_short = true;
    snapshot
}
