//! What a caller who goes away at any moment leaves behind.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;
use std::time::Duration;

use bilten_db::sea_orm::{ConnectionTrait, Database, IsolationLevel, TransactionTrait};
use bilten_db::{Cluster, sea_orm};
use bilten_testbed::{Direction, FaultProxy};
use tokio::time::timeout;

use crate::fixture::{Shop, ask, cluster, patient};

/// More than a transaction takes to begin.
const POLLS: usize = 12;

/// Polls so often and not to the end, perhaps. Its answer, if it had one by then.
pub(crate) async fn given_up_after<F: Future>(polls: usize, future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    let mut left = polls;
    poll_fn(|context| {
        if left == 0 {
            return Poll::Ready(None);
        }
        left -= 1;
        future.as_mut().poll(context).map(Some)
    })
    .await
}

async fn insert(db: &impl ConnectionTrait) -> Result<(), sea_orm::DbErr> {
    let sql = "insert into event (name) values ('a')";
    db.execute_unprepared(sql).await.map(drop)
}

async fn count(db: &impl ConnectionTrait) -> i64 {
    ask(db, "select count(*) from event").await.unwrap()
}

/// Gives up the beginning of a transaction at each point, and writes after it; everybody must see what was written.
pub(crate) async fn no_write_gets_into_a_lost_transaction(
    db: &Cluster,
    observer: &impl ConnectionTrait,
) {
    for level in [None, Some(IsolationLevel::Serializable)] {
        for polls in 0..POLLS {
            let before = count(observer).await;
            given_up_after(polls, db.begin_with_config(level, None)).await;
            insert(db).await.unwrap();
            assert_eq!(
                count(observer).await,
                before + 1,
                "given up after {polls} polls"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_write_is_lost_after_a_beginning_that_was_given_up() {
    let shop = Shop::open("given_up_begin").await;
    let pool = patient().max(1);
    let db = shop.builder().pool(pool).connect().await.unwrap();
    let observer = Database::connect(&shop.primary).await.unwrap();
    no_write_gets_into_a_lost_transaction(&db, &observer).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_write_is_lost_on_a_connection_that_was_adopted() {
    let shop = Shop::open("given_up_adopted").await;
    let mut options = sea_orm::ConnectOptions::new(&shop.primary);
    options.max_connections(1);
    let adopted = Database::connect(options).await.unwrap();
    let db = Cluster::builder().from_connections(adopted, []);
    let db = db.connect().await.unwrap();
    let observer = Database::connect(&shop.primary).await.unwrap();
    no_write_gets_into_a_lost_transaction(&db, &observer).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_is_kept_as_a_whole_when_a_nested_one_was_given_up() {
    let shop = Shop::open("given_up_nested").await;
    let db = shop.connect().await;
    let observer = Database::connect(&shop.primary).await.unwrap();
    // Whether one is lost depends on how soon the server answers.
    let mut kept = 0;
    for polls in 0..POLLS {
        let before = count(&observer).await;
        let tx = db.begin().await.unwrap();
        insert(&tx).await.unwrap();
        given_up_after(polls, tx.begin()).await;
        let done = match insert(&tx).await {
            Ok(()) => tx.commit().await,
            Err(error) => Err(error),
        };
        let seen = count(&observer).await - before;
        match done {
            Ok(()) => assert_eq!(seen, 2, "given up after {polls} polls"),
            Err(error) => {
                assert!(error.to_string().contains("begin anew"), "{error}");
                assert_eq!(seen, 0, "given up after {polls} polls");
            }
        }
        kept += u32::from(seen > 0);
    }
    assert!(kept > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_nested_transaction_whose_beginning_has_no_answer_takes_the_outer_one_along() {
    let shop = Shop::open("given_up_unheard").await;
    let observer = Database::connect(&shop.primary).await.unwrap();
    let port = u16::try_from(shop.primary_port()).unwrap();
    let proxy = FaultProxy::to_blocking(([127, 0, 0, 1], port).into()).unwrap();
    let url = proxy.url_like(&shop.primary).unwrap();
    let db = cluster().primary(url).connect().await.unwrap();
    let tx = db.begin().await.unwrap();
    insert(&tx).await.unwrap();
    proxy.blackhole(Direction::Down);
    let begun = given_up_after(1, tx.begin()).await;
    assert!(begun.is_none(), "it had no answer");
    proxy.heal();
    let error = insert(&tx).await.unwrap_err().to_string();
    assert!(error.contains("begin anew"), "{error}");
    tx.commit().await.unwrap_err();
    assert_eq!(count(&observer).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_nested_transaction_that_is_refused_ends_the_outer_one_in_words() {
    let shop = Shop::open("given_up_refused").await;
    let db = shop.connect().await;
    let tx = db.begin().await.unwrap();
    insert(&tx).await.unwrap();
    let wrong = "insert into nowhere values (1)";
    tx.execute_unprepared(wrong).await.unwrap_err();
    tx.begin().await.unwrap_err();
    let error = insert(&tx).await.unwrap_err().to_string();
    assert!(error.contains("begin anew"), "{error}");
    tx.commit().await.unwrap_err();
    assert_eq!(count(&db.primary()).await, 0, "nothing by itself");
}

#[tokio::test(flavor = "multi_thread")]
async fn beginnings_that_were_given_up_wait_for_no_connection_that_was_adopted() {
    let shop = Shop::open("given_up_queue").await;
    let taken = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&taken);
    let mut options = sea_orm::ConnectOptions::new(&shop.primary);
    options.max_connections(1);
    options.map_sqlx_postgres_pool_opts(move |pool| {
        let counted = Arc::clone(&counted);
        pool.before_acquire(move |_, _| {
            counted.fetch_add(1, Ordering::Relaxed);
            Box::pin(async { Ok(true) })
        })
    });
    let adopted = Database::connect(options).await.unwrap();
    let db = Cluster::builder().from_connections(adopted, []);
    let db = db.connect().await.unwrap();
    let tx = db.begin().await.unwrap();
    for _ in 0..20 {
        let soon = Duration::from_millis(5);
        assert!(timeout(soon, db.begin()).await.is_err(), "it is taken");
    }
    let before = taken.load(Ordering::Relaxed);
    tx.rollback().await.unwrap();
    db.begin().await.unwrap().rollback().await.unwrap();
    let after = taken.load(Ordering::Relaxed);
    // Probes may take it in between, one a second; the twenty would be twenty more.
    assert!(after - before < 20, "{} had it", after - before);
}
