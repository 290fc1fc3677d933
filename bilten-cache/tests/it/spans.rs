//! What a trace shows: each load, each change, and below them each call to the second level.

use std::collections::HashMap;
use std::fmt::{Debug, Write};
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bilten_cache::test_util::{Call, FaultyRemote};
use bilten_cache::{Ack, Cache};
use tokio::time::Instant;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id};
use tracing::{Instrument, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;

use crate::harness::{DEADLINE, Node, eventually};

/// Each span of the cache as a path from its root, in the order in which they began.
#[derive(Clone, Default)]
struct Paths(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    by_id: HashMap<u64, (String, Instant)>,
    all: Vec<String>,
    /// What has ended, and how long it took.
    ended: Vec<(String, Duration)>,
}

struct Words(String);

impl Visit for Words {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        if field.name() != "cache" && field.name() != "region" {
            let _ = write!(self.0, " {value:?}");
        }
    }

    fn record_str(&mut self, _: &Field, value: &str) {
        let _ = write!(self.0, " {value}");
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Paths {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let mut words = Words(attributes.metadata().name().to_owned());
        attributes.record(&mut words);
        let parent = context.span(id).and_then(|span| span.parent());
        let mut inner = self.0.lock().unwrap();
        let above = parent.and_then(|parent| inner.by_id.get(&parent.id().into_u64()).cloned());
        let above = above.map(|(path, _)| path);
        let path = above.map_or(words.0.clone(), |above| format!("{above} > {}", words.0));
        let now = Instant::now();
        inner.by_id.insert(id.into_u64(), (path.clone(), now));
        inner.all.push(path);
    }

    fn on_close(&self, id: Id, _: Context<'_, S>) {
        let mut inner = self.0.lock().unwrap();
        if let Some((path, begun)) = inner.by_id.remove(&id.into_u64()) {
            inner.ended.push((path, begun.elapsed()));
        }
    }
}

impl Paths {
    /// Those since the last look.
    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap().all)
    }

    fn ended(&self) -> Vec<(String, Duration)> {
        std::mem::take(&mut self.0.lock().unwrap().ended)
    }
}

fn request() -> tracing::Span {
    tracing::info_span!("request")
}

async fn load(node: &Node) {
    let load = async |_| Ok::<_, io::Error>(1);
    let read = node.stock.get_or_load("tea", load);
    assert_eq!(*read.instrument(request()).await.unwrap(), 1);
}

/// What each call to the second level takes.
const TAKES: Duration = Duration::from_millis(10);

#[tokio::test(start_paused = true)]
async fn a_trace_shows_what_a_miss_and_a_change_did_below_who_asked_and_nothing_of_a_hit() {
    let paths = Paths::default();
    let subscriber = tracing_subscriber::registry().with(paths.clone());
    let _subscriber = tracing::subscriber::set_default(subscriber);
    for crowded in [false, true] {
        let store = FaultyRemote::new().reading_together();
        let cache = Cache::builder("shop").remote(store.another_node());
        let cache = if crowded { cache.crowded() } else { cache };
        let node = Node::of(cache.build().await.unwrap());
        for call in [
            Call::Read,
            Call::Lease,
            Call::Store,
            Call::Claim,
            Call::Invalidate,
        ] {
            store.takes(call, TAKES);
        }
        paths.take();
        paths.ended();
        load(&node).await;
        eventually("it is stored", || store.bytes("stock:tea").is_some()).await;
        let miss = [
            "request",
            "request > remote read",
            "request > load",
            "request > load > remote lease",
            "request > load > remote store",
        ];
        assert_eq!(paths.take(), miss);
        load(&node).await;
        assert_eq!(paths.take(), ["request"], "a hit");
        let removed = node.stock.remove("tea").instrument(request());
        assert_eq!(removed.await.unwrap(), Ack::Everywhere);
        let change = [
            "request",
            "request > invalidate key",
            "request > invalidate key > remote invalidate",
        ];
        assert_eq!(paths.take(), change);
        let set = node.stock.set("tea", 1).instrument(request());
        assert_eq!(set.await.unwrap(), Ack::Everywhere);
        let write = [
            "request",
            "request > write 1",
            "request > write 1 > remote claim",
            "request > write 1 > remote store",
        ];
        assert_eq!(paths.take(), write);
        node.cache.invalidate_tag("hot").await;
        let many = node.stock.remove_many(["tea", "jam"]).await;
        assert_eq!(many.unwrap(), Ack::Everywhere);
        let found = paths.take();
        let names = ["invalidate tag", "invalidate keys"];
        assert!(
            names
                .iter()
                .all(|name| found.iter().any(|path| path == name)),
            "{found:?}"
        );
        let below = "invalidate keys > remote invalidate".to_owned();
        assert!(found.contains(&below), "{found:?}");
        node.cache.shutdown(DEADLINE).await;
        // Each lasts as long as what it is about.
        for (path, lasted) in paths.ended() {
            let last = path.rsplit(" > ").next().unwrap();
            let is_of_a_call = ["remote", "invalidate", "write"]
                .iter()
                .any(|name| last.starts_with(name));
            assert!(!is_of_a_call || lasted >= TAKES, "{path}: {lasted:?}");
        }
    }
    // In memory alone too.
    let node = Node::alone().await;
    paths.take();
    let _ = node.cache.clear().await;
    assert_eq!(paths.take(), ["invalidate all"]);
}
