//! What a hit costs, how it is counted, and how memory is bounded.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::Duration;

use bilten_cache::test_util::{FaultyRemote, ManualClock};
use bilten_cache::{Cache, RegionBuilder};
use metrics_util::debugging::{DebugValue, DebuggingRecorder};

use crate::harness::{Node, eventually};
use crate::memory::POLICIES;

#[tokio::test]
async fn a_hit_hands_out_the_stored_value_itself() {
    let node = Node::alone().await;
    let value = Arc::new(7_u32);
    let _ = node
        .stock
        .set("tea", bilten_cache::Loaded::shared(Arc::clone(&value)))
        .await
        .unwrap();
    assert!(Arc::ptr_eq(&node.stock.peek("tea").unwrap(), &value));
    let loaded = node
        .stock
        .get_or_load("tea", async |_| Ok::<_, io::Error>(8))
        .await
        .unwrap();
    assert!(Arc::ptr_eq(&loaded, &value));
}

#[tokio::test]
async fn a_hit_allocates_nothing() {
    // Also where somebody wants to see each span.
    let subscriber = tracing_subscriber::registry();
    let _subscriber = tracing::subscriber::set_default(subscriber);
    let node = Node::on(&FaultyRemote::new()).await;
    let pages = node
        .cache
        .region::<(i64, String), Vec<String>>("page")
        .build()
        .unwrap();
    let key = (7, "berlin {*}".to_owned());
    let _ = pages.set(&key, vec!["x".repeat(1_000); 100]).await.unwrap();
    let hit = || {
        assert!(pages.peek(&key).is_some());
        let mut get = std::pin::pin!(pages.get(&key));
        assert!(
            get.as_mut()
                .poll(&mut Context::from_waker(Waker::noop()))
                .is_ready(),
            "and never waits"
        );
        let load = async |_| Err::<Vec<String>, _>(io::Error::other("must not run"));
        let mut load = std::pin::pin!(pages.get_or_load(&key, load));
        assert!(
            load.as_mut()
                .poll(&mut Context::from_waker(Waker::noop()))
                .is_ready()
        );
    };
    hit(); // the thread's key buffer is made now
    let counted = allocation_counter::measure(|| (0..1_000).for_each(|_| hit()));
    assert_eq!(counted.count_total, 0, "in 3,000 hits");
}

#[tokio::test]
async fn every_read_counts_exactly_once() {
    let store = FaultyRemote::new();
    let (one, two) = (Node::on(&store).await, Node::on(&store).await);
    one.stock.get("tea").await; // miss
    one.load("tea", 1).await; // miss, load
    one.load("tea", 2).await; // memory
    one.stock.get("tea").await; // memory
    eventually("L2 has it", || store.bytes("stock:tea").is_some()).await;
    two.stock.get("tea").await; // remote
    two.load("tea", 3).await; // memory
    let (one, two) = (one.cache.stats(), two.cache.stats());
    assert_eq!(
        (one.hits_memory, one.hits_remote, one.misses, one.loads),
        (2, 0, 2, 1)
    );
    assert_eq!(
        (two.hits_memory, two.hits_remote, two.misses, two.loads),
        (1, 1, 0, 0)
    );
    assert!((one.hit_ratio() - 0.5).abs() < 1e-9);
}

#[tokio::test]
async fn no_key_and_no_tag_is_ever_a_label() {
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    let guard = metrics::set_default_local_recorder(&recorder);
    let node = Node::alone().await;
    drop(guard);
    let _ = node
        .stock
        .set(
            "secret-key",
            bilten_cache::Loaded::new(1).tags(["secret-tag"]),
        )
        .await
        .unwrap();
    node.stock.get("secret-key").await;
    let _ = node.cache.invalidate_tag("secret-tag").await;
    let metrics = snapshotter.snapshot().into_vec();
    let hits = metrics.iter().find(|(key, _, _, value)| {
        key.key().name() == "bilten_cache_hits_total" && *value == DebugValue::Counter(1)
    });
    assert!(hits.is_some(), "the hit was exported");
    for (key, ..) in &metrics {
        assert!(!format!("{key:?}").contains("secret"), "{key:?}");
        let labels: Vec<&str> = key.key().labels().map(|label| label.key()).collect();
        assert!(
            labels
                .iter()
                .all(|label| ["cache", "region", "level", "reason"].contains(label)),
            "{labels:?}"
        );
    }
}

#[tokio::test]
async fn the_state_of_the_log_is_told_to_the_recorder_that_was_there_when_the_cache_was_built() {
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    let store = FaultyRemote::new();
    let (way, clock) = (store.another_node(), ManualClock::new());
    let guard = metrics::set_default_local_recorder(&recorder);
    let cache = Cache::builder("shop").remote(way.clone()).clock(&clock);
    let node = Node::of(cache.build().await.unwrap());
    drop(guard);
    let tells = async |what: &str, due: &[(&str, f64)]| {
        eventually(what, || {
            clock.advance(Duration::from_millis(500));
            let told = snapshotter.snapshot().into_vec();
            due.iter().all(|(name, due)| {
                let gauge = told.iter().find(|(key, ..)| key.key().name() == *name);
                let value = gauge.map(|(.., value)| value);
                matches!(value, Some(DebugValue::Gauge(value)) if (value.0 - due).abs() < 1e-9)
            })
        })
        .await;
    };
    for _ in 0..3 {
        let _ = node.stock.set("tea", 1).await.unwrap();
    }
    let _ = node.cache.invalidate_tag("hot").await;
    let well = [
        ("bilten_cache_connected", 1.0),
        ("bilten_cache_log_position", 4.0),
        ("bilten_cache_log_lag_records", 0.0),
        ("bilten_cache_markers", 1.0),
        ("bilten_cache_waiting", 0.0),
    ];
    tells("all is well", &well).await;
    way.cut_log(true);
    let _ = node.stock.set("tea", 2).await.unwrap();
    let cut = [
        ("bilten_cache_connected", 0.0),
        ("bilten_cache_log_position", 4.0),
        ("bilten_cache_log_lag_records", 1.0),
    ];
    tells("it hears nothing", &cut).await;
    let age = || {
        let told = snapshotter.snapshot().into_vec();
        let is_age = |name: &str| name == "bilten_cache_log_age_seconds";
        let value = told.into_iter().find(|(key, ..)| is_age(key.key().name()));
        value.and_then(|(.., value)| match value {
            DebugValue::Gauge(age) => Some(age.0),
            _ => None,
        })
    };
    let before = node.cache.status().log_age.unwrap();
    clock.advance(Duration::from_secs(100));
    eventually("what it knows is old", || {
        age().is_some_and(|age| age >= before.as_secs_f64() + 99.0)
    })
    .await;
    way.cut_log(false);
    eventually("it is told anew", || age().is_some_and(|age| age < 99.0)).await;
    store.fail(true);
    let _ = node.stock.remove("tea").await.unwrap();
    tells("a change waits", &[("bilten_cache_waiting", 1.0)]).await;
}

#[tokio::test(start_paused = true)]
async fn a_cache_in_memory_alone_tells_what_it_keeps() {
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    let guard = metrics::set_default_local_recorder(&recorder);
    let node = Node::alone().await;
    drop(guard);
    for key in ["tea", "milk", "rice"] {
        let _ = node.stock.set(key, 1).await.unwrap();
    }
    for _ in 0..60 {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let metrics = snapshotter.snapshot().into_vec();
        let told = |name: &str| {
            let of_name = metrics.iter().find(|(key, ..)| key.key().name() == name);
            match of_name.map(|(.., value)| value) {
                Some(DebugValue::Gauge(value)) => value.into_inner(),
                other => panic!("{name}: {other:?}"),
            }
        };
        if told("bilten_cache_memory_entries") == 3.0 && told("bilten_cache_memory_bytes") > 0.0 {
            return;
        }
    }
    panic!("the gauges never say three");
}

#[tokio::test]
async fn memory_stays_within_its_budget() {
    let cache = Cache::builder("shop")
        .memory_bytes(1 << 20)
        .build()
        .await
        .unwrap();
    let texts = cache.region::<u32, String>("text").build().unwrap();
    for key in 0..200 {
        let _ = texts.set(&key, "x".repeat(64 << 10)).await.unwrap();
    }
    let status = cache.status();
    assert!(
        status.memory_bytes <= 1 << 20 && status.memory_entries <= 16,
        "{status}"
    );
    assert!(status.memory_entries > 0);
}

#[tokio::test]
async fn a_weigher_decides_what_a_value_weighs() {
    let cache = Cache::builder("shop").build().await.unwrap();
    let region = cache
        .region::<u32, u32>("heavy")
        .weigher(|_| 10_000)
        .build()
        .unwrap();
    let _ = region.set(&1, 1).await.unwrap();
    let status = cache.status();
    assert!((10_000..11_000).contains(&status.memory_bytes), "{status}");
}

#[tokio::test]
async fn without_memory_every_read_goes_to_l2() {
    let store = FaultyRemote::new();
    let node = Node::of(
        Cache::builder("shop")
            .memory_bytes(0)
            .remote(store)
            .build()
            .await
            .unwrap(),
    );
    let _ = node.stock.set("tea", 1).await.unwrap();
    assert_eq!(node.stock.get("tea").await.as_deref(), Some(&1));
    assert_eq!(node.cache.status().memory_entries, 0);
}

#[tokio::test]
async fn the_future_of_get_or_load_is_small() {
    let node = Node::alone().await;
    let future = node
        .stock
        .get_or_load("tea", async |_| Ok::<_, io::Error>(1));
    assert!(
        size_of_val(&future) <= 512,
        "{} bytes",
        size_of_val(&future)
    );
}

#[tokio::test]
async fn a_large_loader_is_in_the_future_of_its_read_once_and_a_write_twice() {
    let node = Node::on(&FaultyRemote::new()).await;
    let room = [7_u8; 4_096];
    let load = move || async move |_| Ok::<_, io::Error>(u32::from(room[9]));
    let large = size_of_val(&load());
    assert!(large >= 4_096);
    let write = async move { Ok::<_, io::Error>(u32::from(room[9])) };
    let written = size_of_val(&write);
    let call = node.stock.call();
    let futures = [
        ("get", size_of_val(&node.stock.get("tea")), 0, 1_024),
        ("set", size_of_val(&node.stock.set("tea", 1)), 0, 2_048),
        ("remove", size_of_val(&node.stock.remove("tea")), 0, 1_024),
        (
            "get_or_load",
            size_of_val(&node.stock.get_or_load("tea", load())),
            large,
            512,
        ),
        (
            "call",
            size_of_val(&call.get_or_load("tea", load())),
            large,
            1_024,
        ),
        (
            "write_through",
            size_of_val(&node.stock.write_through("tea", write)),
            2 * written,
            1_024,
        ),
    ];
    for (name, size, own, _) in futures {
        println!("{name}: {size} of which {own}");
    }
    for (name, size, own, most) in futures {
        assert!(size <= own + most, "{name}: {size} of which {own}");
    }
}

/// Polls a future that is ready.
fn now<T>(work: impl Future<Output = T>) -> T {
    let mut work = std::pin::pin!(work);
    match work.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        std::task::Poll::Ready(done) => done,
        std::task::Poll::Pending => panic!("a hit never waits"),
    }
}

#[tokio::test]
async fn a_hit_allocates_nothing_whatever_the_region_and_the_policy() {
    type Setting = fn(RegionBuilder<str, u32>) -> RegionBuilder<str, u32>;
    let settings: [(&str, Setting); 4] = [
        ("idle", |r| r.time_to_idle(Duration::from_secs(60))),
        ("ahead", |r| r.refresh_ahead(0.9)),
        ("early", |r| r.refresh_early(1.0)),
        ("stale", |r| {
            r.stale_while_revalidate(Duration::from_secs(60))
        }),
    ];
    for (policy, choose) in POLICIES {
        let store = FaultyRemote::new();
        let cache = choose(Cache::builder("shop").remote(store));
        let cache = cache.build().await.unwrap();
        // Somebody listened once, and left.
        drop(cache.events());
        for (name, setting) in settings {
            let region = setting(cache.region(name)).build().unwrap();
            let _ = region.set("tea", 1).await.unwrap();
            let hits = || {
                assert!(region.peek("tea").is_some());
                assert!(now(region.get("tea")).is_some());
                let load = async |_| Err::<u32, _>(io::Error::other("must not run"));
                assert!(now(region.get_or_load("tea", load)).is_ok());
            };
            hits();
            let counted = allocation_counter::measure(|| (0..200).for_each(|_| hits()));
            assert_eq!(counted.count_total, 0, "{policy}, {name}");
            let many = || assert!(now(region.get_many(&["tea", "tea"]))[1].is_some());
            let counted = allocation_counter::measure(|| (0..200).for_each(|_| many()));
            assert_eq!(
                counted.count_total, 200,
                "{policy}, {name}: the answer itself"
            );
        }
    }
}

#[tokio::test]
async fn every_metric_has_a_help_text() {
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    let guard = metrics::set_default_local_recorder(&recorder);
    let node = Node::on(&FaultyRemote::new()).await;
    drop(guard);
    node.load("tea", 1).await;
    let metrics = snapshotter.snapshot().into_vec();
    assert!(metrics.len() > 15, "{}", metrics.len());
    for (key, _, help, _) in &metrics {
        assert!(
            help.as_ref().is_some_and(|help| !help.is_empty()),
            "{key:?}"
        );
    }
}
