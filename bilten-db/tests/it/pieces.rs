//! Pieces of real queries put together in every way: what is called a read, a node that only reads must not refuse.

use bilten_db::access::{Access, classify};
use bilten_db::sea_orm::{ConnectionTrait, DatabaseConnection};

/// Choices for each place of `{head}select {column}{into} from {source}{tail}`.
pub(crate) struct Pieces<'a> {
    pub(crate) heads: &'a [&'a str],
    pub(crate) columns: &'a [&'a str],
    pub(crate) sources: &'a [&'a str],
    pub(crate) tails: &'a [&'a str],
    /// Stand between the columns and the source.
    pub(crate) middles: &'a [&'a str],
}

impl Pieces<'_> {
    fn all(&self) -> Vec<String> {
        let mut all = Vec::new();
        for head in self.heads {
            for column in self.columns {
                for source in self.sources {
                    for tail in self.tails {
                        all.push(format!("{head}select {column} from {source}{tail}"));
                    }
                    for middle in self.middles {
                        all.push(format!("{head}select {column}{middle} from {source}"));
                    }
                }
            }
        }
        all
    }

    /// Errors of meaning are fine, one that says any of `refusals` is not. Returns how many were called reads and writes.
    pub(crate) async fn are_not_refused(
        &self,
        node: &DatabaseConnection,
        refusals: &[&str],
    ) -> (usize, usize) {
        let (mut reads, mut writes) = (0, 0);
        for sql in self.all() {
            if classify(node.get_database_backend(), &sql) == Access::Write {
                writes += 1;
                continue;
            }
            reads += 1;
            if let Err(error) = node.execute_unprepared(&sql).await {
                let text = error.to_string();
                let refused = refusals.iter().any(|refusal| text.contains(refusal));
                assert!(!refused, "{sql}: {text}");
            }
        }
        (reads, writes)
    }
}
