//! Servers that are started again so quickly that no probe misses them.

use std::process::Command;
use std::time::Duration;

use bilten_db::scope::{Freshness, with_freshness};
use bilten_testbed::{PostgresNode, eventually, eventually_async};

use crate::fixture::{LIMIT, ask, builder_for, patient, port, private, until_up, who_reads};

#[tokio::test(flavor = "multi_thread")]
async fn a_session_leaves_a_replica_that_was_started_again_behind_its_back() {
    let postgres = private(1);
    // Each connection is tested before its use, and a new one takes the place of a dead one without a word.
    let pool = patient().ping_if_idle(Duration::ZERO);
    let db = builder_for(&postgres).pool(pool).connect().await.unwrap();
    for _ in 0..3 {
        until_up(&db, "r1", true).await;
        let session = db.session();
        assert_eq!(
            who_reads(&session).await.unwrap(),
            port(postgres.replica(0))
        );
        postgres.replica(0).kill().unwrap();
        postgres.replica(0).restart().unwrap();
        // It may not have replayed yet what the session saw.
        assert_eq!(who_reads(&session).await.unwrap(), port(postgres.primary()));
    }
}

/// Ends a process of the server as the kernel does when memory is short; the server then begins anew without being
/// started.
fn crash(replica: &PostgresNode, pid: i32) {
    let pid = pid.to_string();
    let killed = Command::new("kill").args(["-9", &pid]).status();
    assert!(killed.unwrap().success());
    let is_gone = format!("select count(*) from pg_stat_activity where pid = {pid}");
    // Refused while it begins anew.
    eventually(LIMIT, || {
        replica.psql(&is_gone).is_ok_and(|count| count == "0")
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_leaves_a_replica_that_began_anew_after_a_crash() {
    let postgres = private(1);
    let pool = patient().ping_if_idle(Duration::ZERO);
    let db = builder_for(&postgres).pool(pool).connect().await.unwrap();
    for _ in 0..3 {
        until_up(&db, "r1", true).await;
        let session = db.session();
        let replica = postgres.replica(0);
        assert_eq!(who_reads(&session).await.unwrap(), port(replica));
        let pid = ask(&session, "select pg_backend_pid()").await.unwrap();
        crash(replica, pid);
        assert_eq!(who_reads(&session).await.unwrap(), port(postgres.primary()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn statistics_that_an_operator_resets_are_no_crash() {
    let postgres = private(1);
    let pool = patient().ping_if_idle(Duration::ZERO);
    let db = builder_for(&postgres).pool(pool).connect().await.unwrap();
    let replica = postgres.replica(0);
    until_up(&db, "r1", true).await;
    let session = db.session();
    for kind in ["bgwriter", "archiver", "wal"] {
        let pid: i32 = ask(&session, "select pg_backend_pid()").await.unwrap();
        let reset = format!("select pg_stat_reset_shared('{kind}')");
        replica.psql(&reset).unwrap();
        // The next one is opened, and could lead to a server that was started again.
        let end = format!("select pg_terminate_backend({pid}, 60000)");
        assert_eq!(replica.psql(&end).unwrap(), "t");
        assert_eq!(who_reads(&session).await.unwrap(), port(replica), "{kind}");
    }
}

/// The start of another server is found out by a session; what the one before had proven must not lead others there.
#[tokio::test(flavor = "multi_thread")]
async fn nobody_who_demands_a_write_reads_on_a_replica_that_was_started_again_behind_it() {
    let postgres = private(1);
    let pool = patient().ping_if_idle(Duration::ZERO);
    let db = builder_for(&postgres).pool(pool).connect().await.unwrap();
    let replica = postgres.replica(0);
    for _ in 0..3 {
        until_up(&db, "r1", true).await;
        let writer = db.session();
        let id: i32 = ask(
            &writer,
            "insert into event (name) values ('a') returning id",
        )
        .await
        .unwrap();
        let token = writer.token().await.unwrap().unwrap();
        postgres.wait_for_replicas().unwrap();
        // It proves that it has the write.
        eventually_async(LIMIT, async || {
            let next = db.session_with(token).wait(Duration::ZERO);
            who_reads(&next).await.unwrap() == port(replica)
        })
        .await;
        let first = db.session();
        assert_eq!(who_reads(&first).await.unwrap(), port(replica));
        // Started again, it opens before it has replayed the write once more.
        let delay = "alter system set recovery_min_apply_delay = '1h'";
        replica.psql(delay).unwrap();
        replica.kill().unwrap();
        replica.restart().unwrap();
        assert_eq!(who_reads(&first).await.unwrap(), port(postgres.primary()));
        let sql = format!("select count(*) from event where id = {id}");
        for _ in 0..20 {
            let next = db.session_with(token);
            assert_eq!(ask::<i64>(&next, &sql).await.unwrap(), 1);
            let demand = Freshness::AtLeast(token);
            let found = with_freshness(demand, ask::<i64>(&db, &sql)).await;
            assert_eq!(found.unwrap(), 1);
        }
        let at_once = "alter system reset recovery_min_apply_delay";
        replica.psql(at_once).unwrap();
        replica.psql("select pg_reload_conf()").unwrap();
        postgres.wait_for_replicas().unwrap();
    }
}
