//! Records that go missing on a real server, and how soon one process hears of another there.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use bilten_cache::status::Connection;
use bilten_cache::{Cache, Redis, RedisClient};
use bilten_testbed::Redis as Server;
use bilten_testbed::{Direction, FaultProxy};

use crate::harness::{Node, PATIENCE, eventually, unique, with_each_client};
use crate::hooked::Hooked;

with_each_client! {
    records_that_are_trimmed_or_deleted_while_a_process_is_cut_off_flush_it_once,
    who_waits_for_another_process_has_its_value_soon,
}

async fn node(client: RedisClient, url: String) -> Node {
    let redis = Redis::url(url).client(client);
    Node::of(Cache::builder("shop").redis(redis).build().await.unwrap())
}

async fn stands_at(node: &Node, number: u64) {
    eventually("it is in step", || {
        let status = node.cache.status();
        status.log_position >= number && status.connection == Connection::Connected
    })
    .await;
}

async fn records_that_are_trimmed_or_deleted_while_a_process_is_cut_off_flush_it_once(
    client: RedisClient,
) {
    for how in ["XTRIM", "XDEL"] {
        let server = Server::start().unwrap();
        let proxy = FaultProxy::to(server.addr()).await.unwrap();
        let near = node(client, server.url()).await;
        let far = node(client, proxy.url_like(&server.url()).unwrap()).await;
        let number = || -> u64 {
            let n = server.cli(&["HGET", "{shop}:meta", "n"]).unwrap();
            n.parse().unwrap()
        };
        for key in ["tea", "jam", "salt"] {
            let _ = near.stock.set(key, 1).await.unwrap();
        }
        stands_at(&far, number()).await;
        for key in ["tea", "jam"] {
            assert_eq!(far.stock.get(key).await.as_deref(), Some(&1));
        }
        let before = far.cache.stats();
        proxy.blackhole(Direction::Both);
        eventually("it hears nothing", || {
            far.cache.status().connection != Connection::Connected
        })
        .await;
        let _ = near.stock.remove("tea").await.unwrap();
        let removal = format!("{}-0", number());
        let _ = near.stock.set("jam", 2).await.unwrap();
        match how {
            "XTRIM" => server.cli(&["XTRIM", "{shop}:log", "MAXLEN", "0"]),
            _ => server.cli(&["XDEL", "{shop}:log", &removal]),
        }
        .unwrap();
        let _ = near.stock.set("salt", 2).await.unwrap();
        proxy.heal();
        stands_at(&far, number()).await;
        assert_eq!(far.stock.get("tea").await, None, "{how}");
        for key in ["jam", "salt"] {
            assert_eq!(far.stock.get(key).await.as_deref(), Some(&2), "{how}");
        }
        let told = || {
            let stats = far.cache.stats();
            (
                stats.log_gaps - before.log_gaps,
                stats.flushes - before.flushes,
            )
        };
        assert_eq!(told(), (1, 1), "{how}");
        // More heartbeats find nothing else.
        let seen = number();
        for n in 0..3 {
            let begun = Instant::now();
            let _ = near.stock.set("pepper", n).await.unwrap();
            stands_at(&far, seen + 1 + u64::from(n)).await;
            while begun.elapsed() < Duration::from_secs(1) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        assert_eq!(told(), (1, 1), "{how}: it goes on");
    }
}

async fn who_waits_for_another_process_has_its_value_soon(client: RedisClient) {
    let (name, url) = (unique(), bilten_testbed::shared::redis().unwrap());
    let redis = || Redis::url(&*url).client(client);
    let one = Cache::builder(&name).redis(redis()).remote_budget(PATIENCE);
    let one = Node::of(one.build().await.unwrap());
    let busy = Arc::new(AtomicU32::new(0));
    let remote = redis().into_remote(&name, Duration::from_secs(5)).await;
    let way = Hooked::new(remote.unwrap()).counting_busy(&busy);
    let two = Cache::builder(&name).remote(way).remote_budget(PATIENCE);
    let two = Node::of(two.build().await.unwrap());
    let keys = ["a", "b", "c", "d", "e", "f", "g", "h", "i"];
    let mut took = Vec::new();
    for key in keys {
        let (mut held, first) = one.start_load(key);
        held.started().await;
        let before = busy.load(Ordering::SeqCst);
        let second = two.start_load(key).1;
        // It has been refused the lease more than once, so it waits.
        eventually("it waits", || busy.load(Ordering::SeqCst) > before + 1).await;
        let begun = Instant::now();
        held.finish(7);
        assert_eq!(*second.await.unwrap().unwrap(), 7);
        took.push(begun.elapsed());
        assert_eq!(*first.await.unwrap().unwrap(), 7);
    }
    assert_eq!((one.stock.stats().loads, two.stock.stats().loads), (9, 0));
    took.sort_unstable();
    // The store, and a pause of fifty milliseconds at most; the rest is a busy machine's. A lease lasts two seconds.
    assert!(took[took.len() / 2] < Duration::from_secs(1), "{took:?}");
}
