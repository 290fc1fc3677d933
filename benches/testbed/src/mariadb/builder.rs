use std::path::Path;

use super::cluster::MariaDb;
use super::template::FILES;
use crate::Error;

/// Options of a private MariaDB; the default is a primary without replicas.
///
/// ```no_run
/// let maria = bilten_testbed::MariaDb::builder().replicas(1).setting("max_connections", "20").start()?;
/// assert_eq!(maria.replica(0).sql("select @@max_connections")?, "20");
/// # Ok::<(), bilten_testbed::Error>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct MariaDbBuilder {
    pub(super) replicas: usize,
    settings: Vec<(String, String)>,
}

impl MariaDbBuilder {
    /// The number of replicas. Defaults to 0.
    #[must_use]
    pub fn replicas(mut self, count: usize) -> Self {
        self.replicas = count;
        self
    }

    /// Any other option of the server, on every node; it wins over ours.
    #[must_use]
    pub fn setting(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.settings.push((name.into(), value.into()));
        self
    }

    /// Starts all nodes and waits until every replica follows.
    ///
    /// # Errors
    /// When MariaDB is missing, refuses an option (the log's end is in the error), or is not ready in 30 s.
    pub fn start(self) -> Result<MariaDb, Error> {
        MariaDb::start_with(&self)
    }

    /// What one node is started with; server 1 is the primary.
    pub(super) fn arguments(&self, directory: &Path, port: u16, server_id: usize) -> Vec<String> {
        let place = directory.display();
        let mut arguments: Vec<String> = vec![
            "--no-defaults".into(),
            format!("--datadir={place}/data"),
            // Each server that starts removes what others have open in a folder for all of them.
            format!("--tmpdir={place}"),
            format!("--pid-file={place}/data/pid"),
            format!("--port={port}"),
            format!("--server-id={server_id}"),
            format!("--read-only={}", u8::from(server_id > 1)),
        ];
        let fixed = [
            "--bind-address=127.0.0.1",
            // In the data directory, where the server works: a whole path may be too long for a socket.
            "--socket=socket",
            "--skip-name-resolve",
            "--log-bin=bin",
            "--relay-log=relay",
            "--log-slave-updates",
            "--gtid-strict-mode=1",
            "--binlog-format=mixed",
            "--log-bin-trust-function-creators=1",
            "--slave-net-timeout=5",
            // Like `fsync=off` elsewhere: the machine is not going to lose power.
            "--sync-binlog=0",
            "--innodb-flush-log-at-trx-commit=2",
            "--innodb-flush-method=nosync",
            "--innodb-buffer-pool-size=16M",
            "--key-buffer-size=1M",
            "--max-connections=200",
        ];
        arguments.extend(fixed.into_iter().chain(FILES).map(str::to_owned));
        let own = self.settings.iter();
        arguments.extend(own.map(|(name, value)| format!("--{}={value}", name.replace('_', "-"))));
        arguments
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_primary_takes_writes_and_a_setting_comes_last() {
        let options = MariaDb::builder().setting("max_connections", "7");
        let of = |id| options.arguments(Path::new("/d"), 5, id);
        assert!(of(1).contains(&"--read-only=0".to_owned()));
        assert!(of(2).contains(&"--read-only=1".to_owned()));
        assert_eq!(of(1).last().unwrap(), "--max-connections=7");
    }
}
