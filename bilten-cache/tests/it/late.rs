//! Requests that arrive at a real Redis after their callers have given them up.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bilten_cache::status::Connection;
use bilten_cache::{Ack, Cache, Redis, RedisClient, Region};
use bilten_testbed::{Direction, FaultProxy, Redis as Server};

use crate::harness::{DEADLINE, Node, eventually, with_each_client};
use crate::hooked::Hooked;

with_each_client! {
    a_set_that_was_given_up_never_comes_back,
    a_store_that_was_given_up_is_refused_when_it_arrives,
}

async fn a_set_that_was_given_up_never_comes_back(client: RedisClient) {
    let server = Server::start().unwrap();
    let proxy = FaultProxy::to(server.addr()).await.unwrap();
    let node = async |url| {
        let redis = Redis::url(url).client(client);
        Node::of(Cache::builder("shop").redis(redis).build().await.unwrap())
    };
    let near = node(server.url()).await;
    let far = node(proxy.url_like(&server.url()).unwrap()).await;
    proxy.blackhole(Direction::Up);
    assert_eq!(far.stock.set("tea", 5).await.unwrap(), Ack::Deferred);
    assert_eq!(near.stock.set("tea", 6).await.unwrap(), Ack::Everywhere);
    proxy.heal();
    let deadline = Instant::now() + DEADLINE;
    loop {
        assert_ne!(near.stock.get("tea").await.as_deref(), Some(&5));
        let status = far.cache.status();
        if status.connection == Connection::Connected && status.waiting == 0 {
            break;
        }
        assert!(Instant::now() < deadline, "{status:?}");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    eventually("it learns that it came too late", || {
        far.stock.peek("tea").as_deref() != Some(&5)
    })
    .await;
    for node in [&near, &far] {
        assert_ne!(node.stock.get("tea").await.as_deref(), Some(&5));
    }
}

async fn a_store_that_was_given_up_is_refused_when_it_arrives(client: RedisClient) {
    const LARGE: usize = 64 << 10;
    let server = Server::start().unwrap();
    let proxy = Arc::new(FaultProxy::to(server.addr()).await.unwrap());
    let open = async |url| {
        let redis = Redis::url(url).client(client);
        let opened = redis.into_remote("shop", Duration::from_millis(250)).await;
        opened.unwrap()
    };
    let region = |cache: &Cache| -> Region<str, String> { cache.region("note").build().unwrap() };
    let inner = open(server.url()).await;
    let near = Cache::builder("shop").remote(Hooked::new(inner));
    let near = region(&near.build().await.unwrap());
    let inner = open(proxy.url_like(&server.url()).unwrap()).await;
    let cut = Arc::clone(&proxy);
    let cut = Hooked::new(inner).after_claim(move || cut.blackhole(Direction::Up));
    let far = Cache::builder("shop").remote(cut);
    let far = region(&far.build().await.unwrap());
    let before = proxy.bytes_up();
    // Its claim has arrived, its value has not.
    let given_up = far.set("tea", "5".repeat(LARGE)).await.unwrap();
    assert_eq!(given_up, Ack::Everywhere);
    assert!(proxy.bytes_up() - before < LARGE as u64);
    let newer = near.set("tea", "6".to_owned()).await.unwrap();
    assert_eq!(newer, Ack::Everywhere);
    proxy.heal();
    eventually("the value arrives", || {
        proxy.bytes_up() - before > LARGE as u64
    })
    .await;
    // What is answered on the same connection was asked after it.
    let deadline = Instant::now() + DEADLINE;
    let mut round = 0;
    while round < 20 {
        assert!(Instant::now() < deadline, "no answers");
        let asked = far.remove("jam").await.unwrap();
        round += u32::from(asked == Ack::Everywhere);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let there = server.cli(&["STRLEN", "shop:v:{note:tea}"]).unwrap();
    assert!(there.trim().parse::<usize>().unwrap() < LARGE, "{there}");
    assert_eq!(near.get("tea").await.as_deref().unwrap(), "6");
}
