//! One page of a query: its rows and the count of all, from one node, at once.

mod count;
mod cursor;
mod key;
mod keyset;
mod nulls;
mod paged;
mod request;

use std::future::Future;

use sea_orm::{ConnectionTrait, DbErr, QueryResult, Statement};
use serde::{Deserialize, Serialize};

pub use keyset::{Keyset, KeysetPage, KeysetPagination, KeysetRequest};
pub use paged::Paged;
pub use request::{CountMode, PageRequest};

use crate::Error;
use crate::scope::on_one_node;

/// The rows of one page.
///
/// ```
/// use bilten_db::page::{Page, Pagination};
///
/// let page = Page { items: vec!["opening night"], pagination: Pagination::of(1, 20, 1) };
/// let json = serde_json::to_string(&page).unwrap();
/// assert_eq!(
///     json,
///     r#"{"items":["opening night"],"pagination":{"page":1,"limit":20,"total":1,"totalPages":1}}"#
/// );
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[allow(
    clippy::exhaustive_structs,
    reason = "the shape of the JSON is a promise"
)]
pub struct Page<T> {
    /// The rows; none when the page lies behind the last one.
    pub items: Vec<T>,
    /// Where the page stands among all.
    pub pagination: Pagination,
}

impl<T> Page<T> {
    /// The same page with each row changed, for instance into what an API shows.
    pub fn map<U>(self, change: impl FnMut(T) -> U) -> Page<U> {
        Page {
            items: self.items.into_iter().map(change).collect(),
            pagination: self.pagination,
        }
    }
}

/// Where a page stands among all.
///
/// Serialised as `page`, `limit`, `total` and `totalPages`, or with `hasNext` in place of the last two when the rows
/// were not all counted.
///
/// ```
/// use bilten_db::page::Pagination;
///
/// let pagination = Pagination::of(2, 20, 45);
/// assert_eq!(pagination.total_pages, Some(3));
/// assert!(pagination.has_next());
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Pagination {
    /// The page, counted from 1.
    pub page: u64,
    /// Most rows on a page.
    pub limit: u64,
    /// Rows on all pages, when they were counted or estimated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total: Option<u64>,
    /// Pages, when the rows were counted; 0 when there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total_pages: Option<u64>,
    /// The total is what the planner of the database expects, and may be far off.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub estimated: bool,
    #[serde(rename = "hasNext", default, skip_serializing_if = "Option::is_none")]
    next: Option<bool>,
}

impl Pagination {
    /// Page `page` of `total` rows, `limit` on each.
    #[must_use]
    pub fn of(page: u64, limit: u64, total: u64) -> Self {
        Self {
            page,
            limit,
            total: Some(total),
            total_pages: Some(total.div_ceil(limit.max(1))),
            estimated: false,
            next: None,
        }
    }

    /// An estimate may say that there are fewer rows than were seen.
    fn estimated(page: u64, limit: u64, total: u64, has_next: bool) -> Self {
        let seen = if has_next { page * limit + 1 } else { 0 };
        Self {
            estimated: true,
            next: Some(has_next),
            ..Self::of(page, limit, total.max(seen))
        }
    }

    fn uncounted(page: u64, limit: u64, has_next: bool) -> Self {
        Self {
            page,
            limit,
            total: None,
            total_pages: None,
            estimated: false,
            next: Some(has_next),
        }
    }

    /// Whether another page follows.
    #[must_use]
    pub fn has_next(&self) -> bool {
        match (self.next, self.total_pages) {
            (Some(next), _) => next,
            (None, Some(pages)) => self.page < pages,
            (None, None) => false,
        }
    }
}

/// Adds `page` to SeaORM's queries.
///
/// ```
/// use bilten_db::{Cluster, PageExt, PageRequest};
/// use bilten_db::sea_orm::{ActiveValue::Set, ConnectionTrait, EntityTrait, Schema, entity::prelude::*};
///
/// mod event {
///     use bilten_db::sea_orm::{self, entity::prelude::*};
///     #[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
///     #[sea_orm(table_name = "event")]
///     pub struct Model { #[sea_orm(primary_key)] pub id: i32, pub name: String }
///     #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
///     pub enum Relation {}
///     impl ActiveModelBehavior for ActiveModel {}
/// }
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), bilten_db::Error> {
/// let db = Cluster::builder().primary("sqlite::memory:").connect().await?;
/// db.execute_unprepared("CREATE TABLE event (id integer primary key, name text not null)").await?;
/// event::ActiveModel { name: Set("opening night".into()), ..Default::default() }.insert(&db).await?;
///
/// let page = event::Entity::find().page(&db, PageRequest::new(1, 20)).await?;
/// assert_eq!((page.items.len(), page.pagination.total), (1, Some(1)));
/// # Ok(()) }
/// ```
pub trait PageExt: Paged {
    /// Fetches the rows of one page and counts all, at the same time and on the same node. A
    /// [`with_route`](crate::scope::with_route) around it is kept.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] when the page or the limit is 0, the limit is above its maximum, or the query has a limit or
    /// an offset of its own, which a page would replace (SeaORM hides it once the query was made one for tuples or
    /// another model: there it *is* replaced). [`Error::Db`] when the database refuses.
    ///
    /// # Cancellation
    ///
    /// Both queries end; nothing is held.
    fn page<C: ConnectionTrait>(
        self,
        db: &C,
        request: PageRequest,
    ) -> impl Future<Output = Result<Page<Self::Item>, Error>> + Send;
}

impl<Q: Paged> PageExt for Q {
    async fn page<C: ConnectionTrait>(
        self,
        db: &C,
        request: PageRequest,
    ) -> Result<Page<Q::Item>, Error> {
        request.check()?;
        let backend = db.get_database_backend();
        let (rows, count) = self.statements(backend, request.page - 1, request.limit)?;
        let fetched = Fetch {
            db,
            request,
            rows,
            count,
        };
        // Two queries are much to carry through every future above.
        let (rows, pagination) = on_one_node(Box::pin(fetched.run())).await?;
        let items = rows.into_iter().map(Q::item);
        Ok(Page {
            items: items.collect::<Result<_, _>>()?,
            pagination,
        })
    }
}

/// Databases count in signed 64-bit numbers; one more must still fit.
const MOST_ROWS: u64 = i64::MAX as u64 - 1;

type Fetched = (Vec<QueryResult>, Pagination);

/// The two statements of a page.
struct Fetch<'db, C> {
    db: &'db C,
    request: PageRequest,
    rows: Statement,
    count: Statement,
}

impl<C: ConnectionTrait> Fetch<'_, C> {
    async fn run(self) -> Result<Fetched, DbErr> {
        let PageRequest {
            page, limit, count, ..
        } = self.request;
        match count {
            CountMode::Exact => self.exact().await,
            CountMode::Capped(cap) => {
                // One row behind the cap tells that there are more, one behind the page that another page follows.
                let end = page * limit;
                let most = cap.max(end).min(MOST_ROWS) + 1;
                let found = count::capped(self.count, self.db, most);
                let (rows, found) = tokio::try_join!(self.db.query_all_raw(self.rows), found)?;
                let pagination = if found <= cap {
                    Pagination::of(page, limit, found)
                } else {
                    Pagination::uncounted(page, limit, found > end)
                };
                Ok((rows, pagination))
            }
            CountMode::Estimate => {
                let Some(total) = count::estimated(&self.count, self.db).await? else {
                    return self.exact().await;
                };
                let (rows, has_next) = self.and_the_next().await?;
                let pagination = Pagination::estimated(page, limit, total, has_next);
                Ok((rows, pagination))
            }
            CountMode::None => {
                let (rows, has_next) = self.and_the_next().await?;
                Ok((rows, Pagination::uncounted(page, limit, has_next)))
            }
        }
    }

    async fn exact(self) -> Result<Fetched, DbErr> {
        let PageRequest { page, limit, .. } = self.request;
        let total = count::exact(self.count, self.db);
        let (rows, total) = tokio::try_join!(self.db.query_all_raw(self.rows), total)?;
        Ok((rows, Pagination::of(page, limit, total)))
    }

    /// The rows, and whether there is one behind them.
    async fn and_the_next(mut self) -> Result<(Vec<QueryResult>, bool), DbErr> {
        let PageRequest { page, limit, .. } = self.request;
        if paged::fetch_one_more(&mut self.rows, limit) {
            let mut rows = self.db.query_all_raw(self.rows).await?;
            let asked = usize::try_from(limit).unwrap_or(usize::MAX);
            let has_next = rows.len() > asked;
            rows.truncate(asked);
            return Ok((rows, has_next));
        }
        let total = count::capped(self.count, self.db, page * limit + 1);
        let (rows, total) = tokio::try_join!(self.db.query_all_raw(self.rows), total)?;
        Ok((rows, total > page * limit))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_counted_up() {
        let table = [
            (0, 0, false),
            (1, 1, false),
            (20, 1, false),
            (21, 2, true),
            (40, 2, true),
            (41, 3, true),
        ];
        for (total, pages, has_next) in table {
            let pagination = Pagination::of(1, 20, total);
            assert_eq!(
                (pagination.total_pages, pagination.has_next()),
                (Some(pages), has_next),
                "{total}"
            );
        }
    }

    #[test]
    fn the_json_has_the_promised_shape() {
        let json = |p: Pagination| serde_json::to_string(&p).unwrap();
        assert_eq!(
            json(Pagination::of(2, 20, 45)),
            r#"{"page":2,"limit":20,"total":45,"totalPages":3}"#
        );
        for written in [
            Pagination::of(2, 20, 45),
            Pagination::uncounted(2, 20, true),
            Pagination::estimated(2, 20, 45, true),
        ] {
            assert_eq!(
                serde_json::from_str::<Pagination>(&json(written)).unwrap(),
                written
            );
        }
        assert_eq!(
            json(Pagination::uncounted(2, 20, true)),
            r#"{"page":2,"limit":20,"hasNext":true}"#
        );
        assert_eq!(
            json(Pagination::estimated(2, 20, 7, true)),
            r#"{"page":2,"limit":20,"total":41,"totalPages":3,"estimated":true,"hasNext":true}"#
        );
    }
}
