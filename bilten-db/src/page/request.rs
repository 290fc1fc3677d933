//! Which page is asked for.

use sea_orm::sea_query::SelectStatement;

use crate::Error;

/// More rows than this are hardly a page: a service that lets its users name a limit would read whole tables for them.
pub(super) const MAX_LIMIT: u64 = 1000;

/// Which page, how many rows, and how they are counted.
///
/// ```
/// use bilten_db::PageRequest;
/// use bilten_db::page::CountMode;
///
/// let request = PageRequest::new(2, 20).count(CountMode::Capped(1000));
/// assert!(request.check().is_ok());
/// assert!(PageRequest::new(1, 0).check().is_err());
/// assert!(PageRequest::new(1, 5000).check().is_err());
/// assert!(PageRequest::new(1, 5000).max_limit(10_000).check().is_ok());
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub struct PageRequest {
    pub(super) page: u64,
    pub(super) limit: u64,
    pub(super) count: CountMode,
    max_limit: u64,
}

impl PageRequest {
    /// Page `page`, counted from 1, of `limit` rows each, with an exact count.
    pub fn new(page: u64, limit: u64) -> Self {
        Self {
            page,
            limit,
            count: CountMode::Exact,
            max_limit: MAX_LIMIT,
        }
    }

    /// How the rows of all pages are counted. Defaults to [`CountMode::Exact`].
    pub fn count(mut self, count: CountMode) -> Self {
        self.count = count;
        self
    }

    /// Most rows that may be asked for. Defaults to 1000.
    pub fn max_limit(mut self, rows: u64) -> Self {
        self.max_limit = rows;
        self
    }

    /// Tells whether there can be such a page.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] when the page or the limit is 0, the limit is above its maximum, or the page so far that the
    /// offset has no number.
    pub fn check(&self) -> Result<(), Error> {
        if self.page == 0 {
            return Err(Error::invalid(
                "page",
                "is 0, but pages count from 1",
                "ask for page 1 or later",
            ));
        }
        check_limit(self.limit, self.max_limit)?;
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
    /// Up to this many, and no more are read; with more there is no total, only whether another page follows.
    Capped(u64),
    /// As the planner of the database expects, which costs no reading and may be far off: the total is marked as an
    /// estimate. PostgreSQL only; elsewhere as [`Exact`](Self::Exact).
    Estimate,
    /// Not at all: only whether another page follows.
    None,
}

/// A page would replace the query's own limit in silence, and count the rows behind it too.
pub(super) fn refuse_limit(query: &SelectStatement) -> Result<(), Error> {
    let mut bare = query.clone();
    bare.reset_limit().reset_offset();
    if bare == *query {
        return Ok(());
    }
    Err(Error::invalid(
        "query",
        "has a limit or an offset of its own, which a page would replace",
        "leave them to the request, or select from the limited rows as a subquery",
    ))
}

/// Databases count in signed 64-bit numbers, and one more row must still be one.
pub(super) fn check_limit(limit: u64, most: u64) -> Result<(), Error> {
    if limit == 0 {
        return Err(Error::invalid(
            "limit",
            "is 0, so no page could hold a row",
            "ask for at least 1 row",
        ));
    }
    if limit > most {
        return Err(Error::invalid(
            "limit",
            format!("is {limit}, above the {most} that may be asked for"),
            "ask for fewer rows, or raise max_limit",
        ));
    }
    if i64::try_from(limit.saturating_add(1)).is_err() {
        return Err(Error::invalid(
            "limit",
            "is more than a database can count",
            "ask for fewer rows",
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_that_cannot_be_is_an_error_that_names_the_field() {
        let table = [
            (0, 20, "page"),
            (1, 0, "limit"),
            (1, 1001, "limit"),
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
        let huge = PageRequest::new(1, u64::MAX).max_limit(u64::MAX);
        assert!(huge.check().unwrap_err().to_string().contains("can count"));
    }
}
