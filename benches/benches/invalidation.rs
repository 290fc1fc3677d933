//! A removal until another process stops serving the key, beside raw pub/sub and the least that a log costs, by hand and through the
//! same client; and a pattern that takes a million keys beside one key, with what another client of the same Redis notices of it and of
//! as many plain commands.

#![allow(missing_docs, clippy::print_stdout)]

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bilten_benches::{Latencies, is_trial, runtime};
use bilten_cache::events::Event;
use bilten_cache::{Ack, Cache, Pattern, Redis, Region};
use bilten_testbed::Redis as Server;
use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, criterion_group, criterion_main};
use fred::clients::Client;
use fred::prelude::{Builder, ClientLike, Config, KeysInterface, StreamsInterface};
use fred::types::Value;
use tokio::runtime::{Handle, Runtime};
use tokio::sync::oneshot;

/// Keys that the pattern takes.
fn number_of_keys() -> u32 {
    if is_trial() { STEP } else { 1_000_000 }
}

/// Keys that one script stores, so that Redis answers others in between.
const STEP: u32 = 50_000;

fn invalidation(criterion: &mut Criterion) {
    let (runtime, server) = (runtime(), Server::start().expect("Redis starts"));
    let mut group = criterion.benchmark_group("invalidation");
    pub_sub(&mut group, &server);
    log(&mut group, &server);
    client(&mut group, &runtime, &server);
    log_by_client(&mut group, &runtime, &server);
    // Another process has threads of its own; where it has not, its work waits for ours. On one thread of its own no task of it wakes
    // another core.
    let (other, single) = (bilten_benches::runtime(), OneThread::start());
    for (name, there) in [
        ("remove_until_other_node_stops", other.handle()),
        ("the_same_on_our_threads", runtime.handle()),
        ("the_same_on_one_thread_of_its_own", &single.handle),
    ] {
        to_other_node(&mut group, name, [runtime.handle(), there], &server);
    }
    single.end();
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

/// A service whose tasks all run on one thread, beside ours.
struct OneThread {
    handle: Handle,
    end: oneshot::Sender<()>,
    thread: JoinHandle<()>,
}

impl OneThread {
    fn start() -> Self {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        let runtime = builder.enable_all().build().expect("a runtime");
        let (handle, (end, ended)) = (runtime.handle().clone(), oneshot::channel());
        let thread = std::thread::spawn(move || drop(runtime.block_on(ended)));
        Self {
            handle,
            end,
            thread,
        }
    }

    fn end(self) {
        self.end.send(()).expect("the thread waits");
        self.thread.join().expect("it ends");
    }
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

    /// Reads lines until one contains the text, which is the answer.
    fn until(&mut self, text: &str) -> String {
        let mut line = String::new();
        while !line.contains(text) {
            line.clear();
            let read = self.0.read_line(&mut line).expect("Redis answers");
            assert!(read > 0, "Redis closed the connection");
        }
        line
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

/// The least that a log costs: a record, and a read of it that waits in the server.
fn log(group: &mut BenchmarkGroup<'_, WallTime>, server: &Server) {
    let (mut writer, mut reader) = (Raw::to(server), Raw::to(server));
    let (mut all, mut last) = (Latencies::default(), 0_u64);
    group.bench_function("raw_log", |bencher| {
        bencher.iter_custom(|times| {
            all.sum_of(times, || {
                reader.send(&format!("XREAD COUNT 1000 BLOCK 5000 STREAMS raw {last}-0"));
                waits(server, 1);
                last += 1;
                let started = Instant::now();
                writer.send(&format!("XADD raw MAXLEN ~ 100000 {last}-0 s tea-is-old"));
                reader.until("tea-is-old");
                let took = started.elapsed();
                writer.until("-0");
                took
            })
        });
    });
    println!("raw_log: {all}");
}

/// Until so many clients wait in the server.
fn waits(server: &Server, clients: u32) {
    let wanted = format!("blocked_clients:{clients}");
    let mut asks = Raw::to(server);
    loop {
        asks.send("INFO clients");
        let found = asks.until("blocked_clients:");
        asks.until("clients_in_timeout_table");
        if found.trim_end() == wanted {
            return;
        }
    }
}

fn fred(runtime: &Runtime, server: &Server) -> Client {
    let config = Config::from_url(&server.url()).expect("a URL");
    let client = Builder::from_config(config).build().expect("a client");
    runtime.block_on(client.init()).expect("it connects");
    client
}

/// The same log through the client of the cache: its tasks stand between the caller and each socket.
fn log_by_client(group: &mut BenchmarkGroup<'_, WallTime>, runtime: &Runtime, server: &Server) {
    let (writer, reader) = (fred(runtime, server), fred(runtime, server));
    let (mut all, mut last) = (Latencies::default(), 0_u64);
    group.bench_function("raw_fred_log", |bencher| {
        bencher.iter_custom(|times| {
            all.sum_of(times, || {
                let (from, writer, reader) = (last, writer.clone(), reader.clone());
                last += 1;
                let noticed = runtime.spawn(async move {
                    let read = reader.xread(Some(1_000), Some(5_000), "fred", format!("{from}-0"));
                    let _: Value = read.await.expect("an answer");
                    Instant::now()
                });
                waits(server, 1);
                let added = runtime.spawn(async move {
                    let started = Instant::now();
                    add(&writer, "fred", format!("{}-0", from + 1)).await;
                    started
                });
                let both = async { (added.await, noticed.await) };
                let (started, noticed) = runtime.block_on(both);
                noticed.expect("it ends") - started.expect("it ends")
            })
        });
    });
    println!("raw_fred_log: {all}");
    for client in [writer, reader] {
        runtime.block_on(client.quit()).expect("it ends");
    }
}

async fn add(client: &Client, log: &str, id: String) {
    let cap = ("MAXLEN", "~", 100_000);
    let added = client.xadd::<Value, _, _, _, _>(log, false, cap, id, vec![("s", "tea-is-old")]);
    added.await.expect("an answer");
}

/// One question through the client of the cache, whose way to the server and back every change takes too.
fn client(group: &mut BenchmarkGroup<'_, WallTime>, runtime: &Runtime, server: &Server) {
    let client = fred(runtime, server);
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

fn to_other_node(
    group: &mut BenchmarkGroup<'_, WallTime>,
    name: &str,
    threads: [&Handle; 2],
    server: &Server,
) {
    let nodes = threads.map(|threads| Node::of(&threads.block_on(cache(server))));
    let mut all = Latencies::default();
    group.bench_function(name, |bencher| {
        bencher.iter_custom(|times| all.sum_of(times, || removal(&nodes, threads, server)));
    });
    println!("{name}: {all}");
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
fn removal([near, far]: &[Node; 2], [here, there]: [&Handle; 2], server: &Server) -> Duration {
    while far.stock.peek("tea").is_none() {
        let load = async |_| Ok::<_, std::io::Error>(1);
        let loaded = there.block_on(far.stock.get_or_load("tea", load));
        loaded.expect("it loads");
    }
    // What the load stores, which nobody waits for, is no part of the removal.
    let mut asks = Raw::to(server);
    while !stored(&mut asks) {}
    waits(server, 2);
    let (mut news, stock) = (far.cache.events(), far.stock.clone());
    let noticed = there.spawn(async move {
        let is_news = |event: &Event| matches!(event, Event::Invalidated { here: false, .. });
        while !is_news(&news.next().await.expect("the cache lives")) {}
        assert_eq!(stock.peek("tea"), None);
        Instant::now()
    });
    let stock = near.stock.clone();
    let removed = here.spawn(async move {
        let started = Instant::now();
        let ack = stock.remove("tea").await.expect("the key is short");
        assert_eq!(ack, Ack::Everywhere);
        started
    });
    let started = here.block_on(removed).expect("it ends");
    there.block_on(noticed).expect("it ends") - started
}

/// Whether Redis has the value that the load brought.
fn stored(asks: &mut Raw) -> bool {
    asks.send("EXISTS shop:v:{stock:tea}");
    asks.until(":").trim_end() == ":1"
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
    for from in (0..number_of_keys()).step_by(STEP as usize) {
        let [first, last] = [from, from + STEP - 1].map(|n| n.to_string());
        let words = ["EVAL", script, "0", &first, &last, &value];
        server.cli(&words).expect("Redis stores");
    }
    let size = server.cli(&["DBSIZE"]).expect("Redis answers");
    assert!(size.trim().parse::<u32>().expect("a number") >= number_of_keys());
}

/// What another client's PING takes at rest, beside plain commands, beside removals of one key, and beside patterns, each about as
/// often: any work takes its part of the machine, and what a pattern takes may not depend on how many keys there are.
fn neighbour(runtime: &Runtime, server: &Server, cache: &Cache, among: &str) {
    let (client, mut id, mut later) = (fred(runtime, server), 0_u64, 0_u32);
    let stock = cache.region::<str, u32>("stock").build();
    let stock = stock.expect("the settings are valid");
    let everything = Pattern::glob("item:*").expect("it parses");
    let tell = |beside: &str, all: &Latencies| {
        println!("a neighbour's PING among {among}, beside {beside}: {all}");
    };
    tell("nothing", &during(server, || {}));
    let log = format!("beside {among}");
    tell(
        "fred's XADD",
        &during(server, || {
            id += 1;
            runtime.block_on(add(&client, &log, format!("{id}-0")));
        }),
    );
    tell(
        "removals of a key",
        &during(server, || {
            let ack = runtime.block_on(stock.remove("tea"));
            later += u32::from(ack.expect("the key is short") != Ack::Everywhere);
        }),
    );
    tell(
        "patterns",
        &during(server, || {
            let ack = runtime.block_on(cache.invalidate_pattern(&everything));
            later += u32::from(ack != Ack::Everywhere);
        }),
    );
    // On a busy machine one may wait longer than it is allowed to.
    println!("changes that were deferred: {later}");
    runtime.block_on(client.quit()).expect("it ends");
}

/// The neighbour's latencies while the work is done again and again, with a pause of a millisecond each time.
fn during(server: &Server, mut work: impl FnMut()) -> Latencies {
    let stop = AtomicBool::new(false);
    let long = Duration::from_millis(if is_trial() { 100 } else { 2_000 });
    std::thread::scope(|scope| {
        let watched = scope.spawn(|| watch(server, &stop));
        let started = Instant::now();
        while started.elapsed() < long {
            work();
            std::thread::sleep(Duration::from_millis(1));
        }
        stop.store(true, Ordering::Relaxed);
        watched.join().expect("it only asks")
    })
}

fn watch(server: &Server, stop: &AtomicBool) -> Latencies {
    let (mut raw, mut all) = (Raw::to(server), Latencies::default());
    while !stop.load(Ordering::Relaxed) {
        let started = Instant::now();
        raw.send("PING");
        raw.until("PONG");
        all.add(started.elapsed());
        std::thread::sleep(Duration::from_micros(200));
    }
    all
}

criterion_group!(benches, invalidation);
criterion_main!(benches);
