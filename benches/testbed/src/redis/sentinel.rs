use std::net::SocketAddr;
use std::time::Duration;

use super::cluster::secured;
use super::server::Redis;
use crate::Error;
use crate::machine::port::Port;
use crate::wait::until;

const READY_LIMIT: Duration = Duration::from_secs(20);
const SERVICE: &str = "main";
const REPLICAS: usize = 2;
const SENTINELS: usize = 3;

/// A private primary with two replicas and three Sentinels that watch it and agree by two.
///
/// ```no_run
/// let group = bilten_testbed::RedisSentinel::start()?;
/// let old = group.primary()?;
/// old.kill()?; // the Sentinels make a replica the primary after one second
/// let new = group.wait_for_new_primary(old)?;
/// assert_ne!(new.port(), old.port());
/// # Ok::<(), bilten_testbed::Error>(())
/// ```
#[derive(Debug)]
pub struct RedisSentinel {
    nodes: Vec<Redis>,
    sentinels: Vec<Redis>,
}

impl RedisSentinel {
    /// Starts all six; a primary that is silent for one second is taken for dead.
    ///
    /// # Errors
    /// When `redis-server` is missing, or the Sentinels have no quorum in 20 s.
    pub fn start() -> Result<Self, Error> {
        Self::start_with_down_after(Duration::from_secs(1))
    }

    /// Starts all six; a primary that is silent for so long is taken for dead.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn start_with_down_after(limit: Duration) -> Result<Self, Error> {
        Self::start_all(limit, false)
    }

    /// Starts all six with TLS for clients and among themselves, all with certificates of one authority: see
    /// [`Redis::tls_files`] of any node.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn start_with_tls() -> Result<Self, Error> {
        Self::start_all(Duration::from_secs(1), true)
    }

    fn start_all(limit: Duration, tls: bool) -> Result<Self, Error> {
        let primary = secured(tls, &[]).start()?;
        let follow = ("replicaof", format!("127.0.0.1 {}", primary.port()));
        let mut nodes = vec![primary];
        for _ in 0..REPLICAS {
            nodes.push(secured(tls, &nodes).line(follow.0, &follow.1).start()?);
        }
        let ports = (0..SENTINELS)
            .map(|_| Port::reserve())
            .collect::<Result<Vec<_>, _>>()?;
        let numbers: Vec<u16> = ports.iter().map(Port::number).collect();
        let addresses: Vec<SocketAddr> = nodes.iter().map(Redis::addr).collect();
        let mut sentinels = Vec::new();
        for (i, port) in ports.into_iter().enumerate() {
            let mut lines = config(i, &numbers, &addresses, limit);
            if tls {
                lines.push_str("tls-replication yes\n");
            }
            let options = secured(tls, &nodes).into_sentinel(lines);
            sentinels.push(Redis::on(options, port)?);
        }
        let sentinels = sentinels
            .into_iter()
            .map(Redis::ready)
            .collect::<Result<_, _>>()?;
        let group = Self { nodes, sentinels };
        group.wait_whole()?;
        Ok(group)
    }

    /// The name the primary is watched under.
    #[must_use]
    pub fn service(&self) -> &'static str {
        SERVICE
    }

    /// `redis-sentinel://first?node=second...&sentinelServiceName=main`, `rediss-sentinel` with TLS.
    #[must_use]
    pub fn url(&self) -> String {
        let places: Vec<String> = self
            .sentinels
            .iter()
            .map(|node| node.addr().to_string())
            .collect();
        let scheme = match self.nodes[0].tls_files() {
            Some(_) => "rediss-sentinel",
            None => "redis-sentinel",
        };
        format!(
            "{scheme}://{}?node={}&sentinelServiceName={SERVICE}",
            places[0],
            places[1..].join("&node=")
        )
    }

    /// The primary and its replicas, in the order they were started; the roles change.
    #[must_use]
    pub fn nodes(&self) -> &[Redis] {
        &self.nodes
    }

    /// The Sentinels.
    #[must_use]
    pub fn sentinels(&self) -> &[Redis] {
        &self.sentinels
    }

    /// The node that a Sentinel that answers now names as the primary.
    ///
    /// # Errors
    /// When no Sentinel answers.
    pub fn primary(&self) -> Result<&Redis, Error> {
        let sentinel = self.sentinels.iter().find(|sentinel| sentinel.answers());
        let sentinel = sentinel.ok_or_else(|| Error::refused("PING", "no Sentinel answers"))?;
        let place = sentinel.cli(&["SENTINEL", "GET-MASTER-ADDR-BY-NAME", SERVICE])?;
        let port = place.lines().nth(1).and_then(|port| port.parse().ok());
        let named = port.and_then(|port: u16| self.nodes.iter().find(|node| node.port() == port));
        named.ok_or_else(|| Error::refused("SENTINEL GET-MASTER-ADDR-BY-NAME", place))
    }

    /// Waits until the Sentinels name another primary and it takes writes.
    ///
    /// # Errors
    /// When that has not happened in 20 s.
    pub fn wait_for_new_primary(&self, old: &Redis) -> Result<&Redis, Error> {
        until("a new primary", READY_LIMIT, || {
            let primary = self.primary().map_err(|e| e.to_string())?;
            let role = primary.cli(&["ROLE"]).map_err(|e| e.to_string())?;
            let changed = primary.port() != old.port() && role.starts_with("master");
            if changed {
                Ok(primary)
            } else {
                Err(format!("{} is {role}", primary.addr()))
            }
        })
    }

    /// Lets the Sentinels change the primary in order, and waits for it.
    ///
    /// # Errors
    /// When no replica is fit for it, or it takes longer than 20 s.
    pub fn fail_over(&self) -> Result<&Redis, Error> {
        let old = self.primary()?;
        self.sentinels[0].cli(&["SENTINEL", "FAILOVER", SERVICE])?;
        self.wait_for_new_primary(old)
    }

    /// Waits until every Sentinel has a quorum and sees both replicas, and these follow the primary.
    ///
    /// # Errors
    /// When that has not happened in 20 s.
    pub fn wait_whole(&self) -> Result<(), Error> {
        until("a quorum of Sentinels", READY_LIMIT, || {
            for sentinel in &self.sentinels {
                sentinel
                    .cli(&["SENTINEL", "CKQUORUM", SERVICE])
                    .map_err(|e| e.to_string())?;
            }
            let primary = self.primary().map_err(|e| e.to_string())?;
            let replication = primary
                .cli(&["INFO", "replication"])
                .map_err(|e| e.to_string())?;
            let online = replication
                .lines()
                .filter(|line| line.contains("state=online"))
                .count();
            if online == REPLICAS {
                Ok(())
            } else {
                Err(replication)
            }
        })
    }
}

/// What Sentinels of a finished group remember; starting from it, none needs to discover the others.
fn config(myself: usize, sentinels: &[u16], nodes: &[SocketAddr], limit: Duration) -> String {
    let id = |i: usize| format!("{:040x}", i + 1);
    let mut text = format!(
        "sentinel myid {}\nsentinel monitor {SERVICE} {} {} 2\n\
         sentinel down-after-milliseconds {SERVICE} {}\nsentinel failover-timeout {SERVICE} 5000\n",
        id(myself),
        nodes[0].ip(),
        nodes[0].port(),
        limit.as_millis()
    );
    for node in &nodes[1..] {
        text.push_str(&format!(
            "sentinel known-replica {SERVICE} {} {}\n",
            node.ip(),
            node.port()
        ));
    }
    for (i, port) in sentinels.iter().enumerate().filter(|(i, _)| *i != myself) {
        text.push_str(&format!(
            "sentinel known-sentinel {SERVICE} 127.0.0.1 {port} {}\n",
            id(i)
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sentinel_knows_the_others_and_not_itself() {
        let nodes: Vec<SocketAddr> = [1, 2, 3].map(|port| ([127, 0, 0, 1], port).into()).into();
        let text = config(1, &[11, 12, 13], &nodes, Duration::from_millis(700));
        assert!(
            text.contains("monitor main 127.0.0.1 1 2\n")
                && text.contains("down-after-milliseconds main 700\n")
        );
        assert!(
            text.contains(" 127.0.0.1 11 ")
                && text.contains(" 127.0.0.1 13 ")
                && !text.contains(" 127.0.0.1 12 ")
        );
        assert_eq!(text.matches("known-replica").count(), 2);
    }
}
