//! Writes that overlap: the later commit is kept, or neither.

use std::io;
use std::sync::Arc;

use bilten_cache::remote::{Lease, Remote};
use bilten_cache::status::Connection;
use bilten_cache::test_util::{Call, FaultyRemote, Moment};
use bilten_cache::{Cache, Pattern, Redis, RedisClient};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::harness::{Node, PATIENCE, eventually, in_step, unique, with_each_client};
use crate::hooked::Hooked;

/// A write whose test says when it commits, and when its caller hears of that.
struct Write {
    begun: Option<oneshot::Receiver<()>>,
    commit: Option<oneshot::Sender<u32>>,
    task: JoinHandle<u32>,
}

impl Write {
    /// Begins it: when this returns the source is being written.
    async fn begin(node: &Node) -> Self {
        let (begins, begun) = oneshot::channel();
        let (commit, committed) = oneshot::channel();
        let stock = node.stock.clone();
        let write = async move {
            let _ = begins.send(());
            committed
                .await
                .map_err(|_| io::Error::other("the test let go"))
        };
        let task = async move { *stock.write_through("tea", write).await.unwrap() };
        let mut write = Self {
            begun: Some(begun),
            commit: Some(commit),
            task: tokio::spawn(task),
        };
        write.begun.take().unwrap().await.unwrap();
        write
    }

    /// Lets the source answer with this value.
    fn commit(&mut self, value: u32) {
        self.commit.take().unwrap().send(value).unwrap();
    }

    async fn end(self) {
        self.task.await.unwrap();
    }
}

/// What reads of all nodes find, where nothing may be older than `newest`.
async fn never_older(nodes: &[&Node], newest: u32, order: &str) {
    for node in nodes {
        let found = node.stock.get("tea").await;
        assert!(
            found.is_none() || found.as_deref() == Some(&newest),
            "{order}: {found:?}"
        );
    }
}

/// The two commit in turn, the first one last hears of it: its value must not stay.
async fn the_first_commit_is_stored_last(one: &Node, two: &Node) {
    let mut first = Write::begin(one).await;
    let mut second = Write::begin(two).await;
    second.commit(2);
    second.end().await;
    first.commit(1);
    first.end().await;
    never_older(&[one, two], 2, "the first commit, stored last").await;
}

async fn the_second_begins_and_ends_within_the_first(one: &Node, two: &Node) {
    let mut first = Write::begin(one).await;
    let mut second = Write::begin(two).await;
    second.commit(1);
    second.end().await;
    let mut third = Write::begin(two).await;
    third.commit(2);
    // The first commits last, and is stored before the third.
    first.commit(3);
    first.end().await;
    third.end().await;
    never_older(&[one, two], 3, "a third within the first").await;
}

async fn writes_in_turn_are_kept(one: &Node, two: &Node) {
    for (node, value) in [(one, 7), (two, 8), (one, 9)] {
        // The record of an earlier write, heard during a later one, is taken for news.
        in_step(one, two).await;
        let mut write = Write::begin(node).await;
        write.commit(value);
        write.end().await;
        assert_eq!(node.stock.peek("tea").as_deref(), Some(&value));
    }
    assert_eq!(one.stock.get("tea").await.as_deref(), Some(&9));
}

/// Whatever invalidates the key while the source is being written may be newer than what is written.
async fn what_changes_meanwhile_is_newer(one: &Node, other: &Node) {
    let teas = Pattern::glob("stock:t*").unwrap();
    for how in 0..5 {
        let mut write = Write::begin(one).await;
        let _ = match how {
            0 => other.stock.remove("tea").await.unwrap(),
            1 => other.stock.expire("tea").await.unwrap(),
            2 => other.cache.invalidate_pattern(&teas).await,
            3 => other.stock.clear().await,
            _ => other.cache.clear().await,
        };
        write.commit(how);
        write.end().await;
        eventually("it is gone from memory", || one.stock.peek("tea").is_none()).await;
        for node in [other, one] {
            assert_eq!(node.stock.get("tea").await, None, "{how}");
        }
    }
}

async fn all(one: &Node, two: &Node) {
    writes_in_turn_are_kept(one, two).await;
    the_first_commit_is_stored_last(one, two).await;
    the_second_begins_and_ends_within_the_first(one, two).await;
    writes_in_turn_are_kept(one, two).await;
    what_changes_meanwhile_is_newer(one, two).await;
}

#[tokio::test]
async fn of_overlapping_writes_in_memory_only_no_older_one_stays() {
    let node = Node::alone().await;
    all(&node, &node.clone()).await;
}

#[tokio::test]
async fn of_overlapping_writes_of_one_process_no_older_one_stays() {
    let node = Node::on(&FaultyRemote::new()).await;
    all(&node, &node.clone()).await;
}

#[tokio::test]
async fn of_overlapping_writes_of_two_processes_no_older_one_stays() {
    let store = FaultyRemote::new();
    let (one, two) = (Node::on(&store).await, Node::on(&store).await);
    all(&one, &two).await;
    let memory = |node: &Node| node.cache.memory_region("own").build().unwrap();
    let [one, two] = [&one, &two].map(|node| Node {
        stock: memory(node),
        ..node.clone()
    });
    the_first_commit_is_stored_last(&one, &two).await;
    // One at a time is kept, by the process that wrote it.
    for (node, other, value) in [(&one, &two, 7), (&two, &one, 8), (&one, &two, 9)] {
        let _ = other.stock.set("tea", 0).await.unwrap();
        let mut write = Write::begin(node).await;
        write.commit(value);
        write.end().await;
        assert_eq!(node.stock.peek("tea").as_deref(), Some(&value));
        eventually("the other one's is gone", || {
            other.stock.peek("tea").is_none()
        })
        .await;
        let free = node
            .stock
            .get_or_load("tea", async |_| Ok::<_, io::Error>(0));
        assert_eq!(*free.await.unwrap(), value);
    }
    let lease = store.lease("own:tea", 1, std::time::Duration::from_secs(1), Some(&[]));
    assert_eq!(
        lease.await.unwrap(),
        Lease::Owned,
        "no claim is left behind"
    );
}

/// The store of the first write is held until the second has begun, committed and stored.
#[tokio::test]
async fn a_write_that_begins_before_the_other_is_stored_overlaps() {
    let store = FaultyRemote::new();
    let (one, two) = (Node::patient(&store).await, Node::patient(&store).await);
    for step in [Call::Claim, Call::Store, Call::EndWrite] {
        let mut first = Write::begin(&one).await;
        let trap = store.trap(step, Moment::Before);
        first.commit(1);
        trap.caught().await;
        let mut second = Write::begin(&two).await;
        second.commit(2);
        second.end().await;
        trap.release();
        first.end().await;
        never_older(&[&one, &two], 2, &format!("held at {step:?}")).await;
    }
}

/// The other process has heard the source's answer, changed the source again and removed the key, and the writer does not know.
#[tokio::test]
async fn what_a_removal_overtook_is_never_stored() {
    let store = FaultyRemote::new();
    let (way, two) = (store.another_node(), Node::on(&store).await);
    let cache = Cache::builder("shop").remote(way.clone()).build().await;
    let one = Node::of(cache.unwrap());
    way.cut_log(true);
    let mut write = Write::begin(&one).await;
    let _ = two.stock.remove("tea").await.unwrap();
    let stores = store.calls(Call::Store);
    write.commit(1);
    write.end().await;
    assert_eq!(store.calls(Call::Store), stores, "not for a moment");
    never_older(&[&two, &one], 2, "removed meanwhile").await;
    for many in [false, true] {
        let mut write = Write::begin(&one).await;
        write.commit(1);
        match many {
            false => drop(two.stock.set("tea", 2).await.unwrap()),
            true => drop(two.stock.set_many([("tea", 2)]).await),
        }
        write.end().await;
        never_older(&[&two, &one], 2, "set meanwhile").await;
    }
    way.cut_log(false);
    eventually("it hears again", || {
        one.cache.status().connection == Connection::Connected
    })
    .await;
    writes_in_turn_are_kept(&two, &one).await;
}

#[tokio::test]
async fn without_word_from_the_second_level_a_write_counts_as_overlapped() {
    let store = FaultyRemote::new();
    let (one, two) = (Node::on(&store).await, Node::on(&store).await);
    for (call, value) in [(Call::BeginWrite, 1), (Call::EndWrite, 2)] {
        let lost = store.hold_back(call);
        let write = async move { Ok::<_, io::Error>(value) };
        one.stock.write_through("tea", write).await.unwrap();
        drop(lost);
        assert_eq!(one.stock.peek("tea"), None, "{call:?}");
        assert_eq!(two.stock.get("tea").await, None, "{call:?}");
    }
}

#[tokio::test]
async fn a_store_that_knows_of_no_writes_keeps_none() {
    let store = FaultyRemote::new();
    let remote = Hooked::new(Arc::new(store.another_node()));
    let node = Node::of(Cache::builder("shop").remote(remote).build().await.unwrap());
    let write = async { Ok::<_, io::Error>(1) };
    node.stock.write_through("tea", write).await.unwrap();
    assert_eq!(
        (node.stock.peek("tea"), store.bytes("stock:tea")),
        (None, None)
    );
}

#[tokio::test]
async fn a_write_that_is_dropped_stands_in_nobodys_way() {
    let store = FaultyRemote::new();
    let (one, two) = (Node::on(&store).await, Node::on(&store).await);
    let dropped = Write::begin(&one).await;
    dropped.task.abort();
    let before = store.calls(Call::EndWrite);
    eventually("it has ended", || store.calls(Call::EndWrite) > before).await;
    eventually("nothing is under way", || one.cache.status().waiting == 0).await;
    writes_in_turn_are_kept(&two, &one).await;
}

#[tokio::test]
async fn a_write_that_is_dropped_before_it_began_stands_in_nobodys_way() {
    let store = FaultyRemote::new();
    let (one, two) = (Node::patient(&store).await, Node::patient(&store).await);
    let _ = one.stock.set("tea", 1).await.unwrap();
    let told = store.trap(Call::BeginWrite, Moment::After);
    let stock = one.stock.clone();
    let dropped = tokio::spawn(async move {
        let write = std::future::ready(Ok::<_, io::Error>(2));
        stock.write_through("tea", write).await.map(|_| ())
    });
    told.caught().await;
    dropped.abort();
    assert!(dropped.await.unwrap_err().is_cancelled());
    told.release();
    eventually("it has ended", || store.calls(Call::EndWrite) == 1).await;
    assert_eq!(
        one.stock.peek("tea").as_deref(),
        Some(&1),
        "nothing was written, so nothing is old"
    );
    writes_in_turn_are_kept(&two, &one).await;
}

async fn a_real_server_knows_of_writes_that_overlap(client: RedisClient) {
    let name = unique();
    let node = async || {
        let redis = Redis::url(bilten_testbed::shared::redis().unwrap()).client(client);
        let cache = Cache::builder(&name).redis(redis).remote_budget(PATIENCE);
        Node::of(cache.build().await.unwrap())
    };
    all(&node().await, &node().await).await;
}

with_each_client!(a_real_server_knows_of_writes_that_overlap);
