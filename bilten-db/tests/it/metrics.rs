use bilten_db::sea_orm::{ConnectionTrait, TransactionTrait};
use metrics_util::debugging::{DebugValue, DebuggingRecorder, Snapshotter};
use tokio::runtime::Builder;

use crate::fixture::{Shop, ask, tally, who_reads};

/// The statements with this reason, or all of them.
fn counted(snapshotter: &Snapshotter, reason: Option<&str>) -> u64 {
    let mut sum = 0;
    for (key, _, _, value) in snapshotter.snapshot().into_vec() {
        let key = key.key();
        let labels = key.labels();
        let fits = |wanted| {
            labels
                .clone()
                .any(|l| l.key() == "reason" && l.value() == wanted)
        };
        if let DebugValue::Counter(count) = value
            && key.name() == "bilten_db_statements_total"
            && reason.is_none_or(fits)
        {
            sum += count;
        }
    }
    sum
}

#[test]
fn every_statement_is_counted_once() {
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    // A snapshot takes the counts away, so each is looked at once.
    let told = metrics::with_local_recorder(&recorder, || {
        runtime.block_on(async {
            let shop = Shop::open("counted").await;
            let db = shop.connect().await;
            tally(&db, 60).await;
            let reads = counted(&snapshotter, Some("read"));
            for _ in 0..10 {
                let insert = "insert into event (name) values ('a')";
                db.execute_unprepared(insert).await.unwrap();
            }
            db.execute_unprepared("no sql").await.unwrap_err();
            let writes = counted(&snapshotter, Some("write"));
            let tx = db.begin().await.unwrap();
            who_reads(&tx).await.unwrap();
            tx.commit().await.unwrap();
            let transactions = counted(&snapshotter, Some("transaction"));
            let session = db.session();
            for _ in 0..7 {
                who_reads(&session).await.unwrap();
            }
            ask::<i32>(&session, "select hidden_write()").await.unwrap();
            (reads, writes, transactions, counted(&snapshotter, None))
        })
    });
    // A hidden write is two statements: the one that was refused, and the one that was done.
    assert_eq!(told, (60, 11, 1, 9));
}
