//! What keeps the second level small, and what tells how far behind a process is.

use std::time::Duration;

use bilten_cache::status::Connection;
use bilten_cache::test_util::{Call, FaultyRemote, ManualClock, Moment};
use bilten_cache::{Ack, Cache, Loaded, Pattern, Redis, RedisClient};
use bilten_testbed::Redis as Server;

use crate::harness::{Node, PATIENCE, eventually, with_each_client};

with_each_client! {
    a_sweep_gives_the_space_of_dead_values_back,
    markers_are_forgotten_in_redis_when_nothing_can_be_older,
    markers_stay_while_another_node_keeps_values_longer,
    too_many_markers_in_redis_become_one_on_everything,
    caches_whose_names_begin_alike_leave_each_other_alone,
}

fn glob(text: &str) -> Pattern {
    Pattern::glob(text).unwrap()
}

#[tokio::test]
async fn a_sweep_removes_what_was_invalidated_and_nothing_else() {
    let store = FaultyRemote::new();
    let node = Node::on(&store).await;
    for (key, tag) in [
        ("list-1", "a"),
        ("list-2", "b"),
        ("item-1", "b"),
        ("item-2", "a"),
    ] {
        let _ = node
            .stock
            .set(key, Loaded::new(1).tags([tag]))
            .await
            .unwrap();
    }
    store.put_bytes("stock:foreign", "what no version of ours wrote");
    let _ = node.cache.invalidate_pattern(&glob("stock:list-*")).await;
    let _ = node.cache.invalidate_tag("b").await;
    // Younger than what invalidated it.
    let _ = node.stock.set("list-2", 2).await.unwrap();
    let swept = node.cache.sweep().await;
    assert!(swept.finished);
    assert_eq!((swept.seen, swept.removed), (5, 2));
    let left = ["list-1", "list-2", "item-1", "item-2", "foreign"];
    let left = left.map(|key| store.bytes(&format!("stock:{key}")).is_some());
    assert_eq!(left, [false, true, false, true, true]);
}

#[tokio::test]
async fn a_sweep_that_is_dropped_stops_and_another_one_ends_it() {
    let store = FaultyRemote::new();
    let node = Node::patient(&store).await;
    for n in 0..250 {
        let _ = node.stock.set(&n.to_string(), n).await.unwrap();
    }
    let _ = node.cache.clear().await;
    let held = store.trap(Call::Scan, Moment::Before);
    let first = tokio::spawn({
        let cache = node.cache.clone();
        async move { cache.sweep().await }
    });
    held.caught().await;
    first.abort();
    assert!(first.await.unwrap_err().is_cancelled());
    held.release();
    let swept = node.cache.sweep().await;
    assert_eq!(
        (swept.seen, swept.removed, swept.finished),
        (250, 250, true)
    );
}

#[tokio::test]
async fn a_value_stored_after_the_look_is_not_swept() {
    let store = FaultyRemote::new();
    let node = Node::patient(&store).await;
    let _ = node.stock.set("tea", 1).await.unwrap();
    let _ = node.cache.clear().await;
    let held = store.trap(Call::Discard, Moment::Before);
    let sweep = tokio::spawn({
        let cache = node.cache.clone();
        async move { cache.sweep().await }
    });
    held.caught().await;
    let _ = node.stock.set("tea", 2).await.unwrap();
    held.release();
    assert_eq!(sweep.await.unwrap().removed, 0);
    assert!(store.bytes("stock:tea").is_some());
}

#[tokio::test]
async fn a_sweep_without_a_second_level_that_answers_says_so() {
    assert!(Node::alone().await.cache.sweep().await.finished);
    let store = FaultyRemote::new();
    let node = Node::on(&store).await;
    store.fail(true);
    let swept = node.cache.sweep().await;
    assert_eq!((swept.seen, swept.removed, swept.finished), (0, 0, false));
}

#[tokio::test]
async fn the_status_tells_how_far_behind_a_process_is() {
    let store = FaultyRemote::new();
    let way = store.another_node();
    let cache = Cache::builder("shop").remote(way.clone()).build().await;
    let node = Node::of(cache.unwrap());
    let status = node.cache.status();
    assert_eq!(
        (status.connection, status.log_lag),
        (Connection::Connected, 0)
    );
    assert!(status.log_age.is_some());
    way.cut_log(true);
    // A read of the log that is under way may still bring the first record.
    for value in 0..5 {
        let _ = node.stock.set("tea", value).await.unwrap();
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    let status = node.cache.status();
    assert!((3..=5).contains(&status.log_lag), "{status:?}");
    assert!(status.to_string().contains("records behind"), "{status}");
    way.cut_log(false);
    eventually("it has caught up", || {
        let status = node.cache.status();
        (status.log_lag, status.log_position) == (0, 5)
    })
    .await;
    assert_eq!(Node::alone().await.cache.status().log_age, None);
}

async fn node(client: RedisClient, url: String) -> Node {
    let redis = Redis::url(url).client(client);
    let cache = Cache::builder("shop").redis(redis).remote_budget(PATIENCE);
    Node::of(cache.build().await.unwrap())
}

async fn a_sweep_gives_the_space_of_dead_values_back(client: RedisClient) {
    let server = Server::start().unwrap();
    let node = node(client, server.url()).await;
    server.cli(&["SET", "somebody's", "value"]).unwrap();
    server.cli(&["SADD", "shop:v:{stock:a set}", "x"]).unwrap();
    for n in 0..700 {
        let _ = node.stock.set(&n.to_string(), n).await.unwrap();
    }
    let _ = node.cache.invalidate_pattern(&glob("stock:1*")).await;
    let before: u32 = server.cli(&["DBSIZE"]).unwrap().trim().parse().unwrap();
    let swept = node.cache.sweep().await;
    // 1, 10 to 19 and 100 to 199.
    assert_eq!((swept.removed, swept.finished), (111, true));
    let after: u32 = server.cli(&["DBSIZE"]).unwrap().trim().parse().unwrap();
    assert_eq!(before - after, 111);
    assert_eq!(node.stock.get("2").await.as_deref(), Some(&2));
}

fn fields(server: &Server) -> u32 {
    let fields = server.cli(&["HLEN", "{shop}:meta"]).unwrap();
    fields.trim().parse().unwrap()
}

/// A node with a clock, values that live a minute, and many invalidated scopes.
async fn marked(client: RedisClient, server: &Server, clock: &ManualClock) -> Node {
    let redis = Redis::url(server.url()).client(client);
    let cache = Cache::builder("shop").redis(redis).clock(clock);
    let node = Node::of(cache.remote_budget(PATIENCE).build().await.unwrap());
    for n in 0..300 {
        let ack = node.cache.invalidate_tag(&format!("tag-{n}")).await;
        assert_eq!(ack, Ack::Everywhere);
    }
    let minute = Loaded::new(7).time_to_live(Duration::from_secs(60));
    let _ = node.stock.set("young", minute).await.unwrap();
    assert!(fields(server) > 300);
    node
}

async fn markers_are_forgotten_in_redis_when_nothing_can_be_older(client: RedisClient) {
    let (server, clock) = (Server::start().unwrap(), ManualClock::new());
    let node = marked(client, &server, &clock).await;
    eventually("they are forgotten, here and there", || {
        clock.advance(Duration::from_secs(20));
        node.cache.status().markers <= 1 && fields(&server) < 10
    })
    .await;
    // One marker on everything stands for them, and is older than what was stored after them.
    let other = node_of(client, &server).await;
    assert_eq!(other.stock.get("young").await.as_deref(), Some(&7));
}

async fn node_of(client: RedisClient, server: &Server) -> Node {
    node(client, server.url()).await
}

async fn markers_stay_while_another_node_keeps_values_longer(client: RedisClient) {
    let (server, clock) = (Server::start().unwrap(), ManualClock::new());
    let node = marked(client, &server, &clock).await;
    let week = "604800000";
    server.cli(&["HSET", "{shop}:meta", "life", week]).unwrap();
    let positions = node.cache.status().log_position;
    for _ in 0..10 {
        clock.advance(Duration::from_secs(120));
        let _ = node.cache.invalidate_tag("again").await;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(node.cache.status().log_position > positions);
    assert!(fields(&server) > 300);
    assert_eq!(
        server.cli(&["HGET", "{shop}:meta", "life"]).unwrap().trim(),
        week
    );
}

async fn too_many_markers_in_redis_become_one_on_everything(client: RedisClient) {
    let server = Server::start().unwrap();
    let one = node_of(client, &server).await;
    let _ = one.stock.set("old", 1).await.unwrap();
    let week = "604800000";
    server.cli(&["HSET", "{shop}:meta", "life", week]).unwrap();
    let more = "for n = 1, 50001 do redis.call('HSET', KEYS[1], 't:' .. n, '1') end";
    server.cli(&["EVAL", more, "1", "{shop}:meta"]).unwrap();
    // It is looked at now and then.
    for n in 0..64 {
        let ack = one.cache.invalidate_tag(&format!("tag-{n}")).await;
        assert_eq!(ack, Ack::Everywhere);
    }
    assert!(fields(&server) < 100, "{}", fields(&server));
    let life = server.cli(&["HGET", "{shop}:meta", "life"]).unwrap();
    assert_eq!(life.trim(), week, "how long somebody keeps values");
    let _ = one.stock.set("new", 2).await.unwrap();
    let two = node_of(client, &server).await;
    assert_eq!(two.stock.get("old").await, None);
    assert_eq!(two.stock.get("new").await.as_deref(), Some(&2));
    assert_eq!(two.cache.status().log_lag, 0);
}

async fn named(client: RedisClient, name: &str, server: &Server) -> Node {
    let redis = Redis::url(server.url()).client(client);
    let cache = Cache::builder(name).redis(redis).remote_budget(PATIENCE);
    Node::of(cache.build().await.unwrap())
}

async fn caches_whose_names_begin_alike_leave_each_other_alone(client: RedisClient) {
    let server = Server::start().unwrap();
    let names = ["shop", "shops", "shop.a"];
    let mut nodes = Vec::new();
    for name in names {
        let node = named(client, name, &server).await;
        let value = Loaded::new(1).tags(["hot"]);
        assert_eq!(node.stock.set("tea", value).await.unwrap(), Ack::Everywhere);
        nodes.push(node);
    }
    let shop = &nodes[0];
    let log = |name: &str| server.cli(&["XLEN", &format!("{{{name}}}:log")]).unwrap();
    let before: Vec<String> = names[1..].iter().map(|name| log(name)).collect();
    let everything = Pattern::glob("*").unwrap();
    assert_eq!(
        shop.cache.invalidate_pattern(&everything).await,
        Ack::Everywhere
    );
    assert_eq!(shop.cache.invalidate_tag("hot").await, Ack::Everywhere);
    assert_eq!(shop.cache.clear().await, Ack::Everywhere);
    assert_eq!(shop.stock.get("tea").await, None);
    let swept = shop.cache.sweep().await;
    assert_eq!((swept.removed, swept.finished), (1, true));
    for ((node, name), before) in nodes[1..].iter().zip(&names[1..]).zip(before) {
        assert_eq!(node.stock.peek("tea").as_deref(), Some(&1), "{name}");
        assert_eq!(log(name), before, "{name}");
        let late = named(client, name, &server).await;
        assert_eq!(late.stock.get("tea").await.as_deref(), Some(&1), "{name}");
    }
}
