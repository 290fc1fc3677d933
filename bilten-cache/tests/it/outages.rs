//! A Redis that cannot be used is told once, with address, cause and remedy, and its return once.

use std::net::TcpListener;
use std::time::Duration;

use bilten_cache::status::Connection;
use bilten_cache::{Ack, Cache, Redis, RedisClient};
use bilten_testbed::Redis as Server;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::harness::{DEADLINE, Node, eventually, unique, with_each_client};
use crate::logged;

with_each_client! {
    a_port_where_nobody_listens_is_told_as_refused_and_its_return_once,
    a_host_without_an_address_is_told_as_that,
    a_server_that_is_no_redis_is_told_as_that,
    a_server_that_says_nothing_is_told_as_a_time_out,
    a_database_that_is_not_there_is_told_as_that,
    a_password_that_changes_later_is_told_as_that,
    a_redis_killed_while_nobody_asks_is_down_at_once,
    the_first_change_without_a_server_does_not_wait_for_the_budget,
    a_full_redis_is_told_once_with_its_remedy,
    a_read_only_replica_is_told_once_with_its_remedy,
    a_user_without_scripting_rights_is_told_once_with_its_remedy,
    a_foreign_type_under_a_key_is_told_once,
    a_password_that_the_server_does_not_need_does_no_harm,
    a_user_who_may_not_write_the_log_harms_nobody_else,
}

async fn node(client: RedisClient, name: &str, url: &str) -> Node {
    logged::listen();
    let redis = Redis::url(url)
        .client(client)
        .connect_timeout(Duration::from_millis(500));
    Node::of(Cache::builder(name).redis(redis).build().await.unwrap())
}

/// Asks often enough for the circuit breaker to open, and then for the one line that there is.
async fn told_once(node: &Node, says: &[&str]) {
    for n in 0..8 {
        assert_eq!(node.stock.set("tea", n).await.unwrap(), Ack::Deferred);
    }
    let stats = node.cache.stats();
    assert!(stats.deferred >= 8 && stats.remote_failures + stats.breaker_opened >= 1);
    told(node, says).await;
}

async fn told(node: &Node, says: &[&str]) {
    assert_eq!(node.load("jam", 1).await, 1, "memory still works");
    let told = logged::lines("WARN", node.cache.name());
    assert_eq!(told.len(), 1, "{told:#?}");
    for words in says {
        assert!(told[0].contains(words), "no `{words}` in {}", told[0]);
    }
    assert!(!told[0].contains("secret"), "{}", told[0]);
}

async fn is_back(node: &Node) {
    eventually("it is back", || {
        node.cache.status().connection == Connection::Connected
    })
    .await;
    eventually("that is told", || {
        logged::lines("INFO", node.cache.name()).len() == 1
    })
    .await;
    let told = logged::lines("WARN", node.cache.name());
    assert_eq!(told.len(), 1, "{told:#?}");
}

async fn a_port_where_nobody_listens_is_told_as_refused_and_its_return_once(client: RedisClient) {
    let server = Server::start().unwrap();
    server.kill().unwrap();
    until_refused(server.port()).await;
    let node = node(client, &unique(), &server.url()).await;
    let address = format!("address=127.0.0.1:{}", server.port());
    told_once(&node, &[&address, "connection is refused", "server runs"]).await;
    server.restart().unwrap();
    is_back(&node).await;
}

/// A killed server's last connections are reset; only then is the port nobody's.
async fn until_refused(port: u16) {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
    loop {
        let refused = tokio::net::TcpStream::connect(("127.0.0.1", port)).await;
        match refused {
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => return,
            other => assert!(tokio::time::Instant::now() < deadline, "{other:?}"),
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn a_host_without_an_address_is_told_as_that(client: RedisClient) {
    let node = node(client, &unique(), "redis://:secret@nowhere.invalid").await;
    let says = ["nowhere.invalid:6379", "does not resolve", "host name"];
    told_once(&node, &says).await;
}

async fn a_server_that_is_no_redis_is_told_as_that(client: RedisClient) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let web = tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let _ = socket.read(&mut [0; 1024]).await;
            let _ = socket.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        }
    });
    let node = node(client, &unique(), &format!("redis://127.0.0.1:{port}")).await;
    told_once(&node, &["is not Redis", "another program"]).await;
    web.abort();
}

async fn a_server_that_says_nothing_is_told_as_a_time_out(client: RedisClient) {
    // The kernel accepts, nobody answers.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let node = node(client, &unique(), &format!("redis://127.0.0.1:{port}")).await;
    told_once(&node, &["no answer in time", "answers"]).await;
}

async fn a_database_that_is_not_there_is_told_as_that(client: RedisClient) {
    let server = Server::start().unwrap();
    let url = format!("{}/16", server.url());
    let node = node(client, &unique(), &url).await;
    told_once(
        &node,
        &["database 16", "DB index is out of range", "`databases`"],
    )
    .await;
}

async fn a_password_that_changes_later_is_told_as_that(client: RedisClient) {
    let server = Server::builder()
        .user("app", "secret", "~* &* +@all")
        .start()
        .unwrap();
    let name = unique();
    let node = node(client, &name, &server.url()).await;
    assert_eq!(node.stock.set("tea", 1).await.unwrap(), Ack::Everywhere);
    let change = ["ACL", "SETUSER", "app", "resetpass", ">another-secret"];
    server.cli(&change).unwrap();
    server.cli(&["CLIENT", "KILL", "USER", "app"]).unwrap();
    let about_it = || {
        let told = logged::lines("WARN", &name);
        let about = told.iter().filter(|line| line.contains("WRONGPASS"));
        about.count()
    };
    eventually("it is told", || about_it() == 1).await;
    for n in 0..8 {
        assert_eq!(node.stock.set("tea", n).await.unwrap(), Ack::Deferred);
    }
    let told = logged::lines("WARN", &name);
    // That the connection broke may have been told before anybody knew why.
    assert!(told.len() <= 2 && about_it() == 1, "{told:#?}");
    assert!(!told.concat().contains("secret"), "{told:#?}");
    let change = ["ACL", "SETUSER", "app", ">secret"];
    server.cli(&change).unwrap();
    eventually("it is back", || logged::lines("INFO", &name).len() == 1).await;
}

async fn a_redis_killed_while_nobody_asks_is_down_at_once(client: RedisClient) {
    let server = Server::start().unwrap();
    // Without the connection's own end only the silence of `isolated_ttl` would tell.
    logged::listen();
    let redis = Redis::url(server.url()).client(client);
    let redis = redis.connect_timeout(Duration::from_millis(500));
    let cache = Cache::builder(unique()).redis(redis);
    let cache = cache.isolated_ttl(DEADLINE * 3).build().await;
    let node = Node::of(cache.unwrap());
    assert_eq!(node.cache.status().connection, Connection::Connected);
    server.kill().unwrap();
    eventually("its status says so", || {
        node.cache.status().connection == Connection::Down
    })
    .await;
    // The line comes after the status.
    eventually("it is told", || {
        !logged::lines("WARN", node.cache.name()).is_empty()
    })
    .await;
    let told = logged::lines("WARN", node.cache.name());
    assert_eq!(told.len(), 1, "{told:#?}");
    server.restart().unwrap();
    is_back(&node).await;
}

async fn the_first_change_without_a_server_does_not_wait_for_the_budget(client: RedisClient) {
    // As long as a test may take: who waits for it all is seen.
    let budget = DEADLINE;
    let server = Server::start().unwrap();
    let node = async || {
        let redis = Redis::url(server.url()).client(client);
        let cache = Cache::builder(unique()).redis(redis).remote_budget(budget);
        Node::of(cache.build().await.unwrap())
    };
    let changes_at_once = async |node: &Node| {
        let begun = std::time::Instant::now();
        assert_eq!(node.stock.set("tea", 1).await.unwrap(), Ack::Deferred);
        assert_eq!(node.stock.remove("tea").await.unwrap(), Ack::Deferred);
        assert!(begun.elapsed() < budget / 4, "{:?}", begun.elapsed());
    };
    let there = node().await;
    assert_eq!(there.stock.set("tea", 0).await.unwrap(), Ack::Everywhere);
    server.kill().unwrap();
    until_refused(server.port()).await;
    changes_at_once(&there).await;
    changes_at_once(&node().await).await;
    server.restart().unwrap();
    is_back_again(&there).await;
}

async fn is_back_again(node: &Node) {
    eventually("it is back and has delivered", || {
        let status = node.cache.status();
        status.connection == Connection::Connected && status.waiting == 0
    })
    .await;
    assert_eq!(node.stock.set("tea", 2).await.unwrap(), Ack::Everywhere);
}

async fn a_full_redis_is_told_once_with_its_remedy(client: RedisClient) {
    let server = Server::start().unwrap();
    let node = node(client, &unique(), &server.url()).await;
    server.cli(&["CONFIG", "SET", "maxmemory", "1"]).unwrap();
    for n in 0..8 {
        // The record of the change needs no memory, its value does: the others know, and it is served from here.
        let _ = node.stock.set("tea", n).await.unwrap();
        assert_eq!(node.stock.get("tea").await.as_deref(), Some(&n));
    }
    told(&node, &["OOM", "`maxmemory`"]).await;
    assert!(node.cache.stats().remote_failures >= 8);
    server.cli(&["CONFIG", "SET", "maxmemory", "0"]).unwrap();
    assert_eq!(node.stock.set("tea", 9).await.unwrap(), Ack::Everywhere);
    is_back(&node).await;
}

async fn a_read_only_replica_is_told_once_with_its_remedy(client: RedisClient) {
    let (primary, server) = (Server::start().unwrap(), Server::start().unwrap());
    let node = node(client, &unique(), &server.url()).await;
    let port = primary.port().to_string();
    server.cli(&["REPLICAOF", "127.0.0.1", &port]).unwrap();
    for n in 0..8 {
        assert_eq!(node.stock.set("tea", n).await.unwrap(), Ack::Deferred);
    }
    let about_it = || {
        let told = logged::lines("WARN", node.cache.name());
        told.iter()
            .filter(|line| line.contains("at the primary"))
            .count()
    };
    eventually("it is told", || about_it() == 1).await;
    // That the connection broke may have been told before anybody knew why.
    let told = logged::lines("WARN", node.cache.name());
    assert!(told.len() <= 2 && about_it() == 1, "{told:#?}");
    assert!(node.cache.stats().remote_failures >= 1);
    server.cli(&["REPLICAOF", "NO", "ONE"]).unwrap();
    eventually("it is back", || {
        logged::lines("INFO", node.cache.name()).len() == 1
    })
    .await;
}

async fn a_user_without_scripting_rights_is_told_once_with_its_remedy(client: RedisClient) {
    let server = Server::builder()
        .user("app", "secret", "~* &* +@all -@scripting")
        .start()
        .unwrap();
    let node = node(client, &unique(), &server.url()).await;
    told_once(&node, &["NOPERM", "+@scripting"]).await;
    server
        .cli(&["ACL", "SETUSER", "app", "+@scripting"])
        .unwrap();
    is_back(&node).await;
}

async fn a_foreign_type_under_a_key_is_told_once(client: RedisClient) {
    let server = Server::start().unwrap();
    let name = unique();
    let node = node(client, &name, &server.url()).await;
    for key in ["a", "b", "c"] {
        let key = format!("{name}:v:{{stock:{key}}}");
        server.cli(&["LPUSH", &key, "x"]).unwrap();
    }
    for key in ["a", "b", "c"] {
        assert_eq!(node.stock.get(key).await, None);
        assert_eq!(node.load(key, 1).await, 1);
    }
    let told = logged::lines("WARN", &name);
    assert_eq!(told.len(), 1, "{told:#?}");
    assert!(told[0].contains("WRONGTYPE"), "{}", told[0]);
}

async fn a_password_that_the_server_does_not_need_does_no_harm(client: RedisClient) {
    let server = Server::start().unwrap();
    let url = format!("redis://:secret@127.0.0.1:{}", server.port());
    let node = node(client, &unique(), &url).await;
    assert_eq!(node.stock.set("tea", 1).await.unwrap(), Ack::Everywhere);
}

async fn a_user_who_may_not_write_the_log_harms_nobody_else(client: RedisClient) {
    let (server, name) = (Server::start().unwrap(), unique());
    let (one, two) = (
        node(client, &name, &server.url()).await,
        node(client, &name, &server.url()).await,
    );
    let _ = one.stock.set("tea", 1).await.unwrap();
    let user = [
        "ACL", "SETUSER", "app", "on", ">secret", "~*", "+@all", "-xadd",
    ];
    server.cli(&user).unwrap();
    let url = format!("redis://app:secret@127.0.0.1:{}", server.port());
    let third = node(client, &name, &url).await;
    eventually("they have heard of it", || {
        one.cache.status().log_position == two.cache.status().log_position
    })
    .await;
    assert_eq!(two.stock.get("tea").await.as_deref(), Some(&1));
    let position = || {
        let meta = format!("{{{name}}}:meta");
        server.cli(&["HGET", &meta, "n"]).unwrap()
    };
    let length = || {
        let log = format!("{{{name}}}:log");
        server.cli(&["XLEN", &log]).unwrap()
    };
    let before = (position(), length());
    assert_eq!(third.stock.remove("jam").await.unwrap(), Ack::Deferred);
    assert_eq!(third.cache.invalidate_tag("hot").await, Ack::Deferred);
    let tried = third.cache.stats().remote_failures;
    eventually("it tries again", || {
        third.cache.status().waiting == 2 && tried > 0
    })
    .await;
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    assert_eq!(
        (position(), length()),
        before,
        "no number and no record is lost"
    );
    for node in [&one, &two] {
        let stats = node.cache.stats();
        assert_eq!((stats.log_gaps, stats.flushes), (0, 0));
    }
    assert_eq!(two.stock.peek("tea").as_deref(), Some(&1));
    let told = logged::lines("WARN", &name);
    assert_eq!(told.len(), 1, "{told:#?}");
    server.cli(&["ACL", "SETUSER", "app", "+xadd"]).unwrap();
    eventually("it is delivered", || third.cache.status().waiting == 0).await;
}
