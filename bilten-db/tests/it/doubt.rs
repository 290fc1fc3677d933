//! What a caller is told when an answer is cut or never comes.

use std::time::Duration;

use bilten_db::scope::{Route, with_deadline, with_route};
use bilten_db::sea_orm::{
    ConnectionTrait, DatabaseBackend, Statement, StreamTrait, TransactionTrait,
};
use bilten_db::{Cluster, Error, PoolConfig};
use bilten_testbed::{Direction, FaultProxy, Postgres, eventually};
use futures_util::TryStreamExt;
use tokio::time::timeout;

use crate::fixture::{self, LIMIT, ask, builder_for, port, private, until_up};

const INSERT: &str = "insert into event (name) values ('a')";

fn sql(text: &str) -> Statement {
    Statement::from_string(DatabaseBackend::Postgres, text)
}

async fn cluster(postgres: &Postgres) -> Cluster {
    builder_for(postgres).connect().await.unwrap()
}

/// Nobody waits for a query: only silence ends a wait.
fn patient() -> PoolConfig {
    fixture::patient().query_timeout(None)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hidden_write_in_a_stream_is_run_on_the_primary_before_a_row_is_seen() {
    let postgres = private(1);
    let db = cluster(&postgres).await;
    for _ in 0..2 {
        let rows = db.stream_raw(sql("select hidden_write()")).await.unwrap();
        let rows: Vec<_> = rows.try_collect().await.unwrap();
        let took: i32 = rows[0].try_get_by_index(0).unwrap();
        assert_eq!((rows.len(), took), (1, port(postgres.primary())));
    }
    assert_eq!(db.status().learned_writes, 1);
    let count = "select count(*) from event";
    assert_eq!(postgres.primary().psql(count).unwrap(), "2");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_found_in_the_middle_of_a_stream_ends_it_in_words_and_is_learned() {
    let postgres = private(1);
    let db = cluster(&postgres).await;
    let late = "select n, case n when 50000 then hidden_write() else 0 end from generate_series(1, 60000) n";
    let mut rows = db.stream_raw(sql(late)).await.unwrap();
    let mut seen = 0;
    let end = loop {
        match rows.try_next().await {
            Ok(Some(_)) => seen += 1,
            end => break end,
        }
    };
    let error = end.unwrap_err();
    match Error::of(&error) {
        Some(Error::Interrupted {
            rows, node, source, ..
        }) => {
            assert_eq!((*rows, node.as_str()), (seen, "r1"));
            assert!(source.to_string().contains("read-only"), "{source}");
        }
        other => panic!("{other:?} {error}"),
    }
    assert!(seen > 0, "the test proves nothing: no row was seen");
    assert!(matches!(rows.try_next().await, Ok(None)), "it is over");

    let rows: Vec<_> = db
        .stream_raw(sql(late))
        .await
        .unwrap()
        .try_collect()
        .await
        .unwrap();
    assert_eq!(rows.len(), 60_000, "known by now, it runs on the primary");
    assert_eq!(
        postgres
            .primary()
            .psql("select count(*) from event")
            .unwrap(),
        "1"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_from_a_killed_replica_says_how_far_it_came() {
    let postgres = private(1);
    let db = cluster(&postgres).await;
    let mut rows = db
        .stream_raw(sql("select n from generate_series(1, 2000000) n"))
        .await
        .unwrap();
    rows.try_next().await.unwrap().unwrap();
    postgres.replica(0).kill().unwrap();
    let mut seen = 1;
    let error = loop {
        match rows.try_next().await {
            Ok(Some(_)) => seen += 1,
            Ok(None) => panic!("a short stream without a word"),
            Err(error) => break error,
        }
    };
    let told = Error::of(&error)
        .map(ToString::to_string)
        .unwrap_or_default();
    assert!(told.contains(&format!("after {seen} rows")), "{told}");
    assert!(told.contains("r1 at 127.0.0.1"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_from_a_frozen_replica_ends_and_leaves_no_place_taken() {
    let postgres = private(1);
    let db = builder_for(&postgres)
        .pool(patient())
        .connect()
        .await
        .unwrap();
    let mut rows = db
        .stream_raw(sql(
            "select n, repeat('x', 1000) from generate_series(1, 2000000) n",
        ))
        .await
        .unwrap();
    rows.try_next().await.unwrap().unwrap();
    postgres.replica(0).pause().unwrap();
    let error = timeout(LIMIT, async {
        loop {
            match rows.try_next().await {
                Ok(Some(_)) => {}
                end => break end.unwrap_err(),
            }
        }
    });
    let error = error.await.expect("the stream ends in time");
    assert!(
        matches!(Error::of(&error), Some(Error::Interrupted { .. })),
        "{error}"
    );
    until_up(&db, "r1", false).await;
    let empty = || db.status().replicas().all(|r| r.pool.size == 0);
    eventually(LIMIT, empty);
    postgres.replica(0).resume().unwrap();
    until_up(&db, "r1", true).await;
    drop(rows);
    assert!(ask::<bool>(&db, "select true").await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_the_caller_reads_slowly_is_not_cut() {
    let postgres = private(1);
    let limit = Duration::from_secs(2);
    let pool = fixture::patient().query_timeout(limit);
    let db = builder_for(&postgres).pool(pool).connect().await.unwrap();
    let mut rows = db
        .stream_raw(sql(
            "select n, repeat('x', 1000) from generate_series(1, 20000) n",
        ))
        .await
        .unwrap();
    let mut seen = 0;
    while rows.try_next().await.unwrap().is_some() {
        seen += 1;
        if seen == 100 {
            // Twice the limit, all of it the caller's own.
            tokio::time::sleep(2 * limit).await;
        }
    }
    assert_eq!(seen, 20_000);
    let slow = db.stream_raw(sql("select pg_sleep(600)")).await;
    assert!(slow.unwrap_err().to_string().contains("query_timeout"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_on_a_frozen_primary_ends_in_time_and_gives_its_place_back() {
    let postgres = private(0);
    let db = builder_for(&postgres)
        .pool(patient().max(2))
        .connect()
        .await
        .unwrap();
    let tx = db.begin().await.unwrap();
    tx.execute_unprepared(INSERT).await.unwrap();
    let nested = tx.begin().await.unwrap();
    postgres.primary().pause().unwrap();
    let waited = timeout(LIMIT, nested.execute_unprepared(INSERT)).await;
    let error = waited.expect("the statement ends in time").unwrap_err();
    assert!(
        error.to_string().contains("answers nothing any more"),
        "{error}"
    );
    assert!(
        !Error::outcome_is_unknown(&error),
        "without a commit nothing was done"
    );
    let next = timeout(LIMIT, nested.execute_unprepared(INSERT))
        .await
        .unwrap();
    assert!(next.unwrap_err().to_string().contains("begin anew"));
    drop(nested);
    let commit = timeout(LIMIT, tx.commit())
        .await
        .expect("the commit ends in time");
    commit.unwrap_err();
    eventually(LIMIT, || db.status().primary().pool.size == 0);
    postgres.primary().resume().unwrap();
    until_up(&db, "primary", true).await;
    db.execute_unprepared(INSERT).await.unwrap();
    eventually(LIMIT, || {
        postgres
            .primary()
            .psql("select count(*) from event")
            .unwrap()
            == "1"
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_without_an_answer_leaves_doubt_and_says_so() {
    let postgres = private(0);
    let db = builder_for(&postgres)
        .pool(patient())
        .connect()
        .await
        .unwrap();
    let tx = db.begin().await.unwrap();
    tx.execute_unprepared(INSERT).await.unwrap();
    postgres.primary().pause().unwrap();
    let error = timeout(LIMIT, tx.commit()).await.unwrap().unwrap_err();
    assert!(Error::outcome_is_unknown(&error), "{error}");
    postgres.primary().resume().unwrap();
    until_up(&db, "primary", true).await;

    let tx = db.begin().await.unwrap();
    tx.execute_unprepared(INSERT).await.unwrap();
    postgres.primary().kill().unwrap();
    let error = timeout(LIMIT, tx.commit()).await.unwrap().unwrap_err();
    assert!(Error::outcome_is_unknown(&error), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_a_write_without_an_answer_is_in_doubt() {
    let postgres = private(0);
    let db = cluster(&postgres).await;
    let refused = db
        .execute_unprepared("insert into nothing values (1)")
        .await;
    let refused = refused.unwrap_err();
    assert!(!Error::outcome_is_unknown(&refused) && Error::of(&refused).is_none());

    let slow = "insert into event (name) select 'slow' from pg_sleep(600)";
    let late = with_deadline(Duration::from_millis(200), db.execute_unprepared(slow)).await;
    assert!(Error::outcome_is_unknown(&late.unwrap_err()));
    let read = with_deadline(
        Duration::from_millis(200),
        ask::<bool>(&db, "select pg_sleep(600) is null"),
    )
    .await;
    let read = read.unwrap_err();
    assert!(!Error::outcome_is_unknown(&read), "{read}");
    assert!(matches!(Error::of(&read), Some(Error::Deadline { .. })));

    // What seems to read, and goes where writes are taken, may write.
    let hides = ask::<i32>(&db, "select hidden_write() from pg_sleep(600)");
    let late = with_deadline(Duration::from_millis(200), hides).await;
    assert!(Error::outcome_is_unknown(&late.unwrap_err()));

    // The server may still be busy with the first.
    let other = "insert into event (name) select 'other' from pg_sleep(600)";
    let write = tokio::spawn({
        let db = db.clone();
        async move { db.execute_unprepared(other).await }
    });
    let running = "select count(*) from pg_stat_activity where query like 'insert%other%' and state = 'active'";
    eventually(LIMIT, || postgres.primary().psql(running).unwrap() != "0");
    postgres.primary().kill().unwrap();
    let error = write.await.unwrap().unwrap_err();
    assert!(
        matches!(Error::of(&error), Some(Error::OutcomeUnknown { node, .. }) if node == "primary"),
        "{error}"
    );
    // Nothing can be sent to a server that is not there.
    until_up(&db, "primary", false).await;
    let unsent = db.execute_unprepared(INSERT).await.unwrap_err();
    assert!(!Error::outcome_is_unknown(&unsent), "{unsent}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hidden_write_on_the_primary_whose_answer_is_lost_is_not_sent_again() {
    let postgres = private(0);
    let proxy = FaultProxy::to(postgres.primary().addr()).await.unwrap();
    let url = proxy.url_like(&postgres.primary().url()).unwrap();
    let db = fixture::cluster().primary(url).connect().await.unwrap();
    let count = || {
        postgres
            .primary()
            .psql("select count(*) from event")
            .unwrap()
    };
    ask::<bool>(&db, "select true").await.unwrap();
    // Its connection is back, so that none has to be opened.
    eventually(LIMIT, || db.status().primary().pool.idle > 0);
    proxy.blackhole(Direction::Down);
    let asking = tokio::spawn({
        let db = db.clone();
        // Sent at once, without asking for a plan first.
        async move { db.execute_unprepared("select hidden_write()").await }
    });
    eventually(LIMIT, || count() == "1");
    proxy.reset_all();
    proxy.heal();
    let error = asking.await.unwrap().unwrap_err();
    assert_eq!(count(), "1", "a write ran twice");
    assert!(Error::outcome_is_unknown(&error), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_counts_what_may_hide_a_write_on_the_primary_as_one() {
    let postgres = private(1);
    let db = cluster(&postgres).await;
    let session = db.session();
    let asked = with_route(
        Route::Primary,
        ask::<i32>(&session, "select hidden_write()"),
    );
    asked.await.unwrap();
    assert!(session.wrote(), "it did");
    assert!(session.token().await.unwrap().is_some());

    let session = db.session();
    let plain = "select count(*), max(name) from event where id in (1, 2)";
    let asked = with_route(Route::Primary, ask::<i64>(&session, plain));
    assert_eq!(asked.await.unwrap(), 1);
    assert!(!session.wrote(), "known functions write nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_stream_of_a_write_that_is_cut_leaves_doubt() {
    let postgres = private(0);
    let db = cluster(&postgres).await;
    let write = "insert into event (name) select repeat('x', 2000) from generate_series(1, 200000) returning name";
    let mut rows = db.stream_raw(sql(write)).await.unwrap();
    rows.try_next().await.unwrap().unwrap();
    postgres.primary().kill().unwrap();
    let error = loop {
        match rows.try_next().await {
            Ok(row) => assert!(row.is_some(), "a short stream without a word"),
            Err(error) => break error,
        }
    };
    assert!(
        matches!(Error::of(&error), Some(Error::Interrupted { .. })),
        "{error}"
    );
    assert!(Error::outcome_is_unknown(&error), "{error}");
    assert!(
        error.to_string().contains("look before you repeat it"),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deadline_that_passes_in_a_hidden_write_leaves_doubt() {
    let postgres = private(1);
    let sleeper = "create function slow_write() returns int language plpgsql as \
        $$ begin insert into event (name) values ('a'); perform pg_sleep(600); return 1; end $$";
    postgres.primary().psql(sleeper).unwrap();
    postgres.wait_for_replicas().unwrap();
    let db = cluster(&postgres).await;
    // Both have a connection to spare, so that only the write takes its time.
    db.execute_unprepared(INSERT).await.unwrap();
    ask::<bool>(&db, "select true").await.unwrap();
    let write = async || ask::<i32>(&db, "select slow_write()").await;
    let error = with_deadline(Duration::from_secs(5), write())
        .await
        .unwrap_err();
    assert_eq!(db.status().learned_writes, 1, "{error}");
    assert!(Error::outcome_is_unknown(&error), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_stream_that_may_hide_a_write_leaves_doubt_where_reads_begin_on_the_primary() {
    let postgres = private(0);
    let proxy = FaultProxy::to_blocking(postgres.primary().addr()).unwrap();
    let url = proxy.url_like(&postgres.primary().url()).unwrap();
    let db = fixture::cluster().primary(url).connect().await.unwrap();
    // More than fits on the way.
    let rows = "repeat('x', 20000) from generate_series(1, 3000)";
    for (call, doubt) in [("hidden_write(),", true), ("", false)] {
        let all = sql(&format!("select {call} {rows}"));
        let mut rows = db.stream_raw(all).await.unwrap();
        rows.try_next().await.unwrap().unwrap();
        proxy.reset_all();
        let error = loop {
            match rows.try_next().await {
                Ok(row) => assert!(row.is_some(), "a short stream without a word"),
                Err(error) => break error,
            }
        };
        assert_eq!(Error::outcome_is_unknown(&error), doubt, "{error}");
        until_up(&db, "primary", true).await;
    }
}
