//! A removal until another process stops serving the key, beside raw pub/sub; and a pattern that takes a million keys beside
//! one key, with what another client of the same Redis notices.

#![allow(missing_docs, clippy::print_stdout)]

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bilten_benches::{Latencies, runtime};
use bilten_cache::events::Event;
use bilten_cache::{Ack, Cache, Pattern, Redis, Region};
use bilten_testbed::Redis as Server;
use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, criterion_group, criterion_main};
use fred::prelude::{Builder, ClientLike, Config, KeysInterface};
use tokio::runtime::Runtime;

/// Keys that the pattern takes.
const KEYS: u32 = 1_000_000;
/// Keys that one script stores, so that Redis answers others in between.
const STEP: u32 = 50_000;

fn invalidation(criterion: &mut Criterion) {
    let (runtime, server) = (runtime(), Server::start().expect("Redis starts"));
    let mut group = criterion.benchmark_group("invalidation");
    pub_sub(&mut group, &server);
    client(&mut group, &runtime, &server);
    to_other_node(&mut group, &runtime, &server);
    let cache = runtime.block_on(cache(&server));
    for among in ["few_keys", "a_million_keys"] {
        if among == "a_million_keys" {
            fill(&server);
        }
        changes(&mut group, &runtime, &cache, among);
        neighbour(&runtime, &server, &cache, among);
    }
    group.finish();
}

async fn cache(server: &Server) -> Cache {
    let cache = Cache::builder("shop").redis(Redis::url(server.url()));
    cache.build().await.expect("the settings are valid")
}

/// A connection that speaks the protocol by hand: nothing can be faster.
struct Raw(BufReader<TcpStream>);

impl Raw {
    fn to(server: &Server) -> Self {
        let stream = TcpStream::connect(server.addr()).expect("Redis listens");
        stream.set_nodelay(true).expect("a socket");
        Self(BufReader::new(stream))
    }

    fn send(&mut self, line: &str) {
        let stream = self.0.get_mut();
        write!(stream, "{line}\r\n").expect("Redis reads");
    }

    /// Reads lines until one contains the text.
    fn until(&mut self, text: &str) {
        let mut line = String::new();
        while !line.contains(text) {
            line.clear();
            let read = self.0.read_line(&mut line).expect("Redis answers");
            assert!(read > 0, "Redis closed the connection");
        }
    }
}

fn pub_sub(group: &mut BenchmarkGroup<'_, WallTime>, server: &Server) {
    let (mut publisher, mut subscriber) = (Raw::to(server), Raw::to(server));
    subscriber.send("SUBSCRIBE news");
    subscriber.until(":1");
    let mut all = Latencies::default();
    group.bench_function("raw_pub_sub", |bencher| {
        bencher.iter_custom(|times| {
            all.sum_of(times, || {
                let started = Instant::now();
                publisher.send("PUBLISH news tea-is-old");
                subscriber.until("tea-is-old");
                let took = started.elapsed();
                publisher.until(":1");
                took
            })
        });
    });
    println!("raw_pub_sub: {all}");
}

/// One question through the client of the cache, whose way to the server and back every change takes too.
fn client(group: &mut BenchmarkGroup<'_, WallTime>, runtime: &Runtime, server: &Server) {
    let config = Config::from_url(&server.url()).expect("a URL");
    let client = Builder::from_config(config).build().expect("a client");
    runtime.block_on(client.init()).expect("it connects");
    let mut all = Latencies::default();
    group.bench_function("raw_fred_get", |bencher| {
        bencher.iter_custom(|times| {
            all.sum_of(times, || {
                let client = client.clone();
                let task = runtime.spawn(async move {
                    let started = Instant::now();
                    let found: Option<String> = client.get("nothing").await.expect("an answer");
                    (started.elapsed(), found)
                });
                let (took, found) = runtime.block_on(task).expect("it ends");
                assert_eq!(found, None);
                took
            })
        });
    });
    println!("raw_fred_get: {all}");
    runtime.block_on(client.quit()).expect("it ends");
}

fn to_other_node(group: &mut BenchmarkGroup<'_, WallTime>, runtime: &Runtime, server: &Server) {
    let (near, far) = runtime.block_on(async { (cache(server).await, cache(server).await) });
    let (near, far) = (Node::of(&near), Node::of(&far));
    let mut all = Latencies::default();
    group.bench_function("remove_until_other_node_stops", |bencher| {
        bencher.iter_custom(|times| all.sum_of(times, || runtime.block_on(removal(&near, &far))));
    });
    println!("remove_until_other_node_stops: {all}");
}

/// A process of a service.
struct Node {
    cache: Cache,
    stock: Region<str, u32>,
}

impl Node {
    fn of(cache: &Cache) -> Self {
        let stock = cache.region("stock").build();
        Self {
            cache: cache.clone(),
            stock: stock.expect("the settings are valid"),
        }
    }
}

/// From the call on one node until the other has stopped serving the key, as tasks of one service see it: whoever waits in a loop
/// instead takes a core from those who work.
async fn removal(near: &Node, far: &Node) -> Duration {
    while far.stock.peek("tea").is_none() {
        let load = async |_| Ok::<_, std::io::Error>(1);
        let loaded = far.stock.get_or_load("tea", load).await;
        loaded.expect("it loads");
    }
    let (mut news, stock) = (far.cache.events(), far.stock.clone());
    let noticed = tokio::spawn(async move {
        let is_news = |event: &Event| matches!(event, Event::Invalidated { here: false, .. });
        while !is_news(&news.next().await.expect("the cache lives")) {}
        assert_eq!(stock.peek("tea"), None);
        Instant::now()
    });
    let stock = near.stock.clone();
    let removed = tokio::spawn(async move {
        let started = Instant::now();
        let ack = stock.remove("tea").await.expect("the key is short");
        assert_eq!(ack, Ack::Everywhere);
        started
    });
    let (started, noticed) = (removed.await, noticed.await);
    noticed.expect("it ends") - started.expect("it ends")
}

/// One append with a key, and one with a pattern.
fn changes(
    group: &mut BenchmarkGroup<'_, WallTime>,
    runtime: &Runtime,
    cache: &Cache,
    among: &str,
) {
    let stock = cache.region::<str, u32>("stock").build();
    let stock = stock.expect("the settings are valid");
    let everything = Pattern::glob("item:*").expect("it parses");
    group.bench_function(format!("remove_one_key_among_{among}"), |bencher| {
        bencher.iter(|| runtime.block_on(stock.remove("tea")));
    });
    group.bench_function(format!("pattern_among_{among}"), |bencher| {
        bencher.iter(|| {
            let ack = runtime.block_on(cache.invalidate_pattern(&everything));
            assert_eq!(ack, Ack::Everywhere);
        });
    });
}

/// Stores a million values under the names that the cache gives to the keys of the region `item`.
fn fill(server: &Server) {
    let script = "for n = ARGV[1], ARGV[2] do \
         redis.call('SET', 'shop:v:{item:' .. string.format('%d', n) .. '}', ARGV[3], 'PX', 3600000) \
         end return redis.call('DBSIZE')";
    let value = "v".repeat(100);
    for from in (0..KEYS).step_by(STEP as usize) {
        let [first, last] = [from, from + STEP - 1].map(|n| n.to_string());
        let words = ["EVAL", script, "0", &first, &last, &value];
        server.cli(&words).expect("Redis stores");
    }
    let size = server.cli(&["DBSIZE"]).expect("Redis answers");
    assert!(size.trim().parse::<u32>().expect("a number") >= KEYS);
}

/// What another client's PING takes at rest, and while patterns are invalidated: that work takes its part of the machine,
/// however many keys there are.
fn neighbour(runtime: &Runtime, server: &Server, cache: &Cache, among: &str) {
    let watch = |stop: &AtomicBool| {
        let (mut raw, mut all) = (Raw::to(server), Latencies::default());
        while !stop.load(Ordering::Relaxed) {
            let started = Instant::now();
            raw.send("PING");
            raw.until("PONG");
            all.add(started.elapsed());
            std::thread::sleep(Duration::from_micros(200));
        }
        all
    };
    let during = |work: &dyn Fn()| {
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let watched = scope.spawn(|| watch(&stop));
            let started = Instant::now();
            while started.elapsed() < Duration::from_secs(1) {
                work();
            }
            stop.store(true, Ordering::Relaxed);
            watched.join().expect("it only asks")
        })
    };
    let everything = Pattern::glob("item:*").expect("it parses");
    let pause = || std::thread::sleep(Duration::from_millis(1));
    println!("a neighbour's PING at rest: {}", during(&pause));
    let busy = during(&|| {
        let ack = runtime.block_on(cache.invalidate_pattern(&everything));
        assert_eq!(ack, Ack::Everywhere);
        pause();
    });
    println!("a neighbour's PING beside patterns among {among}: {busy}");
}

criterion_group!(benches, invalidation);
criterion_main!(benches);
