//! What stays although probes fail: as many replicas as are needed, and the connections that work.

use std::time::{Duration, Instant};

use bilten_db::sea_orm::{AccessMode, ConnectionTrait, TransactionTrait};
use bilten_db::{Cluster, ClusterBuilder};
use bilten_testbed::{Postgres, PostgresNode, eventually, eventually_async};
use futures_util::future::join_all;

use crate::fixture::{
    HELD, LIMIT, ask, cluster, hold, patient, port, private, tally, until_open, until_up, who_reads,
};

/// What may not be waited for.
const FAR: Duration = Duration::from_secs(120);

/// A role of its own, from which the test takes the right to answer probes.
fn connected_as(role: &str, postgres: &Postgres) -> ClusterBuilder {
    let replicas = postgres.replicas().iter().enumerate();
    let primary = cluster().primary(postgres.primary().url_as(role, ""));
    replicas.fold(primary, |builder, (n, node)| {
        builder.replica(format!("r{}", n + 1), node.url_as(role, ""))
    })
}

fn kept(db: &Cluster) -> usize {
    let status = db.status();
    let says = |reason: &Option<String>| reason.as_deref().is_some_and(|r| r.contains("kept"));
    let kept = |node: &&bilten_db::status::NodeStatus| node.is_up() && says(&node.reason);
    status.replicas().filter(kept).count()
}

/// Longer than it takes to notice something, and less than the pause after a login that was refused.
const MOMENT: Duration = Duration::from_secs(20);

/// What the probes ask for and reads do not.
const FUNCTION: &str = "function pg_control_system()";

#[tokio::test(flavor = "multi_thread")]
async fn probes_that_fail_on_all_replicas_leave_as_many_in_rotation_as_told() {
    let postgres = private(3);
    let sql = "create role app login; grant select on all tables in schema public to app";
    postgres.primary().psql(sql).unwrap();
    postgres.wait_for_replicas().unwrap();
    let app = || connected_as("app", &postgres);
    let half = app().connect().await.unwrap();
    let one = app().min_in_rotation(1).connect().await.unwrap();
    let all = app().min_in_rotation(9).connect().await.unwrap();
    let none = app().min_in_rotation(0).connect().await.unwrap();
    until_open(&none).await;
    assert_eq!(tally(&none, 30).await.len(), 3);

    let deny = format!("revoke execute on {FUNCTION} from public");
    postgres.primary().psql(&deny).unwrap();
    for (db, left) in [(&half, 2), (&one, 1), (&all, 3), (&none, 0)] {
        let settled = || async {
            kept(db) == left && db.status().replicas().filter(|r| r.is_up()).count() == left
        };
        eventually_async(LIMIT, settled).await;
        let ports = tally(db, 30).await;
        let primary = port(postgres.primary());
        assert_eq!(ports.contains_key(&primary), left == 0, "{left}: {ports:?}");
        assert_eq!(ports.len(), left.max(1), "{left}: {ports:?}");
    }

    // A replica that is gone is not kept, however few are left.
    postgres.replica(0).kill().unwrap();
    until_up(&all, "r1", false).await;
    let allow = format!("grant execute on {FUNCTION} to public");
    postgres.primary().psql(&allow).unwrap();
    postgres.replica(0).restart().unwrap();
    let well = |node: &bilten_db::status::NodeStatus| node.is_up() && node.reason.is_none();
    eventually_async(LIMIT, || async { all.status().replicas().all(well) }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_works_on_a_replica_goes_on_when_a_probe_is_refused_there() {
    let postgres = private(2);
    with_role(&postgres);
    postgres.wait_for_replicas().unwrap();
    let db = connected_as("app", &postgres).min_in_rotation(0);
    let pool = patient().query_timeout(Some(FAR));
    let db = db.pool(pool).connect().await.unwrap();
    let urls: Vec<_> = postgres.replicas().iter().map(PostgresNode::url).collect();
    let gates = join_all(urls.iter().map(|url| hold(url))).await;
    let read = || {
        let db = db.clone();
        tokio::spawn(async move { ask::<i32>(&db, "select held()").await })
    };
    let read_only = Some(AccessMode::ReadOnly);
    let tx = db.begin_with_config(None, read_only).await.unwrap();
    let on = who_reads(&tx).await.unwrap();
    let reads = [read(), read()];
    let inside = tokio::spawn(async move { ask::<i32>(&tx, "select held()").await });
    for node in postgres.replicas() {
        let waiting = if port(node) == on { "2" } else { "1" };
        eventually(LIMIT, || node.psql(HELD).unwrap() == waiting);
    }
    let deny = format!("revoke execute on {FUNCTION} from public");
    postgres.primary().psql(&deny).unwrap();
    until_up(&db, "r1", false).await;
    until_up(&db, "r2", false).await;
    // Longer than a wait goes on for that was given up.
    postgres.primary().psql("select pg_sleep(0.5)").unwrap();
    for gate in gates {
        gate.rollback().await.unwrap();
    }
    let mut ports = Vec::new();
    for read in reads {
        ports.push(read.await.unwrap().unwrap());
    }
    ports.sort_unstable();
    let mut replicas: Vec<_> = postgres.replicas().iter().map(port).collect();
    replicas.sort_unstable();
    assert_eq!(ports, replicas, "each was answered where it began");
    assert_eq!(inside.await.unwrap().unwrap(), on);
}

const PID: &str = "select pg_backend_pid()";

/// A role that may log in and write.
fn with_role(postgres: &Postgres) {
    let sql = "create role app login; grant all on all tables in schema public to app; \
        grant usage on all sequences in schema public to app";
    postgres.primary().psql(sql).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_primary_whose_probes_are_answered_with_an_error_keeps_its_connections() {
    let postgres = private(0);
    with_role(&postgres);
    let pool = patient().max(1).max_uses(None);
    let db = connected_as("app", &postgres).pool(pool);
    let db = db.connect().await.unwrap();
    let pid: i32 = ask(&db, PID).await.unwrap();
    let deny = format!("revoke execute on {FUNCTION} from public");
    postgres.primary().psql(&deny).unwrap();
    eventually(LIMIT, || db.status().primary().reason.is_some());
    for _ in 0..300 {
        let insert = "insert into event (name) values ('a')";
        db.execute_unprepared(insert).await.unwrap();
    }
    assert_eq!(
        ask::<i32>(&db, PID).await.unwrap(),
        pid,
        "nothing was wrong with it"
    );
    let primary = db.status().primary().clone();
    assert_eq!(
        (primary.is_up(), primary.ejections),
        (true, 0),
        "{primary:?}"
    );

    let allow = format!("grant execute on {FUNCTION} to public");
    postgres.primary().psql(&allow).unwrap();
    eventually(LIMIT, || db.status().primary().reason.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_that_is_refused_ends_no_connection_that_works() {
    let postgres = private(0);
    with_role(&postgres);
    let pool = patient().max(3).max_uses(None);
    let db = connected_as("app", &postgres).pool(pool);
    let db = db.connect().await.unwrap();
    let mut open = Vec::new();
    for _ in 0..2 {
        let tx = db.begin().await.unwrap();
        let pid: i32 = ask(&tx, PID).await.unwrap();
        open.push((tx, pid));
    }
    postgres.primary().psql("alter role app nologin").unwrap();
    ask::<i32>(&db, PID).await.unwrap_err();
    let mut pids = Vec::new();
    for (tx, pid) in open {
        tx.rollback().await.unwrap();
        pids.push(pid);
    }
    // They come back in tasks of their own; until then a read opens one, and is refused.
    eventually_async(LIMIT, async || ask::<i32>(&db, PID).await.is_ok()).await;
    for _ in 0..20 {
        if let Ok(pid) = ask::<i32>(&db, PID).await {
            assert!(pids.contains(&pid), "{pid} is new");
        }
    }
    assert_eq!(db.status().primary().ejections, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_primary_that_refused_a_login_once_is_up_as_soon_as_it_lets_one_in() {
    let postgres = private(0);
    with_role(&postgres);
    let db = connected_as("app", &postgres).connect().await.unwrap();
    let primary = postgres.primary();
    primary.psql("alter role app nologin").unwrap();
    let end = "select count(pg_terminate_backend(pid)) from pg_stat_activity where usename = 'app'";
    primary.psql(end).unwrap();
    // A wrong password is tried again after a minute; what happened before may have had a shorter pause.
    let next_trial = || db.status().primary().next_trial;
    eventually(LIMIT, || next_trial().is_some_and(|pause| pause > MOMENT));

    // By then the watch waits.
    primary.psql("select pg_sleep(0.5)").unwrap();
    primary.psql("alter role app login").unwrap();
    ask::<i32>(&db, PID).await.unwrap();
    eventually(MOMENT, || db.status().primary().is_up());
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_stay_on_replicas_whose_probes_are_refused() {
    let postgres = private(1);
    with_role(&postgres);
    postgres.wait_for_replicas().unwrap();
    let db = connected_as("app", &postgres).min_in_rotation(1);
    let db = db.connect().await.unwrap();
    let deny = format!("revoke execute on {FUNCTION} from public");
    postgres.primary().psql(&deny).unwrap();
    eventually(LIMIT, || kept(&db) == 1);
    let count = "select sessions from pg_stat_database where datname = current_database()";
    let logins = || {
        let told = postgres.replica(0).psql(count).unwrap();
        told.parse::<i64>().unwrap()
    };
    let (before, begun) = (logins(), Instant::now());
    let sessions: Vec<_> = (0..50).map(|_| db.session()).collect();
    for _ in 0..4 {
        let read = join_all(sessions.iter().map(who_reads)).await;
        for from in read {
            assert_eq!(from.unwrap(), port(postgres.replica(0)));
        }
    }
    let more = logins() - before;
    // Those of the pool, and of each probe that is refused: its own, and that of a question about the start. There are ten probes
    // a second at most.
    let most = 20 + 20 * (1 + i64::try_from(begun.elapsed().as_secs()).unwrap());
    assert!(more <= most.max(150), "{more} logins for 200 reads");
}
