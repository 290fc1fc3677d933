//! What calls cost on a real server, by its own count, and what it keeps of short lives and stale windows.

use std::io;
use std::time::{Duration, Instant};

use bilten_cache::status::Connection;
use bilten_cache::{Ack, Cache, Loaded, Redis, RedisClient, Region};
use bilten_testbed::Redis as Server;

use crate::harness::{DEADLINE, Node, eventually, with_each_client};

with_each_client! {
    many_keys_are_read_with_one_command,
    reads_that_come_together_are_made_together_and_each_gets_its_own,
    large_values_are_read_by_themselves,
    who_leaves_takes_nobody_along_who_reads_together_with_it,
    who_reads_together_from_a_frozen_server_loads_in_the_end,
    who_waits_for_another_process_loads_nothing_and_asks_once_more_after_its_store,
    many_changes_are_one_script_for_each_step,
    a_life_of_a_nanosecond_is_stored_for_a_millisecond,
    redis_keeps_a_value_to_the_end_of_its_stale_window_and_nobody_has_it_longer,
}

async fn node(client: RedisClient, server: &Server) -> Cache {
    let redis = Redis::url(server.url()).client(client);
    let cache = Cache::builder("shop").redis(redis).remote_budget(DEADLINE);
    let cache = cache.build().await.unwrap();
    eventually("it is connected", || {
        cache.status().connection == Connection::Connected
    })
    .await;
    cache
}

/// How often the server has run a command since it last forgot.
fn ran(server: &Server, command: &str) -> u64 {
    let stats = server.cli(&["INFO", "commandstats"]).unwrap();
    let prefix = format!("cmdstat_{command}:calls=");
    let line = stats.lines().find_map(|line| line.strip_prefix(&prefix));
    line.map_or(0, |rest| rest.split(',').next().unwrap().parse().unwrap())
}

async fn many_keys_are_read_with_one_command(client: RedisClient) {
    let server = Server::start().unwrap();
    let (one, two) = (node(client, &server).await, node(client, &server).await);
    let region = |cache: &Cache| -> Region<i64, i64> { cache.region("number").build().unwrap() };
    let (one, two) = (region(&one), region(&two));
    let all: Vec<i64> = (0..100).collect();
    let set = one.set_many(all.iter().map(|n| (*n, *n))).await;
    assert_eq!(set.unwrap(), Ack::Everywhere);
    server.cli(&["CONFIG", "RESETSTAT"]).unwrap();
    let found = two.get_many(&all).await;
    assert_eq!(found.iter().flatten().count(), 100);
    assert_eq!((ran(&server, "mget"), ran(&server, "get")), (1, 0));
    let late = region(&node(client, &server).await);
    server.cli(&["CONFIG", "RESETSTAT"]).unwrap();
    let never =
        |_: Vec<i64>| std::future::ready(Err::<Vec<(i64, i64)>, _>(io::Error::other("asked")));
    let found = late.get_or_load_many(all.clone(), never).await.unwrap();
    assert_eq!(found.iter().flatten().count(), 100);
    assert_eq!((ran(&server, "mget"), ran(&server, "get")), (1, 0));
    // What this process has is asked for by nobody.
    late.get_many(&all).await;
    assert_eq!(ran(&server, "mget"), 1);
}

/// Reads all keys at once, each in a task of its own.
async fn read_at_once(region: &Region<i64, String>, keys: &[i64]) -> Vec<Option<String>> {
    let reads = keys.iter().map(|key| {
        let (region, key) = (region.clone(), *key);
        tokio::spawn(async move { region.get(&key).await })
    });
    let reads: Vec<_> = reads.collect();
    let mut found = Vec::new();
    for read in reads {
        found.push(read.await.unwrap().as_deref().cloned());
    }
    found
}

async fn stored(
    client: RedisClient,
    server: &Server,
    values: impl Iterator<Item = (i64, String)>,
) -> Region<i64, String> {
    let one = node(client, server).await;
    let one: Region<i64, String> = one.region("text").build().unwrap();
    assert_eq!(one.set_many(values).await.unwrap(), Ack::Everywhere);
    let two = node(client, server).await.region("text").build();
    let two: Region<i64, String> = two.unwrap();
    // Reads go together from the first answer on.
    assert_eq!(two.get(&-1).await, None);
    server.cli(&["CONFIG", "RESETSTAT"]).unwrap();
    two
}

async fn reads_that_come_together_are_made_together_and_each_gets_its_own(client: RedisClient) {
    let server = Server::start().unwrap();
    let text = |n: i64| format!("the text of {n}");
    let there = (0..200).map(|n| (n, text(n)));
    let region = stored(client, &server, there).await;
    let keys: Vec<i64> = (0..300).collect();
    let found = read_at_once(&region, &keys).await;
    for (n, found) in keys.iter().zip(found) {
        assert_eq!(found, (*n < 200).then(|| text(*n)));
    }
    let (alone, together) = (ran(&server, "get"), ran(&server, "mget"));
    assert!(
        alone <= 150 && (1..30).contains(&together),
        "{alone} {together}"
    );
    let stats = region.stats();
    assert_eq!((stats.hits_remote, stats.misses), (200, 100 + 1));
}

async fn large_values_are_read_by_themselves(client: RedisClient) {
    let server = Server::start().unwrap();
    let large = |n: i64| n.to_string().repeat(20_000);
    let there = (100..140).map(|n| (n, large(n)));
    let region = stored(client, &server, there).await;
    for n in 100..110 {
        assert_eq!(region.get(&n).await.as_deref(), Some(&large(n)));
    }
    let keys: Vec<i64> = (110..140).collect();
    let found = read_at_once(&region, &keys).await;
    for (n, found) in keys.iter().zip(found) {
        assert_eq!(found, Some(large(*n)));
    }
    assert_eq!((ran(&server, "get"), ran(&server, "mget")), (40, 0));
}

async fn who_leaves_takes_nobody_along_who_reads_together_with_it(client: RedisClient) {
    let server = Server::start().unwrap();
    let there = (0..200).map(|n| (n, n.to_string()));
    let region = stored(client, &server, there).await;
    for odd in [0, 1] {
        let region = node(client, &server).await.region("text").build();
        let region: Region<i64, String> = region.unwrap();
        let reads = (0..200).map(|n| {
            let region = region.clone();
            tokio::spawn(async move { region.get(&n).await })
        });
        let reads: Vec<_> = reads.collect();
        // All have asked, or are about to.
        tokio::task::yield_now().await;
        for read in reads.iter().skip(odd).step_by(2) {
            read.abort();
        }
        for (n, read) in reads.into_iter().enumerate() {
            match read.await {
                Ok(found) => assert_eq!(found.as_deref(), Some(&n.to_string())),
                Err(error) => assert!(error.is_cancelled() && n % 2 == odd, "{n}: {error}"),
            }
        }
    }
    drop(region);
}

/// For how long it is held up, a store shows on which nothing depends on this machine.
async fn who_reads_together_from_a_frozen_server_loads_in_the_end(client: RedisClient) {
    let server = Server::start().unwrap();
    let redis = Redis::url(server.url()).client(client);
    let cache = Cache::builder("shop").redis(redis);
    let cache = cache.remote_budget(Duration::from_millis(200)).build();
    let numbers = cache.await.unwrap().region::<i64, i64>("number");
    let numbers = numbers.build().unwrap();
    server.pause().unwrap();
    let began = Instant::now();
    let loads = (0..100).map(|n| {
        let numbers = numbers.clone();
        let load = async move |_| Ok::<_, io::Error>(n);
        tokio::spawn(async move { numbers.get_or_load(&n, load).await.map(|n| *n) })
    });
    let loads: Vec<_> = loads.collect();
    for (n, load) in (0..).zip(loads) {
        assert_eq!(load.await.unwrap().unwrap(), n);
    }
    // A read, and the lease that it is too early to be turned away from.
    assert!(began.elapsed() < DEADLINE, "{:?}", began.elapsed());
    assert_eq!(numbers.stats().loads, 100);
    server.resume().unwrap();
}

/// However long it has waited by then.
async fn who_waits_for_another_process_loads_nothing_and_asks_once_more_after_its_store(
    client: RedisClient,
) {
    let server = Server::start().unwrap();
    // However slow the machine is: who hears nothing of the lease would load by itself.
    let patient = async || {
        let redis = Redis::url(server.url()).client(client);
        let cache = Cache::builder("shop").redis(redis).remote_budget(DEADLINE);
        Node::of(cache.build().await.unwrap())
    };
    let (one, two) = (patient().await, patient().await);
    let (mut held, first) = one.start_load("tea");
    held.started().await;
    server.cli(&["CONFIG", "RESETSTAT"]).unwrap();
    let second = two.start_load("tea").1;
    // Its pauses are the longest by then.
    eventually("it asks again and again", || ran(&server, "get") >= 12).await;
    held.finish(7);
    let is_stored = || server.cli(&["EXISTS", "shop:v:{stock:tea}"]).unwrap();
    eventually("it is stored", || is_stored().trim() == "1").await;
    // Who doubts its log because of a slow machine looks at it, with a `GET` beside an `HLEN`.
    let asked = || (ran(&server, "get"), ran(&server, "hlen"));
    let before = asked();
    assert_eq!(*second.await.unwrap().unwrap(), 7);
    let after = asked();
    let more = (after.0 - before.0, after.1 - before.1);
    assert!(more.0 <= 1 + more.1, "{more:?}");
    assert_eq!(*first.await.unwrap().unwrap(), 7);
    assert_eq!(two.cache.stats().loads, 0);
}

async fn many_changes_are_one_script_for_each_step(client: RedisClient) {
    let server = Server::start().unwrap();
    let (one, two) = (node(client, &server).await, node(client, &server).await);
    let region = |cache: &Cache| -> Region<i64, i64> { cache.region("number").build().unwrap() };
    let (numbers, others) = (region(&one), region(&two));
    let keys: Vec<i64> = (0..64).collect();
    // The server hears of the scripts, and both nodes of the log.
    for _ in 0..2 {
        server.cli(&["CONFIG", "RESETSTAT"]).unwrap();
        let before = Instant::now();
        let set = numbers.set_many(keys.iter().map(|n| (*n, n + 1))).await;
        assert_eq!(set.unwrap(), Ack::Everywhere);
        let claims = (ran(&server, "evalsha"), ran(&server, "xadd"));
        let removed = numbers.remove_many(keys.clone()).await;
        assert_eq!(removed.unwrap(), Ack::Everywhere);
        let all = (ran(&server, "evalsha"), ran(&server, "xadd"));
        // Beside them each node looks where the log stands about once a second, and the first time each script is sent twice.
        let others = 3 + 2 * before.elapsed().as_secs();
        assert!(
            claims.0 <= 2 + others && all.0 <= 3 + others,
            "{claims:?} {all:?}"
        );
        assert_eq!((claims.1, all.1), (64, 128), "a record of its own for each");
    }
    let set = numbers.set_many(keys.iter().map(|n| (*n, n + 1))).await;
    assert_eq!(set.unwrap(), Ack::Everywhere);
    let found = others.get_many(&keys).await;
    let found: Vec<_> = found.iter().flatten().map(|value| **value).collect();
    assert_eq!(found, (1..=64).collect::<Vec<_>>());
    let removed = others.remove_many(keys.clone()).await;
    assert_eq!(removed.unwrap(), Ack::Everywhere);
    eventually("the other hears of all", || {
        keys.iter().all(|key| numbers.peek(key).is_none())
    })
    .await;
    assert_eq!(numbers.get_many(&keys).await.iter().flatten().count(), 0);
    assert_eq!((one.stats().log_gaps, two.stats().log_gaps), (0, 0));
}

async fn a_life_of_a_nanosecond_is_stored_for_a_millisecond(client: RedisClient) {
    let server = Server::start().unwrap();
    let (one, two) = (node(client, &server).await, node(client, &server).await);
    let (one, two) = (Node::of(one), Node::of(two));
    let short = || Loaded::new(1).time_to_live(Duration::from_nanos(1));
    assert_eq!(
        one.stock.set("tea", short()).await.unwrap(),
        Ack::Everywhere
    );
    let load = async move |_| Ok::<_, io::Error>(short());
    assert_eq!(*one.stock.get_or_load("jam", load).await.unwrap(), 1);
    for node in [&one, &two] {
        for key in ["tea", "jam"] {
            let deadline = Instant::now() + DEADLINE;
            while node.stock.get(key).await.is_some() {
                assert!(Instant::now() < deadline, "{key} is still there");
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
        let stats = node.cache.stats();
        assert_eq!((stats.remote_failures, stats.undecodable), (0, 0));
        assert_eq!(node.cache.status().connection, Connection::Connected);
    }
    eventually("nothing is left of them", || {
        let there = server.cli(&["EXISTS", "shop:v:{stock:tea}", "shop:v:{stock:jam}"]);
        there.unwrap().trim() == "0"
    })
    .await;
}

async fn redis_keeps_a_value_to_the_end_of_its_stale_window_and_nobody_has_it_longer(
    client: RedisClient,
) {
    let server = Server::start().unwrap();
    let (one, two) = (node(client, &server).await, node(client, &server).await);
    let region = |cache: &Cache| -> Region<str, u32> {
        let region = cache.region("stock").time_to_live(Duration::from_secs(2));
        let region = region.stale_if_error(Duration::from_secs(3));
        region.retry_after(Duration::ZERO).build().unwrap()
    };
    let (one, two) = (region(&one), region(&two));
    let fail = async |stock: &Region<str, u32>| {
        let load = async |_| Err::<u32, _>(io::Error::other("away"));
        stock
            .get_or_load("tea", load)
            .await
            .ok()
            .map(|value| *value)
    };
    let life = || -> i64 {
        let left = server.cli(&["PTTL", "shop:v:{stock:tea}"]).unwrap();
        left.trim().parse().unwrap()
    };
    let set = Instant::now();
    assert_eq!(one.set("tea", 1).await.unwrap(), Ack::Everywhere);
    let left = Duration::from_millis(life().try_into().unwrap());
    assert!(left <= Duration::from_secs(5), "{left:?}");
    assert!(
        left + set.elapsed() > Duration::from_millis(4_900),
        "{left:?}"
    );
    let (mut fresh, mut stale) = (0, 0);
    loop {
        // Looked at before, so that time only makes it less.
        let left = life();
        let here = (one.peek("tea"), two.get("tea").await, fail(&two).await);
        if left < 0 {
            break;
        }
        if left < 2_500 {
            assert_eq!((here.0, here.1), (None, None), "{left} ms in Redis");
            stale += u32::from(here.2 == Some(1));
        } else {
            fresh += 1;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(fresh > 0 && stale > 0, "{fresh} {stale}");
    let deadline = Instant::now() + DEADLINE;
    for stock in [&one, &two] {
        while fail(stock).await.is_some() {
            assert!(Instant::now() < deadline, "it is kept for ever");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
}
