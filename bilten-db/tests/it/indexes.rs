use bilten_db::Cluster;
use bilten_db::index::{Ensured, IndexSpec, explain, invalid, unused};
use bilten_db::scope::{Route, with_route};
use bilten_db::sea_orm::{ConnectionTrait, DbBackend, Statement, TransactionTrait};
use bilten_testbed::eventually_async;

use crate::fixture::{LIMIT, Shop, ask};

fn by_name() -> IndexSpec {
    IndexSpec::new("event_name", "event")
        .column("name")
        .concurrently()
}

async fn fill(db: &Cluster) {
    let sql = "insert into event (name) select 'n' || n from generate_series(1, 5000) n";
    db.execute_unprepared(sql).await.unwrap();
    db.execute_unprepared("vacuum analyze event").await.unwrap();
}

fn find(name: &str) -> Statement {
    let sql = "select * from event where name = $1";
    Statement::from_sql_and_values(DbBackend::Postgres, sql, [name.into()])
}

#[tokio::test]
async fn an_index_is_made_once_and_used() {
    let shop = Shop::open("index_made").await;
    let db = shop.connect().await;
    fill(&db).await;
    let error = by_name().verify(&db, find("n7")).await.unwrap_err();
    assert!(error.to_string().contains("Seq Scan"), "{error}");
    assert_eq!(
        by_name().ensure(&db.primary()).await.unwrap(),
        Ensured::Created
    );
    assert_eq!(by_name().ensure(&db).await.unwrap(), Ensured::Present);
    by_name().verify(&db, find("n7")).await.unwrap();
    assert!(!explain(&db, find("n7")).await.unwrap().uses("event_nam"));

    let partial = IndexSpec::new("event_late", "public.event").columns(["port", "name"]);
    let partial = partial.include(["id"]).filter("id > 4000").unique();
    assert_eq!(partial.ensure(&db).await.unwrap(), Ensured::Created);
    assert_eq!(partial.ensure(&db).await.unwrap(), Ensured::Present);
}

#[tokio::test]
async fn another_index_of_that_name_is_an_error() {
    let shop = Shop::open("index_other").await;
    let db = shop.connect().await;
    by_name().ensure(&db).await.unwrap();
    for (spec, difference) in [
        (
            IndexSpec::new("event_name", "event").column("port"),
            "has the columns [\"name\"]",
        ),
        (by_name().unique(), "is not unique"),
        (by_name().filter("id > 1"), "has no filter"),
        (by_name().include(["port"]), "includes the columns []"),
        (
            IndexSpec::new("event_name", "event").column_desc("name"),
            "is ordered by `name`: ",
        ),
        (
            by_name().method("brin"),
            "is of the method `btree`, not `brin`",
        ),
    ] {
        let error = spec.ensure(&db).await.unwrap_err().to_string();
        assert!(error.contains(difference), "{error}");
    }
    for spec in [
        IndexSpec::new("event_mixed", "event")
            .column("name")
            .column_desc("port"),
        IndexSpec::new("event_brin", "event")
            .columns(["id", "port"])
            .method("brin"),
    ] {
        assert_eq!(spec.ensure(&db).await.unwrap(), Ensured::Created);
        assert_eq!(spec.ensure(&db).await.unwrap(), Ensured::Present);
    }
    let plain = IndexSpec::new("event_brin", "event").columns(["id", "port"]);
    let error = plain.ensure(&db).await.unwrap_err().to_string();
    assert!(error.contains("`brin`, not `btree`"), "{error}");
}

#[tokio::test]
async fn what_a_failed_build_left_behind_is_mended() {
    let shop = Shop::open("index_invalid").await;
    let db = shop.connect().await;
    db.execute_unprepared("insert into event (name) values ('a'), ('a')")
        .await
        .unwrap();
    let unique = || by_name().unique();
    unique().ensure(&db.primary()).await.unwrap_err();
    let left = invalid(&db).await.unwrap();
    assert_eq!((left.len(), &*left[0].name), (1, "event_name"), "{left:?}");
    db.execute_unprepared("delete from event where id = 2")
        .await
        .unwrap();
    assert_eq!(
        unique().ensure(&db.primary()).await.unwrap(),
        Ensured::Rebuilt
    );
    assert!(invalid(&db).await.unwrap().is_empty());
    assert_eq!(
        unique().ensure(&db.primary()).await.unwrap(),
        Ensured::Present
    );
}

#[tokio::test]
async fn many_processes_that_start_at_once_make_one_index() {
    let shop = Shop::open("index_race").await;
    let db = shop.connect().await;
    fill(&db).await;
    for round in 0..3 {
        let spec = IndexSpec::new(format!("event_race_{round}"), "event")
            .columns(["name", "port"])
            .concurrently();
        let primary = db.primary();
        let starts = (0..8).map(|_| spec.ensure(&primary));
        for ensured in futures_util::future::join_all(starts).await {
            ensured.unwrap();
        }
        assert_eq!(spec.ensure(&primary).await.unwrap(), Ensured::Present);
    }
    assert!(invalid(&db.primary()).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_concurrent_build_says_that_it_cannot_be_in_a_transaction() {
    let shop = Shop::open("index_tx").await;
    let db = shop.connect().await;
    let tx = db.begin().await.unwrap();
    let error = by_name().ensure(&tx).await.unwrap_err().to_string();
    assert!(error.contains("inside of a transaction"), "{error}");
    tx.rollback().await.unwrap();
    let tx = db.begin().await.unwrap();
    let plain = IndexSpec::new("event_name", "event").column("name");
    assert_eq!(plain.ensure(&tx).await.unwrap(), Ensured::Created);
    tx.commit().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_that_another_session_makes_is_left_alone() {
    let shop = Shop::open("index_building").await;
    let db = shop.connect().await;
    // A concurrent build waits for every transaction that is older.
    let old = db.begin().await.unwrap();
    old.execute_unprepared("insert into event (name) values ('a')")
        .await
        .unwrap();
    let build = tokio::spawn({
        let primary = db.primary();
        async move { by_name().ensure(&primary).await }
    });
    let exists = "select exists (select from pg_class where relname = 'event_name')";
    eventually_async(LIMIT, || async {
        ask::<bool>(&db.primary(), exists).await.unwrap()
    })
    .await;
    assert_eq!(by_name().ensure(&db).await.unwrap(), Ensured::Building);
    assert!(
        invalid(&db).await.unwrap().is_empty(),
        "it is not left behind"
    );
    old.commit().await.unwrap();
    assert_eq!(build.await.unwrap().unwrap(), Ensured::Created);
    assert_eq!(by_name().ensure(&db).await.unwrap(), Ensured::Present);
}

#[tokio::test]
async fn indexes_that_nobody_reads_are_listed() {
    let shop = Shop::open("index_unused").await;
    let db = shop.connect().await;
    fill(&db).await;
    by_name().ensure(&db).await.unwrap();
    let port = IndexSpec::new("event_port", "event").column("port");
    port.ensure(&db).await.unwrap();
    let primary = db.primary();
    primary.query_all_raw(find("n7")).await.unwrap();
    let names = async || {
        let found = unused(&db).await.unwrap();
        found
            .into_iter()
            .map(|index| index.name)
            .collect::<Vec<_>>()
    };
    // The server counts a little later.
    eventually_async(LIMIT, || async {
        primary
            .execute_unprepared("select pg_stat_force_next_flush()")
            .await
            .ok();
        names().await == ["event_port"]
    })
    .await;
}

#[tokio::test]
async fn sqlite_takes_names_for_the_same_whatever_the_size_of_their_letters() {
    let db = Cluster::builder().primary("sqlite::memory:");
    let db = db.connect().await.unwrap();
    let table = "create table events (id integer primary key, start_date text)";
    db.execute_unprepared(table).await.unwrap();
    let made = IndexSpec::new("i1", "events").column("start_date");
    assert_eq!(made.ensure(&db).await.unwrap(), Ensured::Created);
    let same = IndexSpec::new("I1", "EVENTS").column("Start_Date");
    assert_eq!(same.ensure(&db).await.unwrap(), Ensured::Present);
    let other = IndexSpec::new("I1", "EVENTS").column("id");
    let error = other.ensure(&db).await.unwrap_err().to_string();
    assert!(error.contains("has the columns"), "{error}");
}

#[tokio::test]
async fn sqlite_has_indexes_too() {
    let db = Cluster::builder()
        .primary("sqlite::memory:")
        .connect()
        .await
        .unwrap();
    let sql = "create table event (id integer primary key, name text, port int)";
    db.execute_unprepared(sql).await.unwrap();
    let partial = || {
        IndexSpec::new("late", "event")
            .columns(["name", "port"])
            .filter("id > 4")
    };
    assert_eq!(partial().ensure(&db).await.unwrap(), Ensured::Created);
    assert_eq!(partial().ensure(&db).await.unwrap(), Ensured::Present);
    let error = partial()
        .unique()
        .ensure(&db)
        .await
        .unwrap_err()
        .to_string();
    assert!(error.contains("is not unique"), "{error}");
    let query = "select name from event where name = 'a' and id > 4";
    let query = Statement::from_string(DbBackend::Sqlite, query);
    partial().verify(&db, query).await.unwrap();
    let wrong = IndexSpec::new("wrong", "event").columns(["name", "prot"]);
    for _ in 0..2 {
        let error = wrong.ensure(&db).await.unwrap_err().to_string();
        assert!(error.contains("a column that its table"), "{error}");
    }
    let mixed = IndexSpec::new("mixed", "event").column("name");
    let mixed = mixed.column_desc("port");
    assert_eq!(mixed.ensure(&db).await.unwrap(), Ensured::Created);
    assert_eq!(mixed.ensure(&db).await.unwrap(), Ensured::Present);
    let straight = IndexSpec::new("mixed", "event").columns(["name", "port"]);
    let error = straight.ensure(&db).await.unwrap_err().to_string();
    assert!(error.contains("ordered by `name`, `port` DESC"), "{error}");
    assert!(
        unused(&db)
            .await
            .unwrap_err()
            .to_string()
            .contains("PostgreSQL only")
    );
}

#[tokio::test]
async fn the_plan_of_a_query_is_no_write_of_a_session() {
    let shop = Shop::open("plan_is_no_write").await;
    let db = shop.connect().await;
    let session = db.session();
    let plan = explain(&session, find("n7")).await.unwrap();
    assert!(plan.text.contains("event"), "{}", plan.text);
    assert!(!session.wrote());
    let write = Statement::from_string(DbBackend::Postgres, "delete from event");
    explain(&session, write).await.unwrap();
    assert!(session.wrote(), "not told by its text to change nothing");
}

#[tokio::test]
async fn the_plan_of_a_query_runs_nothing_of_it() {
    let shop = Shop::open("plan_runs_nothing").await;
    let file = std::env::temp_dir().join(format!("bilten-plan-{}.db", std::process::id()));
    let lite = Cluster::builder().sqlite(&file).connect().await.unwrap();
    let sql = "create table event (id integer primary key, name text not null)";
    lite.execute_unprepared(sql).await.unwrap();
    let queries = [
        "select 1; delete from event",
        "delete from event",
        "analyze delete from event",
        "(analyze) delete from event",
    ];
    for db in [shop.connect().await, lite] {
        let insert = "insert into event (name) values ('a')";
        db.execute_unprepared(insert).await.unwrap();
        for query in queries {
            let statement = Statement::from_string(db.get_database_backend(), query);
            // Some of them have a plan; the others are refused.
            let _ = explain(&db, statement).await;
            let count = "select count(*) from event";
            let count = with_route(Route::Primary, ask::<i64>(&db, count));
            assert_eq!(count.await.unwrap(), 1, "{query}");
        }
        db.close().await;
    }
    for end in ["", "-wal", "-shm"] {
        let _ = std::fs::remove_file(format!("{}{end}", file.display()));
    }
}

/// Both wait for each other, and the server ends the build; in its transaction nothing is answered after that.
#[tokio::test(flavor = "multi_thread")]
async fn a_dead_lock_inside_of_a_transaction_is_told_as_what_it_is() {
    let shop = Shop::open("index_in_dead_lock").await;
    let db = shop.connect().await;
    let table = "create table other (id int)";
    db.execute_unprepared(table).await.unwrap();
    let [build, other] = [db.begin().await.unwrap(), db.begin().await.unwrap()];
    for (tx, sql) in [
        (&build, "set local deadlock_timeout = '10ms'"),
        (&build, "lock table other in access exclusive mode"),
        (&other, "set local deadlock_timeout = '1h'"),
        (&other, "lock table event in access exclusive mode"),
    ] {
        tx.execute_unprepared(sql).await.unwrap();
    }
    let waits = tokio::spawn(async move {
        let lock = "lock table other in access exclusive mode";
        other.execute_unprepared(lock).await.unwrap();
        other.rollback().await.unwrap();
    });
    let is_waiting = "select count(*) from pg_locks where not granted \
        and relation = 'other'::regclass";
    eventually_async(LIMIT, async || {
        ask::<i64>(&db.primary(), is_waiting).await.unwrap() == 1
    })
    .await;
    let index = IndexSpec::new("event_name", "event").column("name");
    let error = index.ensure(&build).await.unwrap_err();
    let cause = std::error::Error::source(&error).unwrap().to_string();
    assert!(cause.contains("deadlock detected"), "{cause}");
    build.rollback().await.unwrap();
    waits.await.unwrap();
}
