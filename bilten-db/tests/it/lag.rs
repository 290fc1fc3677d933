use std::time::{Duration, Instant};

use bilten_db::sea_orm::ConnectionTrait;
use bilten_db::status::State;
use bilten_db::{Cluster, Fallback};
use bilten_testbed::{Postgres, eventually};

use crate::fixture::{
    LIMIT, builder_for, limited, port, private, reason, seen, tally, until_open, who_reads,
};

fn state(db: &Cluster, id: &str) -> State {
    seen(db, id).state
}

fn lag(db: &Cluster, id: &str) -> Option<(u64, Duration)> {
    let node = seen(db, id);
    Some((node.lag_bytes?, node.lag?))
}

fn write(postgres: &Postgres) {
    let sql = "insert into event (name) select repeat('x', 1000) from generate_series(1, 1000)";
    postgres.primary().psql(sql).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_lags_leaves_the_rotation_and_comes_back() {
    let postgres = private(2);
    let db = limited(&postgres, Duration::from_secs(1)).await;
    eventually(LIMIT, || {
        state(&db, "r1") == State::Up && state(&db, "r2") == State::Up
    });
    postgres.replica(0).pause_replay().unwrap();
    write(&postgres);
    eventually(LIMIT, || state(&db, "r1") == State::Lagging);
    eventually(LIMIT, || {
        let reason = reason(&db, "r1");
        reason.contains("s behind the primary (") && reason.ends_with("max_lag is 1s")
    });
    assert_eq!(
        tally(&db, 20).await,
        [(port(postgres.replica(1)), 20)].into()
    );

    let behind = format!(
        "select pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '{}')",
        postgres
            .replica(0)
            .psql("select pg_last_wal_replay_lsn()")
            .unwrap()
    );
    let exact: f64 = postgres.primary().psql(&behind).unwrap().parse().unwrap();
    eventually(LIMIT, || {
        let (bytes, _) = lag(&db, "r1").unwrap_or_default();
        (bytes as f64 - exact).abs() <= exact / 100.0
    });

    postgres.replica(0).resume_replay().unwrap();
    eventually(LIMIT, || state(&db, "r1") == State::Up);
    assert_eq!(reason(&db, "r1"), "");
    until_open(&db).await;
    assert_eq!(
        tally(&db, 20).await.values().copied().collect::<Vec<_>>(),
        [10, 10]
    );
    assert_eq!(
        db.status().replicas().map(|r| r.ejections).sum::<u64>(),
        0,
        "lag is no failure"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lag_is_noticed_within_two_turns_and_forgotten_after_three_good_ones() {
    let postgres = private(1);
    let limit = Duration::from_secs(1);
    let db = limited(&postgres, limit).await;
    // A turn is a second and a fifth at most; what happens to be slow on this machine is so only sometimes.
    let in_time = limit + 2 * Duration::from_millis(1_200);
    let mut noticed = Vec::new();
    for _ in 0..5 {
        eventually(LIMIT, || state(&db, "r1") == State::Up);
        postgres.replica(0).pause_replay().unwrap();
        write(&postgres);
        let begun = Instant::now();
        eventually(LIMIT, || state(&db, "r1") == State::Lagging);
        noticed.push(begun.elapsed());

        let resumed = Instant::now();
        postgres.replica(0).resume_replay().unwrap();
        eventually(LIMIT, || state(&db, "r1") == State::Up);
        let back = resumed.elapsed();
        assert!(
            back > Duration::from_millis(1_500),
            "{back:?} is less than three turns"
        );
        if noticed.last() < Some(&in_time) {
            return;
        }
    }
    panic!("noticed after {noticed:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_cut_off_from_the_primary_shows_growing_lag() {
    let postgres = private(1);
    let db = builder_for(&postgres).connect().await.unwrap();
    eventually(LIMIT, || {
        lag(&db, "r1").is_some_and(|(bytes, _)| bytes == 0)
    });
    postgres.replica(0).stop_walsender().unwrap();
    write(&postgres);
    eventually(LIMIT, || {
        lag(&db, "r1")
            .is_some_and(|(bytes, time)| bytes > 1_000_000 && time > Duration::from_secs(2))
    });
    postgres.replica(0).continue_walsender().unwrap();
    eventually(LIMIT, || {
        lag(&db, "r1").is_some_and(|(bytes, time)| bytes == 0 && time == Duration::ZERO)
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restarted_replica_of_an_idle_primary_has_no_lag() {
    let postgres = private(1);
    let db = limited(&postgres, Duration::from_secs(5)).await;
    postgres.replica(0).restart().unwrap();
    eventually(LIMIT, || {
        state(&db, "r1") == State::Up && lag(&db, "r1") == Some((0, Duration::ZERO))
    });
    assert_eq!(who_reads(&db).await.unwrap(), port(postgres.replica(0)));
}

#[tokio::test(flavor = "multi_thread")]
async fn when_all_replicas_lag_the_fallback_decides() {
    let postgres = private(1);
    let limited = || builder_for(&postgres).max_lag(Duration::from_secs(1));
    let fresh = limited().connect().await.unwrap();
    let stale = limited()
        .fallback(Fallback::StaleReplica)
        .connect()
        .await
        .unwrap();
    postgres.replica(0).pause_replay().unwrap();
    write(&postgres);
    for db in [&fresh, &stale] {
        eventually(LIMIT, || state(db, "r1") == State::Lagging);
    }
    assert_eq!(who_reads(&fresh).await.unwrap(), port(postgres.primary()));
    assert_eq!(who_reads(&stale).await.unwrap(), port(postgres.replica(0)));
}

/// Fills the present page of the log to its end, unless the server itself writes in between.
const TO_THE_END_OF_A_PAGE: &str = "do $$ declare room int; over int; before pg_lsn; begin \
    for n in 1..100 loop \
        before := pg_current_wal_insert_lsn(); \
        room := 8192 - (before - '0/0')::bigint % 8192; \
        exit when room in (8192 - 24, 8192 - 40); \
        perform pg_logical_emit_message(false, '', \
            repeat('x', case when room - over between 300 and 7000 then room - over else 500 end)); \
        over := coalesce(over, (pg_current_wal_insert_lsn() - before)::int - 500); \
    end loop; end $$";

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_is_up_to_date_where_the_log_ends_with_a_page() {
    let postgres = private(1);
    let db = builder_for(&postgres).connect().await.unwrap();
    let offset = "select (pg_current_wal_insert_lsn() - '0/0')::bigint % 8192";
    for _ in 0..20 {
        let session = db.session();
        let fill = session.execute_unprepared(TO_THE_END_OF_A_PAGE);
        fill.await.unwrap();
        let token = session.token().await.unwrap().unwrap();
        let is_at_the_end = ["24", "40"].contains(&&*postgres.primary().psql(offset).unwrap());
        // The server writes something of its own every quarter of a minute, and then no replica waits any more.
        let next = db.session_with(token).wait(Duration::from_secs(10));
        if is_at_the_end {
            assert_eq!(who_reads(&next).await.unwrap(), port(postgres.replica(0)));
            return;
        }
    }
    panic!("the log never ended with a page");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_primary_that_idles_makes_no_lag_however_old_its_last_write() {
    let postgres = private(1);
    write(&postgres);
    postgres.wait_for_replicas().unwrap();
    let limit = Duration::from_secs(1);
    let db = limited(&postgres, limit).await;
    // What other tools take for the lag.
    let age = "select now() - pg_last_xact_replay_timestamp() > '3 s'";
    eventually(LIMIT, || {
        let (_, time) = lag(&db, "r1").unwrap_or_default();
        assert!(time < limit, "{time:?}");
        assert_eq!(state(&db, "r1"), State::Up);
        postgres.replica(0).psql(age).unwrap() == "t"
    });
    assert_eq!(who_reads(&db).await.unwrap(), port(postgres.replica(0)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lag_that_swings_around_the_limit_moves_the_replica_once() {
    let postgres = private(1);
    let limit = Duration::from_millis(1);
    let db = limited(&postgres, limit).await;
    eventually(LIMIT, || state(&db, "r1") == State::Up);
    let mut status = db.watch();
    let moves = tokio::spawn(async move {
        let (mut moves, mut last) = (0, State::Up);
        while status.changed().await.is_ok() {
            let now = status.borrow_and_update().nodes[1].state;
            moves += usize::from(now != last);
            last = now;
        }
        moves
    });
    const SWINGS: usize = 6;
    let (mut late, mut resumed) = (0, Instant::now());
    for n in 0..SWINGS {
        postgres.replica(0).pause_replay().unwrap();
        write(&postgres);
        // There was time for three good looks in a row.
        let was_late = resumed.elapsed() > Duration::from_millis(1_500);
        late += usize::from(n > 0 && was_late);
        eventually(LIMIT, || {
            lag(&db, "r1").is_some_and(|(_, time)| time > limit)
        });
        resumed = Instant::now();
        postgres.replica(0).resume_replay().unwrap();
        eventually(LIMIT, || lag(&db, "r1") == Some((0, Duration::ZERO)));
    }
    // Three good looks in a row bring it back.
    eventually(LIMIT, || state(&db, "r1") == State::Up);
    drop(db);
    let moves = moves.await.unwrap();
    // Out at the first and in at the last; where this machine was late, one more of each.
    let most = 2 + 2 * late;
    assert!(
        (2..=most).contains(&moves),
        "{moves} moves in {SWINGS} swings, {late} of them late"
    );
}
