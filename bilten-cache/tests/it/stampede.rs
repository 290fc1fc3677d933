//! One load per key, whatever happens to whoever does it.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bilten_cache::test_util::{Call, FaultyRemote};
use bilten_cache::{Cache, Error};

use futures_util::FutureExt;

use crate::harness::{DEADLINE, Node, eventually, held};

#[tokio::test]
async fn a_thousand_callers_cost_one_load() {
    for node in [Node::alone().await, Node::on(&FaultyRemote::new()).await] {
        let (mut held, first) = node.start_load("tea");
        held.started().await;
        let others: Vec<_> = (0..999).map(|_| node.start_load("tea").1).collect();
        eventually("all are waiting", || node.stock.stats().coalesced == 999).await;
        held.finish(7);
        for reader in others.into_iter().chain([first]) {
            assert_eq!(*reader.await.unwrap().unwrap(), 7);
        }
        let stats = node.cache.stats();
        assert_eq!((stats.loads, stats.misses, stats.hits_memory), (1, 1000, 0));
    }
}

#[tokio::test(start_paused = true)]
async fn ten_nodes_with_a_hundred_callers_each_cost_one_load_with_the_lease() {
    let store = FaultyRemote::new();
    let mut nodes = Vec::new();
    for _ in 0..10 {
        nodes.push(Node::on(&store).await);
    }
    let (mut held, first) = nodes[0].start_load("tea");
    held.started().await;
    let others: Vec<_> = nodes
        .iter()
        .flat_map(|node| (0..100).map(|_| node.start_load("tea").1))
        .collect();
    let sum = |count: fn(&Node) -> u64| nodes.iter().map(count).sum::<u64>();
    eventually("all wait, each process with one question", || {
        sum(|node| node.stock.stats().coalesced) == 991 && store.calls(Call::Lease) >= 10
    })
    .await;
    held.finish(7);
    for reader in others.into_iter().chain([first]) {
        assert_eq!(*reader.await.unwrap().unwrap(), 7);
    }
    assert_eq!(sum(|node| node.cache.stats().loads), 1);
    assert_eq!(store.calls(Call::Store), 1);
    let reads = sum(|node| node.stock.stats().misses + node.stock.stats().hits_remote);
    assert_eq!(reads, 1_001, "each call counts once");
}

#[tokio::test]
async fn ten_nodes_with_a_hundred_callers_each_cost_one_load_for_each_node_without_the_lease() {
    let store = FaultyRemote::new();
    let mut nodes = Vec::new();
    for _ in 0..10 {
        nodes.push(Node::on(&store).await);
    }
    // Nobody gets a lease there, so no process knows of another's load.
    store.fail(true);
    let (mut helds, mut readers) = (Vec::new(), Vec::new());
    for node in &nodes {
        let (mut held, first) = node.start_load("tea");
        held.started().await;
        helds.push(held);
        readers.push(first);
        readers.extend((0..99).map(|_| node.start_load("tea").1));
    }
    let sum = |count: fn(&Node) -> u64| nodes.iter().map(count).sum::<u64>();
    eventually("all wait", || {
        sum(|node| node.stock.stats().coalesced) == 990
    })
    .await;
    helds.into_iter().for_each(|held| held.finish(7));
    for reader in readers {
        assert_eq!(*reader.await.unwrap().unwrap(), 7);
    }
    assert_eq!(sum(|node| node.cache.stats().loads), 10);
    assert_eq!(
        store.bytes("stock:tea"),
        None,
        "who has no lease stores nothing"
    );
}

#[tokio::test]
async fn a_thousand_l1_misses_cost_one_read_of_l2() {
    let store = FaultyRemote::new();
    // On a busy machine the read is held for longer than the usual budget.
    let cache = Cache::builder("shop").remote(store.another_node());
    let cache = cache.remote_budget(DEADLINE).build().await.unwrap();
    let (node, other) = (Node::of(cache), Node::on(&store).await);
    let _ = other.stock.set("tea", 7).await.unwrap();
    let reply = store.trap(Call::Read, bilten_cache::test_util::Moment::After);
    let readers: Vec<_> = (0..1000).map(|_| node.start_load("tea").1).collect();
    reply.caught().await;
    eventually("all are waiting", || node.stock.stats().coalesced == 999).await;
    reply.release();
    for reader in readers {
        assert_eq!(*reader.await.unwrap().unwrap(), 7);
    }
    assert_eq!(
        (store.calls(Call::Read), node.cache.stats().hits_remote),
        (1, 1000)
    );
}

#[tokio::test]
async fn a_leader_that_is_dropped_takes_nobody_with_it() {
    let node = Node::alone().await;
    let (mut held, leader) = node.start_load("tea");
    held.started().await;
    let follower = node.start_load("tea").1;
    eventually("the follower waits", || node.stock.stats().coalesced == 1).await;
    leader.abort();
    assert!(leader.await.unwrap_err().is_cancelled());
    held.finish(7);
    assert_eq!(*follower.await.unwrap().unwrap(), 7);
    assert_eq!(node.stock.stats().loads, 1);
}

#[tokio::test]
async fn a_load_that_everybody_left_still_fills_the_cache() {
    let node = Node::alone().await;
    let (mut held, leader) = node.start_load("tea");
    held.started().await;
    leader.abort();
    let _ = leader.await;
    held.finish(7);
    eventually("the value is there", || node.stock.peek("tea").is_some()).await;
}

#[tokio::test]
async fn five_hundred_panics_in_a_row_are_five_hundred_errors() {
    let node = Node::on(&FaultyRemote::new()).await;
    for _ in 0..500 {
        let load = async |_| -> Result<u32, io::Error> { panic!("no tea") };
        let error = node.stock.get_or_load("tea", load).await.unwrap_err();
        assert!(
            matches!(&error, Error::LoadPanicked { message, .. } if &**message == "no tea"),
            "{error}"
        );
    }
    assert_eq!(node.load("tea", 7).await, 7);
}

#[tokio::test]
async fn everybody_who_waits_for_a_load_that_panics_is_told_so() {
    let node = Node::on(&FaultyRemote::new()).await;
    let (fire, fires) = tokio::sync::oneshot::channel::<()>();
    let many = {
        let (stock, fires) = (node.stock.clone(), fires.shared());
        tokio::spawn(async move {
            let load = move |_: Vec<&'static str>| {
                let fires = fires.clone();
                async move {
                    let _ = fires.await;
                    let found: Result<Vec<(&'static str, u32)>, io::Error> = Ok(Vec::new());
                    assert!(found.is_err(), "no tea");
                    found
                }
            };
            stock.get_or_load_many(["tea"], load).await.unwrap_err()
        })
    };
    eventually("it loads", || node.stock.stats().loads == 1).await;
    let followers: Vec<_> = (0..10).map(|_| node.start_load("tea").1).collect();
    eventually("they wait", || node.stock.stats().coalesced == 10).await;
    fire.send(()).unwrap();
    let mut errors = vec![many.await.unwrap()];
    for follower in followers {
        errors.push(follower.await.unwrap().unwrap_err());
    }
    for error in errors {
        assert!(
            matches!(&error, Error::LoadPanicked { message, .. } if &**message == "no tea"),
            "{error}"
        );
    }
    let stats = node.stock.stats();
    assert_eq!((stats.loads, stats.load_errors), (1, 1));
    assert_eq!(node.load("tea", 7).await, 7);
    assert_eq!(node.stock.stats().loads, 2);
}

#[tokio::test]
async fn everybody_gets_the_leaders_own_error_and_it_is_not_cached() {
    let node = Node::alone().await;
    let (mut held, leader) = node.start_load("tea");
    held.started().await;
    let follower = node.start_load("tea").1;
    eventually("the follower waits", || node.stock.stats().coalesced == 1).await;
    drop(held);
    let mut errors = Vec::new();
    for reader in [leader, follower] {
        errors.push(reader.await.unwrap().unwrap_err());
    }
    let sources = errors.iter().map(|error| error.source_as::<io::Error>());
    let sources: Vec<&io::Error> = sources.map(Option::unwrap).collect();
    assert_eq!(sources[0].to_string(), "the test let go");
    assert!(std::ptr::eq(sources[0], sources[1]), "one and the same");
    assert_eq!(node.load("tea", 7).await, 7);
    assert_eq!(node.stock.stats().load_errors, 1);
}

#[tokio::test]
async fn a_follower_that_gives_up_disturbs_nobody() {
    let node = Node::alone().await;
    let (mut held, leader) = node.start_load("tea");
    held.started().await;
    let stock = node.stock.clone();
    let impatient = stock.get_or_load("tea", async |_| Ok::<_, io::Error>(0));
    assert!(
        tokio::time::timeout(Duration::from_millis(5), impatient)
            .await
            .is_err()
    );
    held.finish(7);
    assert_eq!(*leader.await.unwrap().unwrap(), 7);
}

#[tokio::test(start_paused = true)]
async fn a_loader_that_never_returns_is_an_error_for_all_and_the_next_call_tries_again() {
    let cache = Cache::builder("shop").build().await.unwrap();
    let stock = cache
        .region::<str, u32>("stock")
        .load_timeout(Duration::from_secs(3))
        .build()
        .unwrap();
    let never = async |_| std::future::pending::<Result<u32, io::Error>>().await;
    let (one, two) = tokio::join!(
        stock.get_or_load("tea", never),
        stock.get_or_load("tea", never)
    );
    assert!(one.unwrap_err().is_timeout() && two.unwrap_err().is_timeout());
    assert_eq!(
        *stock
            .get_or_load("tea", async |_| Ok::<_, io::Error>(7))
            .await
            .unwrap(),
        7
    );
}

#[tokio::test]
async fn a_loader_that_asks_for_its_own_key_is_told_so() {
    let node = Node::alone().await;
    let inner = node.stock.clone();
    let load = async move |_| {
        inner
            .get_or_load("tea", async |_| Ok::<_, io::Error>(1))
            .await
            .map(|value| *value)
    };
    let error = tokio::time::timeout(DEADLINE, node.stock.get_or_load("tea", load))
        .await
        .unwrap()
        .unwrap_err();
    assert!(
        matches!(error.source_as::<Error>(), Some(Error::Recursive { .. })),
        "{error:?}"
    );

    let inner = node.stock.clone();
    let load = async move |_| {
        inner
            .get_or_load("jam", async |_| Ok::<_, io::Error>(1))
            .await
            .map(|value| *value)
    };
    assert_eq!(*node.stock.get_or_load("tea", load).await.unwrap(), 1);
}

#[tokio::test]
async fn the_loads_of_a_runtime_that_shuts_down_strand_nobody() {
    let node = Node::alone().await;
    let started = Arc::new(AtomicU32::new(0));
    let other_runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    other_runtime.spawn({
        let (stock, started) = (node.stock.clone(), Arc::clone(&started));
        async move {
            let load = async move |_| {
                started.fetch_add(1, Ordering::SeqCst);
                std::future::pending::<Result<u32, io::Error>>().await
            };
            stock.get_or_load("tea", load).await
        }
    });
    eventually("the load has started", || {
        started.load(Ordering::SeqCst) == 1
    })
    .await;
    let follower = node.start_load("tea").1;
    eventually("the follower waits", || node.stock.stats().coalesced == 1).await;
    other_runtime.shutdown_background();
    assert!(matches!(
        follower.await.unwrap().unwrap_err(),
        Error::LoadAbandoned { .. }
    ));
    assert_eq!(node.load("tea", 7).await, 7);
}

#[tokio::test(start_paused = true)]
async fn a_dead_lease_holder_blocks_nobody_longer_than_its_lease() {
    let store = FaultyRemote::new();
    let dead = bilten_cache::remote::Remote::lease(
        &store,
        "stock:tea",
        1,
        Duration::from_millis(300),
        None,
    )
    .await;
    assert_eq!(dead.unwrap(), bilten_cache::remote::Lease::Owned);
    let node = Node::on(&store).await;
    let begun = tokio::time::Instant::now();
    assert_eq!(node.load("tea", 7).await, 7);
    let (least, most) = (Duration::from_millis(250), Duration::from_millis(350));
    assert!(
        (least..=most).contains(&begun.elapsed()),
        "it waited for the lease and no longer: {:?}",
        begun.elapsed()
    );
    eventually("the value was stored", || {
        store.bytes("stock:tea").is_some()
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_another_process_wakes_within_fifty_milliseconds_of_its_store() {
    for waited in [0, 3, 40, 100, 333, 1_000, 1_500] {
        let store = FaultyRemote::new();
        let (one, two) = (Node::on(&store).await, Node::on(&store).await);
        let (mut held, first) = one.start_load("tea");
        held.started().await;
        let second = two.start_load("tea").1;
        eventually("it has found the lease taken", || {
            store.calls(Call::Lease) >= 2
        })
        .await;
        tokio::time::sleep(Duration::from_millis(waited)).await;
        held.finish(7);
        eventually("it is stored", || store.bytes("stock:tea").is_some()).await;
        let stored = tokio::time::Instant::now();
        assert_eq!(*second.await.unwrap().unwrap(), 7);
        let late = stored.elapsed();
        assert!(late <= Duration::from_millis(50), "{late:?} after {waited}");
        assert_eq!(*first.await.unwrap().unwrap(), 7);
        assert_eq!(two.cache.stats().loads, 0);
    }
}

#[tokio::test]
async fn who_waits_longer_than_a_load_may_take_loads_alone_and_does_not_store() {
    let store = FaultyRemote::new();
    let cache = Cache::builder("shop")
        .remote(store.another_node())
        .build()
        .await
        .unwrap();
    let stock = cache
        .region::<str, u32>("stock")
        .load_timeout(Duration::from_millis(50))
        .build()
        .unwrap();
    // Somebody holds the lease for much longer than this node is willing to wait.
    let _ = bilten_cache::remote::Remote::lease(&store, "stock:tea", 1, DEADLINE, None).await;
    assert_eq!(
        *stock
            .get_or_load("tea", async |_| Ok::<_, io::Error>(7))
            .await
            .unwrap(),
        7
    );
    assert_eq!(stock.peek("tea").as_deref(), Some(&7));
    // Stores are made behind the caller.
    let _ = cache.shutdown(DEADLINE).await;
    assert_eq!(
        (store.calls(Call::Store), store.bytes("stock:tea")),
        (0, None)
    );
}

#[tokio::test(start_paused = true)]
async fn a_load_longer_than_its_lease_keeps_it() {
    let store = FaultyRemote::new();
    let cache = Cache::builder("shop")
        .remote(store.another_node())
        .build()
        .await
        .unwrap();
    let stock = cache
        .region::<str, u32>("stock")
        .lease(Duration::from_millis(600))
        .build()
        .unwrap();
    let slow = store.clone();
    let load = async move |_| {
        eventually("the lease was renewed several times", || {
            slow.calls(Call::Renew) >= 4
        })
        .await;
        Ok::<_, io::Error>(7)
    };
    stock.get_or_load("tea", load).await.unwrap();
    eventually("the value was stored", || {
        store.bytes("stock:tea").is_some()
    })
    .await;
}

#[tokio::test]
async fn a_long_lease_of_another_process_delays_a_load_no_longer_than_its_own_time_limit() {
    let store = FaultyRemote::new();
    let (one, two) = (Node::on(&store).await, Node::on(&store).await);
    let hour = Duration::from_secs(3_600);
    let slow = one.cache.region::<str, u32>("slow").lease(hour);
    let slow = slow.build().unwrap();
    let (load, mut held) = held();
    let holder = tokio::spawn(async move { slow.get_or_load("tea", move |_| load.run()).await });
    held.started().await;
    let quick = two.cache.region::<str, u32>("slow").lease(hour);
    let quick = quick
        .load_timeout(Duration::from_millis(50))
        .build()
        .unwrap();
    let waiting = quick.get_or_load("tea", async |_| Ok::<_, io::Error>(2));
    let loaded = tokio::time::timeout(DEADLINE, waiting).await;
    assert_eq!(*loaded.expect("it does not wait for the lease").unwrap(), 2);
    assert_eq!(store.bytes("slow:tea"), None, "storing is the holder's");
    held.finish(1);
    assert_eq!(*holder.await.unwrap().unwrap(), 1);
}
