//! What the service does with events: the cache in front, the database behind, and what a change invalidates.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bilten_cache::{Cache, Key, LoadContext, Loaded, Region};
use bilten_db::{Session, Token};
use bilten_monitor::observe::Observed;

use super::deferred::Deferred;
use super::repository;
use super::request::{EventChange, ListRequest, NewEvent, Place, Purchase};
use super::view::{EventDetail, EventList, EventSummary};
use crate::database::Database;
use crate::error::Error;
use crate::events::tickets::{self, Held, Receipt};

/// Events, cached. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Events {
    database: Database,
    cache: Cache,
    lists: Region<ListKey, EventList>,
    details: Region<i64, EventDetail>,
    summaries: Region<i64, EventSummary>,
    deferred: Deferred,
}

/// Page (0 for one after an event), that event's place, limit, part of the title, town; empty when not asked for.
type ListKey = (u64, String, u64, String, String);

/// A value and which level had it.
#[derive(Clone, Debug)]
pub struct Answered<T> {
    /// What was asked for.
    pub value: Arc<T>,
    /// `l1`, `l2` or `miss`.
    pub by: &'static str,
}

impl Events {
    /// Events of this database behind this cache.
    ///
    /// # Errors
    /// When the cache has a region of one of our names already.
    pub fn new(database: Database, cache: Cache) -> Result<Self, bilten_cache::Error> {
        let minutes = |n: u64| Duration::from_secs(n * 60);
        Ok(Self {
            lists: cache
                .region("events:list")
                .time_to_live(minutes(5))
                .jitter(Duration::from_secs(30))
                .build()?,
            details: cache
                .region("event")
                .time_to_live(minutes(30))
                .jitter(minutes(1))
                .build()?,
            summaries: cache
                .region("event-summary")
                .time_to_live(minutes(30))
                .jitter(minutes(1))
                .build()?,
            database,
            cache,
            deferred: Deferred::default(),
        })
    }

    /// One page of what is published: cache-aside.
    ///
    /// # Errors
    /// 503 when neither cache nor database has it.
    pub async fn list(&self, request: &ListRequest) -> Result<Answered<EventList>, Error> {
        let key = list_key(request.clone());
        let (database, request) = (self.database.clone(), request.clone());
        answer(&self.lists, &key, async move |load| {
            let session = database.for_load(&load);
            // Boxed: rows and count, each with its retries, make a future of 26 KB.
            Box::pin(repository::list(&session, &request)).await
        })
        .await
    }

    /// One event: however many ask at once, the database is asked once.
    ///
    /// # Errors
    /// 404 when there is none; 503 when neither cache nor database has it.
    pub async fn detail(&self, id: i64) -> Result<Answered<EventDetail>, Error> {
        let database = self.database.clone();
        answer(&self.details, &id, async move |load| {
            repository::detail(&database.for_load(&load), id).await
        })
        .await
    }

    /// One event in few columns, with its tickets counted.
    ///
    /// # Errors
    /// As for [`detail`](Self::detail).
    pub async fn summary(&self, id: i64) -> Result<Answered<EventSummary>, Error> {
        let database = self.database.clone();
        answer(&self.summaries, &id, async move |load| {
            repository::summary(&database.for_load(&load), id).await
        })
        .await
    }

    /// Writes a new event to the database and through to the cache, then invalidates every list.
    ///
    /// # Errors
    /// 400 when organizer or venue do not exist; 503 when the database fails.
    pub async fn create(&self, new: NewEvent) -> Result<Arc<EventDetail>, Error> {
        let this = self.clone();
        to_the_end(async move {
            let session = this.database.session(None);
            let detail = Arc::new(repository::create(&session, new).await?);
            let (token, _) = reached(&session).await;
            // The database gives the id, so the key is known only now; otherwise this would be `write_through`.
            let shared = Loaded::shared(Arc::clone(&detail));
            let details = this.details.after(&token);
            this.deferred
                .note(details.set(&detail.event.id, shared).await?);
            this.forget_lists(&token).await;
            Ok(detail)
        })
        .await
    }

    /// Changes an event in the database, then invalidates what shows it. Not written through: of two changes at once,
    /// the older one could arrive in the cache last.
    ///
    /// # Errors
    /// 404, 400 or 409 when it cannot be; 503 when the database fails.
    pub async fn change(&self, id: i64, change: EventChange) -> Result<EventDetail, Error> {
        let this = self.clone();
        to_the_end(async move {
            let session = this.database.session(None);
            let detail = repository::change(&session, id, change).await?;
            let (token, _) = reached(&session).await;
            this.forget(id, &token).await?;
            this.forget_lists(&token).await;
            Ok(detail)
        })
        .await
    }

    /// Sells tickets. The lists do not show how many are sold, so a sale leaves them alone.
    ///
    /// The token is what [`held`](Self::held) needs to see them; without one, the primary could not be asked.
    ///
    /// # Errors
    /// 404, 409 or 422 when they cannot be sold; 503 when the database fails.
    pub async fn buy(
        &self,
        id: i64,
        purchase: Purchase,
        key: Option<String>,
    ) -> Result<(Receipt, Option<Token>), Error> {
        let this = self.clone();
        to_the_end(async move {
            let session = this.database.session(None);
            let receipt = tickets::sell(&session, id, purchase, key.as_deref()).await?;
            let (text, token) = reached(&session).await;
            this.forget(id, &text).await?;
            Ok((receipt, token))
        })
        .await
    }

    /// What a user holds for an event, from a replica that has everything up to the token, otherwise from the primary.
    ///
    /// # Errors
    /// 503 when the database fails.
    pub async fn held(&self, id: i64, user: i64, token: Option<Token>) -> Result<Held, Error> {
        tickets::held(&self.database.session(token), id, user).await
    }

    async fn forget(&self, id: i64, token: &str) -> Result<(), Error> {
        self.deferred
            .note(self.details.after(token).remove(&id).await?);
        self.deferred
            .note(self.summaries.after(token).remove(&id).await?);
        Ok(())
    }

    /// The pattern `events:list:*` would do it too, but could not say which state the next loads must see.
    async fn forget_lists(&self, token: &str) {
        self.deferred.note(self.lists.after(token).clear().await);
    }

    /// How often the database was asked for an event, a list or a summary.
    #[must_use]
    pub fn loads(&self) -> u64 {
        self.cache.stats().loads
    }
}

/// What has the change that was just committed, as text and as it is. It is committed, whatever becomes of the token: an
/// empty one sends the next loads to the primary.
async fn reached(session: &Observed<Session>) -> (String, Option<Token>) {
    let token = session.inner().token().await.ok().flatten();
    (
        token.map_or_else(String::new, |token| token.to_string()),
        token,
    )
}

fn list_key(request: ListRequest) -> ListKey {
    let (page, after) = match request.place {
        Place::Page(page) => (page, String::new()),
        Place::After(cursor) => (0, cursor.to_string()),
    };
    let (q, city) = (request.q, request.city);
    (
        page,
        after,
        request.limit,
        q.unwrap_or_default(),
        city.unwrap_or_default(),
    )
}

async fn answer<K, V, F, Fut>(region: &Region<K, V>, key: &K, load: F) -> Result<Answered<V>, Error>
where
    K: Key,
    V: Send + Sync + 'static,
    F: FnOnce(LoadContext<V>) -> Fut + Send + 'static,
    Fut: Future<Output = Result<V, Error>> + Send + 'static,
{
    let in_memory = region.peek(key).is_some();
    let loaded = Arc::new(AtomicBool::new(false));
    let mark = Arc::clone(&loaded);
    let value = region
        .get_or_load(key, move |context| {
            mark.store(true, Ordering::Relaxed);
            load(context)
        })
        .await?;
    let by = match (in_memory, loaded.load(Ordering::Relaxed)) {
        (true, _) => "l1",
        (false, true) => "miss",
        (false, false) => "l2",
    };
    Ok(Answered { value, by })
}

/// Runs a change in a task of its own: a client that goes away between the commit and the invalidation must not
/// leave old values behind.
async fn to_the_end<T: Send + 'static>(
    change: impl Future<Output = Result<T, Error>> + Send + 'static,
) -> Result<T, Error> {
    tokio::spawn(change)
        .await
        .unwrap_or_else(|panic| Err(Error::Backend(Box::new(panic))))
}
