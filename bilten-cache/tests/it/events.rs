//! What happens is told once, to whoever listens, and counted once.

use std::io::{self, Write};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bilten_cache::events::{Event, Events, Level, Refusal};
use bilten_cache::remote::Scope;
use bilten_cache::test_util::{FaultyRemote, ManualClock};
use bilten_cache::{Cache, LoadContext, Loaded, Region};
use tracing::Instrument;

use crate::harness::{DEADLINE, Node, eventually};

fn key(name: &str) -> Arc<str> {
    format!("stock:{name}").into()
}

fn hit(name: &str, level: Level, stale: bool) -> Event {
    let key = key(name);
    Event::Hit { key, level, stale }
}

fn miss(name: &str) -> Event {
    Event::Miss { key: key(name) }
}

/// All events up to the first that is like this.
async fn until(events: &mut Events, is_last: impl Fn(&Event) -> bool) -> Vec<Event> {
    let mut all = Vec::new();
    loop {
        let next = tokio::time::timeout(DEADLINE, events.next()).await;
        let event = next.expect("it happens").expect("the cache is there");
        let last = is_last(&event);
        all.push(event);
        if last {
            return all;
        }
    }
}

/// Without the times, which nobody can foresee.
fn names(events: &[Event]) -> Vec<String> {
    let name = |event: &Event| match event {
        Event::Loaded { key, .. } => format!("loaded {key}"),
        Event::LoadFailed { key, error } => format!("failed {key} {error}"),
        Event::Invalidated { scope, here } => format!("{} {here}", scope.encode()),
        other => format!("{other:?}"),
    };
    events.iter().map(name).collect()
}

async fn one(_: LoadContext<u32>) -> io::Result<u32> {
    Ok(1)
}

async fn none(_: LoadContext<u32>) -> io::Result<u32> {
    Err(io::Error::other("no rows"))
}

/// A region with a value in the second level, and stale values for a while.
async fn stock_of(store: &FaultyRemote, clock: &ManualClock) -> (Cache, Region<str, u32>) {
    let writer = Node::on(store).await;
    let _ = writer.stock.set("far", 1).await.unwrap();
    let cache = Cache::builder("shop")
        .remote(store.another_node())
        .clock(clock)
        .isolated_ttl(Duration::from_secs(10_000))
        .build()
        .await
        .unwrap();
    let stock = cache
        .region("stock")
        .stale_if_error(Duration::from_secs(1_000));
    let stock = stock.build().unwrap();
    (cache, stock)
}

/// Reads of every kind; the last one is a miss of `rice`.
async fn reads(stock: &Region<str, u32>, clock: &ManualClock) {
    assert_eq!(stock.get("tea").await, None);
    stock.get_or_load("tea", one).await.unwrap();
    stock.get_or_load("tea", one).await.unwrap();
    stock.get("far").await.unwrap();
    stock.get_or_load("far", one).await.unwrap();
    let found = stock.get_many(&["tea", "none"]).await;
    assert_eq!(found.iter().flatten().count(), 1);
    let many = |missing: Vec<&'static str>| async move {
        Ok::<_, io::Error>(missing.into_iter().map(|key| (key, 1)).collect::<Vec<_>>())
    };
    stock.get_or_load_many(["tea", "milk"], many).await.unwrap();
    clock.advance(Duration::from_secs(400));
    assert_eq!(*stock.get_or_load("tea", none).await.unwrap(), 1);
    assert_eq!(*stock.get_or_load("tea", none).await.unwrap(), 1);
    stock.get_or_load("rice", none).await.unwrap_err();
}

#[tokio::test]
async fn each_read_is_one_event_and_one_count() {
    let (store, clock) = (FaultyRemote::new(), ManualClock::new());
    let (cache, stock) = stock_of(&store, &clock).await;
    let mut events = cache.events();
    reads(&stock, &clock).await;
    let told = until(&mut events, |event| *event == miss("rice")).await;
    let due = [
        miss("tea"),
        miss("tea"),
        hit("tea", Level::Memory, false),
        hit("far", Level::Remote, false),
        hit("far", Level::Memory, false),
        hit("tea", Level::Memory, false),
        miss("none"),
        hit("tea", Level::Memory, false),
        miss("milk"),
        hit("tea", Level::Memory, true),
        hit("tea", Level::Memory, true),
        miss("rice"),
    ];
    let answers = |event: &&Event| matches!(event, Event::Hit { .. } | Event::Miss { .. });
    let answers: Vec<Event> = told.iter().filter(answers).cloned().collect();
    assert_eq!(answers, due);
    let loads = |event: &&Event| matches!(event, Event::Loaded { .. } | Event::LoadFailed { .. });
    let loads: Vec<Event> = told.iter().filter(loads).cloned().collect();
    let due = [
        "loaded stock:tea",
        "loaded stock:milk",
        "failed stock:tea region `stock`: the loader failed: no rows",
        "failed stock:rice region `stock`: the loader failed: no rows",
    ];
    assert_eq!(names(&loads), due);
    assert_eq!(events.lost(), 0);
    let stats = stock.stats();
    let read = (
        stats.hits_memory,
        stats.hits_remote,
        stats.misses,
        stats.stale,
    );
    assert_eq!(read, (6, 1, 5, 2));
    assert_eq!((stats.loads, stats.load_errors), (4, 2));
}

#[tokio::test]
async fn a_stale_value_of_the_second_level_is_a_hit_of_the_second_level() {
    for revalidates in [true, false] {
        let store = FaultyRemote::new();
        let prices = async || {
            let cache = Cache::builder("shop").remote(store.another_node());
            let cache = cache.build().await.unwrap();
            let window = Duration::from_secs(1_000);
            let prices = cache.region::<str, u32>("price");
            let prices = prices.time_to_live(Duration::from_millis(30));
            let prices = match revalidates {
                true => prices.stale_while_revalidate(window),
                false => prices.stale_if_error(window),
            };
            (cache, prices.build().unwrap())
        };
        let (_first, warm) = prices().await;
        let _ = warm.set("tea", 1).await.unwrap();
        eventually("its time is over", || warm.peek("tea").is_none()).await;
        let (cache, cold) = prices().await;
        let mut events = cache.events();
        assert_eq!(*cold.get_or_load("tea", none).await.unwrap(), 1);
        let stats = cold.stats();
        let read = (
            stats.hits_memory,
            stats.hits_remote,
            stats.misses,
            stats.stale,
        );
        assert_eq!(read, (0, 1, 0, 1), "{revalidates}");
        let told = until(&mut events, |event| matches!(event, Event::Hit { .. })).await;
        let key = "price:tea".into();
        let (level, stale) = (Level::Remote, true);
        assert_eq!(told.last(), Some(&Event::Hit { key, level, stale }));
        let many =
            |_: Vec<&'static str>| async { Err::<[(_, u32); 0], _>(io::Error::other("no rows")) };
        cold.get_or_load_many(["tea"], many).await.unwrap();
        let stats = cold.stats();
        assert_eq!(
            (stats.hits_memory, stats.hits_remote, stats.stale),
            (1, 1, 2)
        );
    }
}

#[tokio::test]
async fn invalidations_are_told_here_and_there() {
    let store = FaultyRemote::new();
    let (one, two) = (Node::on(&store).await, Node::on(&store).await);
    let (mut here, mut there) = (one.cache.events(), two.cache.events());
    let _ = one.stock.set("tea", 1).await.unwrap();
    let _ = one.stock.after("7").remove("tea").await.unwrap();
    let _ = one.cache.invalidate_tag("drinks").await;
    let _ = one.cache.clear().await;
    let last = |event: &Event| {
        matches!(
            event,
            Event::Invalidated {
                scope: Scope::All,
                ..
            }
        )
    };
    let due = ["k:stock:tea", "k:stock:tea", "t:drinks", "a:"];
    let as_told = |here: bool| due.map(|scope| format!("{scope} {here}"));
    assert_eq!(names(&until(&mut here, last).await), as_told(true));
    assert_eq!(names(&until(&mut there, last).await), as_told(false));
}

#[tokio::test]
async fn what_is_not_kept_is_told_with_its_reason() {
    let store = FaultyRemote::new();
    let node = Node::on(&store).await;
    let mut events = node.cache.events();
    let (mut held, reader) = node.start_load("tea");
    held.started().await;
    let _ = node.stock.remove("tea").await.unwrap();
    held.finish(1);
    reader.await.unwrap().unwrap();
    let lost = Event::Refused {
        key: key("tea"),
        why: Refusal::LeaseLost,
    };
    let told = until(&mut events, |event| *event == lost).await;
    let changed = Event::Refused {
        key: key("tea"),
        why: Refusal::Changed,
    };
    assert!(told.contains(&changed));

    store.put_bytes("stock:milk", "of another program");
    assert_eq!(node.stock.get("milk").await, None);
    let unreadable = Event::Refused {
        key: key("milk"),
        why: Refusal::Undecodable,
    };
    assert!(
        until(&mut events, |event| *event == miss("milk"))
            .await
            .contains(&unreadable)
    );
    let odd = node.cache.region::<str, f64>("odd").build().unwrap();
    let _ = odd.set("nan", Loaded::new(f64::NAN)).await;
    let told = until(&mut events, |event| {
        matches!(event, Event::Invalidated { .. })
    })
    .await;
    let why = Refusal::Unencodable;
    assert!(
        told.contains(&Event::Refused {
            key: "odd:nan".into(),
            why
        }),
        "{told:?}"
    );
}

#[tokio::test]
async fn the_breaker_is_told_when_it_opens_and_closes() {
    let store = FaultyRemote::new();
    let node = Node::on(&store).await;
    let mut events = node.cache.events();
    store.fail(true);
    while node.cache.stats().breaker_opened == 0 {
        let _ = node.stock.get("tea").await;
    }
    store.fail(false);
    let told = until(&mut events, |event| {
        *event == Event::Breaker { open: false }
    })
    .await;
    assert!(told.contains(&Event::Breaker { open: true }));
    store.trim_log();
    store.append_unreadable();
    store.trim_log();
    store.append_unreadable();
    until(&mut events, |event| *event == Event::Flushed).await;
}

#[tokio::test]
async fn an_entry_that_memory_has_no_room_for_is_told() {
    let cache = Cache::builder("shop")
        .memory_bytes(10_000)
        .build()
        .await
        .unwrap();
    let heavy = cache
        .region::<i64, u32>("heavy")
        .weigher(|_| 4_000)
        .build()
        .unwrap();
    let mut events = cache.events();
    for key in 0..10 {
        let _ = heavy.set(&key, 1).await.unwrap();
    }
    assert!(cache.status().memory_bytes <= 10_000);
    let evicted = |event: &Event| matches!(event, Event::Evicted { .. });
    let told = until(&mut events, evicted).await;
    let Some(Event::Evicted { key }) = told.last() else {
        panic!("{told:?}");
    };
    assert!(key.starts_with("heavy:"), "{key}");
    assert!(cache.stats().evictions > 0);
}

/// What a subscriber writes.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn a_loader_runs_in_a_span_below_that_of_its_caller() {
    let lines = Lines::default();
    let writer = lines.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_writer(move || writer.clone())
        .with_ansi(false)
        .finish();
    let _subscriber = tracing::subscriber::set_default(subscriber);
    let node = Node::alone().await;
    let load = async |_| {
        tracing::info!("asks the source");
        Ok::<_, io::Error>(1)
    };
    let request = || tracing::info_span!("request", id = 7);
    let read = node.stock.get_or_load("tea", load);
    read.instrument(request()).await.unwrap();
    let many = |missing: Vec<&'static str>| async move {
        tracing::info!("asks for many");
        Ok::<_, io::Error>(missing.into_iter().map(|key| (key, 1)).collect::<Vec<_>>())
    };
    let read = node.stock.get_or_load_many(["jam", "rice"], many);
    read.instrument(request()).await.unwrap();
    let long = "x".repeat(2_000);
    let alone = async |_| {
        tracing::info!("asks for a long one");
        Ok::<_, io::Error>(1)
    };
    let read = node.stock.get_or_load(&long, alone);
    read.instrument(request()).await.unwrap();
    let said = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
    let spans = " INFO request{id=7}:load{cache=shop region=stock}: ";
    for words in ["asks the source", "asks for many", "asks for a long one"] {
        let line = said.lines().find(|line| line.contains(words)).unwrap();
        assert!(line.contains(spans), "{said}");
    }
}
