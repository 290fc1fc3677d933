//! What a statement tells by its span.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::{Arc, Mutex, MutexGuard};

use bilten_db::sea_orm::ConnectionTrait;
use bilten_testbed::eventually_async;
use tracing::Subscriber;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};

use crate::fixture::{LIMIT, Shop, ask, until_open, who_reads};

type Fields = BTreeMap<&'static str, String>;

/// Keeps the fields of each statement's span, for the thread of one test.
#[derive(Clone, Default)]
struct Spans(Arc<Mutex<Vec<(Id, Fields)>>>);

struct Reader<'a>(&'a mut Fields);

impl Visit for Reader<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.0.insert(field.name(), format!("{value:?}"));
    }
}

impl Spans {
    fn kept(&self) -> MutexGuard<'_, Vec<(Id, Fields)>> {
        self.0.lock().unwrap()
    }
}

impl<S: Subscriber> Layer<S> for Spans {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, _: Context<'_, S>) {
        if attributes.metadata().name() == "bilten_db.statement" {
            let mut fields = Fields::new();
            attributes.record(&mut Reader(&mut fields));
            self.kept().push((id.clone(), fields));
        }
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, _: Context<'_, S>) {
        // An id may come again after its span was closed; the last is meant.
        let mut kept = self.kept();
        if let Some((_, fields)) = kept.iter_mut().rev().find(|(of, _)| of == id) {
            values.record(&mut Reader(fields));
        }
    }
}

#[tokio::test]
async fn each_statement_has_a_span_with_its_node_reason_attempt_waits_and_lag() {
    let spans = Spans::default();
    let subscriber = tracing_subscriber::registry().with(spans.clone());
    let _kept = tracing::subscriber::set_default(subscriber);
    let shop = Shop::open("spans").await;
    let db = shop.connect().await;
    let lag_is_known = || async { db.status().replicas().all(|r| r.lag.is_some()) };
    eventually_async(LIMIT, lag_is_known).await;
    until_open(&db).await;
    spans.kept().clear();
    who_reads(&db).await.unwrap();
    db.execute_unprepared("insert into event (name) values ('a')")
        .await
        .unwrap();
    ask::<i32>(&db, "select hidden_write()").await.unwrap();

    let told: Vec<_> = spans
        .kept()
        .iter()
        .map(|(_, fields)| fields.clone())
        .collect();
    let of = |n: usize, field: &str| {
        told[n]
            .get(field)
            .map_or("", |value| value.trim_matches('"'))
    };
    let expected = [
        ("r", "read", "1", "true"),
        ("primary", "write", "1", "true"),
        ("r", "read", "1", "false"),
        ("primary", "retry", "2", "true"),
    ];
    assert_eq!(told.len(), expected.len(), "{told:?}");
    for (n, (node, reason, attempt, ok)) in expected.into_iter().enumerate() {
        assert!(of(n, "node").starts_with(node), "{told:?}");
        let rest = ["reason", "attempt", "ok"].map(|field| of(n, field));
        assert_eq!(rest, [reason, attempt, ok], "{told:?}");
        let waited: u64 = of(n, "waited_us").parse().unwrap();
        let took: u64 = of(n, "took_us").parse().unwrap();
        assert!(took >= waited, "{told:?}");
        let has_lag = told[n].contains_key("lag_us");
        assert_eq!(has_lag, node == "r", "a primary has none: {told:?}");
    }
}
