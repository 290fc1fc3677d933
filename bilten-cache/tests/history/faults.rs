//! What goes wrong, chosen by a seed.

use std::time::{Duration, Instant};

use bilten_cache::test_util::FaultyRemote;
use bilten_testbed::{Direction, FaultProxy, Redis};
use fastrand::Rng;

/// The longest that one fault lasts.
const LONGEST: u64 = 2_000;

pub(crate) fn a_while(rng: &mut Rng) -> Duration {
    Duration::from_millis(rng.u64(20..LONGEST))
}

/// Harms a real Redis, and the proxy before it, until the time is over. Afterwards everything is well again. Blocks.
pub(crate) fn harm_redis(
    server: &Redis,
    proxy: &FaultProxy,
    mut rng: Rng,
    until: Instant,
) -> Vec<String> {
    let begun = Instant::now();
    let mut log = Vec::new();
    while Instant::now() < until {
        std::thread::sleep(a_while(&mut rng) / 2);
        let lasts = a_while(&mut rng);
        let fault = rng.u32(..13);
        let name = [
            "kill -9, restart empty",
            "SIGSTOP",
            "reset",
            "blackhole both",
            "blackhole answers",
            "blackhole requests",
            "FLUSHALL",
            "CLIENT KILL",
            "markers deleted",
            "log deleted",
            "SCRIPT FLUSH",
            "stranded",
            "delay",
        ][fault as usize];
        log.push(format!("{:?} {name} ({lasts:?})", begun.elapsed()));
        match fault {
            0 => {
                server.kill().unwrap();
                std::thread::sleep(lasts / 4);
                server.restart().unwrap();
            }
            1 => {
                server.pause().unwrap();
                std::thread::sleep(lasts);
                server.resume().unwrap();
            }
            2 => proxy.reset_all(),
            3 => for_a_while(proxy, Direction::Both, lasts),
            4 => for_a_while(proxy, Direction::Down, lasts),
            5 => for_a_while(proxy, Direction::Up, lasts),
            6 => say(server, &["FLUSHALL"]),
            7 => say(server, &["CLIENT", "KILL", "TYPE", "normal"]),
            8 => say(server, &["DEL", "{shop}:meta"]),
            9 => say(server, &["DEL", "{shop}:log"]),
            10 => say(server, &["SCRIPT", "FLUSH"]),
            11 => proxy.strand_all(),
            _ => {
                proxy.delay(lasts / 20);
                std::thread::sleep(lasts);
                proxy.heal();
            }
        }
    }
    log
}

fn for_a_while(proxy: &FaultProxy, direction: Direction, lasts: Duration) {
    proxy.blackhole(direction);
    std::thread::sleep(lasts);
    proxy.heal();
}

pub(crate) fn say(server: &Redis, words: &[&str]) {
    server.cli(words).unwrap();
}

/// The same for a second level in memory and the connections of its nodes. One of them does not hear the log for most of
/// the time, longer than it may trust itself, while its other calls go on.
pub(crate) async fn harm_memory(
    store: &FaultyRemote,
    nodes: &[FaultyRemote],
    mut rng: Rng,
    until: Instant,
) {
    let deaf = &nodes[rng.usize(..nodes.len())];
    deaf.cut_log(true);
    while Instant::now() < until {
        let lasts = a_while(&mut rng);
        tokio::time::sleep(a_while(&mut rng) / 4).await;
        match rng.u32(..6) {
            0 => {
                store.fail(true);
                tokio::time::sleep(lasts / 4).await;
                store.fail(false);
            }
            1 | 2 => {
                let node = &nodes[rng.usize(..nodes.len())];
                node.cut_log(true);
                tokio::time::sleep(lasts).await;
                if !std::ptr::eq(node, deaf) {
                    node.cut_log(false);
                }
            }
            3 => store.lose_everything(),
            4 => store.trim_log(),
            _ => store.append_unreadable(),
        }
    }
    for node in nodes {
        node.cut_log(false);
    }
}
