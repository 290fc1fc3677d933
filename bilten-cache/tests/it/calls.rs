//! Calls that do something in another way than their region, and caches that only read.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bilten_cache::status::Connection;
use bilten_cache::test_util::{Call, FaultyRemote, ManualClock};
use bilten_cache::{Ack, Cache, Error, Loaded, Pattern, Redis};
use bilten_testbed::Redis as Server;

use crate::harness::{Node, eventually, held, unique};

async fn load_in(call: &bilten_cache::call::Call<'_, str, u32>, value: u32) -> u32 {
    let load = async move |_| Ok::<_, io::Error>(value);
    *call.get_or_load("tea", load).await.unwrap()
}

#[tokio::test]
async fn a_call_takes_no_value_from_the_levels_it_skips() {
    let store = FaultyRemote::new();
    let (one, two) = (Node::on(&store).await, Node::on(&store).await);
    let _ = one.stock.set("tea", 1).await.unwrap();
    let stock = &one.stock;
    let reads = store.calls(Call::Read);
    assert_eq!(
        stock.call().skip_remote_read().get("tea").await.as_deref(),
        Some(&1)
    );
    assert_eq!(two.stock.call().skip_remote_read().get("tea").await, None);
    assert_eq!(store.calls(Call::Read), reads);
    assert_eq!(
        stock.call().skip_memory_read().get("tea").await.as_deref(),
        Some(&1)
    );
    assert_eq!(store.calls(Call::Read), reads + 1);
    assert_eq!(
        load_in(&stock.call().skip_memory_read(), 2).await,
        1,
        "from the second level"
    );
    assert_eq!(load_in(&stock.call().anew(), 2).await, 2);
    assert_eq!(stock.peek("tea").as_deref(), Some(&2));
    eventually("it is stored over the old one", || {
        store.calls(Call::Store) == 2
    })
    .await;
    assert_eq!(two.stock.get("tea").await.as_deref(), Some(&2));
}

#[tokio::test]
async fn a_call_keeps_nothing_in_the_levels_it_skips() {
    let store = FaultyRemote::new();
    let node = Node::on(&store).await;
    let stock = &node.stock;
    assert_eq!(load_in(&stock.call().skip_memory_write(), 1).await, 1);
    assert_eq!(stock.peek("tea"), None);
    eventually("it is stored", || store.bytes("stock:tea").is_some()).await;
    let _ = stock.remove("tea").await.unwrap();
    let leases = store.calls(Call::Lease);
    assert_eq!(load_in(&stock.call().skip_remote_write(), 2).await, 2);
    assert_eq!(stock.peek("tea").as_deref(), Some(&2));
    assert_eq!(
        (store.bytes("stock:tea"), store.calls(Call::Lease)),
        (None, leases)
    );

    let ack = stock
        .call()
        .skip_memory_write()
        .set("tea", 3)
        .await
        .unwrap();
    assert_eq!((ack, stock.peek("tea")), (Ack::Everywhere, None));
    let other = Node::on(&store).await;
    assert_eq!(other.stock.get("tea").await.as_deref(), Some(&3));
    let ack = stock
        .call()
        .skip_remote_write()
        .set("tea", 4)
        .await
        .unwrap();
    assert_eq!((ack, store.bytes("stock:tea")), (Ack::Everywhere, None));
    assert_eq!(stock.peek("tea").as_deref(), Some(&4));
    eventually("the other hears of it", || {
        other.stock.peek("tea").is_none()
    })
    .await;
}

#[tokio::test]
async fn a_call_has_a_time_to_live_of_its_own_unless_the_loader_has() {
    let clock = ManualClock::new();
    let cache = Cache::builder("shop").clock(&clock).build().await.unwrap();
    let stock = &Node::of(cache).stock;
    let short = stock.call().time_to_live(Duration::from_secs(5));
    load_in(&short, 1).await;
    clock.advance(Duration::from_secs(5));
    assert_eq!(stock.peek("tea"), None);
    let longer =
        async move |_| Ok::<_, io::Error>(Loaded::new(2).time_to_live(Duration::from_secs(9)));
    short.get_or_load("tea", longer).await.unwrap();
    clock.advance(Duration::from_secs(8));
    assert_eq!(stock.peek("tea").as_deref(), Some(&2));
    let _ = short.set("tea", 3).await.unwrap();
    clock.advance(Duration::from_secs(5));
    assert_eq!(stock.peek("tea"), None);
    let never = stock.call().time_to_live(Duration::ZERO);
    assert_eq!((load_in(&never, 4).await, stock.peek("tea")), (4, None));
}

#[tokio::test]
async fn a_load_anew_waits_for_none_that_began_before() {
    let node = Node::on(&FaultyRemote::new()).await;
    let (mut old, old_reader) = node.start_load("tea");
    old.started().await;
    assert_eq!(load_in(&node.stock.call().anew(), 2).await, 2);
    old.finish(1);
    assert_eq!(*old_reader.await.unwrap().unwrap(), 1);
    assert_eq!(
        node.stock.peek("tea").as_deref(),
        Some(&2),
        "and what began before does not replace it"
    );
}

#[tokio::test]
async fn nobody_waits_for_a_load_that_is_kept_in_fewer_places() {
    let node = Node::on(&FaultyRemote::new()).await;
    let (load, mut alone) = held();
    let stock = node.stock.clone();
    let reader = tokio::spawn(async move {
        let call = stock.call().skip_memory_write().skip_remote_write();
        call.get_or_load("tea", move |_| load.run()).await
    });
    alone.started().await;
    assert_eq!(node.load("tea", 2).await, 2, "a load of its own");
    alone.finish(1);
    assert_eq!(*reader.await.unwrap().unwrap(), 1);
    assert_eq!(node.stock.peek("tea").as_deref(), Some(&2));
}

/// Everything that a store hears of a node.
fn heard(store: &FaultyRemote) -> u64 {
    let calls = [
        Call::Lease,
        Call::Store,
        Call::Renew,
        Call::Release,
        Call::Claim,
        Call::Invalidate,
        Call::Snapshot,
        Call::Discard,
        Call::Demand,
        Call::BeginWrite,
    ];
    calls.map(|call| store.calls(call)).iter().sum()
}

fn read_only(store: &FaultyRemote) -> bilten_cache::CacheBuilder {
    Cache::builder("shop")
        .read_only()
        .remote(store.another_node())
}

#[tokio::test]
async fn a_read_only_cache_serves_and_listens_and_changes_nothing() {
    let store = FaultyRemote::new();
    let early = Node::of(read_only(&store).build().await.unwrap());
    assert_eq!(early.load("tea", 9).await, 9);
    assert_eq!(heard(&store), 0, "not even the beginning of a log");

    let writer = Node::on(&store).await;
    let _ = writer.stock.set("tea", 1).await.unwrap();
    eventually("the early one found the log", || {
        early.cache.status().connection == Connection::Connected
    })
    .await;
    let reader = Node::of(read_only(&store).build().await.unwrap());
    let before = heard(&store);
    assert_eq!(reader.stock.get("tea").await.as_deref(), Some(&1));
    assert_eq!(reader.load("milk", 2).await, 2);
    let kept = (reader.stock.peek("milk"), store.bytes("stock:milk"));
    assert_eq!(kept, (Some(Arc::new(2)), None), "in its memory only");
    assert!(reader.cache.sweep().await.finished);
    assert_eq!(heard(&store), before);
    let _ = writer.stock.remove("tea").await.unwrap();
    eventually("it hears of the removal", || {
        reader.stock.peek("tea").is_none()
    })
    .await;
}

#[tokio::test]
async fn a_read_only_cache_refuses_changes_and_says_so() {
    let store = FaultyRemote::new();
    let writer = Node::on(&store).await;
    let _ = writer.stock.set("tea", 1).await.unwrap();
    let reader = Node::of(read_only(&store).build().await.unwrap());
    let (stock, before) = (&reader.stock, heard(&store));
    for outcome in [
        stock.set("tea", 3).await,
        stock.remove("tea").await,
        stock.expire("tea").await,
        stock.remove_many(["tea"]).await,
        stock.after("7").remove("tea").await,
        stock.call().set("tea", 4).await,
    ] {
        assert!(
            matches!(outcome, Err(Error::ReadOnly { .. })),
            "{outcome:?}"
        );
    }
    let writes = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&writes);
    let write = async move {
        counted.fetch_add(1, Ordering::SeqCst);
        Ok::<_, io::Error>(5)
    };
    let refused = stock.write_through("tea", write).await;
    assert!(matches!(refused, Err(Error::ReadOnly { .. })));
    assert_eq!(
        writes.load(Ordering::SeqCst),
        0,
        "the source is not written either"
    );
    let pattern = Pattern::prefix("a");
    for ack in [
        stock.clear().await,
        reader.cache.clear().await,
        reader.cache.invalidate_tag("tea").await,
        reader.cache.invalidate_tag(&"t".repeat(257)).await,
        stock.remove_many(Vec::<&str>::new()).await.unwrap(),
        reader.cache.invalidate_pattern(&pattern).await,
        reader.cache.after("7").clear().await,
    ] {
        assert_eq!(ack, Ack::ReadOnly);
    }
    assert_eq!(heard(&store), before);
    assert_eq!(stock.get("tea").await.as_deref(), Some(&1));
}

#[tokio::test]
async fn a_region_may_be_read_only_by_itself() {
    let store = FaultyRemote::new();
    let node = Node::on(&store).await;
    let shown = node
        .cache
        .region::<i64, u32>("shown")
        .read_only()
        .build()
        .unwrap();
    assert_eq!(
        *shown
            .get_or_load(&1, async |_| Ok::<_, io::Error>(1))
            .await
            .unwrap(),
        1
    );
    assert_eq!(store.bytes("shown:1"), None);
    assert!(matches!(
        shown.set(&1, 2).await,
        Err(Error::ReadOnly { .. })
    ));
    assert_eq!(shown.clear().await, Ack::ReadOnly);
    assert_eq!(node.stock.set("tea", 1).await.unwrap(), Ack::Everywhere);
}

#[tokio::test]
async fn a_user_of_redis_who_may_only_read_is_enough_for_a_read_only_cache() {
    let server = Server::start().unwrap();
    let rights = [
        "ACL",
        "SETUSER",
        "viewer",
        "on",
        ">secret",
        "~*",
        "+@read",
        "+@connection",
        "+@scripting",
        "+time",
        "+info",
    ];
    server.cli(&rights).unwrap();
    let name = unique();
    let writer = Cache::builder(&name)
        .redis(Redis::url(server.url()))
        .build()
        .await
        .unwrap();
    let writer = Node::of(writer);
    assert_eq!(writer.stock.set("tea", 1).await.unwrap(), Ack::Everywhere);
    for client in [
        bilten_cache::RedisClient::Fred,
        bilten_cache::RedisClient::RedisRs,
    ] {
        let viewer = Redis::url(server.url())
            .client(client)
            .username("viewer")
            .password("secret");
        let reader = Cache::builder(&name)
            .redis(viewer)
            .read_only()
            .build()
            .await
            .unwrap();
        let reader = Node::of(reader);
        assert_eq!(
            reader.stock.get("tea").await.as_deref(),
            Some(&1),
            "{client:?}"
        );
        assert_eq!(reader.load("milk", 2).await, 2);
        let _ = writer.stock.set("tea", 1).await.unwrap();
        eventually("it hears of the change", || {
            reader.stock.peek("tea").is_none()
        })
        .await;
        assert_eq!(
            reader.stock.get("tea").await.as_deref(),
            Some(&1),
            "{client:?}"
        );
    }
}
