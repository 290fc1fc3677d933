//! Pages that begin behind a row instead of after a count of rows: as quick on page 1000 as on page 1, and no row is
//! shown twice or left out when others come and go.

use sea_orm::{
    ConnectionTrait, DbBackend, EntityTrait, FromQueryResult, PartialModelTrait, QueryFilter,
    QueryResult, QuerySelect, QueryTrait, Select,
};
use serde::{Deserialize, Serialize};

use super::cursor::{Position, Way, fingerprint};
use super::key::{Direction, Key, alias, beyond, missing, words};
use super::nulls;
use super::request::{MAX_LIMIT, check_limit, refuse_limit};
use crate::Error;
use crate::scope::on_one_node;

/// How many rows, and where to begin.
///
/// ```
/// use bilten_db::page::KeysetRequest;
///
/// let first = KeysetRequest::new(20);
/// # let cursor: Option<String> = None;
/// let next = KeysetRequest::new(20).at(cursor); // what the client brought back, if anything
/// # drop((first, next));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub struct KeysetRequest {
    limit: u64,
    max_limit: u64,
    at: Option<String>,
}

impl KeysetRequest {
    /// The first page, of `limit` rows.
    pub fn new(limit: u64) -> Self {
        Self {
            limit,
            max_limit: MAX_LIMIT,
            at: None,
        }
    }

    /// The page that a cursor leads to: [`KeysetPagination::next`] or [`KeysetPagination::previous`] of another page.
    pub fn at(mut self, cursor: impl Into<Option<String>>) -> Self {
        self.at = cursor.into();
        self
    }

    /// Most rows that may be asked for. Defaults to 1000.
    pub fn max_limit(mut self, rows: u64) -> Self {
        self.max_limit = rows;
        self
    }
}

/// A query whose rows are ordered by keys.
///
/// Columns of the primary key that are not among the keys are added behind them, in the direction of the last key: so no
/// two rows are equal. Without any key it is the order of the primary key. Take an index on the keys in their order; an
/// order that the query has already is replaced. Not for queries with `DISTINCT` or `GROUP BY`, nor for joins that show a row
/// more than once: of such rows, those that a page has no room for are lost.
///
/// No page leaves out rows whose key is NULL: a key that may be NULL by its model is refused, and so is one that is NULL
/// in the database all the same. That costs nothing where the database knows the keys to be `NOT NULL`; otherwise, and
/// for views, and behind a `RIGHT` or `FULL JOIN`, each page looks for such rows. Filter them out (`is_not_null()`) to leave
/// them out on purpose.
///
/// The model says how a key is compared, so it must name the column's own type where that sorts in a way of its own: `citext`
/// as `ColumnType::custom("citext")`, an `ENUM` as one.
///
/// ```
/// use bilten_db::{Cluster, page::{Keyset, KeysetRequest}};
/// use bilten_db::sea_orm::{ActiveValue::Set, ConnectionTrait, EntityTrait, entity::prelude::*};
///
/// mod event {
///     use bilten_db::sea_orm::{self, entity::prelude::*};
///     #[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
///     #[sea_orm(table_name = "event")]
///     pub struct Model { #[sea_orm(primary_key)] pub id: i32, pub city: String }
///     #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
///     pub enum Relation {}
///     impl ActiveModelBehavior for ActiveModel {}
/// }
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), bilten_db::Error> {
/// let db = Cluster::builder().primary("sqlite::memory:").connect().await?;
/// db.execute_unprepared("CREATE TABLE event (id integer primary key, city text not null)").await?;
/// for city in ["Graz", "Linz", "Wien"] {
///     event::ActiveModel { city: Set(city.into()), ..Default::default() }.insert(&db).await?;
/// }
///
/// let by_city = || Keyset::new(event::Entity::find()).asc(event::Column::City);
/// let first = by_city().page(&db, KeysetRequest::new(2)).await?;
/// assert_eq!(first.items.len(), 2);
///
/// let next = KeysetRequest::new(2).at(first.pagination.next);
/// let last = by_city().page(&db, next).await?;
/// assert_eq!((last.items[0].city.as_str(), last.pagination.next), ("Wien", None));
/// # Ok(()) }
/// ```
#[derive(Debug, Clone)]
#[must_use]
pub struct Keyset<E: EntityTrait> {
    select: Select<E>,
    keys: Vec<Key<E::Column>>,
}

impl<E: EntityTrait> Keyset<E> {
    /// Pages over the rows of this query.
    pub fn new(select: Select<E>) -> Self {
        Self {
            select,
            keys: Vec::new(),
        }
    }

    /// Then by this column, smallest first.
    pub fn asc(self, column: E::Column) -> Self {
        self.by(column, Direction::Up)
    }

    /// Then by this column, largest first.
    pub fn desc(self, column: E::Column) -> Self {
        self.by(column, Direction::Down)
    }

    fn by(mut self, column: E::Column, order: Direction) -> Self {
        self.keys.push(Key { column, order });
        self
    }

    /// Fetches a page of models.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] when the limit is 0 or above the request's maximum, the query has a limit or an offset of its
    /// own, a key may be NULL or has a type that does not survive as text (floats, JSON, binary), or the cursor was
    /// changed or was not made by this query: with the same filters, values and order. [`Error::Db`] when the database
    /// refuses.
    ///
    /// # Cancellation
    ///
    /// The query ends; nothing is held.
    pub async fn page<C: ConnectionTrait>(
        self,
        db: &C,
        request: KeysetRequest,
    ) -> Result<KeysetPage<E::Model>, Error> {
        self.page_into::<E::Model, C>(db, request).await
    }

    /// Fetches a page of a partial model, which says itself what is selected.
    ///
    /// # Errors
    ///
    /// As [`page`](Self::page).
    ///
    /// # Cancellation
    ///
    /// The query ends; nothing is held.
    pub async fn page_partial<M: PartialModelTrait, C: ConnectionTrait>(
        mut self,
        db: &C,
        request: KeysetRequest,
    ) -> Result<KeysetPage<M>, Error> {
        self.select = M::select_cols(self.select.select_only());
        self.page_into::<M, C>(db, request).await
    }

    /// Fetches a page of anything that can be made of what the query selects.
    ///
    /// # Errors
    ///
    /// As [`page`](Self::page).
    ///
    /// # Cancellation
    ///
    /// The query ends; nothing is held.
    pub async fn page_into<T: FromQueryResult, C: ConnectionTrait>(
        self,
        db: &C,
        request: KeysetRequest,
    ) -> Result<KeysetPage<T>, Error> {
        check_limit(request.limit, request.max_limit)?;
        let backend = db.get_database_backend();
        let sought = self.seek(backend, request)?;
        // Two queries are much to carry through every future above.
        let rows = on_one_node(Box::pin(sought.fetch(db))).await?;
        sought.page(rows)
    }

    /// Turns the query and the cursor into one statement.
    fn seek(mut self, backend: DbBackend, request: KeysetRequest) -> Result<Sought<E>, Error> {
        let order = self.keys.last().map_or(Direction::Up, |key| key.order);
        let rest = missing::<E>(&self.keys);
        let rest = rest.into_iter().map(|column| Key { column, order });
        self.keys.extend(rest);
        self.keys.iter().try_for_each(|key| key.check(backend))?;

        let mut select = self.select;
        refuse_limit(QueryTrait::query(&mut select))?;
        QueryTrait::query(&mut select).clear_order_by();
        let all = select.clone();
        let query = fingerprint(&select.build(backend), &words(&self.keys));
        let from = request
            .at
            .map(|text| Position::read(&text, query, self.keys.len()))
            .transpose()?;
        let way = from.as_ref().map_or(Way::After, |from| from.way);
        if let Some(from) = &from {
            select = select.filter(beyond(&self.keys, from, backend)?);
        }
        let statement = QueryTrait::query(&mut select);
        for (n, key) in self.keys.iter().enumerate() {
            key.select(n, backend, statement);
            key.order(way, statement);
        }
        nulls::ask_catalog::<E>(&self.keys, backend, statement);
        // One more tells whether another page follows.
        statement.limit(request.limit + 1);
        Ok(Sought {
            select,
            all,
            keys: self.keys,
            query,
            way,
            from,
            limit: request.limit,
        })
    }
}

/// A statement that fetches one page, and what its rows mean.
struct Sought<E: EntityTrait> {
    select: Select<E>,
    /// The query of all pages.
    all: Select<E>,
    keys: Vec<Key<E::Column>>,
    query: u64,
    way: Way,
    /// Where it began; `None` for the first page.
    from: Option<Position>,
    limit: u64,
}

impl<E: EntityTrait> Sought<E> {
    /// The rows of the page, unless rows would be skipped on the way to it or behind it.
    async fn fetch<C: ConnectionTrait>(&self, db: &C) -> Result<Vec<QueryResult>, Error> {
        let backend = db.get_database_backend();
        let rows = db.query_all_raw(self.select.build(backend)).await?;
        if nulls::are_among(&rows, self.keys.len()) {
            return Err(nulls::refused(&self.keys));
        }
        let all = self.all.build(backend).sql;
        if !nulls::may_be_joined_on(&all) && nulls::are_ruled_out(&rows, self.keys.len()) {
            return Ok(rows);
        }
        let search = nulls::search(&self.all, &self.keys, backend);
        match db.query_one_raw(search).await? {
            Some(_) => Err(nulls::refused(&self.keys)),
            None => Ok(rows),
        }
    }

    fn page<T: FromQueryResult>(&self, mut rows: Vec<QueryResult>) -> Result<KeysetPage<T>, Error> {
        let limit = usize::try_from(self.limit).unwrap_or(usize::MAX);
        let has_more = rows.len() > limit;
        rows.truncate(limit);
        if rows.is_empty() {
            return self.empty();
        }
        let is_forward = self.way.is_forward();
        if !is_forward {
            rows.reverse();
        }
        // Behind lies the page that the cursor came from, unless that was an empty one: it would lead here again.
        let came_from_rows = self
            .from
            .as_ref()
            .is_some_and(|from| !from.way.is_inclusive());
        let (has_next, has_previous) = match is_forward {
            true => (has_more, came_from_rows),
            false => (came_from_rows, has_more),
        };
        let cursor = |wanted: bool, row: Option<&QueryResult>, way| match row {
            Some(row) if wanted => self.position(row, way)?.write().map(Some),
            _ => Ok::<_, Error>(None),
        };
        let pagination = KeysetPagination {
            limit: self.limit,
            next: cursor(has_next, rows.last(), Way::After)?,
            previous: cursor(has_previous, rows.first(), Way::Before)?,
        };
        let items = rows.iter().map(|row| T::from_query_result(row, ""));
        Ok(KeysetPage {
            items: items.collect::<Result<_, _>>()?,
            pagination,
        })
    }

    /// The rows that it was to show have gone since its cursor was made; those that lie the other way may be there.
    fn empty<T>(&self) -> Result<KeysetPage<T>, Error> {
        let back = self.from.as_ref().map(|from| from.back().write());
        let back = back.transpose()?;
        let (next, previous) = match self.way.is_forward() {
            true => (None, back),
            false => (back, None),
        };
        Ok(KeysetPage {
            items: Vec::new(),
            pagination: KeysetPagination {
                limit: self.limit,
                next,
                previous,
            },
        })
    }

    fn position(&self, row: &QueryResult, way: Way) -> Result<Position, Error> {
        let keys = (0..self.keys.len()).map(|n| row.try_get("", &alias(n)));
        Ok(Position {
            way,
            query: self.query,
            keys: keys.collect::<Result<_, _>>()?,
        })
    }
}

/// The rows of one page, and the way to its neighbours.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct KeysetPage<T> {
    /// The rows, in the order of the keys.
    pub items: Vec<T>,
    /// The way to the neighbours.
    pub pagination: KeysetPagination,
}

impl<T> KeysetPage<T> {
    /// The same page with each row changed, for instance into what an API shows.
    pub fn map<U>(self, change: impl FnMut(T) -> U) -> KeysetPage<U> {
        KeysetPage {
            items: self.items.into_iter().map(change).collect(),
            pagination: self.pagination,
        }
    }
}

/// Where the neighbours of a page begin. Serialised as `limit`, `next` and `previous`; what is not there is left out.
///
/// Rows go while somebody turns the pages, so a neighbour may turn out to be empty. It still leads back: `previous` of a
/// page behind the last row is the page with the last rows, and `next` of one before the first row that with the first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct KeysetPagination {
    /// Most rows on a page.
    pub limit: u64,
    /// The cursor of the next page; `None` on the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
    /// The cursor of the page before; `None` on the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<String>,
}
