//! The same on a real Redis, through each client.

use std::collections::HashMap;
use std::io;
use std::time::{Duration, Instant};

use bilten_cache::remote::Lease;
use bilten_cache::status::Connection;
use bilten_cache::{Ack, Cache, Loaded, Pattern, Redis, RedisClient};
use bilten_testbed::Redis as Server;

use crate::harness::{DEADLINE, Node, PATIENCE, eventually, in_step, unique, with_each_client};

with_each_client! {
    a_value_travels_through_redis,
    a_load_is_stored_and_found_by_the_next_process,
    the_longest_time_to_live_of_one_value_is_stored_all_the_same,
    removals_tags_patterns_and_clear_reach_the_other_process,
    a_process_that_starts_later_trusts_nothing_that_was_invalidated,
    a_removal_during_a_load_of_another_process_refuses_its_store,
    a_load_longer_than_its_lease_keeps_it_in_redis,
    a_process_that_died_with_a_lease_blocks_nobody_longer_than_it_lasts,
    a_pattern_looks_at_no_key_however_many_it_takes,
    a_change_keeps_the_server_busy_with_few_commands,
    tags_take_what_carries_any_of_them_and_a_set_what_carries_all,
    entries_are_json_with_an_end_of_life_and_the_log_has_none,
    a_password_with_special_characters_works_both_ways,
    wrong_credentials_are_an_error_that_does_not_show_them,
    a_unix_socket_works,
    scripts_that_the_server_forgot_are_sent_again,
    foreign_things_under_our_names_are_misses_or_deferred_and_never_a_panic,
    a_process_that_starts_learns_of_fifty_thousand_markers,
}

async fn node(client: RedisClient, name: &str, redis: impl Into<Redis>) -> Node {
    let redis = redis.into().client(client);
    let cache = Cache::builder(name).redis(redis).remote_budget(PATIENCE);
    let node = Node::of(cache.build().await.unwrap());
    eventually("it is connected", || {
        node.cache.status().connection == Connection::Connected
    })
    .await;
    node
}

async fn two_nodes(client: RedisClient) -> (Node, Node) {
    let (name, url) = (unique(), bilten_testbed::shared::redis().unwrap());
    (
        node(client, &name, url.clone()).await,
        node(client, &name, url).await,
    )
}

async fn a_value_travels_through_redis(client: RedisClient) {
    let (one, two) = two_nodes(client).await;
    assert_eq!(
        one.stock
            .set("tea", Loaded::new(7).tags(["hot"]))
            .await
            .unwrap(),
        Ack::Everywhere
    );
    assert_eq!(two.stock.get("tea").await.as_deref(), Some(&7));
    assert_eq!(two.cache.stats().hits_remote, 1);
    assert_eq!(two.cache.stats().undecodable, 0);
}

async fn a_load_is_stored_and_found_by_the_next_process(client: RedisClient) {
    let (one, two) = two_nodes(client).await;
    assert_eq!(one.load("tea", 7).await, 7);
    // Whether or not the first process has stored already: the lease makes the second one wait.
    assert_eq!(two.load("tea", 8).await, 7);
    assert_eq!(two.cache.stats().loads, 0);
}

async fn removals_tags_patterns_and_clear_reach_the_other_process(client: RedisClient) {
    let (one, two) = two_nodes(client).await;
    for (key, how) in [("a", 0), ("b", 1), ("c", 2), ("d", 3), ("e", 4)] {
        let _ = one
            .stock
            .set(key, Loaded::new(1).tags(["hot"]))
            .await
            .unwrap();
        two.stock.get(key).await.unwrap();
        let ack = match how {
            0 => one.stock.remove(key).await.unwrap(),
            1 => one.cache.invalidate_tag("hot").await,
            2 => {
                one.cache
                    .invalidate_pattern(&Pattern::glob("stock:c*").unwrap())
                    .await
            }
            3 => {
                one.cache
                    .invalidate_pattern(&Pattern::glob("*:[d]").unwrap())
                    .await
            }
            _ => one.cache.clear().await,
        };
        assert_eq!(ack, Ack::Everywhere);
        // It may be gone from memory by the record of the `set` already, which says nothing of the invalidation.
        let deadline = Instant::now() + DEADLINE;
        while two.stock.get(key).await.is_some() {
            assert!(Instant::now() < deadline, "{key} is still there");
        }
        assert_eq!(two.stock.peek(key), None);
    }
}

async fn a_process_that_starts_later_trusts_nothing_that_was_invalidated(client: RedisClient) {
    let (name, url) = (unique(), bilten_testbed::shared::redis().unwrap());
    let one = node(client, &name, url.clone()).await;
    for key in ["list:1", "list:2", "detail:1"] {
        let _ = one.stock.set(key, 1).await.unwrap();
    }
    let _ = one
        .cache
        .invalidate_pattern(&Pattern::glob("stock:list:*").unwrap())
        .await;
    let _ = one.stock.set("list:2", 2).await.unwrap();
    let late = node(client, &name, url.clone()).await;
    assert_eq!(late.stock.get("list:1").await, None);
    assert_eq!(late.stock.get("list:2").await.as_deref(), Some(&2));
    assert_eq!(late.stock.get("detail:1").await.as_deref(), Some(&1));
    assert_eq!(one.cache.clear().await, Ack::Everywhere);
    let later = node(client, &name, url).await;
    for key in ["list:1", "list:2", "detail:1"] {
        assert_eq!(later.stock.get(key).await, None, "{key}");
    }
}

async fn a_removal_during_a_load_of_another_process_refuses_its_store(client: RedisClient) {
    let (one, two) = two_nodes(client).await;
    let (mut held, reader) = one.start_load("tea");
    held.started().await;
    let _ = two.stock.remove("tea").await.unwrap();
    held.finish(1);
    reader.await.unwrap().unwrap();
    eventually("the store was refused", || {
        one.stock.stats().stores_refused == 1
    })
    .await;
    assert_eq!(two.stock.get("tea").await, None);
    eventually("the record came", || one.stock.peek("tea").is_none()).await;
}

async fn a_load_longer_than_its_lease_keeps_it_in_redis(client: RedisClient) {
    // Long enough that a machine with much else to do renews it in time.
    const HOLD: Duration = Duration::from_millis(800);
    let (name, url) = (unique(), bilten_testbed::shared::redis().unwrap());
    let cache = Cache::builder(&name)
        .redis(Redis::url(&*url).client(client))
        .build()
        .await
        .unwrap();
    let region = cache
        .region::<str, u32>("slow")
        .lease(HOLD)
        .build()
        .unwrap();
    let load = async |_| {
        tokio::time::sleep(HOLD * 5 / 2).await;
        Ok::<_, io::Error>(7)
    };
    region.get_or_load("tea", load).await.unwrap();
    let other = Cache::builder(&name)
        .redis(Redis::url(&*url).client(client))
        .build()
        .await
        .unwrap();
    let other = other
        .region::<str, u32>("slow")
        .lease(HOLD)
        .build()
        .unwrap();
    assert_eq!(
        *other
            .get_or_load("tea", async |_| Ok::<_, io::Error>(8))
            .await
            .unwrap(),
        7
    );
    assert_eq!(region.stats().stores_refused, 0);
}

async fn a_process_that_died_with_a_lease_blocks_nobody_longer_than_it_lasts(client: RedisClient) {
    let (name, url) = (unique(), bilten_testbed::shared::redis().unwrap());
    let hold = Duration::from_millis(700);
    let dead = Redis::url(&*url).client(client);
    let dead = dead.into_remote(&name, Duration::from_secs(5)).await;
    let dead = dead.unwrap();
    let node = node(client, &name, url).await;
    let begun = Instant::now();
    let leased = dead.lease("stock:tea", 1, hold, None).await.unwrap();
    assert_eq!(leased, Lease::Owned);
    drop(dead);
    assert_eq!(node.load("tea", 7).await, 7);
    // Not at once, or the lease would be worth nothing; and no second one was waited for, since it is the one that stores.
    assert!(begun.elapsed() >= hold / 2, "{:?}", begun.elapsed());
    let deadline = Instant::now() + DEADLINE;
    let fresh = self::node(client, &name, bilten_testbed::shared::redis().unwrap()).await;
    while fresh.stock.get("tea").await.as_deref() != Some(&7) {
        assert!(Instant::now() < deadline, "it is not stored");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn a_pattern_looks_at_no_key_however_many_it_takes(client: RedisClient) {
    let server = Server::start().unwrap();
    let first = node(client, "shop", server.url()).await;
    let _ = first.stock.set("item-1", 1).await.unwrap();
    drop(first);
    let script = "for n = ARGV[1], ARGV[2] do redis.call('COPY', \
         'shop:v:{stock:item-1}', 'shop:v:{stock:item-' .. string.format('%d', n) .. '}') end";
    // In slices, so that no answer takes long: a million in all.
    for first in (1..=1_000_000).step_by(50_000) {
        let (first, last) = (first.max(2).to_string(), (first + 49_999).to_string());
        server.cli(&["EVAL", script, "0", &first, &last]).unwrap();
    }
    let size: u32 = server.cli(&["DBSIZE"]).unwrap().trim().parse().unwrap();
    assert!(size >= 1_000_000, "{size}");
    // After that, which holds the server up for so long that a node would take it for gone.
    let (one, two) = (
        node(client, "shop", server.url()).await,
        node(client, "shop", server.url()).await,
    );
    for node in [&one, &two] {
        assert_eq!(node.stock.get("item-1").await.as_deref(), Some(&1));
    }
    let keys = server.cli(&["DBSIZE"]).unwrap();
    server.cli(&["CONFIG", "RESETSTAT"]).unwrap();
    let all = Pattern::glob("stock:item-*").unwrap();
    assert_eq!(one.cache.invalidate_pattern(&all).await, Ack::Everywhere);
    in_step(&one, &two).await;
    for node in [&one, &two] {
        assert_eq!(node.stock.peek("item-1"), None);
        assert_eq!(node.stock.get("item-1").await, None);
    }
    let ran = server.cli(&["INFO", "commandstats"]).unwrap();
    for command in ["scan", "keys", "del", "unlink", "expire", "copy"] {
        assert!(!ran.contains(&format!("cmdstat_{command}:")), "{ran}");
    }
    let appends = ran.lines().find(|line| line.starts_with("cmdstat_xadd:"));
    let appends = appends.unwrap_or_default();
    assert!(appends.contains("calls=1,"), "{ran}");
    assert_eq!(server.cli(&["DBSIZE"]).unwrap(), keys, "nothing went");
}

/// One to drop the value, if it is a change of one key or else one that a full server allows, and three for the log.
async fn a_change_keeps_the_server_busy_with_few_commands(client: RedisClient) {
    let server = Server::start().unwrap();
    let node = node(client, "shop", server.url()).await;
    let all = Pattern::glob("stock:*").unwrap();
    for (change, first) in [("remove", "unlink"), ("pattern", "hdel")] {
        let wanted = [first, "hset", "xadd"].map(|name| (name.to_owned(), 1));
        let wanted = HashMap::from(wanted);
        let mut calls = HashMap::new();
        // Upkeep may come in between, once a minute.
        for _ in 0..5 {
            calls = calls_of(&server, async || {
                let ack = match change {
                    "remove" => node.stock.remove("tea").await.unwrap(),
                    _ => node.cache.invalidate_pattern(&all).await,
                };
                assert_eq!(ack, Ack::Everywhere);
            })
            .await;
            // With one record of many it is seen that there are not too many markers.
            calls.remove("hlen");
            if calls == wanted {
                break;
            }
        }
        assert_eq!(calls, wanted, "{change}, besides the read of the position");
    }
}

/// How often each command ran meanwhile, by scripts too.
async fn calls_of(server: &Server, work: impl AsyncFn()) -> HashMap<String, u32> {
    // So that the server knows the script.
    work().await;
    server.cli(&["CONFIG", "RESETSTAT"]).unwrap();
    work().await;
    let ran = server.cli(&["INFO", "commandstats"]).unwrap();
    let one = |line: &str| {
        let (name, rest) = line.strip_prefix("cmdstat_")?.split_once(":calls=")?;
        Some((name.to_owned(), rest.split_once(',')?.0.parse().ok()?))
    };
    let mut calls: HashMap<String, u32> = ran.lines().filter_map(one).collect();
    assert!(calls.contains_key("hmget"), "it reads the position");
    // Also what watches over both connections and the log's position, and the scripts themselves.
    let others = ["info", "ping", "xread", "time", "xrange", "hmget"];
    calls.retain(|name, _| {
        let is_around = ["eval", "script", "config"].map(|other| name.starts_with(other));
        !others.contains(&&**name) && is_around == [false; 3]
    });
    calls
}

async fn tags_take_what_carries_any_of_them_and_a_set_what_carries_all(client: RedisClient) {
    let (name, url) = (unique(), bilten_testbed::shared::redis().unwrap());
    let entries: [(&str, &[&str]); 4] = [
        ("none", &[]),
        ("berlin", &["berlin"]),
        ("jazz", &["jazz"]),
        ("both", &["jazz", "berlin"]),
    ];
    let cases: [(&[&[&str]], &[&str]); 3] = [
        (&[&["berlin", "jazz"]], &["none", "berlin", "jazz"]),
        (&[&["berlin"]], &["none", "jazz"]),
        (&[&["berlin"], &["jazz"]], &["none"]),
    ];
    for (n, (sets, left)) in cases.into_iter().enumerate() {
        let name = format!("{name}-{n}");
        let open = async || node(client, &name, url.clone()).await;
        let (one, two) = (open().await, open().await);
        for (key, tags) in entries {
            let value = Loaded::new(1).tags(tags.iter().copied());
            assert_eq!(one.stock.set(key, value).await.unwrap(), Ack::Everywhere);
            assert_eq!(two.stock.get(key).await.as_deref(), Some(&1));
        }
        for tags in sets {
            let ack = one.cache.invalidate_all_of_tags(tags.iter().copied()).await;
            assert_eq!(ack, Ack::Everywhere);
        }
        in_step(&one, &two).await;
        for node in [&one, &two, &open().await] {
            for (key, _) in entries {
                let found = node.stock.get(key).await.is_some();
                assert_eq!(found, left.contains(&key), "{key} after {sets:?}");
            }
        }
    }
}

async fn entries_are_json_with_an_end_of_life_and_the_log_has_none(client: RedisClient) {
    let server = Server::start().unwrap();
    let node = node(client, "shop", server.url()).await;
    let _ = node.stock.set("tea", 7).await.unwrap();
    let value = server.cli(&["GET", "shop:v:{stock:tea}"]).unwrap();
    assert!(
        value.starts_with("BLT1") && value.ends_with("stock:tea7"),
        "{value:?}"
    );
    let left: i64 = server
        .cli(&["PTTL", "shop:v:{stock:tea}"])
        .unwrap()
        .trim()
        .parse()
        .unwrap();
    assert!((1..=300_000).contains(&left), "{left}");
    for name in ["{shop}:log", "{shop}:meta"] {
        assert_eq!(server.cli(&["TTL", name]).unwrap().trim(), "-1", "{name}");
    }
    assert_eq!(server.cli(&["XLEN", "{shop}:log"]).unwrap().trim(), "1");
}

async fn a_password_with_special_characters_works_both_ways(client: RedisClient) {
    let password = "p@ss:w/rd#1?%&{}";
    let server = bilten_testbed::Redis::builder()
        .password(password)
        .start()
        .unwrap();
    let bare = format!("redis://127.0.0.1:{}", server.port());
    node(client, "shop", Redis::url(&bare).password(password)).await;
    let encoded = "p%40ss%3Aw%2Frd%231%3F%25%26%7B%7D";
    node(
        client,
        "shop",
        format!("redis://:{encoded}@127.0.0.1:{}", server.port()),
    )
    .await;
}

async fn wrong_credentials_are_an_error_that_does_not_show_them(client: RedisClient) {
    let server = bilten_testbed::Redis::builder()
        .password("right")
        .start()
        .unwrap();
    let url = format!("redis://:wrong-secret@127.0.0.1:{}", server.port());
    let error = Cache::builder("shop")
        .redis(Redis::url(&*url).client(client))
        .build()
        .await
        .unwrap_err();
    let message = format!("{error} {error:?}");
    assert!(
        message.contains("redis.password") && !message.contains("wrong-secret"),
        "{message}"
    );
}

async fn a_unix_socket_works(client: RedisClient) {
    let server = bilten_testbed::Redis::builder()
        .unix_socket()
        .start()
        .unwrap();
    let node = node(client, "shop", server.unix_url().expect("a local server")).await;
    let _ = node.stock.set("tea", 7).await.unwrap();
    assert_eq!(
        server
            .cli(&["EXISTS", "shop:v:{stock:tea}"])
            .unwrap()
            .trim(),
        "1"
    );
}

async fn scripts_that_the_server_forgot_are_sent_again(client: RedisClient) {
    let server = Server::start().unwrap();
    let node = node(client, "shop", server.url()).await;
    server.cli(&["SCRIPT", "FLUSH"]).unwrap();
    assert_eq!(node.stock.set("tea", 7).await.unwrap(), Ack::Everywhere);
}

async fn foreign_things_under_our_names_are_misses_or_deferred_and_never_a_panic(
    client: RedisClient,
) {
    let server = Server::start().unwrap();
    let node = node(client, "shop", server.url()).await;
    server.cli(&["LPUSH", "shop:v:{stock:list}", "x"]).unwrap();
    server
        .cli(&["SET", "shop:v:{stock:text}", "hello"])
        .unwrap();
    server
        .cli(&["HSET", "shop:l:{stock:lease}", "x", "y"])
        .unwrap();
    for key in ["list", "text", "lease"] {
        assert_eq!(node.stock.get(key).await, None, "{key}");
        assert_eq!(node.load(key, 1).await, 1, "{key}");
    }
    server.cli(&["SET", "{shop}:meta", "hello"]).unwrap();
    assert_eq!(node.stock.remove("text").await.unwrap(), Ack::Deferred);
    assert_eq!(node.load("text", 2).await, 2);
}

async fn the_longest_time_to_live_of_one_value_is_stored_all_the_same(client: RedisClient) {
    let (one, two) = two_nodes(client).await;
    let forever = Loaded::new(7).time_to_live(Duration::MAX);
    assert_eq!(
        one.stock.set("tea", forever).await.unwrap(),
        Ack::Everywhere
    );
    assert_eq!(two.stock.get("tea").await.as_deref(), Some(&7));
    assert_eq!(one.cache.status().connection, Connection::Connected);
}

/// Far more than come in one answer, and with them the one that counts.
async fn a_process_that_starts_learns_of_fifty_thousand_markers(client: RedisClient) {
    let (server, name) = (bilten_testbed::Redis::start().unwrap(), unique());
    let proxy = bilten_testbed::FaultProxy::to(server.addr()).await.unwrap();
    let node = async |url: String| {
        let redis = Redis::url(url).client(client);
        let cache = Cache::builder(&name).redis(redis).remote_budget(PATIENCE);
        Node::of(cache.build().await.unwrap())
    };
    let one = node(server.url()).await;
    for (key, tag) in [("tea", "hot"), ("jam", "sweet")] {
        let value = Loaded::new(1).tags([tag]);
        assert_eq!(one.stock.set(key, value).await.unwrap(), Ack::Everywhere);
    }
    let fill = "local n = redis.call('HGET', KEYS[1], 'n') \
         for i = 1, 45000 do redis.call('HSET', KEYS[1], 't:' .. i .. string.rep('z', 40), n) end";
    let meta = format!("{{{name}}}:meta");
    server.cli(&["EVAL", fill, "1", &meta]).unwrap();
    assert_eq!(one.cache.invalidate_tag("hot").await, Ack::Everywhere);
    // 100 Mbit/s.
    proxy.throttle(12_500_000);
    let two = node(proxy.url_like(&server.url()).unwrap()).await;
    eventually("connected", || {
        two.cache.status().connection == Connection::Connected
    })
    .await;
    assert_eq!(two.cache.status().markers, 45_001);
    assert_eq!(two.stock.get("tea").await, None);
    assert_eq!(two.stock.get("jam").await.as_deref(), Some(&1));
}
