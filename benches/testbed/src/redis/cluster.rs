use std::net::SocketAddr;
use std::time::Duration;

use super::builder::RedisBuilder;
use super::launch::is_version_7;
use super::server::Redis;
use crate::Error;
use crate::machine::port::Port;
use crate::wait::until;

/// Redis itself holds a new cluster back for two seconds.
const READY_LIMIT: Duration = Duration::from_secs(20);
/// Redis gives a planned fail-over up that has not happened after five seconds, as on a busy machine.
const GIVEN_UP: Duration = Duration::from_secs(6);
const PRIMARIES: usize = 3;
const SLOTS: usize = 16_384;

/// A private Redis Cluster: three primaries and a replica of each, ready about two seconds after the start.
///
/// ```no_run
/// let cluster = bilten_testbed::RedisCluster::start()?;
/// let owner = cluster.owner("user:1")?;
/// owner.kill()?; // its replica takes over after the node timeout
/// cluster.wait_for_new_owner("user:1", owner)?;
/// # Ok::<(), bilten_testbed::Error>(())
/// ```
#[derive(Debug)]
pub struct RedisCluster {
    nodes: Vec<Redis>,
}

impl RedisCluster {
    /// Starts it with a node timeout of one second.
    ///
    /// # Errors
    /// When `redis-server` is missing, or the cluster is not whole in 20 s.
    pub fn start() -> Result<Self, Error> {
        Self::start_with_node_timeout(Duration::from_secs(1))
    }

    /// Starts it; a node that is silent for so long is taken for dead.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn start_with_node_timeout(timeout: Duration) -> Result<Self, Error> {
        Self::start_nodes(timeout, false)
    }

    /// Starts it with TLS for clients and among its nodes, all with certificates of one authority: see
    /// [`Redis::tls_files`] of any node.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn start_with_tls() -> Result<Self, Error> {
        Self::start_nodes(Duration::from_secs(1), true)
    }

    fn start_nodes(timeout: Duration, tls: bool) -> Result<Self, Error> {
        let ports = (0..2 * PRIMARIES)
            .map(|_| Port::reserve())
            .collect::<Result<Vec<_>, _>>()?;
        let buses = (0..2 * PRIMARIES)
            .map(|_| Port::reserve())
            .collect::<Result<Vec<_>, _>>()?;
        let explicit = is_version_7();
        let members: Vec<Member> = ports
            .iter()
            .zip(&buses)
            .enumerate()
            // Before Redis 7 the bus port is fixed; ours are low enough for the sum.
            .map(|(i, (port, bus))| Member {
                i,
                port: port.number(),
                bus: if explicit {
                    bus.number()
                } else {
                    port.number() + 10_000
                },
            })
            .collect();
        let mut nodes: Vec<Redis> = Vec::new();
        for (i, port) in ports.into_iter().enumerate() {
            let mut options = secured(tls, &nodes)
                .argument("cluster-enabled", "yes")
                .argument("cluster-config-file", "nodes.conf")
                .argument("cluster-node-timeout", timeout.as_millis().to_string())
                .with_file("nodes.conf", nodes_conf(&members, i));
            if explicit {
                options = options.argument("cluster-port", members[i].bus.to_string());
            }
            if tls {
                options = options.argument("tls-cluster", "yes");
            }
            nodes.push(Redis::on(options, port)?);
        }
        let nodes = nodes
            .into_iter()
            .map(Redis::ready)
            .collect::<Result<_, _>>()?;
        let cluster = Self { nodes };
        cluster.wait_whole()?;
        Ok(cluster)
    }

    /// `redis-cluster://first?node=second...` with all nodes, `rediss-cluster` with TLS.
    #[must_use]
    pub fn url(&self) -> String {
        let places: Vec<String> = self
            .nodes
            .iter()
            .map(|node| node.addr().to_string())
            .collect();
        let scheme = match self.nodes[0].tls_files() {
            Some(_) => "rediss-cluster",
            None => "redis-cluster",
        };
        format!(
            "{scheme}://{}?node={}",
            places[0],
            places[1..].join("&node=")
        )
    }

    /// The plain URL of each node.
    #[must_use]
    pub fn urls(&self) -> Vec<String> {
        self.nodes.iter().map(Redis::url).collect()
    }

    /// All nodes: the first three were started as primaries, each third after it as its replica.
    #[must_use]
    pub fn nodes(&self) -> &[Redis] {
        &self.nodes
    }

    /// The node that now owns the key's slot, as a node that answers sees it.
    ///
    /// # Errors
    /// When no node answers or none owns the slot.
    pub fn owner(&self, key: &str) -> Result<&Redis, Error> {
        let node = self.alive()?;
        let slot = node.cli(&["CLUSTER", "KEYSLOT", key])?.parse().unwrap_or(0);
        let table = node.cli(&["CLUSTER", "NODES"])?;
        let address = rows(&table)
            .find(|row| row.is_live_primary() && row.owns(slot))
            .and_then(|row| row.address);
        let owner = address.and_then(|address| self.nodes.iter().find(|node| node.is_at(address)));
        owner.ok_or_else(|| {
            Error::refused(
                "CLUSTER NODES",
                format!("no node owns slot {slot}:\n{table}"),
            )
        })
    }

    /// Waits until another node owns the key's slot and the cluster serves again.
    ///
    /// # Errors
    /// When that has not happened in 20 s.
    pub fn wait_for_new_owner(&self, key: &str, old: &Redis) -> Result<&Redis, Error> {
        self.new_owner_within(READY_LIMIT, key, old)
    }

    fn new_owner_within(&self, limit: Duration, key: &str, old: &Redis) -> Result<&Redis, Error> {
        until(&format!("a new owner of the slot of {key}"), limit, || {
            let owner = self.owner(key).map_err(|e| e.to_string())?;
            let info = owner.cli(&["CLUSTER", "INFO"]).map_err(|e| e.to_string())?;
            let serves = owner.port() != old.port() && info.contains("cluster_state:ok");
            if serves {
                Ok(owner)
            } else {
                Err(format!("{} owns it; {info}", owner.addr()))
            }
        })
    }

    /// Makes a replica of the key's owner take over in order, and waits for it.
    ///
    /// # Errors
    /// When the owner gets no replica that answers in 20 s, or it takes longer than 26 s from there.
    pub fn fail_over(&self, key: &str) -> Result<&Redis, Error> {
        // The nodes hear of each other by gossip: one that has just come back may count as lost for a moment.
        let what = format!("a replica that takes over the slot of {key}");
        let (old, replica) = until(&what, READY_LIMIT, || {
            let (owner, replica) = self.owner_and_replica(key)?;
            let answer = replica.cli(&["CLUSTER", "FAILOVER"]);
            answer.map_err(|e| e.to_string())?;
            Ok((owner, replica))
        })?;
        if let Ok(new) = self.new_owner_within(GIVEN_UP, key, old) {
            return Ok(new);
        }
        // Refused by one that took over in the meantime.
        drop(replica.cli(&["CLUSTER", "FAILOVER"]));
        self.wait_for_new_owner(key, old)
    }

    fn owner_and_replica(&self, key: &str) -> Result<(&Redis, &Redis), String> {
        let owner = self.owner(key).map_err(|e| e.to_string())?;
        let ask = |words: &[&str]| owner.cli(words).map_err(|e| e.to_string());
        let table = ask(&["CLUSTER", "REPLICAS", &ask(&["CLUSTER", "MYID"])?])?;
        let address = rows(&table)
            .find(|row| !row.is_lost())
            .and_then(|row| row.address);
        let replica =
            address.and_then(|address| self.nodes.iter().find(|node| node.is_at(address)));
        let replica = replica.ok_or_else(|| format!("{} has none:\n{table}", owner.addr()))?;
        Ok((owner, replica))
    }

    /// Waits until every node sees a whole cluster and every replica follows its primary.
    ///
    /// # Errors
    /// When that has not happened in 20 s.
    pub fn wait_whole(&self) -> Result<(), Error> {
        until("a whole Redis Cluster", READY_LIMIT, || {
            self.nodes.iter().try_for_each(whole)
        })
    }

    fn alive(&self) -> Result<&Redis, Error> {
        let answers = |node: &&Redis| node.answers();
        self.nodes
            .iter()
            .find(answers)
            .ok_or_else(|| Error::refused("PING", "no node of the cluster answers"))
    }
}

/// With TLS, all of them use the certificates of the first, and for what they say to each other too.
pub(super) fn secured(tls: bool, started: &[Redis]) -> RedisBuilder {
    let options = match (tls, started.first().and_then(Redis::tls_files)) {
        (false, _) => return RedisBuilder::default(),
        (true, None) => RedisBuilder::default().tls(),
        (true, Some(files)) => RedisBuilder::default().certificates(files),
    };
    options.argument("tls-replication", "yes")
}

fn whole(node: &Redis) -> Result<(), String> {
    let ask = |words: &[&str]| node.cli(words).map_err(|e| e.to_string());
    let (info, replication) = (ask(&["CLUSTER", "INFO"])?, ask(&["INFO", "replication"])?);
    let known = info.contains("cluster_state:ok")
        && info.contains(&format!("cluster_known_nodes:{}", 2 * PRIMARIES));
    let linked = replication.contains("role:master") && replication.contains("connected_slaves:1")
        || replication.contains("master_link_status:up");
    if known && linked {
        Ok(())
    } else {
        Err(format!("{}: {info}{replication}", node.addr()))
    }
}

#[derive(Debug, Clone, Copy)]
struct Member {
    i: usize,
    port: u16,
    bus: u16,
}

impl Member {
    fn id(self) -> String {
        format!("{:040x}", self.i + 1)
    }
}

/// What a node of a finished cluster remembers; starting from it, none needs to be told of the others.
fn nodes_conf(members: &[Member], myself: usize) -> String {
    let mut text = String::new();
    for member in members {
        let me = if member.i == myself { "myself," } else { "" };
        let (id, place) = (
            member.id(),
            format!("127.0.0.1:{}@{}", member.port, member.bus),
        );
        let role = if member.i < PRIMARIES {
            let slots = format!("{}-{}", first_slot(member.i), first_slot(member.i + 1) - 1);
            format!("{me}master - 0 0 {} connected {slots}", member.i + 1)
        } else {
            let primary = members[member.i - PRIMARIES];
            format!("{me}slave {} 0 0 {} connected", primary.id(), primary.i + 1)
        };
        text.push_str(&format!("{id} {place} {role}\n"));
    }
    text + &format!("vars currentEpoch {PRIMARIES} lastVoteEpoch 0\n")
}

fn first_slot(primary: usize) -> usize {
    SLOTS * primary / PRIMARIES
}

/// A line of `CLUSTER NODES`.
struct Row<'a> {
    address: Option<SocketAddr>,
    flags: &'a str,
    slots: Vec<&'a str>,
}

fn rows(table: &str) -> impl Iterator<Item = Row<'_>> {
    table.lines().filter_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let address = words.get(1)?.split('@').next()?.parse().ok();
        Some(Row {
            address,
            flags: words.get(2)?,
            slots: words.get(8..).unwrap_or_default().to_vec(),
        })
    })
}

impl Row<'_> {
    fn is_live_primary(&self) -> bool {
        self.flags.contains("master") && !self.is_lost()
    }

    /// Not what is only suspected (`fail?`): whoever asks may have been stopped himself.
    fn is_lost(&self) -> bool {
        self.flags.split(',').any(|flag| flag == "fail")
    }

    fn owns(&self, slot: usize) -> bool {
        self.slots.iter().any(|range| {
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            matches!((first.parse::<usize>(), last.parse::<usize>()), (Ok(first), Ok(last)) if (first..=last).contains(&slot))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slots_are_shared_out_without_gap_or_overlap() {
        let members: Vec<Member> = (0..6)
            .map(|i| Member {
                i,
                port: 7000 + i as u16,
                bus: 8000,
            })
            .collect();
        let text = nodes_conf(&members, 4);
        let owners = |slot| {
            rows(&text)
                .filter(|row| row.is_live_primary() && row.owns(slot))
                .count()
        };
        assert!((0..SLOTS).all(|slot| owners(slot) == 1), "{text}");
        assert_eq!(owners(SLOTS), 0);
        assert_eq!(
            text.lines()
                .filter(|line| line.contains("myself,slave"))
                .count(),
            1,
            "{text}"
        );
    }

    #[test]
    fn a_row_of_the_table_is_read() {
        let table = "a 127.0.0.1:7000@8000,host myself,master - 0 0 1 connected 0-5 9 [7->-b]\nb 127.0.0.1:7001@8001 master,fail - 0 0 2 connected 6-8\n";
        let rows: Vec<Row<'_>> = rows(table).collect();
        assert_eq!(rows[0].address, Some(([127, 0, 0, 1], 7000).into()));
        assert!(rows[0].owns(9) && rows[0].owns(5) && !rows[0].owns(7));
        assert!(rows[0].is_live_primary() && !rows[1].is_live_primary());
    }
}
