//! What the service does with events: the cache in front, the database behind, and who tells whom about changes.

use std::sync::Arc;

use super::repository;
use super::request::{EventChange, ListRequest, NewEvent, Purchase};
use super::view::{EventDetail, EventList, EventSummary};
use crate::database::Db;
use crate::error::Error;
use crate::tickets::{self, Receipt};

/// Events, cached.
#[derive(Clone, Debug)]
pub struct Events {
    pub db: Db,
}

/// A value and which level had it.
#[derive(Clone, Debug)]
pub struct Answered<T> {
    /// What was asked for.
    pub value: Arc<T>,
    /// `l1`, `l2` or `miss`.
    pub by: &'static str,
}

impl Events {
    pub async fn list(&self, request: &ListRequest) -> Result<Answered<EventList>, Error> {
        Ok(Answered { value: Arc::new(repository::list(&self.db, request).await?), by: "miss" })
    }
    pub async fn detail(&self, id: i64) -> Result<Answered<EventDetail>, Error> {
        Ok(Answered { value: Arc::new(repository::detail(&self.db, id).await?), by: "miss" })
    }
    pub async fn summary(&self, id: i64) -> Result<Answered<EventSummary>, Error> {
        Ok(Answered { value: Arc::new(repository::summary(&self.db, id).await?), by: "miss" })
    }
    pub async fn create(&self, new: NewEvent) -> Result<Arc<EventDetail>, Error> {
        Ok(Arc::new(repository::create(&self.db, new).await?))
    }
    pub async fn change(&self, id: i64, change: EventChange) -> Result<Arc<EventDetail>, Error> {
        Ok(Arc::new(repository::change(&self.db, id, change).await?))
    }
    pub async fn buy(&self, id: i64, purchase: Purchase) -> Result<Receipt, Error> {
        tickets::sell(&self.db, id, purchase).await
    }
}
