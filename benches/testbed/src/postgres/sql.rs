use std::process::{Command, Stdio};
use std::time::Duration;

use super::wire::{self, Answer};
use crate::Error;
use crate::machine::program;
use crate::url::ServerUrl;

/// Longest wait for one answer of a server we steer.
const LIMIT: Duration = Duration::from_secs(20);

/// Runs SQL (several statements are one transaction) and answers as `psql -At` prints.
pub(crate) fn run(url: &ServerUrl, sql: &str) -> Result<String, Error> {
    run_within(url, sql, LIMIT)
}

pub(crate) fn run_within(url: &ServerUrl, sql: &str, limit: Duration) -> Result<String, Error> {
    let place = url.place(5432);
    let user = url.user().unwrap_or_else(|| "postgres".to_owned());
    let database = if url.path().is_empty() {
        user.clone()
    } else {
        url.path()
    };
    let password = url.password();
    let answer = wire::query(
        url.resolve(5432)?,
        &user,
        password.as_deref(),
        &database,
        sql,
        limit,
    )
    .map_err(|e| Error::io(format!("ask PostgreSQL at {place}"), e))?;
    match answer {
        Answer::Rows(rows) => Ok(rows),
        Answer::Error(answer) => Err(Error::refused(sql, answer)),
        Answer::NeedsPsql => run_psql(url, sql),
    }
}

/// `psql` knows every way to prove a password; only servers given by URL ask for one.
fn run_psql(url: &ServerUrl, sql: &str) -> Result<String, Error> {
    let place = url.place(5432);
    let psql = program::find("psql").ok_or_else(|| {
        Error::missing(
            "psql",
            format!("{place} asks for a password proof that needs it: install postgresql-client"),
        )
    })?;
    let output = Command::new(psql)
        .args([
            "--no-psqlrc",
            "--no-align",
            "--tuples-only",
            "--quiet",
            "--no-password",
            "--command",
            sql,
        ])
        // The password travels by the environment: a command line is seen by everybody.
        .env("PGPASSWORD", url.password().unwrap_or_default())
        .env(
            "PGUSER",
            url.user().unwrap_or_else(|| "postgres".to_owned()),
        )
        .env("PGDATABASE", url.path())
        .env(
            "PGHOST",
            place
                .rsplit_once(':')
                .map_or(place.as_str(), |(host, _)| host),
        )
        .env(
            "PGPORT",
            place.rsplit_once(':').map_or("5432", |(_, port)| port),
        )
        .env("PGCONNECT_TIMEOUT", "10")
        .stdin(Stdio::null())
        .output()
        .map_err(|e| Error::io("run psql", e))?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout)
            .trim_end()
            .to_owned())
    } else {
        Err(Error::refused(
            sql,
            String::from_utf8_lossy(&output.stderr).trim(),
        ))
    }
}

/// A fresh database name: the prefix made safe, then what no other process or test has.
pub(crate) fn unique_database(prefix: &str) -> String {
    use std::sync::atomic::{AtomicU32, Ordering};
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let safe: String = prefix
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() {
                c.to_ascii_lowercase()
            } else {
                '_'
            }
        })
        .take(30)
        .collect();
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap_or_default();
    format!(
        "t_{safe}_{}_{}_{:x}",
        std::process::id(),
        NEXT.fetch_add(1, Ordering::Relaxed),
        now.as_millis() & 0xffff_ffff
    )
}

/// Creates the database on the primary and waits until every replica lets one connect to it.
pub(crate) fn create_database(
    primary: &ServerUrl,
    replicas: &[ServerUrl],
    prefix: &str,
) -> Result<String, Error> {
    let name = unique_database(prefix);
    run(primary, &format!("create database {name}"))?;
    for replica in replicas {
        crate::wait::until(
            &format!("database {name} on {}", replica.place(5432)),
            LIMIT,
            || {
                run_within(
                    &replica.with_path(&name),
                    "select 1",
                    Duration::from_secs(5),
                )
                .map_err(|e| e.to_string())
            },
        )?;
    }
    Ok(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_database_name_is_safe_unique_and_short_enough() {
        let (one, two) = (
            unique_database("Routing; drop \"x\""),
            unique_database(&"long".repeat(30)),
        );
        assert!(one.starts_with("t_routing__drop__x__"), "{one}");
        assert_ne!(unique_database("a"), unique_database("a"));
        assert!(two.len() < 63, "{two}");
    }
}
