//! Whether a Redis or Valkey server answers.

mod refusal;

use crate::check::{Check, CheckBuilder, CheckContext, Verdict, check};
use crate::report::Reason;
use crate::status::Status;
use fred::clients::WithOptions;
use fred::error::{Error, ErrorKind};
use fred::interfaces::ClientLike;
use fred::types::config::Options;
use fred::types::{ClientState, ClusterHash, CustomCommand, Value};
use refusal::{Refusal, words};
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::time::{Instant, timeout_at};

/// Sends `PING` with a time limit of its own and does not wait for a reconnection, then `ROLE`.
///
/// Anything but `PONG` is down; a server that is still loading its data is down with the reason `loading`. The details have the
/// `role`, `primary` or `replica`, the number of connected `replicas` of a primary and the `link` of a replica. A replica that
/// has lost its primary is degraded, because what it holds grows old. A user who may not send `ROLE` gets the answer without it,
/// and so does a client of a Redis Cluster, where each node has a role of its own. A server that does not accept the client's
/// user name and password is down with the server's words for it, which a `Client` or a `Pool` tells also while it has no
/// connection.
///
/// A client in its default settings gives up when Redis is away at the start. So that the service starts without it and the
/// check says "not connected yet" until it is there, set `fail_fast = false`, give it a reconnection policy, and do not wait for
/// the connection:
///
/// ```no_run
/// use bilten_health::{Health, checks};
/// use fred::prelude::*;
///
/// # async fn run() -> Result<(), Box<dyn std::error::Error>> {
/// let mut config = Config::from_url("redis://127.0.0.1:6379")?;
/// config.fail_fast = false;
/// let client = Builder::from_config(config)
///     .set_policy(ReconnectPolicy::new_exponential(0, 100, 5_000, 2))
///     .build()?;
/// client.connect(); // not `init().await`, which would wait until Redis is there
/// let health = Health::builder().check(checks::redis("sessions", &client).non_critical()).build()?;
/// # Ok(())
/// # }
/// ```
pub fn redis<C>(name: impl Into<String>, client: &C) -> CheckBuilder
where
    C: ClientLike + Sync + 'static,
{
    check(
        name,
        Redis {
            refusal: Refusal::of(client),
            client: client.clone(),
            answered: AtomicBool::new(false),
        },
    )
}

struct Redis<C> {
    client: C,
    refusal: Refusal,
    /// Whether there was an answer at any time: tells a lost connection from one that is still to come.
    answered: AtomicBool,
}

impl<C: ClientLike + Sync + 'static> Check for Redis<C> {
    async fn check(&self, context: &CheckContext) -> Verdict {
        let limit = context.budget();
        let options = Options {
            timeout: Some(limit),
            max_attempts: Some(1),
            fail_fast: true,
            ..Options::default()
        };
        let client: WithOptions<C> = self.client.with_options(&options);
        let until = Instant::now() + limit;
        // The outer limit holds even when the client's own tasks are stuck.
        let verdict = match timeout_at(until, client.ping::<String>(None)).await {
            Ok(answer) => judge(answer),
            Err(_) => no_answer(),
        };
        if verdict.status == Status::Up {
            self.answered.store(true, Ordering::Relaxed);
            self.refusal.forget();
            if self.client.is_clustered() {
                return verdict;
            }
            let role = CustomCommand::new_static("ROLE", ClusterHash::Random, false);
            let asked = client.custom::<Value, String>(role, Vec::new());
            return match timeout_at(until, asked).await {
                Ok(Ok(role)) => with_role(verdict, &role),
                // Forbidden, or no time left: it has answered, and that is what was asked.
                _ => verdict,
            };
        }
        self.without_answer(verdict)
    }
}

impl<C: ClientLike> Redis<C> {
    /// What `verdict` means for a client that may have no connection.
    fn without_answer(&self, verdict: Verdict) -> Verdict {
        if self.client.state() == ClientState::Connected {
            return verdict;
        }
        if let Some(words) = self.refusal.last() {
            return not_accepted(&words);
        }
        if self.answered.load(Ordering::Relaxed) {
            return verdict;
        }
        Verdict::down(
            "not connected yet: the server is not there, or the client's `connect` was never called",
        )
    }
}

fn judge(answer: Result<String, Error>) -> Verdict {
    match answer {
        Ok(pong) if pong == "PONG" => Verdict::up(),
        Ok(_) => Verdict::down("the server answered PING with something else than PONG"),
        Err(error) if error.details().starts_with("LOADING") => {
            Verdict::down("the server is still loading its data").reason(Reason::Loading)
        }
        Err(error) if *error.kind() == ErrorKind::Timeout => no_answer(),
        Err(error) => {
            words(&error).map_or_else(|| Verdict::failed(&error), |words| not_accepted(&words))
        }
    }
}

fn not_accepted(words: &str) -> Verdict {
    Verdict::down(format!(
        "authentication failed, the server does not accept the client's user name and password ({words})"
    ))
}

fn no_answer() -> Verdict {
    Verdict::down("no answer to PING in time").reason(Reason::Timeout)
}

/// Reads what `ROLE` answers: `master, offset, replicas` or `slave, host, port, link, offset`.
fn with_role(verdict: Verdict, role: &Value) -> Verdict {
    let Value::Array(parts) = role else {
        return verdict;
    };
    let part = |index: usize| parts.get(index);
    let text = |index| part(index).and_then(Value::as_str);
    match text(0).as_deref() {
        Some("master") => {
            let replicas = match part(2) {
                Some(Value::Array(replicas)) => replicas.len(),
                _ => 0,
            };
            verdict
                .detail("role", "primary")
                .detail("replicas", replicas)
        }
        Some("slave") => {
            let link = text(3).unwrap_or_default();
            let verdict = match &*link {
                "connected" => verdict,
                _ => Verdict::degraded(format!("this replica has lost its primary: {link}")),
            };
            verdict.detail("role", "replica").detail("link", &*link)
        }
        _ => verdict,
    }
}

#[cfg(test)]
mod tests {
    use super::{judge, with_role};
    use crate::check::Verdict;
    use crate::report::Reason;
    use crate::status::Status;
    use fred::error::{Error, ErrorKind};
    use fred::types::Value;

    #[test]
    fn only_pong_is_up() {
        let error = |kind, text| Err(Error::new(kind, text));
        let table = [
            (Ok("PONG"), Status::Up, None),
            (Ok("pong?"), Status::Down, Some(Reason::Failed)),
            (
                error(
                    ErrorKind::Unknown,
                    "LOADING Redis is loading the dataset in memory",
                ),
                Status::Down,
                Some(Reason::Loading),
            ),
            (
                error(ErrorKind::Timeout, "Request timed out."),
                Status::Down,
                Some(Reason::Timeout),
            ),
            (
                error(ErrorKind::IO, "connection refused"),
                Status::Down,
                Some(Reason::Failed),
            ),
        ];
        for (answer, status, reason) in table {
            let verdict = judge(answer.map(str::to_owned));
            assert_eq!((verdict.status, verdict.reason), (status, reason));
        }
    }

    #[test]
    fn a_role_nobody_has_heard_of_changes_nothing() {
        let array =
            |words: &[&str]| Value::Array(words.iter().map(|word| (*word).into()).collect());
        for strange in [
            Value::Null,
            array(&[]),
            array(&["sentinel"]),
            Value::from("master"),
        ] {
            assert_eq!(with_role(Verdict::up(), &strange), Verdict::up());
        }
        let cut = with_role(Verdict::up(), &array(&["master"]));
        assert_eq!(cut.details.shown()["replicas"], 0);
        assert_eq!(
            with_role(Verdict::up(), &array(&["slave"])).status,
            Status::Degraded
        );
    }
}
