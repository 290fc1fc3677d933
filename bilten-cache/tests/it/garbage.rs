//! What another program may leave in the log and its markers.

use std::time::{Duration, Instant};

use bilten_cache::status::Connection;
use bilten_cache::{Ack, Cache, Redis, RedisClient};
use bilten_testbed::Redis as Server;

use crate::harness::{DEADLINE, Node, eventually, with_each_client};

with_each_client! { garbage_in_the_log_and_its_markers_costs_memory_and_nothing_else }

async fn garbage_in_the_log_and_its_markers_costs_memory_and_nothing_else(client: RedisClient) {
    let server = Server::start().unwrap();
    let node = async || {
        let redis = Redis::url(server.url()).client(client);
        Node::of(Cache::builder("shop").redis(redis).build().await.unwrap())
    };
    let (one, two) = (node().await, node().await);
    let (meta, log) = ("{shop}:meta", "{shop}:log");
    let garbage: [&[&str]; 9] = [
        &["HSET", meta, "inc", "hello"],
        &["HSET", meta, "inc", ""],
        &["HSET", meta, "n", "hello"],
        &["HSET", meta, "n", "-1"],
        &["HSET", meta, "t:berlin", "x"],
        &["HSET", meta, "zz:what", "5"],
        &["HSET", meta, "p:", "99999999999999999999"],
        &["SET", log, "hello"],
        &["XADD", log, "9999999999999999-0", "x", "y"],
    ];
    for (n, words) in (0..).zip(garbage) {
        agree(&one, &two, n).await;
        server.cli(words).unwrap();
        agree(&two, &one, n + 100).await;
        for node in [&one, &two] {
            eventually(&format!("connected after {words:?}"), || {
                node.cache.status().connection == Connection::Connected
            })
            .await;
        }
    }
}

/// Until one's change is acknowledged and the other finds it.
async fn agree(one: &Node, two: &Node, value: u32) {
    let deadline = Instant::now() + DEADLINE;
    loop {
        let ack = one.stock.set("tea", value).await.unwrap();
        let found = two.stock.get("tea").await;
        if ack == Ack::Everywhere && found.as_deref() == Some(&value) {
            return;
        }
        assert!(Instant::now() < deadline, "{value}: {ack:?}, {found:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
