//! A log that is deleted under its readers.

use std::time::Duration;

use bilten_cache::remote::{Author, Scope};
use bilten_cache::status::Connection;
use bilten_cache::test_util::{Call, FaultyRemote, ManualClock};
use bilten_cache::{Ack, Cache, Redis, RedisClient};
use bilten_testbed::Redis as Server;

use crate::harness::{DEADLINE, Node, eventually, with_each_client};

with_each_client! {
    a_record_in_a_new_log_wakes_who_waits_for_the_old_one,
    a_removal_after_flushall_that_is_everywhere_is_so,
    each_record_names_the_one_before_it,
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
            async move {
                two.tail(at.number, Duration::from_millis(1_500), 1_000)
                    .await
            }
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

#[tokio::test]
async fn how_far_an_old_log_went_says_nothing_about_the_new_one() {
    let (store, clock) = (FaultyRemote::new(), ManualClock::new());
    let cache = Cache::builder("shop")
        .remote(store.clone())
        .clock(&clock)
        .build();
    let node = Node::of(cache.await.unwrap());
    let stock = node.cache.region::<str, u32>("short");
    let stock = stock.time_to_live(Duration::from_secs(10)).build().unwrap();
    for _ in 0..50 {
        let _ = stock.remove("jam").await.unwrap();
    }
    let sampled = async |minutes: u64| {
        for _ in 0..minutes {
            let before = store.calls(Call::Pulse);
            clock.advance(Duration::from_secs(61));
            eventually("it is sampled", || store.calls(Call::Pulse) > before).await;
        }
    };
    sampled(1).await;
    store.lose_everything();
    clock.advance(Duration::from_secs(2));
    eventually("it follows the new log", || {
        let status = node.cache.status();
        status.connection == Connection::Connected && status.log_position == 0
    })
    .await;
    sampled(10).await;
    let _ = stock.set("tea", 1).await.unwrap();
    assert_eq!(stock.peek("tea").as_deref(), Some(&1));
    assert_eq!(stock.get("tea").await.as_deref(), Some(&1));
}

async fn each_record_names_the_one_before_it(client: RedisClient) {
    let server = Server::start().unwrap();
    let redis = Redis::url(server.url()).client(client);
    let remote = redis.into_remote("shop", DEADLINE).await.unwrap();
    let begun = remote.snapshot().await.unwrap();
    assert_eq!(begun.stamp, None, "there is none yet");
    let author = Author::new(1, begun.position.incarnation, begun.position.number);
    for key in ["tea", "jam"] {
        let key = Scope::Key(key.into());
        remote.invalidate(&key, author).await.unwrap();
    }
    remote.claim("milk", 1, DEADLINE, author).await.unwrap();
    let records = remote
        .tail(begun.position.number, Duration::ZERO, 1_000)
        .await;
    let records = records.unwrap();
    assert_eq!((records.len(), records[0].follows), (3, 0));
    for pair in records.windows(2) {
        assert_eq!(pair[1].follows, pair[0].stamp);
    }
    let now = remote.snapshot().await.unwrap();
    assert_eq!(now.stamp, Some(records[2].stamp));
    server.cli(&["FLUSHALL"]).unwrap();
    remote.invalidate(&Scope::All, author).await.unwrap();
    let records = remote.tail(0, Duration::ZERO, 1_000).await.unwrap();
    assert_eq!((records.len(), records[0].follows), (1, 0), "a new log");
}
