//! One page of a query: its rows and the count of all, from one node, at once.

use std::future::Future;

use sea_orm::{ConnectionTrait, DbErr, PaginatorTrait, QuerySelect, SelectorTrait};
use serde::{Deserialize, Serialize};

use crate::Error;
use crate::scope::on_one_node;

/// Which page, how many rows, and how they are counted.
///
/// ```
/// use bilten_db::PageRequest;
/// use bilten_db::page::CountMode;
///
/// let request = PageRequest::new(2, 20).count(CountMode::Capped(1000));
/// assert!(request.check().is_ok());
/// assert!(PageRequest::new(1, 0).check().is_err());
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub struct PageRequest {
    page: u64,
    limit: u64,
    count: CountMode,
}

impl PageRequest {
    /// Page `page`, counted from 1, of `limit` rows each, with an exact count.
    pub fn new(page: u64, limit: u64) -> Self {
        Self {
            page,
            limit,
            count: CountMode::Exact,
        }
    }

    /// How the rows of all pages are counted. Defaults to [`CountMode::Exact`].
    pub fn count(mut self, count: CountMode) -> Self {
        self.count = count;
        self
    }

    /// Tells whether there can be such a page.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] when the page or the limit is 0, or so large that the offset has no number.
    pub fn check(&self) -> Result<(), Error> {
        if self.page == 0 {
            return Err(Error::invalid(
                "page",
                "is 0, but pages count from 1",
                "ask for page 1 or later",
            ));
        }
        if self.limit == 0 {
            return Err(Error::invalid(
                "limit",
                "is 0, so no page could hold a row",
                "ask for at least 1 row",
            ));
        }
        // Databases count offsets in signed 64-bit numbers.
        if i64::try_from(self.limit).is_err() {
            return Err(Error::invalid(
                "limit",
                "is more than a database can count",
                "ask for fewer rows",
            ));
        }
        match self.page.checked_mul(self.limit) {
            Some(end) if i64::try_from(end).is_ok() => Ok(()),
            _ => Err(Error::invalid(
                "page",
                "lies beyond what a database can count",
                "ask for an earlier page",
            )),
        }
    }
}

/// How the rows of all pages are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum CountMode {
    /// All of them. The database reads every row that fits the query.
    Exact,
    /// Up to this many; with more there is no total, only whether another page follows.
    Capped(u64),
    /// Not at all: only whether another page follows.
    None,
}

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
    /// Rows on all pages, when they were counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total: Option<u64>,
    /// Pages, when the rows were counted; 0 when there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total_pages: Option<u64>,
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
            next: None,
        }
    }

    fn uncounted(page: u64, limit: u64, has_next: bool) -> Self {
        Self {
            page,
            limit,
            total: None,
            total_pages: None,
            next: Some(has_next),
        }
    }

    /// Whether another page follows.
    #[must_use]
    pub fn has_next(&self) -> bool {
        match self.total_pages {
            Some(pages) => self.page < pages,
            None => self.next.unwrap_or(false),
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
pub trait PageExt<'db, C>: PaginatorTrait<'db, C> + QuerySelect + Clone + Send
where
    C: ConnectionTrait,
{
    /// Fetches the rows of one page and counts all, at the same time and on the same node. A
    /// [`with_route`](crate::scope::with_route) around it is kept.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] when the page or the limit is 0, [`Error::Db`] when the database refuses.
    ///
    /// # Cancellation
    ///
    /// Both queries end; nothing is held.
    fn page(
        self,
        db: &'db C,
        request: PageRequest,
    ) -> impl Future<Output = Result<Page<<Self::Selector as SelectorTrait>::Item>, Error>> + Send;
}

impl<'db, C, Q, S> PageExt<'db, C> for Q
where
    C: ConnectionTrait,
    Q: PaginatorTrait<'db, C, Selector = S> + QuerySelect + Clone + Send,
    S: SelectorTrait + Send + Sync + 'db,
    S::Item: Send,
{
    async fn page(self, db: &'db C, request: PageRequest) -> Result<Page<S::Item>, Error> {
        request.check()?;
        let counted = self.clone();
        let paginator = self.paginate(db, request.limit);
        let rows = paginator.fetch_page(request.page - 1);
        // Two queries of SeaORM are some 18 KB: too much to carry through every future above.
        let both = Box::pin(async { tokio::try_join!(rows, paginate(counted, db, request)) });
        let (items, pagination) = on_one_node(both).await?;
        Ok(Page { items, pagination })
    }
}

/// Databases count in signed 64-bit numbers; one more must still fit.
const MOST_ROWS: u64 = i64::MAX as u64 - 1;

async fn paginate<'db, C, Q, S>(
    query: Q,
    db: &'db C,
    request: PageRequest,
) -> Result<Pagination, DbErr>
where
    C: ConnectionTrait,
    Q: PaginatorTrait<'db, C, Selector = S> + QuerySelect + Send,
    S: SelectorTrait + Send + Sync + 'db,
    S::Item: Send,
{
    let PageRequest { page, limit, count } = request;
    match count {
        CountMode::Exact => {
            let total = query.paginate(db, limit).num_items().await?;
            Ok(Pagination::of(page, limit, total))
        }
        CountMode::Capped(cap) => {
            // One row behind the cap tells that there are more, one behind the page that another page follows.
            let end = page * limit;
            let most = cap.max(end).min(MOST_ROWS) + 1;
            let found = query.limit(most).count(db).await?;
            if found <= cap {
                return Ok(Pagination::of(page, limit, found));
            }
            Ok(Pagination::uncounted(page, limit, found > end))
        }
        CountMode::None => {
            // The row behind the page, alone on a page of one.
            let behind = query.paginate(db, 1);
            let next = behind.fetch_page(page * limit).await?;
            Ok(Pagination::uncounted(page, limit, !next.is_empty()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_that_cannot_be_is_an_error_that_names_the_field() {
        let table = [
            (0, 20, "page"),
            (1, 0, "limit"),
            (u64::MAX, 2, "page"),
            (1 << 62, 4, "page"),
            (1, u64::MAX, "limit"),
        ];
        for (page, limit, name) in table {
            let Err(Error::Invalid { field, .. }) = PageRequest::new(page, limit).check() else {
                panic!("page {page} limit {limit} was taken");
            };
            assert_eq!(field, name);
        }
    }

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
    }
}
