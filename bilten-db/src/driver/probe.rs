//! Looks at a node on a connection of its own, so that a full pool is not taken for a dead server.

use std::time::Duration;

use async_trait::async_trait;
use sqlx::{ConnectOptions as _, Connection};
use tokio::time::timeout;

use super::{ConnectOptions, Driver, Prober, Sample, query_err};
use crate::fault::Fault;

/// Keeps one connection between probes and opens a new one after any failure.
pub(crate) struct OwnConnection<D: Driver> {
    options: ConnectOptions<D>,
    limit: Duration,
    conn: Option<D::Connection>,
}

impl<D: Driver> OwnConnection<D> {
    pub(crate) fn new(options: ConnectOptions<D>, limit: Duration) -> Self {
        Self {
            options,
            limit,
            conn: None,
        }
    }

    async fn look(&mut self) -> Result<Sample, Fault> {
        let mut conn = match self.conn.take() {
            Some(conn) => conn,
            None => self.options.connect().await.map_err(Fault::Unreachable)?,
        };
        let sample = D::sample(&mut conn).await.map_err(query_err)?;
        self.conn = Some(conn);
        Ok(sample)
    }

    async fn look_in_time(&mut self) -> Result<Sample, Fault> {
        let limit = self.limit;
        timeout(limit, self.look())
            .await
            .unwrap_or(Err(Fault::ConnectTimeout(limit)))
    }
}

#[async_trait]
impl<D: Driver> Prober for OwnConnection<D>
where
    <D::Connection as Connection>::Options: Clone,
{
    async fn probe(&mut self) -> Result<Sample, Fault> {
        let kept = self.conn.is_some();
        match self.look_in_time().await {
            // The connection may have been ended for itself; only a new one tells about the node.
            Err(_) if kept => self.look_in_time().await,
            looked => looked,
        }
    }
}
