//! Which series a statement belongs to, remembered by its text.

use std::sync::Arc;

use sea_orm::DbBackend;

use crate::monitor::Monitor;
use crate::query::QuerySeries;
use crate::statement::{Quotes, summary, summary_of};
use crate::table::{Table, hash_text};

/// Statement texts that are remembered. SeaORM sends placeholders, so a program has few.
const REMEMBERED: usize = 1024;
/// A longer text is named anew each time it is sent.
const MAX_TEXT: usize = 16 * 1024;

#[derive(Debug)]
pub(super) struct Statements(Table<(Box<str>, Arc<QuerySeries>)>);

impl Default for Statements {
    fn default() -> Self {
        Self(Table::new(REMEMBERED))
    }
}

impl Statements {
    pub(super) fn series(
        &self,
        monitor: &Monitor,
        sql: &str,
        backend: DbBackend,
    ) -> Arc<QuerySeries> {
        let hash = hash_text(sql);
        if let Some(known) = self.0.find(hash, |entry| &*entry.0 == sql) {
            return Arc::clone(&known.1);
        }
        let name = match backend {
            DbBackend::MySql => summary_of(sql, Quotes::MYSQL),
            _ => summary(sql),
        };
        let series = Arc::clone(monitor.inner().queries.named(&name, || name.clone().into()));
        // What overflowed is not remembered: each observation of it is counted as such.
        if sql.len() <= MAX_TEXT && *series.name == *name {
            let entry = || (sql.into(), Arc::clone(&series));
            self.0.find_or_insert(hash, |entry| &*entry.0 == sql, entry);
        }
        series
    }
}
