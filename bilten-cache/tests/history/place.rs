//! Where the second level of the nodes is, what harms it, and when nobody can promise anything.

use std::time::{Duration, Instant};

use bilten_testbed::{FaultProxy, Redis, RedisCluster, RedisSentinel};
use fastrand::Rng;

use crate::DEADLINE;
use crate::event::{Event, What, now};
use crate::faults::{a_while, harm_redis, say};

/// What the nodes of a run share.
pub(crate) enum Place {
    /// One server. Every other node reaches it through the proxy.
    Server(Box<(Redis, FaultProxy)>),
    /// A primary with replicas, found by way of Sentinels.
    Group(RedisSentinel),
    /// Three primaries, each with a replica: what is said of a key is not where the log is.
    Cluster(RedisCluster),
}

/// What was done to a place.
#[derive(Debug, Default)]
pub(crate) struct Harm {
    pub(crate) log: Vec<String>,
    /// From when to when one server was taking over from another, which may never have heard of the last changes.
    fail_overs: Vec<(u64, u64)>,
}

impl Place {
    pub(crate) async fn server() -> Self {
        let server = Redis::start().unwrap();
        let proxy = FaultProxy::to(server.addr()).await.unwrap();
        Self::Server(Box::new((server, proxy)))
    }

    pub(crate) fn group() -> Self {
        Self::Group(RedisSentinel::start().unwrap())
    }

    pub(crate) fn cluster() -> Self {
        Self::Cluster(RedisCluster::start().unwrap())
    }

    /// How a node reaches it.
    pub(crate) fn url(&self, node: u32) -> String {
        match self {
            Self::Server(around) if node.is_multiple_of(2) => around.0.url(),
            Self::Server(around) => around.1.url_like(&around.0.url()).unwrap(),
            Self::Group(group) => group.url(),
            Self::Cluster(cluster) => cluster.url(),
        }
    }

    /// Harms it until the time is over. Afterwards everything is well again. Blocks.
    pub(crate) fn harm(&self, rng: Rng, until: Instant) -> Harm {
        match self {
            Self::Server(around) => Harm {
                log: harm_redis(&around.0, &around.1, rng, until),
                fail_overs: Vec::new(),
            },
            Self::Group(group) => harm_group(group, rng, until),
            Self::Cluster(cluster) => harm_cluster(cluster, rng, until),
        }
    }
}

impl Harm {
    /// Leaves out the reads for which nothing is promised: a server that takes over may have missed the last changes, until the nodes have
    /// noticed that it is another one, for which they have the time of `bound`.
    pub(crate) fn without_fail_overs(&self, events: Vec<Event>, bound: Duration) -> Vec<Event> {
        let bound = u64::try_from(bound.as_nanos()).unwrap();
        let is_out = |event: &Event| {
            let out = |(from, to): &(u64, u64)| *from <= event.end && event.start <= to + bound;
            matches!(event.what, What::Read { .. }) && self.fail_overs.iter().any(out)
        };
        events.into_iter().filter(|event| !is_out(event)).collect()
    }
}

fn harm_group(group: &RedisSentinel, mut rng: Rng, until: Instant) -> Harm {
    let begun = Instant::now();
    let mut harm = Harm::default();
    let mut known = (group.primary().unwrap().port(), now());
    while Instant::now() < until {
        std::thread::sleep(a_while(&mut rng));
        let primary = group.primary().unwrap();
        let fault = rng.u32(..5);
        let names = ["kill -9", "in order", "CLIENT KILL", "FLUSHALL", "SIGSTOP"];
        let name = names[fault as usize];
        harm.log.push(format!("{:?} {name}", begun.elapsed()));
        match fault {
            0 => {
                primary.kill().unwrap();
                group.wait_for_new_primary(primary).unwrap();
                primary.restart().unwrap();
            }
            1 => in_order(group),
            2 => say(primary, &["CLIENT", "KILL", "TYPE", "normal"]),
            3 => say(primary, &["FLUSHALL"]),
            _ => {
                // Shorter than what the Sentinels take for death, unless the machine is busy.
                primary.pause().unwrap();
                std::thread::sleep(Duration::from_millis(rng.u64(20..300)));
                primary.resume().unwrap();
            }
        }
        group.wait_whole().unwrap();
        let found = (group.primary().unwrap().port(), now());
        if found.0 != known.0 {
            harm.fail_overs.push((known.1, found.1));
        }
        known = found;
    }
    harm
}

/// A replica that takes over in order has heard of everything, so that only what follows a kill is left out.
fn harm_cluster(cluster: &RedisCluster, mut rng: Rng, until: Instant) -> Harm {
    let begun = Instant::now();
    let mut harm = Harm::default();
    while Instant::now() < until {
        std::thread::sleep(a_while(&mut rng) / 2);
        // The log, or the values of some slot.
        let key = match rng.u32(..4) {
            0 => "{shop}:log".to_owned(),
            _ => rng.u32(..1_000).to_string(),
        };
        let (owner, from) = (cluster.owner(&key).unwrap(), now());
        let fault = rng.u32(..6);
        let name = [
            "kill -9",
            "in order",
            "in order",
            "CLIENT KILL",
            "FLUSHALL",
            "SIGSTOP",
        ][fault as usize];
        harm.log
            .push(format!("{:?} {name} of {key}", begun.elapsed()));
        match fault {
            0 => {
                owner.kill().unwrap();
                cluster.wait_for_new_owner(&key, owner).unwrap();
                owner.restart().unwrap();
            }
            1 | 2 => drop(cluster.fail_over(&key).unwrap()),
            3 => say(owner, &["CLIENT", "KILL", "TYPE", "normal"]),
            4 => say(owner, &["FLUSHALL"]),
            _ => {
                // Shorter than what the cluster takes for death, unless the machine is busy.
                owner.pause().unwrap();
                std::thread::sleep(Duration::from_millis(rng.u64(20..300)));
                owner.resume().unwrap();
            }
        }
        cluster.wait_whole().unwrap();
        let in_order = matches!(fault, 1 | 2);
        if !in_order && cluster.owner(&key).unwrap().port() != owner.port() {
            harm.fail_overs.push((from, now()));
        }
    }
    harm
}

/// Sentinels that are not through with the last fail-over refuse the next one.
fn in_order(group: &RedisSentinel) {
    let deadline = Instant::now() + DEADLINE;
    while let Err(error) = group.fail_over() {
        assert!(Instant::now() < deadline, "{error}");
        std::thread::sleep(Duration::from_millis(100));
    }
}
