//! Connections that are dead without knowing it, and what is left of clients that were replaced.

use std::time::Duration;

use bilten_cache::status::Connection;
use bilten_cache::{Ack, Cache, Redis, RedisClient};
use bilten_testbed::Redis as Server;
use bilten_testbed::{Direction, FaultProxy};
use tokio::runtime::Handle;

use crate::harness::{Node, eventually, with_each_client};

with_each_client! {
    a_connection_that_the_network_forgot_is_replaced,
    clients_that_were_replaced_leave_no_connection_and_no_task,
    a_node_at_rest_does_not_come_near_to_doubting_itself,
}

async fn node(client: RedisClient, url: String) -> Node {
    let redis = Redis::url(url).client(client);
    Node::of(Cache::builder("shop").redis(redis).build().await.unwrap())
}

async fn loses(node: &Node) {
    eventually("it noticed", || {
        node.cache.status().connection != Connection::Connected
    })
    .await;
}

async fn connected(node: &Node) {
    eventually("connected", || {
        node.cache.status().connection == Connection::Connected
    })
    .await;
}

async fn a_connection_that_the_network_forgot_is_replaced(client: RedisClient) {
    let server = Server::start().unwrap();
    let proxy = FaultProxy::to(server.addr()).await.unwrap();
    let near = node(client, server.url()).await;
    let far = node(client, proxy.url_like(&server.url()).unwrap()).await;
    assert_eq!(near.stock.set("tea", 1).await.unwrap(), Ack::Everywhere);
    assert_eq!(far.stock.get("tea").await.as_deref(), Some(&1));
    proxy.strand_all();
    loses(&far).await;
    connected(&far).await;
    assert_eq!(far.stock.set("tea", 2).await.unwrap(), Ack::Everywhere);
    assert_eq!(near.stock.get("tea").await.as_deref(), Some(&2));
    assert_eq!(near.stock.remove("tea").await.unwrap(), Ack::Everywhere);
    eventually("the log is heard", || far.stock.peek("tea").is_none()).await;
}

async fn clients_that_were_replaced_leave_no_connection_and_no_task(client: RedisClient) {
    let server = Server::start().unwrap();
    let proxy = FaultProxy::to(server.addr()).await.unwrap();
    // The one that asks is not counted.
    let connections = || {
        server
            .cli(&["CLIENT", "LIST"])
            .unwrap()
            .trim()
            .lines()
            .count()
            - 1
    };
    let tasks = || Handle::current().metrics().num_alive_tasks();
    let before = tasks();
    let node = node(client, proxy.url_like(&server.url()).unwrap()).await;
    connected(&node).await;
    assert_eq!(connections(), 2);
    let usual = tasks();
    for fault in 0..3 {
        match fault {
            0 => proxy.strand_all(),
            1 => proxy.blackhole(Direction::Both),
            _ => {
                proxy.refuse();
                proxy.reset_all();
            }
        }
        loses(&node).await;
        // Long enough for a second client to be tried, beside one that tries too.
        tokio::time::sleep(Duration::from_secs(4)).await;
        proxy.heal();
        connected(&node).await;
    }
    // The proxy still holds what was stranded.
    proxy.reset_all();
    eventually("two connections are left", || connections() == 2).await;
    connected(&node).await;
    eventually("and their tasks", || tasks() <= usual).await;
    assert!(node.cache.shutdown(Duration::from_secs(5)).await.is_clean());
    eventually("no connection is left", || connections() == 0).await;
    eventually("no task is left", || tasks() <= before).await;
}

async fn a_node_at_rest_does_not_come_near_to_doubting_itself(client: RedisClient) {
    let server = Server::start().unwrap();
    let redis = Redis::url(server.url()).client(client);
    let trusted = Duration::from_secs(1);
    let cache = Cache::builder("shop").redis(redis).isolated_ttl(trusted);
    let cache = cache.build().await.unwrap();
    let mut near = 0;
    for _ in 0..500 {
        tokio::time::sleep(Duration::from_millis(4)).await;
        let age = cache.status().log_age.unwrap();
        near += u32::from(age > trusted.mul_f64(0.8));
    }
    // Some are for a busy machine.
    assert!(near < 100, "{near} of 500 looks found it near its end");
}
