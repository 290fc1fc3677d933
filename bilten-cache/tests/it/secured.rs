//! TLS, and users of the sentinels' own.

use std::time::{Duration, Instant};

use bilten_cache::status::Connection;
use bilten_cache::{Ack, Cache, Redis, RedisClient};
use bilten_testbed::{Redis as Server, RedisCluster, RedisSentinel};

use crate::harness::{DEADLINE, Node, eventually, unique, with_each_client};
use crate::logged;

with_each_client! {
    a_server_with_a_certificate_of_our_authority_is_used,
    a_certificate_of_another_authority_is_refused_and_told,
    a_server_that_asks_for_a_certificate_gets_ours,
    a_port_without_tls_is_told_as_that,
    an_authority_that_is_no_certificate_is_an_error,
    sentinels_have_a_password_of_their_own,
    a_server_that_takes_no_login_is_told_without_ours,
    a_cluster_with_tls_is_used_and_a_fail_over_followed,
    sentinels_with_tls_are_asked_and_a_fail_over_followed,
}

fn authority(server: &Server) -> Vec<u8> {
    std::fs::read(server.tls_files().unwrap().authority()).unwrap()
}

async fn node(name: &str, redis: Redis) -> Node {
    logged::listen();
    let redis = redis.connect_timeout(Duration::from_secs(2));
    Node::of(Cache::builder(name).redis(redis).build().await.unwrap())
}

fn secured(client: RedisClient, server: &Server) -> Redis {
    Redis::url(server.url()).client(client)
}

async fn works(node: &Node) {
    eventually("connected", || {
        node.cache.status().connection == Connection::Connected
    })
    .await;
    assert_eq!(node.stock.set("tea", 1).await.unwrap(), Ack::Everywhere);
}

async fn told(name: &str, words: &str) {
    eventually("it is told", || !logged::lines("WARN", name).is_empty()).await;
    let told = logged::lines("WARN", name);
    assert_eq!(told.len(), 1, "{told:#?}");
    assert!(told[0].contains(words), "{}", told[0]);
}

async fn a_server_with_a_certificate_of_our_authority_is_used(client: RedisClient) {
    let server = Server::builder().tls().password("p@ss").start().unwrap();
    assert!(server.url().starts_with("rediss://"));
    let redis = secured(client, &server).authority(authority(&server));
    works(&node(&unique(), redis.clone()).await).await;
    let by_name = server.url().replace("127.0.0.1", "localhost");
    let redis = Redis::url(by_name)
        .client(client)
        .authority(authority(&server));
    works(&node(&unique(), redis).await).await;
}

async fn a_certificate_of_another_authority_is_refused_and_told(client: RedisClient) {
    let (server, other) = (
        Server::builder().tls().start().unwrap(),
        Server::builder().tls().start().unwrap(),
    );
    let (own, strange) = (unique(), unique());
    // The system's authorities did not sign it either.
    let node_of_the_system = node(&own, secured(client, &server)).await;
    told(&own, "certificate").await;
    let redis = secured(client, &server).authority(authority(&other));
    let node = node(&strange, redis).await;
    told(&strange, "certificate").await;
    let told = logged::lines("WARN", &strange).concat();
    assert!(told.contains("the TLS handshake failed"), "{told}");
    assert!(told.contains("Redis::authority"), "{told}");
    for node in [node_of_the_system, node] {
        assert_eq!(node.cache.status().connection, Connection::Down);
        assert_eq!(node.load("tea", 1).await, 1);
    }
}

async fn a_server_that_asks_for_a_certificate_gets_ours(client: RedisClient) {
    let server = Server::builder().tls().start().unwrap();
    server
        .cli(&["CONFIG", "SET", "tls-auth-clients", "yes"])
        .unwrap();
    let files = server.tls_files().unwrap();
    let file = |name| std::fs::read(files.authority().with_file_name(name)).unwrap();
    let redis = secured(client, &server)
        .authority(authority(&server))
        .identity(file("server.pem"), file("server.key"));
    works(&node(&unique(), redis).await).await;
    let without = unique();
    let redis = secured(client, &server).authority(authority(&server));
    let node = node(&without, redis).await;
    eventually("it is told", || !logged::lines("WARN", &without).is_empty()).await;
    assert_eq!(node.cache.status().connection, Connection::Down);
}

async fn a_port_without_tls_is_told_as_that(client: RedisClient) {
    let server = Server::start().unwrap();
    let url = server.url().replace("redis://", "rediss://");
    let name = unique();
    let _node = node(&name, Redis::url(url).client(client)).await;
    told(&name, "address=127.0.0.1").await;
}

async fn an_authority_that_is_no_certificate_is_an_error(client: RedisClient) {
    let redis = Redis::url("rediss://127.0.0.1").client(client);
    let cache = Cache::builder("shop").redis(redis.authority("hello"));
    let message = cache.build().await.unwrap_err().to_string();
    assert!(message.starts_with("redis.authority: "), "{message}");
}

async fn sentinels_have_a_password_of_their_own(client: RedisClient) {
    let group = RedisSentinel::start().unwrap();
    for sentinel in group.sentinels() {
        let set = ["ACL", "SETUSER", "default", "resetpass", ">s3nt#nel"];
        sentinel.cli(&set).unwrap();
    }
    let redis = Redis::url(group.url()).client(client);
    let with = redis.clone().sentinel_password("s3nt#nel");
    works(&node(&unique(), with).await).await;
    let name = unique();
    let without = Cache::builder(&name).redis(redis).build().await;
    // With wrong credentials `build` fails, or the cache starts in memory and says so.
    if let Ok(cache) = without {
        assert_eq!(cache.status().connection, Connection::Down);
        assert_eq!(logged::lines("WARN", &name).len(), 1);
    }
}

async fn a_cluster_with_tls_is_used_and_a_fail_over_followed(client: RedisClient) {
    let cluster = RedisCluster::start_with_tls().unwrap();
    assert!(cluster.url().starts_with("rediss-cluster://"));
    let redis = || {
        let redis = Redis::url(cluster.url()).client(client);
        redis.authority(authority(&cluster.nodes()[0]))
    };
    let name = unique();
    let (one, two) = (node(&name, redis()).await, node(&name, redis()).await);
    works(&one).await;
    // Keys of all primaries.
    for n in 0..30 {
        let key = format!("key-{n}");
        assert_eq!(one.stock.set(&key, n).await.unwrap(), Ack::Everywhere);
        assert_eq!(two.stock.get(&key).await.as_deref(), Some(&n), "{key}");
    }
    cluster.fail_over(&format!("{{{name}}}:log")).unwrap();
    goes_on(&one, &two).await;
}

async fn sentinels_with_tls_are_asked_and_a_fail_over_followed(client: RedisClient) {
    let group = RedisSentinel::start_with_tls().unwrap();
    assert!(group.url().starts_with("rediss-sentinel://"));
    let redis = || {
        let redis = Redis::url(group.url()).client(client);
        redis.authority(authority(&group.nodes()[0]))
    };
    let name = unique();
    let (one, two) = (node(&name, redis()).await, node(&name, redis()).await);
    works(&one).await;
    eventually("the other one is connected too", || {
        two.cache.status().connection == Connection::Connected
    })
    .await;
    assert_eq!(two.stock.get("tea").await.as_deref(), Some(&1));
    let old = group.primary().unwrap();
    old.kill().unwrap();
    group.wait_for_new_primary(old).unwrap();
    goes_on(&one, &two).await;
}

/// A node that finds an older copy in the primary's place clears everything, what was just set with it: so set it again.
async fn goes_on(one: &Node, two: &Node) {
    let deadline = Instant::now() + DEADLINE;
    loop {
        let set = one.stock.set("tea", 2).await.unwrap() == Ack::Everywhere;
        if set && two.stock.get("tea").await.as_deref() == Some(&2) {
            return;
        }
        let (one, two) = (one.cache.status(), two.cache.status());
        assert!(Instant::now() < deadline, "set: {set}, {one:#?}, {two:#?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn a_server_that_takes_no_login_is_told_without_ours(client: RedisClient) {
    // It answers with the words that it did not expect.
    let server = Server::builder().argument("rename-command AUTH", "");
    let server = server.argument("rename-command HELLO", "").start().unwrap();
    let url = format!("redis://somebody:s3cret@127.0.0.1:{}", server.port());
    let name = unique();
    let node = node(&name, Redis::url(url).client(client)).await;
    told(&name, "unknown command").await;
    let status = format!("{:?}", node.cache.status());
    for told in [status, logged::lines("WARN", &name).concat()] {
        assert!(told.contains("unknown command"), "{told}");
        assert!(
            !told.contains("s3cret") && !told.contains("somebody"),
            "{told}"
        );
    }
}
