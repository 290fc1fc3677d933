//! What calls for many keys cost between this process and its servers.

use std::io;
use std::time::{Duration, Instant};

use bilten_cache::{Ack, Cache, Redis, RedisClient, Region};
use bilten_testbed::{FaultProxy, Redis as Server, RedisCluster};

use crate::harness::{DEADLINE, with_each_client};

with_each_client! {
    cold_keys_that_are_loaded_together_cost_two_round_trips,
}

type Numbers = Region<i64, i64>;

/// What the primaries of a cluster have done so far.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Work {
    /// Commands of these kinds.
    commands: u64,
    /// Of which the primary that had least had so many.
    fewest: u64,
    /// How often they read from a socket.
    reads: u64,
}

fn number(text: &str, before: &str, after: char) -> u64 {
    let found = text.lines().find_map(|line| line.strip_prefix(before));
    let number = found.and_then(|rest| rest.split(after).next());
    number.map_or(0, |number| number.trim().parse().unwrap())
}

fn work(primaries: &[&Server], kinds: &[&str]) -> Work {
    let of_one = |server: &&Server| {
        let ran = server.cli(&["INFO", "commandstats"]).unwrap();
        let calls = |kind: &&str| number(&ran, &format!("cmdstat_{kind}:calls="), ',');
        let stats = server.cli(&["INFO", "stats"]).unwrap();
        let reads = number(&stats, "total_reads_processed:", '\r');
        (kinds.iter().map(calls).sum::<u64>(), reads)
    };
    let all: Vec<_> = primaries.iter().map(of_one).collect();
    Work {
        commands: all.iter().map(|(commands, _)| commands).sum(),
        fewest: all.iter().map(|(commands, _)| *commands).min().unwrap(),
        reads: all.iter().map(|(_, reads)| reads).sum(),
    }
}

/// Each key is a command of its own there, and all that go to one primary go together: it has them in few reads from its sockets, where one that
/// waits for the answer of the one before it is a read of its own.
pub(crate) async fn commands_go_to_each_primary_together(
    client: RedisClient,
    cluster: &RedisCluster,
) {
    const KEYS: i64 = 300;
    let redis = Redis::url(cluster.url()).client(client);
    let cache = Cache::builder("wire").redis(redis).memory_bytes(0);
    // A machine with other things to do is not what is tested here.
    let cache = cache.remote_budget(DEADLINE).build().await.unwrap();
    let region: Numbers = cache.region("number").build().unwrap();
    let is_primary = |server: &&Server| {
        let role = server.cli(&["INFO", "replication"]).unwrap();
        role.contains("role:master")
    };
    let primaries: Vec<&Server> = cluster.nodes().iter().filter(is_primary).collect();
    assert_eq!(primaries.len(), 3);
    let keys: Vec<i64> = (0..KEYS).collect();
    let values = || keys.iter().map(|key| (*key, *key));
    // So that the servers know the scripts and the client the slots.
    assert_eq!(region.set_many(values()).await.unwrap(), Ack::Everywhere);
    assert_eq!(region.get_many(&keys).await.iter().flatten().count(), 300);
    let kinds = ["get", "evalsha"];
    for (what, commands) in [("get", 1), ("set", 3), ("remove", 2)] {
        let before = work(&primaries, &kinds);
        match what {
            "get" => {
                let found = region.get_many(&keys).await;
                assert_eq!(found.iter().flatten().count(), 300);
            }
            "set" => {
                let set = region.set_many(values()).await;
                assert_eq!(set.unwrap(), Ack::Everywhere);
            }
            _ => {
                let removed = region.remove_many(keys.iter().copied()).await;
                assert_eq!(removed.unwrap(), Ack::Everywhere);
            }
        }
        let after = work(&primaries, &kinds);
        let (ran, reads) = (after.commands - before.commands, after.reads - before.reads);
        let found = format!("{client:?} {what}: {ran} commands in {reads} reads");
        assert!(after.fewest > before.fewest, "{found}: not all primaries");
        assert!(ran >= commands * 300, "{found}");
        // One after the other they would be read one by one, and beside them what the log says.
        assert!(reads < ran * 9 / 10, "{found}");
    }
}

async fn cold_keys_that_are_loaded_together_cost_two_round_trips(client: RedisClient) {
    let server = Server::start().unwrap();
    let far = FaultProxy::to(server.addr()).await.unwrap();
    let redis = Redis::url(far.url_like(&server.url()).unwrap()).client(client);
    let cache = Cache::builder("shop").redis(redis).remote_budget(DEADLINE);
    let cache = cache.build().await.unwrap();
    let region: Numbers = cache.region("number").build().unwrap();
    let load = |missing: Vec<i64>| {
        let rows: Vec<_> = missing.into_iter().map(|key| (key, key)).collect();
        std::future::ready(Ok::<_, io::Error>(rows))
    };
    // So that the server knows the scripts.
    let warm = region.get_or_load_many(1_000..1_004, load).await.unwrap();
    assert!(warm.iter().all(Option::is_some));
    far.delay(Duration::from_millis(100));
    let begun = Instant::now();
    for key in 0..4 {
        assert_eq!(region.remove(&key).await.unwrap(), Ack::Everywhere);
    }
    let round_trip = begun.elapsed() / 4;
    let begun = Instant::now();
    let found = region.get_or_load_many(0..200, load).await.unwrap();
    let trips = begun.elapsed().as_secs_f64() / round_trip.as_secs_f64();
    assert!(found.iter().all(Option::is_some));
    // One for the values and one for all leases. One after the other they would be 201, and in turns of eight 26.
    assert!(trips < 6.0, "{trips:.1} of {round_trip:?}");
    assert_eq!(region.stats().loads, 204);
}
