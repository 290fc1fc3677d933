use std::time::Duration;

use bilten_db::sea_orm::{AccessMode, ConnectionTrait, Database, TransactionTrait};
use bilten_testbed::eventually_async;

use super::{builder_for, port, private, url};
use crate::fixture::{LIMIT, ask, patient, who_reads};

/// Seconds, with a fraction.
const SET: &str = "select cast(max_statement_time as char) from \
    (select @@max_statement_time as max_statement_time) as t";

#[tokio::test(flavor = "multi_thread")]
async fn mariadb_ends_a_statement_after_statement_timeout() {
    let maria = private(2).await;
    let pool = patient().statement_timeout(Duration::from_millis(1500));
    let db = builder_for(&maria).pool(pool).connect().await.unwrap();
    // Long enough that this test would end before it.
    let slow = "select sleep(600) as slow";
    let error = ask::<i32>(&db, slow).await.unwrap_err().to_string();
    assert!(error.contains("max_statement_time"), "{error}");
    let left = db.status();
    assert!(left.replicas().all(|r| r.is_up() && r.ejections == 0));
    let running = "select count(*) from information_schema.processlist where info like '%as slow'";
    for node in maria.replicas().iter().chain([maria.primary()]) {
        assert_eq!(node.sql(running).unwrap(), "0", "it runs nowhere else");
    }
    // Milliseconds are not lost, and writes end as well.
    assert_eq!(ask::<String>(&db, SET).await.unwrap(), "1.500000");
    let write = "insert into event (name) select concat('a', sleep(600))";
    let error = db.execute_unprepared(write).await.unwrap_err().to_string();
    assert!(error.contains("max_statement_time"), "{error}");
    let tx = db.begin().await.unwrap();
    assert_eq!(ask::<String>(&tx, SET).await.unwrap(), "1.500000");
    tx.rollback().await.unwrap();

    let plain = builder_for(&maria).connect().await.unwrap();
    assert_eq!(ask::<String>(&plain, SET).await.unwrap(), "0.000000");
}

#[tokio::test(flavor = "multi_thread")]
async fn mariadb_keeps_as_many_prepared_statements_as_statement_cache_says() {
    let maria = private(0).await;
    let open = "select variable_value from information_schema.global_status \
        where variable_name = 'Prepared_stmt_count'";
    let kept = || maria.primary().sql(open).unwrap().parse::<u32>().unwrap();
    let before = kept();
    for (statements, most) in [(7, 7), (100, 40)] {
        let pool = patient().max(1).max_uses(None).statement_cache(statements);
        let db = builder_for(&maria).pool(pool).connect().await.unwrap();
        for n in 0..40 {
            ask::<i64>(&db, &format!("select {n}")).await.unwrap();
        }
        assert_eq!(kept() - before, most, "of {statements}");
        db.close().await;
        eventually_async(LIMIT, || async { kept() == before }).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_pools_of_the_replicas_of_mariadb_may_be_others() {
    let maria = private(1).await;
    let limit = |seconds| {
        patient()
            .max(3)
            .statement_timeout(Duration::from_secs(seconds))
    };
    let db = builder_for(&maria)
        .pool(limit(40))
        .replica_pool(limit(20).max(2));
    let db = db.connect().await.unwrap();
    let most: Vec<u32> = db.status().nodes.iter().map(|n| n.pool.max).collect();
    assert_eq!(most, [3, 2]);
    // A variable of the server is asked on the primary; on the replica by a read-only transaction.
    assert_eq!(ask::<String>(&db, SET).await.unwrap(), "40.000000");
    let read_only = Some(AccessMode::ReadOnly);
    let tx = db.begin_with_config(None, read_only).await.unwrap();
    assert_eq!(who_reads(&tx).await.unwrap(), port(maria.replica(0)));
    assert_eq!(ask::<String>(&tx, SET).await.unwrap(), "20.000000");
    tx.rollback().await.unwrap();
    let own = Database::connect(url(maria.primary())).await.unwrap();
    assert_eq!(ask::<String>(&own, SET).await.unwrap(), "0.000000");
}
