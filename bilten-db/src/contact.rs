//! The first contact with the nodes, and what to tell when it fails.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use futures_util::future::join_all;
use sea_orm::DbBackend;

use crate::Error;
use crate::driver::Prober;
use crate::fault::Fault;
use crate::node::Node;
use crate::router::Router;
use crate::watch::{Watches, look};

/// The primary must be there, unless told otherwise; a replica may be away, and joins when it is back.
pub(crate) async fn meet(router: &Arc<Router>, require_primary: bool) -> Result<Watches, Error> {
    let named = router.topology();
    // Each prober keeps its connection: what falls silent later was heard before.
    let mut probers = vec![first_contact(router, &named.primary, require_primary).await?];
    let replicas = named.replicas.iter().map(|replica| async {
        let mut prober = replica.backend.prober();
        look(router, replica, &mut *prober).await;
        prober
    });
    probers.extend(join_all(replicas).await);
    let primary = Arc::clone(&router.topology().primary);
    let is_standby = |node: &Node| {
        let seen = node.seen();
        seen.is_some_and(|seen| seen.sample.in_recovery == Some(true))
    };
    if require_primary && is_standby(&primary) {
        return Err(Error::invalid(
            "primary",
            format!(
                "at {} is a standby and takes no writes",
                primary.backend.address()
            ),
            "give the URL of the primary, or name it among the replicas and it is found",
        ));
    }
    let watches = Watches::default();
    for (node, prober) in named.nodes().zip(probers) {
        watches.start(router, node, prober);
    }
    Ok(watches)
}

/// Tells the true cause at once, which the driver's pool would hide behind a long wait.
async fn first_contact(
    router: &Router,
    primary: &Node,
    required: bool,
) -> Result<Box<dyn Prober>, Error> {
    let mut prober = primary.backend.prober();
    let asked = Instant::now();
    let fault = match prober.probe().await {
        Ok(sample) => {
            router.roster().observe(primary, asked, sample);
            return Ok(prober);
        }
        // Nothing works there yet that could show that it is only full.
        Err(Fault::Unheard(waited)) if !required => Fault::Silent(waited),
        Err(fault) => fault,
    };
    if !required {
        router.roster().missed(primary, &fault, false);
        return Ok(prober);
    }
    let (problem, remedy) = match is_directory(primary) {
        true => (
            "is a directory",
            "give the path of a file; a new one is created",
        ),
        false => explain(primary.backend.kind(), &fault.cause()),
    };
    Err(Error::Unreachable {
        node: primary.id.to_string(),
        address: primary.backend.address().to_owned(),
        problem,
        remedy,
        source: fault.cause().into(),
    })
}

/// The driver only says that it cannot open it.
fn is_directory(node: &Node) -> bool {
    node.backend.kind() == DbBackend::Sqlite && Path::new(node.backend.address()).is_dir()
}

/// What to do about the driver's message.
fn explain(kind: DbBackend, cause: &str) -> (&'static str, &'static str) {
    let silent = match kind {
        // A server of MySQL speaks first, any other waits for ever.
        DbBackend::MySql => {
            "see that a MySQL or MariaDB server is up and reachable there (PostgreSQL needs a postgres:// URL), or raise connect_timeout"
        }
        _ => {
            "see that the server is up, reachable and of the kind that the URL names, or raise connect_timeout"
        }
    };
    let known: [(&str, &str, &str); 17] = [
        (
            "refused",
            "refused the connection",
            "start the server, or correct the host and the port",
        ),
        ("lookup", "could not be resolved", "correct the host name"),
        (
            "password",
            "refused the user or the password",
            "correct them, and percent-encode special characters",
        ),
        (
            "authentication",
            "refused the user or the password",
            "correct them, and percent-encode special characters",
        ),
        (
            "Access denied",
            "refused the user, the password or the database",
            "correct them, percent-encode special characters, and grant the user its rights",
        ),
        (
            "Unknown database",
            "knows no such database",
            "create it, or correct the name in the URL",
        ),
        (
            "oo many c",
            "has no connection left for another client",
            "close some, allow more in the server (max_connections), or lower `max` of the pools that use it",
        ),
        (
            "file is not a database",
            "is no SQLite database",
            "give the path of a database, or of a file that does not exist yet",
        ),
        (
            "does not exist",
            "knows no such database or user",
            "create it, or correct the name in the URL",
        ),
        (
            "unable to open",
            "could not be opened",
            "create the directory and let this process write to it",
        ),
        (
            "server does not support TLS",
            "offers no TLS, which the URL asks for",
            "turn TLS on in the server, or ask for less (sslmode=prefer, ssl-mode=PREFERRED)",
        ),
        (
            "without TLS support",
            "needs TLS, as the URL asks, and no TLS is compiled in",
            "turn on runtime-tokio-rustls or runtime-tokio-native-tls of sea-orm, or ask for less (sslmode=prefer, ssl-mode=PREFERRED)",
        ),
        (
            "TLS",
            "and this process could not agree on TLS",
            "check the certificates and the names in them; the source of this error has the detail",
        ),
        (
            "unknown message type",
            "is another kind of server than the URL names",
            "write mysql://.. for MySQL and MariaDB, postgres://.. for PostgreSQL, and check the port",
        ),
        (
            "unexpected response",
            "is another kind of server than the URL names",
            "write mysql://.. for MySQL and MariaDB, postgres://.. for PostgreSQL, and check the port",
        ),
        (
            "let in, but",
            "let this process in, but answered nothing",
            "see that the server behind the pooler is up, and that the pooler has a connection to it that is free",
        ),
        ("no connection", "did not answer in time", silent),
    ];
    known
        .into_iter()
        .find(|(sign, ..)| cause.contains(sign))
        .map_or(
            ("could not be reached", "see the source of this error"),
            |(_, problem, remedy)| (problem, remedy),
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_known_cause_has_its_remedy() {
        let table = [
            ("Connection refused (os error 111)", "start the server"),
            (
                "failed to lookup address information: Name or service not known",
                "host name",
            ),
            (
                "password authentication failed for user \"app\"",
                "percent-encode",
            ),
            ("database \"shop\" does not exist", "create it"),
            ("unable to open database file", "directory"),
            ("no connection or no answer within 2s", "connect_timeout"),
            (
                "let in, but no answer to a question within 1.5s",
                "behind the pooler",
            ),
            ("server does not support TLS", "turn TLS on in the server"),
            (
                "TLS upgrade required by connect options but SQLx was built without TLS support enabled",
                "runtime-tokio-rustls",
            ),
            ("invalid peer certificate in TLS", "certificates"),
            ("unknown message type: 'J'", "mysql://"),
            ("unexpected response from SSLRequest: 0x4a", "mysql://"),
            (
                "Access denied for user 'app'@'h' (using password: YES)",
                "percent-encode",
            ),
            ("Unknown database 'shop'", "create it"),
            ("Too many connections", "max_connections"),
            ("sorry, too many clients already", "max_connections"),
            ("(code: 26) file is not a database", "path of a database"),
            ("something new", "source"),
        ];
        for (cause, remedy) in table {
            let explained = explain(DbBackend::Postgres, cause);
            assert!(explained.1.contains(remedy), "{cause}");
        }
        let silent = explain(DbBackend::MySql, "no connection or no answer within 2s");
        assert!(silent.1.contains("postgres://"));
    }
}
