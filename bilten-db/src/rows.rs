//! The rows of a query as they come, in time or not at all.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::stream::BoxStream;
use futures_util::{Stream, StreamExt as _, TryStreamExt as _};
use sea_orm::{DbErr, QueryResult};
use tokio::runtime::Handle;
use tokio::task::yield_now;
use tokio::time::timeout;

use crate::Error;
use crate::fallback::Place;
use crate::fault::{Fault, Trouble, trouble_of};
use crate::flight::Flight;
use crate::learned::Learned;
use crate::patience::{GIVEN_UP_LIMIT, Patience};

/// What [`StreamTrait::stream_raw`](sea_orm::StreamTrait::stream_raw) of a [`Cluster`](crate::Cluster) or a
/// [`Session`](crate::Session) gives: rows as they come, without holding them all.
///
/// Until the first row is there, a fault sends the query to another node, as it does for any read. After that rows have
/// reached the caller and nothing is run again: the stream ends with [`Error::Interrupted`], never short without a
/// word, and never from the beginning.
///
/// Each wait for the next row is bounded by [`PoolConfig::query_timeout`](crate::PoolConfig::query_timeout), and ends
/// sooner when the node falls silent. Time that the caller takes between two rows does not count.
///
/// ```
/// use bilten_db::Cluster;
/// use bilten_db::sea_orm::{DatabaseBackend, Statement, StreamTrait};
/// use futures_util::TryStreamExt;
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let db = Cluster::builder().primary("sqlite::memory:").connect().await?;
/// let all = Statement::from_string(DatabaseBackend::Sqlite, "SELECT 1 UNION ALL SELECT 2");
/// let mut rows = db.stream_raw(all).await?;
/// while let Some(row) = rows.try_next().await? {
///     let number: i32 = row.try_get_by_index(0)?;
///     assert!(number < 3);
/// }
/// # Ok(()) }
/// ```
///
/// # Cancellation
///
/// Dropped between two rows, its connection goes back if the server has sent the rest within 250 ms; otherwise, and when it
/// is dropped while it waits for a row, the connection is closed.
pub struct Rows {
    /// Fetched when the stream was opened.
    first: Option<QueryResult>,
    stream: Option<BoxStream<'static, Result<QueryResult, DbErr>>>,
    patience: Option<Patience>,
    /// The present wait, if the next row is not there yet.
    wait: Option<Pin<Box<dyn Future<Output = Fault> + Send>>>,
    seen: u64,
    lesson: Option<(Arc<Learned>, String)>,
    /// The primary stands in for a replica until the end of it.
    place: Option<Place>,
    /// Its statement writes.
    write: bool,
    /// It runs on the node until the end.
    flight: Option<Flight>,
}

impl Rows {
    /// Waits for the first row; `silences` is what `patience` told before the connection was there.
    pub(crate) async fn open(
        stream: impl Stream<Item = Result<QueryResult, DbErr>> + Send + 'static,
        patience: Option<Patience>,
        silences: u64,
    ) -> Result<Self, Fault> {
        let mut stream = stream.boxed();
        let first = match &patience {
            Some(patience) => patience.wait(silences, stream.try_next()).await?,
            None => stream.try_next().await,
        };
        let first = first.map_err(Fault::Statement)?;
        Ok(Self {
            stream: first.is_some().then_some(stream),
            first,
            patience,
            wait: None,
            seen: 0,
            lesson: None,
            place: None,
            write: false,
            flight: None,
        })
    }

    /// Cut in the middle, it may have written.
    pub(crate) fn writing(mut self) -> Self {
        self.write = true;
        self
    }

    /// Counts on its node until the end.
    pub(crate) fn in_flight(mut self, flight: Flight) -> Self {
        self.flight = self.stream.is_some().then_some(flight);
        self
    }

    /// Takes a place among the reads that the primary serves for lack of a replica, until the end.
    pub(crate) fn standing_in(mut self, place: Option<Place>) -> Self {
        self.place = place;
        self
    }

    /// Remembers `sql` as a write if a replica refuses it in the middle.
    pub(crate) fn teach(mut self, learned: Arc<Learned>, sql: String) -> Self {
        self.lesson = Some((learned, sql));
        self
    }

    fn poll_row(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<QueryResult, DbErr>>> {
        if let Some(first) = self.first.take() {
            return Poll::Ready(Some(Ok(first)));
        }
        let Some(stream) = &mut self.stream else {
            return Poll::Ready(None);
        };
        if let Poll::Ready(item) = stream.poll_next_unpin(context) {
            self.wait = None;
            if let (Some(patience), Some(Ok(_))) = (&self.patience, &item) {
                patience.answered();
            }
            return Poll::Ready(item.map(|row| row.map_err(|error| self.ended_by(error))));
        }
        let Some(patience) = &self.patience else {
            return Poll::Pending;
        };
        let wait = self
            .wait
            .get_or_insert_with(|| Box::pin(patience.run_out_inside()));
        match wait.as_mut().poll(context) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(fault) => {
                let error = patience.db_err(fault);
                Poll::Ready(Some(Err(self.interrupted(error))))
            }
        }
    }

    /// An answer that is meant for the caller stays as it is.
    fn ended_by(&mut self, error: DbErr) -> DbErr {
        match trouble_of(&error) {
            Trouble::Answer | Trouble::NotHere => {
                self.stream = None;
                error
            }
            trouble => {
                if let (Trouble::ReadOnly, Some((learned, sql))) = (trouble, &self.lesson) {
                    learned.insert(sql);
                }
                self.interrupted(error)
            }
        }
    }

    fn interrupted(&mut self, source: DbErr) -> DbErr {
        (self.stream, self.wait) = (None, None);
        let Some(patience) = &self.patience else {
            return source;
        };
        patience.suspect();
        let interrupted = Error::Interrupted {
            node: patience.node().to_owned(),
            address: patience.address().to_owned(),
            rows: self.seen,
            write: self.write,
            source,
        };
        interrupted.into()
    }
}

impl Stream for Rows {
    type Item = Result<QueryResult, DbErr>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let rows = self.get_mut();
        let polled = rows.poll_row(context);
        if matches!(polled, Poll::Ready(Some(Ok(_)))) {
            rows.seen += 1;
        }
        if matches!(polled, Poll::Ready(None | Some(Err(_)))) {
            (rows.place, rows.flight) = (None, None);
        }
        polled
    }
}

impl Drop for Rows {
    /// What the server has soon sent is heard out, so that the connection goes back. Row by row: the driver, which would
    /// hear it out too, lets nobody in between while rows come quickly.
    fn drop(&mut self) {
        let rests = self.wait.is_none() && self.patience.is_some();
        if let Some(stream) = self.stream.take().filter(|_| rests)
            && let Ok(runtime) = Handle::try_current()
        {
            runtime.spawn(async move { timeout(GIVEN_UP_LIMIT, hear_out(stream)).await.is_ok() });
        }
    }
}

async fn hear_out(mut stream: BoxStream<'static, Result<QueryResult, DbErr>>) {
    while let Some(Ok(_)) = stream.next().await {
        yield_now().await;
    }
}

impl fmt::Debug for Rows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rows")
            .field("seen", &self.seen)
            .finish_non_exhaustive()
    }
}

#[cfg(all(test, feature = "sqlite"))]
#[allow(clippy::unwrap_used, reason = "helpers of tests may panic like tests")]
mod tests {
    use std::time::Duration;

    use futures_util::stream;
    use sea_orm::{ConnectionTrait as _, Database, DbBackend, Statement};

    use super::*;

    /// One row, and then nothing more.
    async fn stuck(patience: &Patience) -> Rows {
        let db = Database::connect("sqlite::memory:").await.unwrap();
        let select = Statement::from_string(DbBackend::Sqlite, "select 7");
        let row = db.query_one_raw(select).await.unwrap();
        let rows = stream::iter([Ok(row.unwrap())]).chain(stream::pending());
        let opened = Rows::open(rows, Some(patience.clone()), patience.silences());
        let mut rows = opened.await.unwrap();
        rows.try_next().await.unwrap();
        rows
    }

    #[tokio::test]
    async fn a_stream_waits_for_an_answer_until_it_has_one_or_is_given_up() {
        let limit = Some(Duration::from_millis(50));
        let patience = Patience::new(Arc::from("r1"), Arc::from("db-2"), limit, None);
        let mut rows = stuck(&patience).await;
        assert_eq!(patience.waits_inside(), 0, "between two rows");
        let poll = std::future::poll_fn(|context| Poll::Ready(rows.poll_next_unpin(context)));
        assert!(poll.await.is_pending());
        assert_eq!(patience.waits_inside(), 1);
        rows.try_next().await.unwrap_err();
        assert_eq!(patience.waits_inside(), 0, "whether it is dropped or not");
        assert!(rows.try_next().await.unwrap().is_none());
    }
}
