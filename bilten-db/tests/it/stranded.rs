//! Connections that die in silence, one by one, while the server is well: a firewall forgot them.

use std::time::Duration;

use bilten_db::Cluster;
use bilten_db::sea_orm::ConnectionTrait;
use bilten_testbed::{FaultProxy, eventually, eventually_async};
use futures_util::future::join_all;

use crate::fixture::{LIMIT, ask, patient, private, seen};

/// What may not be waited for.
const FAR: Duration = Duration::from_secs(600);

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_were_forgotten_on_the_way_leave_their_pool_unasked() {
    let postgres = private(0);
    let proxy = FaultProxy::to_blocking(postgres.primary().addr()).unwrap();
    let url = proxy.url_like(&postgres.primary().url()).unwrap();
    // Nor do they leave for having idled.
    let pool = patient().max(4).query_timeout(Some(FAR)).idle_timeout(None);
    let db = Cluster::builder().primary(url).pool(pool);
    let db = db.connect().await.unwrap();
    let has_all = || async {
        // All four at once, or what is open would do.
        join_all((0..4).map(|_| ask::<i32>(&db, "select 1 from pg_sleep(0.2)"))).await;
        seen(&db, "primary").pool.size == 4
    };
    eventually_async(LIMIT, has_all).await;
    proxy.strand_all();
    // Nobody reads or writes: the probe alone finds it out.
    eventually(LIMIT, || seen(&db, "primary").pool.size == 0);
    // A probe whose login took too long may have called it away for a moment.
    let writes = || async {
        let write = "insert into event (name) values ('a')";
        db.execute_unprepared(write).await.is_ok()
    };
    eventually_async(LIMIT, writes).await;
}
