use std::time::Duration;

use sea_orm::{ConnectionTrait, DbBackend, DbErr, RuntimeErr};
use sqlx::error::DatabaseError;

use super::catalog::{Found, State, look_up};
use super::spec::IndexSpec;
use crate::Error;
use crate::scope::{Route, with_route};

/// Several processes that begin the same concurrent build wait for each other, and the database ends one of them, which leaves a
/// rest behind: whoever was ended looks again.
const TRIES: u32 = 6;
const PAUSE: Duration = Duration::from_millis(100);

/// What [`IndexSpec::ensure`] found or did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Ensured {
    /// It was there.
    Present,
    /// It was made.
    Created,
    /// The rest of a failed build was there; it was dropped, and the index made anew.
    Rebuilt,
    /// The server makes it right now, for another process, or for a caller that went away meanwhile. No query uses it yet, and
    /// nobody knows whether its build ends well.
    Building,
}

impl Ensured {
    /// Whether the index is there and queries can use it.
    #[must_use]
    pub fn is_ready(self) -> bool {
        self != Self::Building
    }
}

impl IndexSpec {
    /// Makes the index unless it is there; what a failed concurrent build left behind is dropped first.
    ///
    /// An index of the same name with other columns, other directions or another [`method`](Self::method) is an error: to
    /// change an index, give it a new name. Filters are compared only by whether there is one; where NULLs stand,
    /// collations and operator classes are not compared, nor the direction on servers that pass over it (MySQL before 8.0,
    /// MariaDB before 10.8). One of a partitioned table that not each partition has its part of is an error too, and stays as it is.
    ///
    /// ```
    /// # use bilten_db::{Cluster, sea_orm::ConnectionTrait};
    /// use bilten_db::index::{Ensured, IndexSpec};
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), bilten_db::Error> {
    /// # let db = Cluster::builder().primary("sqlite::memory:").connect().await?;
    /// # db.execute_unprepared("CREATE TABLE events (id integer primary key, start_date text)").await?;
    /// let index = IndexSpec::new("idx_events_start_date", "events").column("start_date").concurrently();
    /// assert_eq!(index.ensure(&db.primary()).await?, Ensured::Created);
    /// assert_eq!(index.ensure(&db.primary()).await?, Ensured::Present);
    /// # Ok(()) }
    /// ```
    ///
    /// # While it is built concurrently
    ///
    /// PostgreSQL goes on with a build whose client has gone, and does not stop for the pool's
    /// [`query_timeout`](crate::PoolConfig::query_timeout), which ends the wait with an error: give the cluster that makes the
    /// indexes of large tables none.
    ///
    /// | the build | `ensure` |
    /// |---|---|
    /// | goes on, for whomever | [`Ensured::Building`] at once; an error if it makes another index of that name |
    /// | has ended well | [`Ensured::Present`] |
    /// | has failed, or was cancelled | [`Ensured::Rebuilt`] |
    ///
    /// Who needs the index before the next step asks until it [is ready](Ensured::is_ready):
    ///
    /// ```
    /// # use bilten_db::{Cluster, index::IndexSpec, sea_orm::ConnectionTrait};
    /// # use std::time::Duration;
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), bilten_db::Error> {
    /// # let db = Cluster::builder().primary("sqlite::memory:").connect().await?;
    /// # db.execute_unprepared("CREATE TABLE events (id integer primary key, start_date text)").await?;
    /// # let index = IndexSpec::new("idx_events_start_date", "events").column("start_date").concurrently();
    /// while !index.ensure(&db.primary()).await?.is_ready() {
    ///     tokio::time::sleep(Duration::from_secs(1)).await;
    /// }
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] when the index has no meaning for this database, another one has its name, it is not whole, or a
    /// concurrent build was asked for inside of a transaction. [`Error::Db`] when the database refuses, for instance because rows
    /// are not unique.
    ///
    /// # Cancellation
    ///
    /// A build that was begun may go on in the database, and the next call says so, or leave an unfinished index, which the next
    /// call mends.
    pub async fn ensure<C: ConnectionTrait>(&self, db: &C) -> Result<Ensured, Error> {
        let sql = self.to_sql(db.get_database_backend())?;
        with_route(Route::Primary, async {
            let mut was_ended = false;
            let mut last = None;
            for attempt in 1..TRIES {
                match self.ensure_once(db, &sql).await {
                    Err(Error::Db(error)) if clash_of(&error).is_some() => {
                        was_ended |= clash_of(&error) == Some(Clash::Ended);
                        last = Some(error);
                    }
                    // Our own, perhaps, which the server has not cleared away yet.
                    Ok(Ensured::Building) if was_ended => {}
                    done => return done.map_err(|error| first_of(last, error)),
                }
                let pause = PAUSE * attempt;
                tokio::time::sleep(pause.mul_f64(0.5 + fastrand::f64())).await;
            }
            let done = self.ensure_once(db, &sql).await;
            done.map_err(|error| first_of(last, error))
        })
        .await
    }

    async fn ensure_once<C: ConnectionTrait>(&self, db: &C, sql: &str) -> Result<Ensured, Error> {
        match look_up(db, self).await? {
            None => self.make(db, sql, Ensured::Created).await,
            Some(found) if found.state == State::Building => {
                self.compare(&found).map(|()| Ensured::Building)
            }
            Some(found) if found.state == State::Invalid => {
                tracing::warn!(
                    index = self.name,
                    "dropping what a failed build left behind"
                );
                let dropped = self.drop_sql(db.get_database_backend());
                run(db, &dropped, self).await?;
                self.make(db, sql, Ensured::Rebuilt).await
            }
            Some(found) if found.state == State::InParts => Err(Error::invalid(
                format!("index `{}`", self.name),
                "is not whole: not each partition has its part",
                "attach the index of each partition to it (ALTER INDEX .. ATTACH PARTITION), or drop it",
            )),
            Some(found) => self.compare(&found).map(|()| Ensured::Present),
        }
    }

    async fn make<C: ConnectionTrait>(
        &self,
        db: &C,
        sql: &str,
        done: Ensured,
    ) -> Result<Ensured, Error> {
        let Err(error) = run(db, sql, self).await else {
            self.refuse_texts(db).await?;
            return Ok(done);
        };
        // Another process may have been faster; then there is nothing left to do.
        match look_up(db, self).await {
            Ok(Some(found)) if found.state == State::Valid => {
                self.compare(&found).map(|()| Ensured::Present)
            }
            // Not after an error of the build itself, which the server may still show as going on.
            Ok(Some(found)) if found.state == State::Building && is_overtaken(&error) => {
                self.compare(&found).map(|()| Ensured::Building)
            }
            _ => Err(error),
        }
    }

    /// SQLite takes the name of a column that is not there for a text, and makes an index of that.
    async fn refuse_texts<C: ConnectionTrait>(&self, db: &C) -> Result<(), Error> {
        let backend = db.get_database_backend();
        if backend != DbBackend::Sqlite {
            return Ok(());
        }
        let made = look_up(db, self).await?;
        if made.is_none_or(|made| made.columns.iter().all(|name| !name.is_empty())) {
            return Ok(());
        }
        run(db, &self.drop_sql(backend), self).await?;
        Err(Error::invalid(
            format!("index `{}`", self.name),
            "names a column that its table does not have",
            "correct the name",
        ))
    }

    fn compare(&self, found: &Found) -> Result<(), Error> {
        match found.differs(self) {
            None => Ok(()),
            Some(difference) => Err(Error::invalid(
                format!("index `{}`", self.name),
                format!("exists, but {difference}"),
                "give the new index another name, and drop the old one when nothing needs it",
            )),
        }
    }
}

async fn run<C: ConnectionTrait>(db: &C, sql: &str, spec: &IndexSpec) -> Result<(), Error> {
    match db.execute_unprepared(sql).await {
        Ok(_) => Ok(()),
        Err(error) if is_inside_transaction(&error) => Err(Error::invalid(
            format!("index `{}`", spec.name),
            "cannot be made concurrently inside of a transaction",
            "run the migration without one, or leave out concurrently()",
        )),
        Err(error) => Err(error.into()),
    }
}

fn is_inside_transaction(error: &DbErr) -> bool {
    has_code(error, &["25001"])
}

/// Inside of a transaction everything after a clash fails, and only the clash tells why.
fn first_of(clash: Option<DbErr>, error: Error) -> Error {
    let is_aborted = matches!(&error, Error::Db(error) if has_code(error, &["25P02"]));
    match clash.filter(|_| is_aborted) {
        Some(clash) => clash.into(),
        None => error,
    }
}

/// How another session got in the way of a build.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Clash {
    /// It has taken the name.
    Taken,
    /// This build was ended, as both waited for each other, or what it worked on is gone.
    Ended,
}

fn clash_of(error: &DbErr) -> Option<Clash> {
    let error = of_database(error)?;
    clash(&error.code()?, error.constraint())
}

fn clash(code: &str, constraint: Option<&str>) -> Option<Clash> {
    match code {
        "42P07" => Some(Clash::Taken),
        // A catalog's own uniqueness: that of the rows is told as 23505 too, and looking again does not help there.
        "23505" if constraint.is_some_and(|name| name.starts_with("pg_")) => Some(Clash::Taken),
        // "tuple concurrently updated": two that drop one rest at once.
        "40P01" | "42704" | "XX000" => Some(Clash::Ended),
        _ => None,
    }
}

fn is_overtaken(error: &Error) -> bool {
    matches!(error, Error::Db(error) if clash_of(error) == Some(Clash::Taken))
}

fn has_code(error: &DbErr, codes: &[&str]) -> bool {
    let code = of_database(error).and_then(DatabaseError::code);
    code.is_some_and(|code| codes.contains(&&*code))
}

fn of_database(error: &DbErr) -> Option<&dyn DatabaseError> {
    let (DbErr::Exec(RuntimeErr::SqlxError(error)) | DbErr::Query(RuntimeErr::SqlxError(error))) =
        error
    else {
        return None;
    };
    error.as_database_error()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_name_that_was_taken_tells_of_a_build_of_another_session() {
        let table = [
            ("42P07", None, Some(Clash::Taken)),
            (
                "23505",
                Some("pg_class_relname_nsp_index"),
                Some(Clash::Taken),
            ),
            ("23505", Some("event_name"), None),
            ("23505", None, None),
            ("40P01", None, Some(Clash::Ended)),
            ("42704", None, Some(Clash::Ended)),
            ("XX000", None, Some(Clash::Ended)),
            ("42601", None, None),
        ];
        for (code, constraint, expected) in table {
            assert_eq!(clash(code, constraint), expected, "{code} {constraint:?}");
        }
    }
}
