//! Looks at a node on a connection of its own, so that a full pool is not taken for a dead server.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use sqlx::{ConnectOptions as _, Connection};
use tokio::time::{sleep, timeout};

use super::{ConnectOptions, Driver, Prober, Sample, query_err};
use crate::fault::Fault;

/// Without an answer for this long, a new connection is asked beside the old one.
const LATE: Duration = Duration::from_millis(500);
/// Without an answer from either for this long, the node is silent. Also the least time a new connection gets beside a
/// silent one is this minus [`LATE`]: enough for a login over TLS from afar.
const SILENT: Duration = Duration::from_millis(1500);
/// A timer that is late by this much tells of a starved process here, not of a dead node there.
const STARVED: Duration = Duration::from_millis(250);

/// Keeps one connection between probes and opens a new one after any failure.
pub(crate) struct OwnConnection<D: Driver> {
    place: Place<D>,
    conn: Option<D::Connection>,
    /// The last probe found the node silent, so nothing but an answer says otherwise.
    silent: bool,
    /// The last answer came on a new connection, while the one of before gave none.
    stranded: bool,
    /// How often another server may have come to stand under the address, and how often it had when `conn` was opened.
    moves: Arc<AtomicU64>,
    known: u64,
}

/// Where to ask, and how long a new connection may take.
struct Place<D: Driver> {
    options: ConnectOptions<D>,
    limit: Duration,
}

/// The answer, the connection it came on, and whether the one of before gave none meanwhile.
type Answer<D> = (Sample, <D as sqlx::Database>::Connection, bool);

impl<D: Driver> OwnConnection<D> {
    pub(crate) fn new(options: ConnectOptions<D>, limit: Duration, moves: Arc<AtomicU64>) -> Self {
        Self {
            known: moves.load(Ordering::Relaxed),
            moves,
            place: Place { options, limit },
            conn: None,
            silent: false,
            stranded: false,
        }
    }
}

impl<D: Driver> Place<D> {
    async fn look(&self, kept: Option<D::Connection>) -> Result<Answer<D>, Fault> {
        let Some(kept) = kept else {
            return self.ask_anew(self.limit).await;
        };
        let begun = Instant::now();
        let Ok(asked) = timeout(SILENT, self.ask_both(kept)).await else {
            return if begun.elapsed() > SILENT + STARVED {
                self.ask_anew(self.limit).await
            } else {
                Err(Fault::Silent(SILENT))
            };
        };
        match asked {
            Some(answer) => Ok(answer),
            // The connection may have been ended for itself; only a new one tells about the node.
            None => self.ask_anew(self.limit).await,
        }
    }

    /// The first answer of the old connection or a new one; `None` when the old one is broken.
    ///
    /// Only an answer ends the wait: a node that takes no new connection may still serve the old ones.
    async fn ask_both(&self, kept: D::Connection) -> Option<Answer<D>> {
        let beside = async {
            sleep(LATE).await;
            match self.ask_anew(SILENT).await {
                Ok((sample, conn, _)) => (sample, conn, true),
                Err(_) => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            answer = ask::<D>(kept) => answer.ok(),
            answer = beside => Some(answer),
        }
    }

    /// Two budgets: whoever lets us in and then says nothing is no slow network, but a pooler whose server is gone, perhaps.
    async fn ask_anew(&self, limit: Duration) -> Result<Answer<D>, Fault> {
        let conn = match timeout(limit, self.options.connect()).await {
            Ok(connected) => connected.map_err(Fault::Unreachable)?,
            Err(_) => return Err(Fault::ConnectTimeout(limit)),
        };
        let asked = Instant::now();
        match timeout(SILENT, ask::<D>(conn)).await {
            Ok(answer) => answer,
            Err(_) if asked.elapsed() > SILENT + STARVED => Err(Fault::ConnectTimeout(limit)),
            Err(_) => Err(Fault::Unheard(SILENT)),
        }
    }

    async fn start(&self) -> Result<Option<i64>, Fault> {
        let asked = async {
            let conn = self.options.connect().await.map_err(Fault::Unreachable)?;
            ask_start::<D>(conn).await
        };
        let told = timeout(self.limit, asked).await;
        told.unwrap_or(Err(Fault::ConnectTimeout(self.limit)))
    }
}

/// Only the start of the server.
async fn ask_start<D: Driver>(mut conn: D::Connection) -> Result<Option<i64>, Fault> {
    D::started(&mut conn).await.map_err(query_err)
}

async fn ask<D: Driver>(mut conn: D::Connection) -> Result<Answer<D>, Fault> {
    let sample = D::sample(&mut conn).await.map_err(query_err)?;
    Ok((sample, conn, false))
}

#[async_trait]
impl<D: Driver> Prober for OwnConnection<D>
where
    <D::Connection as Connection>::Options: Clone,
{
    async fn probe(&mut self) -> Result<Sample, Fault> {
        let moves = self.moves.load(Ordering::Relaxed);
        let kept = self.conn.take().filter(|_| moves == self.known);
        self.known = moves;
        match self.place.look(kept).await {
            Ok((sample, conn, stranded)) => {
                self.conn = Some(conn);
                self.silent = false;
                self.stranded = stranded;
                Ok(sample)
            }
            Err(Fault::ConnectTimeout(limit) | Fault::Unheard(limit)) if self.silent => {
                Err(Fault::Silent(limit))
            }
            Err(fault) => {
                self.silent |= matches!(fault, Fault::Silent(_));
                Err(fault)
            }
        }
    }

    async fn started(&mut self) -> Result<Option<i64>, Fault> {
        self.place.start().await
    }

    fn found_stranded(&self) -> bool {
        self.stranded
    }
}
