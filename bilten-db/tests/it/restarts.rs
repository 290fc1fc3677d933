//! Servers that are started again so quickly that no probe misses them.

use std::time::Duration;

use bilten_db::PoolConfig;

use crate::fixture::{builder_for, port, private, until_up, who_reads};

#[tokio::test(flavor = "multi_thread")]
async fn a_session_leaves_a_replica_that_was_started_again_behind_its_back() {
    let postgres = private(1);
    // Each connection is tested before its use, and a new one takes the place of a dead one without a word.
    let pool = PoolConfig::default().ping_if_idle(Duration::ZERO);
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
