//! Servers that are started again so quickly that no probe misses them.

use std::process::Command;
use std::time::Duration;

use bilten_testbed::{PostgresNode, eventually};

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
