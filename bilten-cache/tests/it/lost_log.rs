//! A log that is deleted under its readers.

use std::time::Duration;

use bilten_cache::remote::{Author, Scope};
use bilten_cache::status::Connection;
use bilten_cache::{Ack, Cache, Redis, RedisClient};
use bilten_testbed::Redis as Server;

use crate::harness::{DEADLINE, Node, eventually, with_each_client};

with_each_client! {
    a_record_in_a_new_log_wakes_who_waits_for_the_old_one,
    a_removal_after_flushall_that_is_everywhere_is_so,
}

async fn a_record_in_a_new_log_wakes_who_waits_for_the_old_one(client: RedisClient) {
    let server = Server::start().unwrap();
    let remote = async || {
        let redis = Redis::url(server.url()).client(client);
        redis.into_remote("shop", DEADLINE).await.unwrap()
    };
    let (one, two) = (remote().await, remote().await);
    let key = Scope::Key("stock:tea".into());
    for _ in 0..10 {
        let at = one.snapshot().await.unwrap().position;
        let author = Author::new(1, at.incarnation, at.number);
        let waiter = tokio::spawn({
            let two = two.clone();
            async move { two.tail(at.number, Duration::from_millis(1_500)).await }
        });
        eventually("it waits", || {
            let info = server.cli(&["INFO", "clients"]).unwrap();
            info.contains("blocked_clients:1") || waiter.is_finished()
        })
        .await;
        server.cli(&["FLUSHALL"]).unwrap();
        let new = one.invalidate(&key, author).await.unwrap();
        assert_ne!(new.incarnation, at.incarnation);
        let records = waiter.await.unwrap().unwrap();
        // Nothing: the machine stood still for longer than it waited.
        if let Some(record) = records.first() {
            assert_eq!(record.number, new.number);
            assert!(
                record.number > at.number + 1,
                "a gap, so that it starts over"
            );
            return;
        }
    }
    panic!("it was never woken");
}

async fn a_removal_after_flushall_that_is_everywhere_is_so(client: RedisClient) {
    let server = Server::start().unwrap();
    let node = async || {
        let redis = Redis::url(server.url()).client(client);
        Node::of(Cache::builder("shop").redis(redis).build().await.unwrap())
    };
    let (one, two) = (node().await, node().await);
    for value in 0..5 {
        eventually("both follow the log", || {
            let connected = |node: &Node| node.cache.status().connection == Connection::Connected;
            connected(&one) && connected(&two)
        })
        .await;
        assert_eq!(two.load("tea", value).await, value);
        server.cli(&["FLUSHALL"]).unwrap();
        assert_eq!(one.stock.remove("tea").await.unwrap(), Ack::Everywhere);
        eventually("it is gone", || two.stock.peek("tea").is_none()).await;
    }
}
