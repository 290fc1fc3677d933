//! The first contact with the nodes, and what to tell when it fails.

use std::sync::Arc;

use futures_util::future::join_all;

use crate::Error;
use crate::driver::Prober;
use crate::node::{Node, cause};
use crate::router::Router;
use crate::watch::{Watches, look};

/// The primary must be there; a replica may be away, and joins when it is back.
pub(crate) async fn meet(router: &Arc<Router>) -> Result<Watches, Error> {
    let named = router.topology();
    // Each prober keeps its connection: what falls silent later was heard before.
    let mut probers = vec![first_contact(router, &named.primary).await?];
    let replicas = named.replicas.iter().map(|replica| async {
        let mut prober = replica.backend.prober();
        look(router, replica, &mut *prober).await;
        prober
    });
    probers.extend(join_all(replicas).await);
    let primary = Arc::clone(&router.topology().primary);
    if primary
        .seen()
        .is_some_and(|seen| seen.sample.in_recovery == Some(true))
    {
        return Err(Error::invalid(
            "primary",
            format!(
                "at {} is a standby and takes no writes",
                primary.backend.address()
            ),
            "give the URL of the primary, or name it among the replicas and it is found",
        ));
    }
    let mut watches = Watches::default();
    for (node, prober) in named.nodes().zip(probers) {
        watches.start(router, node, prober);
    }
    Ok(watches)
}

/// Tells the true cause at once, which the driver's pool would hide behind a long wait.
async fn first_contact(router: &Router, primary: &Node) -> Result<Box<dyn Prober>, Error> {
    let mut prober = primary.backend.prober();
    let fault = match prober.probe().await {
        Ok(sample) => {
            router.roster().observe(primary, sample);
            return Ok(prober);
        }
        Err(fault) => fault,
    };
    let (problem, remedy) = explain(&cause(&fault));
    Err(Error::Unreachable {
        node: primary.id.to_string(),
        address: primary.backend.address().to_owned(),
        problem,
        remedy,
        source: Box::new(fault.into_db_err(&primary.id, primary.backend.address())),
    })
}

/// What to do about the driver's message.
fn explain(cause: &str) -> (&'static str, &'static str) {
    let known: [(&str, &str, &str); 7] = [
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
            "no connection",
            "did not answer in time",
            "see that the server is up and reachable, or raise connect_timeout",
        ),
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
            ("something new", "source"),
        ];
        for (cause, remedy) in table {
            assert!(explain(cause).1.contains(remedy), "{cause}");
        }
    }
}
