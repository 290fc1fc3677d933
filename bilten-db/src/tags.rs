//! Comments that tell the logs of the database which part of a program sent a statement.

use std::borrow::Cow;
use std::future::Future;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use sea_orm::Statement;

use crate::Error;

/// What RFC 3986 leaves as it is.
const KEPT: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

tokio::task_local! {
    static TAGS: Tags;
}

/// Keys and values, encoded so that nothing in them ends the comment, sorted by key.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Tags(Vec<(String, String)>);

impl Tags {
    /// A later value of the same key takes the place of the earlier.
    pub(crate) fn set(&mut self, key: &str, value: &str) {
        let encode = |text| utf8_percent_encode(text, KEPT).to_string();
        let (key, value) = (encode(key), encode(value));
        match self.0.binary_search_by(|(other, _)| other.cmp(&key)) {
            Ok(at) => self.0[at].1 = value,
            Err(at) => self.0.insert(at, (key, value)),
        }
    }

    pub(crate) fn check(&self) -> Result<(), Error> {
        if self.0.iter().all(|(key, _)| !key.is_empty()) {
            return Ok(());
        }
        Err(Error::invalid(
            "tag",
            "has an empty key",
            "name it, such as `service`",
        ))
    }

    fn with(mut self, others: &Self) -> Self {
        for (key, value) in &others.0 {
            match self.0.binary_search_by(|(mine, _)| mine.cmp(key)) {
                Ok(at) => self.0[at].1.clone_from(value),
                Err(at) => self.0.insert(at, (key.clone(), value.clone())),
            }
        }
        self
    }

    /// In the form of sqlcommenter (google.github.io/sqlcommenter/spec).
    fn comment(&self, sql: &mut String) {
        for (n, (key, value)) in self.0.iter().enumerate() {
            sql.push_str(if n == 0 { " /*" } else { "," });
            sql.push_str(key);
            sql.push_str("='");
            sql.push_str(value);
            sql.push('\'');
        }
        if !self.0.is_empty() {
            sql.push_str("*/");
        }
    }
}

/// Runs `future` with these tags, added to those of an outer scope.
pub(crate) async fn tagged<F: Future>(tags: Tags, future: F) -> F::Output {
    let outer = TAGS.try_with(Clone::clone).unwrap_or_default();
    TAGS.scope(outer.with(&tags), future).await
}

/// Adds the tags of the cluster and of the task to a statement.
pub(crate) fn tag(mut statement: Statement, cluster: &Tags) -> Statement {
    if let Some(tags) = present(cluster) {
        tags.comment(&mut statement.sql);
    }
    statement
}

/// As [`tag`], for SQL without values.
pub(crate) fn comment(sql: &mut Cow<'_, str>, cluster: &Tags) {
    if let Some(tags) = present(cluster) {
        tags.comment(sql.to_mut());
    }
}

/// `None` without any tag, which is the usual case and costs nothing.
fn present(cluster: &Tags) -> Option<Cow<'_, Tags>> {
    match TAGS.try_with(|task| cluster.clone().with(task)) {
        Ok(both) => Some(Cow::Owned(both)),
        Err(_) => (!cluster.0.is_empty()).then_some(Cow::Borrowed(cluster)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(pairs: &[(&str, &str)]) -> String {
        let mut tags = Tags::default();
        pairs.iter().for_each(|(key, value)| tags.set(key, value));
        let mut sql = "SELECT 1".to_owned();
        tags.comment(&mut sql);
        sql
    }

    #[test]
    fn tags_are_sorted_and_cannot_end_their_comment() {
        let table: [(&[(&str, &str)], &str); 5] = [
            (&[], "SELECT 1"),
            (
                &[("route", "/events"), ("app", "shop")],
                "SELECT 1 /*app='shop',route='%2Fevents'*/",
            ),
            (&[("a", "1"), ("a", "2")], "SELECT 1 /*a='2'*/"),
            (
                &[("a", "*/; drop table x; --'")],
                "SELECT 1 /*a='%2A%2F%3B%20drop%20table%20x%3B%20--%27'*/",
            ),
            (&[("*/", "\0")], "SELECT 1 /*%2A%2F='%00'*/"),
        ];
        for (pairs, expected) in table {
            assert_eq!(text(pairs), expected);
        }
    }

    #[tokio::test]
    async fn inner_tags_are_added_to_outer_ones() {
        let one = |key: &str, value: &str| {
            let mut tags = Tags::default();
            tags.set(key, value);
            tags
        };
        let cluster = one("app", "shop");
        let mut sql = Cow::Borrowed("");
        let inner = tagged(one("b", "2"), async { comment(&mut sql, &cluster) });
        tagged(one("b", "1").with(&one("c", "3")), inner).await;
        assert_eq!(sql, " /*app='shop',b='2',c='3'*/");
    }
}
