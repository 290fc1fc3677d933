//! What another program may leave in any key that we read: in a value, a lease, the notes beside it, the log and its markers.

use std::io;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bilten_cache::status::Connection;
use bilten_cache::{Ack, Cache, LoadContext, Loaded, Redis, RedisClient};
use bilten_testbed::Redis as Server;

use crate::harness::{DEADLINE, Node, PATIENCE, eventually, unique, with_each_client};
use crate::logged;

with_each_client! {
    garbage_in_the_log_and_its_markers_costs_memory_and_nothing_else,
    any_bytes_in_a_value_are_a_miss_that_is_counted_and_written_over,
    anything_under_the_name_of_a_lease_delays_a_load_and_no_more,
    anything_beside_a_value_costs_no_load_and_no_write,
    another_type_under_the_name_of_the_markers_is_told_once_and_served_without,
    another_type_under_the_name_of_the_log_is_told_once_and_served_without,
    anything_under_the_name_of_the_demands_asks_loads_for_the_newest_state,
    another_type_under_the_name_of_a_value_goes_with_the_next_change,
    a_record_of_another_program_between_two_of_ours_is_read_over,
    a_record_far_ahead_of_ours_is_taken_out_and_told_once,
    a_damaged_position_is_a_miss_that_is_counted,
}

async fn node(client: RedisClient, name: &str, server: &Server) -> Node {
    let redis = Redis::url(server.url()).client(client);
    let cache = Cache::builder(name).redis(redis).remote_budget(PATIENCE);
    Node::of(cache.build().await.unwrap())
}

/// Until Redis has a value under the key that this node's type can read.
async fn stored(client: RedisClient, name: &str, server: &Server, key: &str, value: u32) {
    let reader = node(client, name, server).await;
    let deadline = Instant::now() + DEADLINE;
    while reader.stock.get(key).await.as_deref() != Some(&value) {
        assert!(Instant::now() < deadline, "{key} is not stored");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Writes bytes that no command line can carry: one `\xHH` each, which a script takes apart.
fn put(server: &Server, key: &str, bytes: &[u8]) {
    let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let script = "local bytes = string.gsub(ARGV[1], '..', function(c) return string.char(tonumber(c, 16)) end) \
         return redis.call('SET', KEYS[1], bytes)";
    server.cli(&["EVAL", script, "1", key, &digits]).unwrap();
}

fn bytes_of(server: &Server, key: &str) -> Vec<u8> {
    let script = "return (string.gsub(redis.call('GET', KEYS[1]), '.', function(c) return string.format('%02x', string.byte(c)) end))";
    // Without the `%z` that a pattern of Lua needs for a zero byte: `.` takes it too.
    let digits = server.cli(&["EVAL", script, "1", key]).unwrap();
    let digits = digits.trim().as_bytes();
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.chunks_exact(2).map(byte).collect()
}

async fn any_bytes_in_a_value_are_a_miss_that_is_counted_and_written_over(client: RedisClient) {
    let server = Server::start().unwrap();
    let one = node(client, "shop", &server).await;
    for key in ["good", "other"] {
        assert_eq!(one.stock.set(key, 1).await.unwrap(), Ack::Everywhere);
    }
    let good = bytes_of(&server, "shop:v:{stock:good}");
    let mut future = good.clone();
    future[3] = b'2';
    let mut longer = good.clone();
    longer.push(0);
    let mut cases = vec![
        ("empty".to_owned(), Vec::new()),
        ("of another program".to_owned(), b"hello".to_vec()),
        ("of a future version".to_owned(), future),
        ("of another key".to_owned(), good.clone()),
        ("too long".to_owned(), longer),
    ];
    cases.extend(
        (1..good.len())
            .step_by(3)
            .map(|end| (format!("cut at {end}"), good[..end].to_vec())),
    );
    for (n, (what, bytes)) in (10..).zip(cases) {
        // The key of the good one, so that nothing but the bytes is wrong, but for the one of another key.
        let key = if what == "of another key" {
            "other"
        } else {
            "good"
        };
        let reader = node(client, "shop", &server).await;
        put(&server, &format!("shop:v:{{stock:{key}}}"), &bytes);
        assert_eq!(reader.stock.get(key).await, None, "{what}");
        assert_eq!(reader.stock.stats().undecodable, 1, "{what}");
        assert_eq!(reader.load(key, n).await, n, "{what}");
        stored(client, "shop", &server, key, n).await;
    }
}

async fn anything_under_the_name_of_a_lease_delays_a_load_and_no_more(client: RedisClient) {
    let server = Server::start().unwrap();
    let node = node(client, "shop", &server).await;
    let garbage: [&[&str]; 5] = [
        &["SET", "?", "hello"],
        &["SET", "?", ""],
        &["HSET", "?", "x", "y"],
        &["LPUSH", "?", "x"],
        // As long as ours, and not ours: it counts until it runs out.
        &["SET", "?", "00000000000000ff", "PX", "300"],
    ];
    for (n, words) in (0..).zip(garbage) {
        let key = format!("key-{n}");
        let name = format!("shop:l:{{stock:{key}}}");
        let words: Vec<&str> = words
            .iter()
            .map(|word| if *word == "?" { &*name } else { *word })
            .collect();
        server.cli(&words).unwrap();
        assert_eq!(node.load(&key, n).await, n, "{words:?}");
        stored(client, "shop", &server, &key, n).await;
        server.cli(&words).unwrap();
        assert_eq!(
            node.stock.set(&key, n + 100).await.unwrap(),
            Ack::Everywhere
        );
        stored(client, "shop", &server, &key, n + 100).await;
        server.cli(&words).unwrap();
        assert_eq!(node.stock.remove(&key).await.unwrap(), Ack::Everywhere);
        assert_eq!(node.stock.get(&key).await, None);
    }
}

async fn anything_beside_a_value_costs_no_load_and_no_write(client: RedisClient) {
    let server = Server::start().unwrap();
    let node = node(client, "shop", &server).await;
    let garbage: [&[&str]; 8] = [
        &["SET", "shop:s:{stock:?}", "hello"],
        &["SET", "shop:s:{stock:?}", ""],
        &["SET", "shop:s:{stock:?}", "5 :: 7:zz :x"],
        &["LPUSH", "shop:s:{stock:?}", "x"],
        &["HSET", "shop:w:{stock:?}", "x", "y"],
        &["HSET", "shop:w:{stock:?}", "", ""],
        &["HSET", "shop:w:{stock:?}", "x", "1 99999999999999999999"],
        &["SET", "shop:w:{stock:?}", "hello"],
    ];
    for (n, words) in (0..).zip(garbage) {
        let key = format!("key-{n}");
        let words: Vec<String> = words.iter().map(|word| word.replace('?', &key)).collect();
        let words: Vec<&str> = words.iter().map(|word| &**word).collect();
        server.cli(&words).unwrap();
        assert_eq!(node.load(&key, n).await, n, "{words:?}");
        stored(client, "shop", &server, &key, n).await;
        let write = async { Ok::<_, io::Error>(n + 100) };
        let written = node.stock.write_through(&key, write).await.unwrap();
        assert_eq!(*written, n + 100, "{words:?}");
        // Whether it was alone nobody can tell then, so it may be kept or loaded anew, and is never the old one.
        let found = node.stock.get(&key).await;
        assert!(
            found.as_deref().is_none_or(|value| *value == n + 100),
            "{words:?}: {found:?}"
        );
        assert_eq!(node.load(&key, n + 100).await, n + 100);
    }
}

async fn another_type_under_the_name_of_the_markers_is_told_once_and_served_without(
    client: RedisClient,
) {
    logged::listen();
    let (name, server) = (unique(), Server::start().unwrap());
    let meta = format!("{{{name}}}:meta");
    server.cli(&["LPUSH", &meta, "x"]).unwrap();
    let node = node(client, &name, &server).await;
    assert_eq!(node.cache.status().connection, Connection::Down);
    for n in 0..8 {
        assert_eq!(node.stock.set("tea", n).await.unwrap(), Ack::Deferred);
        assert_eq!(node.stock.get("tea").await.as_deref(), Some(&n));
    }
    assert_eq!(node.load("jam", 1).await, 1);
    let told = logged::lines("WARN", &name);
    assert_eq!(told.len(), 1, "{told:#?}");
    for words in ["WRONGTYPE", "delete the key"] {
        assert!(told[0].contains(words), "{}", told[0]);
    }
    assert!(node.cache.stats().deferred >= 8);
    server.cli(&["DEL", &meta]).unwrap();
    eventually("it is well again", || {
        let status = node.cache.status();
        status.connection == Connection::Connected && status.waiting == 0
    })
    .await;
    assert_eq!(node.stock.set("tea", 9).await.unwrap(), Ack::Everywhere);
}

async fn anything_under_the_name_of_the_demands_asks_loads_for_the_newest_state(
    client: RedisClient,
) {
    logged::listen();
    let server = Server::start().unwrap();
    let garbage: [(&[&str], bool); 4] = [
        (&["LPUSH", "x"], true),
        (&["SET", "hello"], false),
        (&["SET", "99999999999999999999999 7:zz"], false),
        (&["HSET", "x", "y"], true),
    ];
    for (n, (words, is_foreign)) in (0..).zip(garbage) {
        let name = unique();
        let demands = format!("{{{name}}}:src");
        server
            .cli(&[&[words[0], &demands], &words[1..]].concat())
            .unwrap();
        let node = node(client, &name, &server).await;
        assert_eq!(node.cache.status().connection, Connection::Connected);
        let wanted = Arc::new(Mutex::new(None));
        let told = Arc::clone(&wanted);
        let load = async move |cx: LoadContext<u32>| {
            *told.lock().unwrap() = Some(cx.at_least().is_some());
            Ok::<_, io::Error>(n)
        };
        assert_eq!(*node.stock.get_or_load("tea", load).await.unwrap(), n);
        assert_eq!(*wanted.lock().unwrap(), Some(true), "{words:?}");
        let set = async || node.stock.after("7").set("jam", n).await.unwrap();
        let expected = match is_foreign {
            true => Ack::Deferred,
            false => Ack::Everywhere,
        };
        assert_eq!(set().await, expected, "{words:?}");
        eventually("it is made", || node.cache.status().waiting == 0).await;
        assert_eq!(set().await, Ack::Everywhere, "{words:?}");
        let told = logged::lines("WARN", &name);
        assert_eq!(told.len(), usize::from(is_foreign), "{told:#?}");
        assert!(
            told.iter().all(|line| line.contains("WRONGTYPE")),
            "{told:#?}"
        );
        assert_eq!(node.cache.stats().remote_failures > 0, is_foreign);
    }
}

async fn another_type_under_the_name_of_the_log_is_told_once_and_served_without(
    client: RedisClient,
) {
    logged::listen();
    let server = Server::start().unwrap();
    for words in [["SET", "hello"], ["LPUSH", "x"], ["SADD", "x"]] {
        let name = unique();
        let (one, two) = (
            node(client, &name, &server).await,
            node(client, &name, &server).await,
        );
        agree(&one, &two, 1).await;
        assert_eq!(one.load("jam", 1).await, 1);
        let log = format!("{{{name}}}:log");
        server
            .cli(&[
                "EVAL",
                "redis.call('DEL', KEYS[1]) return redis.call(ARGV[1], KEYS[1], ARGV[2])",
                "1",
                &log,
                words[0],
                words[1],
            ])
            .unwrap();
        let failed = one.cache.stats().remote_failures;
        assert_eq!(
            one.stock.set("tea", 2).await.unwrap(),
            Ack::Deferred,
            "{words:?}"
        );
        assert_eq!(one.stock.get("tea").await.as_deref(), Some(&2));
        assert_eq!(one.load("jam", 9).await, 1, "memory still works");
        assert!(one.cache.stats().remote_failures > failed);
        agree(&one, &two, 3).await;
        for node in [&one, &two] {
            eventually("it is well again", || {
                let status = node.cache.status();
                status.connection == Connection::Connected && status.waiting == 0
            })
            .await;
        }
        let told = logged::lines("WARN", &name);
        // Each of the two once: they have outages of their own. The other one may hear of it only when all is well again.
        assert!((1..=2).contains(&told.len()), "{told:#?}");
        assert!(
            told.iter()
                .all(|line| line.contains("WRONGTYPE") && line.contains("delete the key")),
            "{told:#?}"
        );
    }
}

async fn garbage_in_the_log_and_its_markers_costs_memory_and_nothing_else(client: RedisClient) {
    let server = Server::start().unwrap();
    let open = || node(client, "shop", &server);
    let (one, two) = (open().await, open().await);
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
    let counted = open().await.cache.stats().log_unreadable;
    assert!(counted >= 3, "markers of no scope or no number: {counted}");
    a_kind_of_record_that_no_version_has_yet(&server, &one, &two).await;
}

async fn a_kind_of_record_that_no_version_has_yet(server: &Server, one: &Node, two: &Node) {
    agree(one, two, 200).await;
    let last = server.cli(&["HGET", "{shop}:meta", "n"]).unwrap();
    let last: u64 = last.parse().unwrap();
    eventually("they have heard all of it", || {
        let heard = |node: &Node| node.cache.status().log_position == last;
        heard(one) && heard(two)
    })
    .await;
    two.stock.get("tea").await.unwrap();
    let before = [one, two].map(|node| node.cache.stats());
    let append = "local n = redis.call('HINCRBY', KEYS[1], 'n', 1) \
         redis.call('XADD', KEYS[2], string.format('%.0f-0', n), 'w', '00000000000000ff', 's', 'q:new kind', 'r', '7') \
         return redis.call('HSET', KEYS[1], 'r', '0000000000000007')";
    server
        .cli(&["EVAL", append, "2", "{shop}:meta", "{shop}:log"])
        .unwrap();
    for (node, before) in [one, two].into_iter().zip(before) {
        eventually("it counts as everything", || {
            node.stock.peek("tea").is_none()
        })
        .await;
        let after = node.cache.stats();
        assert_eq!(after.log_unreadable, before.log_unreadable + 1);
        assert_eq!(after.log_gaps, before.log_gaps);
    }
    agree(two, one, 201).await;
}

/// Nobody of ours appends anything: loads do not.
async fn a_record_far_ahead_of_ours_is_taken_out_and_told_once(client: RedisClient) {
    logged::listen();
    let (server, name) = (Server::start().unwrap(), unique());
    let (one, two) = (
        node(client, &name, &server).await,
        node(client, &name, &server).await,
    );
    agree(&one, &two, 1).await;
    let log = format!("{{{name}}}:log");
    let far = "9999999999999999-0";
    server.cli(&["XADD", &log, far, "x", "y"]).unwrap();
    eventually("it is taken out", || {
        !server
            .cli(&["XREVRANGE", &log, "+", "-", "COUNT", "1"])
            .unwrap()
            .contains(far)
    })
    .await;
    for node in [&one, &two] {
        eventually("connected", || {
            node.cache.status().connection == Connection::Connected
        })
        .await;
        assert_eq!(node.load("jam", 5).await, 5);
    }
    // A heartbeat and more later nothing has gone again.
    let until = Instant::now() + Duration::from_millis(1_500);
    while Instant::now() < until {
        for node in [&one, &two] {
            assert_eq!(node.stock.peek("jam").as_deref(), Some(&5));
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let counted = [&one, &two].map(|node| node.cache.stats());
    assert!(
        counted
            .iter()
            .map(|stats| stats.log_unreadable)
            .sum::<u64>()
            >= 1
    );
    assert!(
        counted.iter().all(|stats| stats.log_gaps <= 1),
        "{counted:?}"
    );
    let told = logged::lines("WARN", &name);
    assert!((1..=4).contains(&told.len()), "{told:#?}");
    assert!(told.iter().any(|line| line.contains("far ahead of ours")));
    agree(&one, &two, 2).await;
}

/// A position that looks newer than all that was invalidated would keep a dead value alive.
async fn a_damaged_position_is_a_miss_that_is_counted(client: RedisClient) {
    let server = Server::start().unwrap();
    let one = node(client, "shop", &server).await;
    for offset in [4, 5, 6, 8, 11] {
        let value = Loaded::new(1).tags(["x"]);
        assert_eq!(one.stock.set("tea", value).await.unwrap(), Ack::Everywhere);
        let damage = [
            "SETRANGE",
            "shop:v:{stock:tea}",
            &offset.to_string(),
            "\x7f",
        ];
        server.cli(&damage).unwrap();
        let two = node(client, "shop", &server).await;
        assert_eq!(two.stock.get("tea").await, None, "byte {offset}");
        assert_eq!(two.stock.stats().undecodable, 1, "byte {offset}");
        assert_eq!(one.cache.invalidate_tag("x").await, Ack::Everywhere);
        assert_eq!(one.stock.get("tea").await, None, "byte {offset}");
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

async fn another_type_under_the_name_of_a_value_goes_with_the_next_change(client: RedisClient) {
    let server = Server::start().unwrap();
    let node = node(client, "shop", &server).await;
    let kept = node.cache.region::<str, u32>("kept");
    let kept = kept.stale_if_error(Duration::from_secs(60));
    let kept = kept.build().unwrap();
    let name = "shop:v:{kept:tea}";
    for n in 0..3 {
        server.cli(&["DEL", name]).unwrap();
        server.cli(&["LPUSH", name, "x"]).unwrap();
        assert_eq!(kept.get("tea").await, None);
        let load = async move |_| Ok::<_, io::Error>(n);
        assert_eq!(*kept.get_or_load("tea", load).await.unwrap(), n);
        let ack = match n {
            0 => kept.expire("tea").await,
            1 => kept.remove("tea").await,
            _ => kept.set("tea", n).await,
        };
        assert_eq!(ack.unwrap(), Ack::Everywhere, "{n}");
        assert_eq!(node.cache.status().waiting, 0);
        let there = server.cli(&["TYPE", name]).unwrap();
        assert_eq!(there.trim(), if n < 2 { "none" } else { "string" }, "{n}");
    }
}

/// How often the server was asked this.
fn asked(server: &Server, command: &str) -> u64 {
    let stats = server.cli(&["INFO", "commandstats"]).unwrap();
    let line = stats.lines().find_map(|line| {
        let line = line.strip_prefix(&format!("cmdstat_{command}:calls="))?;
        line.split(',').next()
    });
    line.map_or(0, |calls| calls.parse().unwrap())
}

async fn a_record_of_another_program_between_two_of_ours_is_read_over(client: RedisClient) {
    let server = Server::start().unwrap();
    let (one, two) = (
        node(client, "shop", &server).await,
        node(client, "shop", &server).await,
    );
    agree(&one, &two, 1).await;
    // Our numbers lie ahead of the clock, so the server puts it right behind the last one of ours.
    server.cli(&["XADD", "{shop}:log", "*", "x", "y"]).unwrap();
    let (reads, samples) = (asked(&server, "xread"), asked(&server, "time"));
    eventually("some heartbeats", || asked(&server, "time") > samples + 6).await;
    let reads = asked(&server, "xread") - reads;
    assert!(
        reads < 100,
        "{reads} reads of a log in which nothing is new"
    );
    agree(&two, &one, 2).await;
    assert_eq!(one.cache.stats().log_gaps + two.cache.stats().log_gaps, 0);
}
