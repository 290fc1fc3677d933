//! Processes that are killed in the middle of a load or of a write: what they held holds nobody up for longer than it lasts.

use std::io::{self, Write};
use std::process::Stdio;
use std::time::{Duration, Instant};

use bilten_cache::remote::Author;
use bilten_cache::{Cache, Redis, RedisClient};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;

use crate::harness::{DEADLINE, Node, unique};

const CHILD: &str = "BILTEN_KILLED_CHILD";
const TEST: &str = "killed::what_a_killed_process_held_holds_nobody_up_for_longer_than_it_lasts";
const HOLD: Duration = Duration::from_millis(700);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Dies {
    Loading,
    /// Its value is gone, and the new one not there yet.
    Writing,
}

async fn node(client: RedisClient, name: &str, url: &str) -> Node {
    let redis = Redis::url(url).client(client);
    let cache = Cache::builder(name).redis(redis).build().await.unwrap();
    let stock = cache.region::<str, u32>("stock").lease(HOLD);
    let stock = stock.build().unwrap();
    Node { cache, stock }
}

/// The life of a child, which says when it holds the key, and goes on holding it.
async fn live(told: &str) {
    let words: Vec<&str> = told.split(' ').collect();
    let [client, dies, name, url] = words[..] else {
        panic!("{told}");
    };
    let client = match client {
        "fred" => RedisClient::Fred,
        _ => RedisClient::RedisRs,
    };
    if dies == "loading" {
        let node = node(client, name, url).await;
        let load = async |_| {
            say_that_it_holds();
            std::future::pending::<Result<u32, io::Error>>().await
        };
        let _ = node.stock.get_or_load("tea", load).await;
    } else {
        let remote = Redis::url(url).client(client);
        let remote = remote.into_remote(name, DEADLINE).await.unwrap();
        let at = remote.snapshot().await.unwrap().position;
        let author = Author::new(1, at.incarnation, at.number);
        let _ = remote.claim("stock:tea", 7, HOLD, author).await.unwrap();
        say_that_it_holds();
        std::future::pending::<()>().await;
    }
}

fn say_that_it_holds() {
    let mut out = io::stdout().lock();
    writeln!(out, "~holds").unwrap();
    out.flush().unwrap();
}

/// Runs a child until it holds the key, and kills it.
async fn killed(client: RedisClient, dies: Dies, name: &str, url: &str) {
    let client = match client {
        RedisClient::Fred => "fred",
        _ => "redis-rs",
    };
    let dies = match dies {
        Dies::Loading => "loading",
        Dies::Writing => "writing",
    };
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args([TEST, "--exact", "--nocapture", "--test-threads=1"])
        .env(CHILD, [client, dies, name, url].join(" "))
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let holds = async {
        while let Some(line) = lines.next_line().await.unwrap() {
            if line.ends_with("~holds") {
                return true;
            }
        }
        false
    };
    let holds = tokio::time::timeout(DEADLINE, holds).await;
    assert!(holds.unwrap(), "the child ended");
    child.kill().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_killed_process_held_holds_nobody_up_for_longer_than_it_lasts() {
    if let Ok(told) = std::env::var(CHILD) {
        return live(&told).await;
    }
    let url = bilten_testbed::shared::redis().unwrap();
    for client in [RedisClient::Fred, RedisClient::RedisRs] {
        for dies in [Dies::Loading, Dies::Writing] {
            let name = unique();
            let here = node(client, &name, &url).await;
            if dies == Dies::Writing {
                let _ = here.stock.set("tea", 1).await.unwrap();
            }
            killed(client, dies, &name, &url).await;
            let deadline = Instant::now() + DEADLINE;
            while here.stock.peek("tea").is_some() {
                assert!(Instant::now() < deadline, "its record arrives");
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            let begun = Instant::now();
            assert_eq!(here.load("tea", 7).await, 7);
            // A machine that is busy adds to it, another wait for a lease would add twice as much.
            let took = begun.elapsed();
            assert!(took < HOLD * 2 + Duration::from_secs(1), "{took:?}");
            let late = node(client, &name, &url).await;
            while late.stock.get("tea").await.as_deref() != Some(&7) {
                assert!(Instant::now() < deadline, "{dies:?}: it is not stored");
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            let stats = here.stock.stats();
            assert_eq!((stats.loads, stats.stores_refused), (1, 0), "{dies:?}");
        }
    }
}
