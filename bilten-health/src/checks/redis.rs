//! Whether a Redis or Valkey server answers.

use crate::check::{Check, CheckBuilder, CheckContext, Verdict, check};
use crate::report::Reason;
use fred::clients::WithOptions;
use fred::error::{Error, ErrorKind};
use fred::interfaces::ClientLike;
use fred::types::config::Options;
use tokio::time::timeout;

/// Sends `PING` with a time limit of its own and does not wait for a reconnection.
///
/// Anything but `PONG` is down; a server that is still loading its data is down with the reason `loading`.
///
/// ```no_run
/// use bilten_health::{Health, checks};
/// use fred::prelude::*;
///
/// # async fn run() -> Result<(), Box<dyn std::error::Error>> {
/// let client = Builder::from_config(Config::from_url("redis://127.0.0.1:6379")?).build()?;
/// client.init().await?;
/// let health = Health::builder().check(checks::redis("sessions", &client).non_critical()).build()?;
/// # Ok(())
/// # }
/// ```
pub fn redis<C>(name: impl Into<String>, client: &C) -> CheckBuilder
where
    C: ClientLike + Sync + 'static,
{
    check(name, Redis(client.clone()))
}

struct Redis<C>(C);

impl<C: ClientLike + Sync + 'static> Check for Redis<C> {
    async fn check(&self, context: &CheckContext) -> Verdict {
        let limit = context.budget();
        let options = Options {
            timeout: Some(limit),
            max_attempts: Some(1),
            fail_fast: true,
            ..Options::default()
        };
        let client: WithOptions<C> = self.0.with_options(&options);
        // The outer limit holds even when the client's own tasks are stuck.
        match timeout(limit, client.ping::<String>(None)).await {
            Ok(answer) => judge(answer),
            Err(_) => no_answer(),
        }
    }
}

fn judge(answer: Result<String, Error>) -> Verdict {
    match answer {
        Ok(pong) if pong == "PONG" => Verdict::up(),
        Ok(_) => Verdict::down("the server answered PING with something else than PONG"),
        Err(error) if error.details().starts_with("LOADING") => {
            Verdict::failed(&error).reason(Reason::Loading)
        }
        Err(error) if *error.kind() == ErrorKind::Timeout => no_answer(),
        Err(error) => Verdict::failed(&error),
    }
}

fn no_answer() -> Verdict {
    Verdict::down("no answer to PING in time").reason(Reason::Timeout)
}

#[cfg(test)]
mod tests {
    use super::judge;
    use crate::report::Reason;
    use crate::status::Status;
    use fred::error::{Error, ErrorKind};

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
}
