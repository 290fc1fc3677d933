//! Calls for many keys, of one node or two, in the middle of each other and of changes; and what changes everything while one key is
//! loaded elsewhere.

use std::future::Future;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bilten_cache::test_util::{Call, FaultyRemote, ManualClock, Moment};
use bilten_cache::{Ack, Cache, Error, Loaded, Pattern, Region};
use tokio::task::JoinHandle;

use crate::harness::{DEADLINE, Held, Node, eventually, held};

async fn two_nodes() -> (FaultyRemote, Node, Node) {
    let store = FaultyRemote::new();
    let (one, two) = (Node::patient(&store).await, Node::patient(&store).await);
    (store, one, two)
}

type Asked = Arc<Mutex<Vec<&'static str>>>;
type Found = Result<Vec<Option<Arc<u32>>>, Error>;

/// Starts a call whose loader waits for the test, and writes down what it is asked for.
fn start_many(node: &Node, keys: &[&'static str], asked: &Asked) -> (Held, JoinHandle<Found>) {
    let (load, held) = held();
    let (stock, keys, asked) = (node.stock.clone(), keys.to_vec(), Arc::clone(asked));
    let load = Mutex::new(Some(load));
    let many = async move {
        let load = move |missing: Vec<&'static str>| {
            asked.lock().unwrap().extend(&missing);
            let load = load.lock().unwrap().take().expect("it is called once");
            async move {
                let value = load.run().await?;
                Ok::<_, io::Error>(missing.into_iter().map(move |key| (key, value)))
            }
        };
        stock.get_or_load_many(keys, load).await
    };
    (held, tokio::spawn(many))
}

async fn ends<T>(work: impl Future<Output = T>) -> T {
    let ended = tokio::time::timeout(DEADLINE, work).await;
    ended.expect("nobody waits in a circle")
}

#[tokio::test]
async fn calls_that_wait_for_each_others_keys_load_each_once_and_in_no_circle() {
    let (_store, one, two) = two_nodes().await;
    let asked = [(); 3].map(|()| Asked::default());
    let (mut first, ab) = start_many(&one, &["a", "b"], &asked[0]);
    first.started().await;
    // It has `c` and waits for `b`, which the first one has.
    let (mut second, bc) = start_many(&two, &["b", "c"], &asked[1]);
    second.started().await;
    assert_eq!(*asked[1].lock().unwrap(), ["c"], "another loads b");
    // It waits for both.
    let (_never, ca) = start_many(&one, &["c", "a"], &asked[2]);
    eventually("it waits for a", || one.stock.stats().coalesced >= 1).await;
    second.finish(2);
    first.finish(1);
    let values = |found: Found| -> Vec<u32> {
        let found = found.unwrap().into_iter();
        found.map(|value| *value.expect("all are found")).collect()
    };
    assert_eq!(values(ends(ab).await.unwrap()), [1, 1]);
    assert_eq!(values(ends(bc).await.unwrap()), [1, 2]);
    assert_eq!(values(ends(ca).await.unwrap()), [2, 1]);
    let mut all: Vec<_> = asked
        .iter()
        .flat_map(|asked| asked.lock().unwrap().clone())
        .collect();
    all.sort_unstable();
    assert_eq!(all, ["a", "b", "c"]);
}

#[tokio::test]
async fn a_remove_during_a_load_of_many_takes_its_key_and_leaves_the_others() {
    let (store, one, two) = two_nodes().await;
    let (mut held, many) = start_many(&one, &["k1", "k2", "k3"], &Asked::default());
    held.started().await;
    assert_eq!(two.stock.remove("k2").await.unwrap(), Ack::Everywhere);
    eventually("the record arrived", || {
        one.cache.status().log_position >= 1
    })
    .await;
    held.finish(7);
    let found = ends(many).await.unwrap().unwrap();
    assert!(found.iter().all(|value| value.as_deref() == Some(&7)));
    eventually("the others are stored, and this one is refused", || {
        let there = ["k1", "k3"].map(|key| store.bytes(&format!("stock:{key}")).is_some());
        there == [true, true] && one.stock.stats().stores_refused == 1
    })
    .await;
    assert_eq!(store.bytes("stock:k2"), None);
    assert_eq!(one.stock.peek("k2"), None);
    assert!(one.stock.peek("k1").is_some() && one.stock.peek("k3").is_some());
}

#[tokio::test]
async fn an_answer_for_many_keys_that_a_remove_overtook_does_not_fill_l1_with_its_key() {
    let (store, node, other) = two_nodes().await;
    for key in ["k1", "k2"] {
        let _ = other.stock.set(key, 1).await.unwrap();
    }
    let answer = store.trap(Call::Read, Moment::After);
    let reader = tokio::spawn({
        let node = node.clone();
        async move { node.stock.get_many(&["k1", "k2"]).await }
    });
    answer.caught().await;
    assert_eq!(node.stock.remove("k1").await.unwrap(), Ack::Everywhere);
    answer.release();
    let found = ends(reader).await.unwrap();
    let found = [&found[0], &found[1]].map(Option::as_deref);
    assert_eq!(
        found,
        [None, Some(&1)],
        "the one is known to be gone by now"
    );
    assert_eq!(node.stock.peek("k1"), None);
    assert_eq!(node.stock.peek("k2").as_deref(), Some(&1));
    assert_eq!(node.stock.get("k1").await, None);
}

/// What changes more than one key.
async fn widely(node: &Node, how: &str) {
    let pattern = async |glob| {
        let pattern = Pattern::glob(glob).unwrap();
        node.cache.invalidate_pattern(&pattern).await
    };
    let ack = match how {
        "tag" => node.cache.invalidate_tag("hot").await,
        "glob" => pattern("stock:*a").await,
        "prefix" => pattern("stock:t*").await,
        "region" => node.stock.clear().await,
        _ => node.cache.clear().await,
    };
    assert_eq!(ack, Ack::Everywhere, "{how}");
}

fn start_tagged(stock: &Region<str, u32>) -> (Held, JoinHandle<Result<Arc<u32>, Error>>) {
    let (load, held) = held();
    let stock = stock.clone();
    let load = async move |_| {
        let value = load.run().await?;
        Ok::<_, io::Error>(Loaded::new(value).tags(["hot"]))
    };
    let reader = tokio::spawn(async move { stock.get_or_load("tea", load).await });
    (held, reader)
}

#[tokio::test]
async fn what_another_node_invalidates_widely_during_a_load_is_valid_nowhere() {
    for how in ["tag", "glob", "prefix", "region", "all"] {
        for hears_of_it_late in [false, true] {
            let store = FaultyRemote::new();
            let way = store.another_node();
            let cache = Cache::builder("shop").remote(way.clone()).build().await;
            let (one, two) = (Node::of(cache.unwrap()), Node::on(&store).await);
            let (mut held, reader) = start_tagged(&one.stock);
            held.started().await;
            // From here on nothing new comes through, also from a read that is under way.
            way.cut_log(hears_of_it_late);
            widely(&two, how).await;
            if !hears_of_it_late {
                eventually("the record arrived", || {
                    one.cache.status().log_position == 1
                })
                .await;
            }
            held.finish(1);
            assert_eq!(*ends(reader).await.unwrap().unwrap(), 1, "{how}");
            eventually("it is stored", || store.bytes("stock:tea").is_some()).await;
            assert_eq!(two.stock.get("tea").await, None, "{how}");
            let late = Node::on(&store).await;
            assert_eq!(late.stock.get("tea").await, None, "{how}");
            way.cut_log(false);
            eventually("the record arrived", || {
                one.cache.status().log_position == 1
            })
            .await;
            assert_eq!(one.stock.peek("tea"), None, "{how}");
            assert_eq!(one.stock.get("tea").await, None, "{how}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_tag_invalidated_while_a_caller_has_the_stale_value_discards_the_late_result() {
    const LIFE: Duration = Duration::from_secs(60);
    let (store, clock) = (FaultyRemote::new(), ManualClock::new());
    let open = async || {
        let builder = Cache::builder("shop").remote(store.another_node());
        let cache = builder.clock(&clock).build().await.unwrap();
        let stock = cache.region::<str, u32>("stock");
        let stock = stock.time_to_live(LIFE).stale_if_error(LIFE * 100);
        let stock = stock.soft_timeout(Duration::from_secs(1)).build().unwrap();
        Node { cache, stock }
    };
    let (one, two) = (open().await, open().await);
    let (held, reader) = start_tagged(&one.stock);
    held.finish(1);
    assert_eq!(*reader.await.unwrap().unwrap(), 1);
    clock.advance(LIFE);
    let (mut held, reader) = start_tagged(&one.stock);
    held.started().await;
    assert_eq!(*reader.await.unwrap().unwrap(), 1, "the stale one, soon");
    let before = one.cache.status().log_position;
    assert_eq!(two.cache.invalidate_tag("hot").await, Ack::Everywhere);
    eventually("the record arrived", || {
        one.cache.status().log_position > before
    })
    .await;
    held.finish(2);
    eventually("the late result is not kept", || {
        one.stock.stats().fills_refused == 1
    })
    .await;
    assert_eq!(one.stock.peek("tea"), None);
    for node in [&one, &two, &open().await] {
        assert_eq!(node.stock.get("tea").await, None);
    }
}
