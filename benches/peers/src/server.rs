//! The Redis under test, and what it says about itself.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use fred::prelude::*;
use fred::types::{ClusterHash, CustomCommand};

use crate::peer::Failure;

/// A private Redis server that lives as long as this value.
pub(crate) struct Server {
    process: bilten_testbed::Redis,
    admin: Client,
}

impl Server {
    pub(crate) async fn start() -> Result<Self, Failure> {
        let process = bilten_testbed::Redis::start()?;
        let admin = connect(&process.url()).await?;
        Ok(Self { process, admin })
    }

    /// The URL of logical database `number`, 0 to 15.
    pub(crate) fn url(&self, number: usize) -> String {
        format!("{}/{number}", self.process.url().trim_end_matches('/'))
    }

    /// How often each command ran since the server started, commands inside scripts included;
    /// this function's own `INFO` is left out.
    pub(crate) async fn commands(&self) -> Result<Commands, Failure> {
        let info: String = self.custom("INFO", &["commandstats"]).await?;
        Ok(Commands::parse(&info))
    }

    /// Waits until no command has arrived for 30 ms: background writes have ended. Gives up
    /// after two seconds, since a peer may talk to Redis at rest.
    pub(crate) async fn quiet(&self) -> Result<(), Failure> {
        let deadline = Instant::now() + Duration::from_secs(2);
        let mut last = self.commands().await?;
        while Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(30)).await;
            let now = self.commands().await?;
            if now.since(&last).total() == 0 {
                return Ok(());
            }
            last = now;
        }
        Ok(())
    }

    pub(crate) async fn version(&self) -> Result<String, Failure> {
        let info: String = self.custom("INFO", &["server"]).await?;
        let version = info
            .lines()
            .find_map(|line| line.strip_prefix("redis_version:"));
        Ok(version.unwrap_or("unknown").trim().to_owned())
    }

    /// Empties every logical database.
    pub(crate) async fn flush(&self) -> Result<(), Failure> {
        let _: String = self.custom("FLUSHALL", &[]).await?;
        Ok(())
    }

    async fn custom(&self, name: &'static str, args: &[&str]) -> Result<String, Failure> {
        let command = CustomCommand::new_static(name, ClusterHash::FirstKey, false);
        Ok(self
            .admin
            .custom(command, args.iter().map(|arg| (*arg).to_owned()).collect())
            .await?)
    }
}

/// A fred client that reconnects and never waits for ever.
pub(crate) async fn connect(url: &str) -> Result<Client, Failure> {
    let client = Builder::from_config(Config::from_url(url)?)
        .with_connection_config(|connection| {
            connection.connection_timeout = Duration::from_secs(5);
            connection.tcp = TcpConfig {
                nodelay: Some(true),
                ..TcpConfig::default()
            };
        })
        .with_performance_config(|performance| {
            performance.default_command_timeout = Duration::from_secs(5);
        })
        .set_policy(ReconnectPolicy::new_exponential(0, 10, 1_000, 2))
        .build()?;
    client.init().await?;
    Ok(client)
}

/// Calls per command name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Commands(BTreeMap<String, u64>);

impl Commands {
    fn parse(info: &str) -> Self {
        let calls = info.lines().filter_map(|line| {
            let (name, figures) = line.strip_prefix("cmdstat_")?.split_once(":calls=")?;
            let calls = figures.split(',').next()?.parse().ok()?;
            (name != "info").then(|| (name.to_owned(), calls))
        });
        Self(calls.collect())
    }

    /// What was called between `earlier` and now.
    pub(crate) fn since(&self, earlier: &Self) -> Self {
        let difference = self.0.iter().filter_map(|(name, calls)| {
            let more = calls - earlier.0.get(name).copied().unwrap_or(0).min(*calls);
            (more > 0).then(|| (name.clone(), more))
        });
        Self(difference.collect())
    }

    pub(crate) fn total(&self) -> u64 {
        self.0.values().sum()
    }

    /// `get 1.00, set 1.00`: calls per unit, the rare ones left out.
    pub(crate) fn per(&self, units: usize) -> String {
        let each = self
            .0
            .iter()
            .map(|(name, calls)| (name, *calls as f64 / units as f64));
        let shown = each.filter(|(_, calls)| *calls >= 0.05);
        shown
            .map(|(name, calls)| format!("{name} {calls:.2}"))
            .collect::<Vec<_>>()
            .join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn command_statistics_are_subtracted_per_name() {
        let before = Commands::parse("# Commandstats\r\ncmdstat_get:calls=10,usec=5\r\n");
        let after = Commands::parse(
            "cmdstat_get:calls=30,usec=9\r\ncmdstat_set:calls=20,usec=1\r\ncmdstat_info:calls=3,usec=1",
        );
        let between = after.since(&before);
        assert_eq!(between.total(), 40);
        assert_eq!(between.per(20), "get 1.00, set 1.00");
    }
}
