use super::cluster::Postgres;
use super::launch::Upstream;
use crate::Error;

/// Options of a private PostgreSQL; the default is a primary without replicas.
///
/// ```no_run
/// let postgres = bilten_testbed::Postgres::builder().replicas(2).setting("work_mem", "8MB").start()?;
/// assert_eq!(postgres.replica(1).psql("show work_mem")?, "8MB");
/// # Ok::<(), bilten_testbed::Error>(())
/// ```
#[derive(Debug, Clone)]
#[must_use]
pub struct PostgresBuilder {
    pub(super) replicas: usize,
    pub(super) max_connections: u32,
    pub(super) stranger: bool,
    pub(super) settings: Vec<(String, String)>,
}

impl Default for PostgresBuilder {
    fn default() -> Self {
        Self {
            replicas: 0,
            max_connections: 200,
            stranger: false,
            settings: Vec::new(),
        }
    }
}

impl PostgresBuilder {
    /// The number of streaming replicas. Defaults to 0.
    pub fn replicas(mut self, count: usize) -> Self {
        self.replicas = count;
        self
    }

    /// The connections each node accepts. Defaults to 200; a few make the full server easy to test.
    pub fn max_connections(mut self, count: u32) -> Self {
        self.max_connections = count;
        self
    }

    /// Gives the nodes a system identifier of their own, as servers that are not copies of one another have it; takes a
    /// second or two more.
    pub fn stranger(mut self) -> Self {
        self.stranger = true;
        self
    }

    /// Any other line of `postgresql.conf`, on every node; it wins over ours.
    pub fn setting(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.settings.push((name.into(), value.into()));
        self
    }

    /// Starts all nodes and waits until every replica streams.
    ///
    /// # Errors
    /// When PostgreSQL is missing, refuses a setting (the log's end is in the error), or is not ready in 30 s.
    pub fn start(self) -> Result<Postgres, Error> {
        Postgres::start_with(&self)
    }

    /// The lines appended to `postgresql.conf` of one node.
    pub(super) fn config(&self, port: u16, upstream: Option<&Upstream>) -> String {
        // Postgres wants as many walsenders as the template has, and a replica as many connections as its primary.
        let mut lines = format!(
            "listen_addresses = '127.0.0.1'\nport = {port}\nunix_socket_directories = ''\n\
             max_connections = {}\nmax_wal_senders = 10\nhot_standby = on\nwal_keep_size = '64MB'\n\
             fsync = off\nfull_page_writes = off\nsynchronous_commit = on\n\
             shared_buffers = '16MB'\ndynamic_shared_memory_type = mmap\nautovacuum = off\njit = off\n\
             wal_retrieve_retry_interval = '100ms'\nwal_receiver_status_interval = '1s'\nlogging_collector = off\n",
            self.max_connections
        );
        if let Some(Upstream { host, port, number }) = upstream {
            let place = format!(
                "host={host} port={port} user=postgres application_name={}",
                replica_name(*number)
            );
            lines.push_str(&format!(
                "primary_conninfo = '{place}'
"
            ));
        }
        for (name, value) in &self.settings {
            lines.push_str(&format!("{name} = '{}'\n", value.replace('\'', "''")));
        }
        lines
    }
}

/// What a replica is called in `pg_stat_replication`.
pub(super) fn replica_name(number: usize) -> String {
    format!("replica_{number}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_is_quoted_and_comes_last() {
        let config = Postgres::builder()
            .setting("search_path", "it's")
            .config(7, None);
        assert!(config.ends_with("search_path = 'it''s'\n"), "{config}");
        assert!(!config.contains("primary_conninfo"));
        let replica = Postgres::builder().config(
            8,
            Some(&Upstream {
                host: "h".into(),
                port: 7,
                number: 1,
            }),
        );
        assert!(
            replica.contains("port=7 user=postgres application_name=replica_1"),
            "{replica}"
        );
    }
}
