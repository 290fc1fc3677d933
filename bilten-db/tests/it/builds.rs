//! Builds of indexes that go on, end or fail without whoever asked for them.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use async_trait::async_trait;
use bilten_db::index::{Ensured, IndexSpec, invalid};
use bilten_db::sea_orm::{
    ConnectionTrait, DbBackend, DbErr, ExecResult, IsolationLevel, QueryResult, Statement,
    TransactionTrait,
};
use bilten_db::transaction::Tx;
use bilten_db::{Cluster, Error};
use bilten_testbed::eventually_async;
use futures_util::future::join_all;
use tokio::sync::Mutex;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::fixture::{LIMIT, Shop, ask, cluster, private};

type Build = JoinHandle<Result<Ensured, Error>>;

fn by_name() -> IndexSpec {
    IndexSpec::new("event_name", "event")
        .column("name")
        .concurrently()
}

/// What a build waits for: a transaction that is older and has written to the table.
async fn writer(db: &Cluster) -> Tx {
    let old = db.begin().await.unwrap();
    let insert = "insert into event (name) values ('a')";
    old.execute_unprepared(insert).await.unwrap();
    old
}

/// A build that has begun and waits for a [`writer`].
async fn begin(db: &Cluster, spec: IndexSpec) -> Build {
    let primary = db.primary();
    let build = tokio::spawn(async move { spec.ensure(&primary).await });
    let exists = "select exists (select from pg_class where relname = 'event_name')";
    until(db, exists).await;
    build
}

async fn until(db: &Cluster, sql: &str) {
    let primary = db.primary();
    eventually_async(LIMIT, || async {
        ask::<bool>(&primary, sql).await.unwrap()
    })
    .await;
}

/// Ends the build that goes on.
async fn cancel_build(db: &Cluster) {
    let cancel = "select count(pg_cancel_backend(pid)) > 0 from pg_stat_progress_create_index \
        where datname = current_database()";
    assert!(ask::<bool>(&db.primary(), cancel).await.unwrap());
}

async fn number_of_index(db: &Cluster) -> i32 {
    let sql = "select 'event_name'::regclass::oid::int";
    ask(&db.primary(), sql).await.unwrap()
}

/// A unique index that two rows spoil, which leaves it behind; the rows are mended then.
async fn leave_behind(db: &Cluster) {
    let insert = "insert into event (name) values ('a'), ('a')";
    db.execute_unprepared(insert).await.unwrap();
    by_name().unique().ensure(db).await.unwrap_err();
    db.execute_unprepared("delete from event").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_build_goes_on_when_its_caller_goes_away() {
    let shop = Shop::open("build_goes_on").await;
    let db = shop.connect().await;
    let old = writer(&db).await;
    let build = begin(&db, by_name()).await;
    let made = number_of_index(&db).await;
    build.abort();
    assert!(build.await.unwrap_err().is_cancelled());
    for _ in 0..3 {
        let ensured = by_name().ensure(&db).await.unwrap();
        assert_eq!((ensured, ensured.is_ready()), (Ensured::Building, false));
    }
    assert!(invalid(&db).await.unwrap().is_empty(), "it goes on");
    let query = Statement::from_string(DbBackend::Postgres, "select * from event where name = 'a'");
    by_name().verify(&db, query).await.unwrap_err();
    old.commit().await.unwrap();
    eventually_async(LIMIT, || async {
        let ensured = by_name().ensure(&db).await.unwrap();
        assert!(matches!(ensured, Ensured::Building | Ensured::Present));
        ensured.is_ready()
    })
    .await;
    assert_eq!(number_of_index(&db).await, made, "the one of before");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_build_that_fails_without_its_caller_is_made_anew() {
    let shop = Shop::open("build_fails_alone").await;
    let db = shop.connect().await;
    let old = writer(&db).await;
    let build = begin(&db, by_name()).await;
    build.abort();
    assert!(build.await.unwrap_err().is_cancelled());
    cancel_build(&db).await;
    // It is told only when nobody makes it any more.
    eventually_async(LIMIT, || async { !invalid(&db).await.unwrap().is_empty() }).await;
    old.commit().await.unwrap();
    assert_eq!(by_name().ensure(&db).await.unwrap(), Ensured::Rebuilt);
    assert_eq!(by_name().ensure(&db).await.unwrap(), Ensured::Present);
    assert!(invalid(&db).await.unwrap().is_empty());
}

/// Which index the other one makes is hidden from a role that may not look into its session.
#[tokio::test(flavor = "multi_thread")]
async fn a_build_of_another_role_is_left_alone() {
    let postgres = private(0);
    let roles = "create role app login; alter table event owner to app; \
        grant create on schema public to app";
    postgres.primary().psql(roles).unwrap();
    let admin = cluster().primary(postgres.primary().url());
    let admin = admin.connect().await.unwrap();
    let app = cluster().primary(postgres.primary().url_as("app", ""));
    let app = app.connect().await.unwrap();
    let old = writer(&admin).await;
    let build = begin(&admin, by_name()).await;
    let hidden = "select index_relid is null from pg_stat_progress_create_index";
    assert!(ask::<bool>(&app.primary(), hidden).await.unwrap());
    let ensured = timeout(LIMIT, by_name().ensure(&app)).await;
    assert_eq!(ensured.unwrap().unwrap(), Ensured::Building);
    assert!(invalid(&app).await.unwrap().is_empty());
    old.commit().await.unwrap();
    assert_eq!(build.await.unwrap().unwrap(), Ensured::Created);
    assert_eq!(by_name().ensure(&app).await.unwrap(), Ensured::Present);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_build_of_another_index_of_that_name_is_an_error() {
    let shop = Shop::open("build_of_another").await;
    let db = shop.connect().await;
    let old = writer(&db).await;
    let build = begin(&db, by_name()).await;
    let other = IndexSpec::new("event_name", "event").column("port");
    for spec in [other.clone().concurrently(), other] {
        let error = spec.ensure(&db).await.unwrap_err().to_string();
        assert!(error.contains("has the columns [\"name\"]"), "{error}");
    }
    old.commit().await.unwrap();
    assert_eq!(build.await.unwrap().unwrap(), Ensured::Created);
}

/// A connection, and what happens while it is asked.
struct Played<P> {
    db: Cluster,
    looks: AtomicU32,
    play: P,
}

/// What happens, by the number of looks so far.
#[async_trait]
trait Play: Send + Sync {
    async fn before_look(&self, _db: &Cluster, _nth: u32) {}
    async fn after_look(&self, _db: &Cluster, _nth: u32) {}
    /// Whether a statement ends in this error instead of being run.
    async fn fails(&self, _db: &Cluster, _sql: &str) -> Option<DbErr> {
        None
    }
}

impl<P: Play> Played<P> {
    fn new(db: &Cluster, play: P) -> Self {
        Self {
            db: db.clone(),
            looks: AtomicU32::new(0),
            play,
        }
    }
}

#[async_trait]
impl<P: Play> ConnectionTrait for Played<P> {
    fn get_database_backend(&self) -> DbBackend {
        DbBackend::Postgres
    }

    async fn execute_raw(&self, stmt: Statement) -> Result<ExecResult, DbErr> {
        self.db.execute_raw(stmt).await
    }

    async fn execute_unprepared(&self, sql: &str) -> Result<ExecResult, DbErr> {
        match self.play.fails(&self.db, sql).await {
            Some(error) => Err(error),
            None => self.db.execute_unprepared(sql).await,
        }
    }

    async fn query_one_raw(&self, stmt: Statement) -> Result<Option<QueryResult>, DbErr> {
        let nth = self.looks.fetch_add(1, Ordering::Relaxed);
        self.play.before_look(&self.db, nth).await;
        let answer = self.db.query_one_raw(stmt).await;
        self.play.after_look(&self.db, nth).await;
        answer
    }

    async fn query_all_raw(&self, stmt: Statement) -> Result<Vec<QueryResult>, DbErr> {
        self.db.query_all_raw(stmt).await
    }
}

/// Another process mends the index while the first answer is on its way.
struct Mended(IndexSpec);

#[async_trait]
impl Play for Mended {
    async fn after_look(&self, db: &Cluster, nth: u32) {
        if nth == 0 {
            assert_eq!(self.0.ensure(db).await.unwrap(), Ensured::Rebuilt);
        }
    }
}

/// The build ends in a dead-lock, and the server shows it as going on for one more look.
#[derive(Default)]
struct Lingers {
    shown: Mutex<Option<(Tx, Build)>>,
    is_over: AtomicBool,
}

#[async_trait]
impl Play for Lingers {
    async fn fails(&self, db: &Cluster, sql: &str) -> Option<DbErr> {
        if self.is_over.swap(true, Ordering::Relaxed) || !sql.starts_with("CREATE") {
            return None;
        }
        let old = writer(db).await;
        *self.shown.lock().await = Some((old, begin(db, by_name()).await));
        let raised = "do $$ begin raise 'dead-lock' using errcode = '40P01'; end $$";
        db.execute_unprepared(raised).await.err()
    }

    async fn before_look(&self, db: &Cluster, nth: u32) {
        if nth != 2 {
            return;
        }
        let (old, build) = self.shown.lock().await.take().unwrap();
        cancel_build(db).await;
        build.await.unwrap().unwrap_err();
        old.commit().await.unwrap();
    }
}

#[tokio::test]
async fn an_index_that_was_finished_since_it_was_looked_at_is_not_dropped() {
    let shop = Shop::open("build_finished_since").await;
    let db = shop.connect().await;
    leave_behind(&db).await;
    let unique = by_name().unique();
    let played = Played::new(&db, Mended(unique.clone()));
    assert_eq!(unique.ensure(&played).await.unwrap(), Ensured::Present);
    let made = number_of_index(&db).await;
    assert_eq!(unique.ensure(&db).await.unwrap(), Ensured::Present);
    assert_eq!(number_of_index(&db).await, made);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_build_that_a_dead_lock_ended_is_not_told_as_that_of_another_session() {
    let shop = Shop::open("build_lingers").await;
    let db = shop.connect().await;
    let played = Played::new(&db, Lingers::default());
    assert_eq!(by_name().ensure(&played).await.unwrap(), Ensured::Rebuilt);
    assert!(invalid(&db).await.unwrap().is_empty());
}

#[tokio::test]
async fn many_processes_that_find_what_was_left_behind_make_one_index() {
    let shop = Shop::open("build_race_of_leftovers").await;
    let db = shop.connect().await;
    let unique = by_name().unique();
    for _ in 0..3 {
        leave_behind(&db).await;
        let primary = db.primary();
        let starts = (0..8).map(|_| unique.ensure(&primary));
        for ensured in join_all(starts).await {
            ensured.unwrap();
        }
        eventually_async(LIMIT, || async {
            unique.ensure(&primary).await.unwrap().is_ready()
        })
        .await;
        assert_eq!(unique.ensure(&primary).await.unwrap(), Ensured::Present);
        assert!(invalid(&primary).await.unwrap().is_empty());
        let drop = "drop index event_name";
        db.execute_unprepared(drop).await.unwrap();
    }
}

/// The last thing a build waits for are old snapshots. One of them waits for the table by then, which the build holds; only the build
/// looks for a dead-lock, and begins its wait when the other one waits already.
#[tokio::test(flavor = "multi_thread")]
async fn a_build_that_a_dead_lock_ends_is_made_anew() {
    let shop = Shop::open("build_dead_lock").await;
    let db = shop.connect().await;
    let old = writer(&db).await;
    let snapshot = db.begin_with_config(Some(IsolationLevel::RepeatableRead), None);
    let snapshot = snapshot.await.unwrap();
    let patient = "set local deadlock_timeout = '10min'; select 1";
    snapshot.execute_unprepared(patient).await.unwrap();
    let build = begin(&db, by_name()).await;
    let lock = tokio::spawn(async move {
        let lock = "lock table event in share update exclusive mode";
        snapshot.execute_unprepared(lock).await.unwrap();
        snapshot.commit().await.unwrap();
    });
    let waits = "select exists (select from pg_locks where relation = 'event'::regclass \
        and mode = 'ShareUpdateExclusiveLock' and not granted)";
    until(&db, waits).await;
    old.commit().await.unwrap();
    assert_eq!(build.await.unwrap().unwrap(), Ensured::Rebuilt);
    lock.await.unwrap();
    let ended = "select deadlocks = 1 from pg_stat_database where datname = current_database()";
    until(&db, ended).await;
    assert_eq!(by_name().ensure(&db).await.unwrap(), Ensured::Present);
    assert!(invalid(&db).await.unwrap().is_empty());
}

/// PostgreSQL's way to build one of a partitioned table without stopping writers: part by part.
#[tokio::test]
async fn an_index_that_an_operator_attaches_part_by_part_is_left_alone() {
    let shop = Shop::open("build_in_parts").await;
    let db = shop.connect().await;
    let begun = "create table visit (name text, port int) partition by list (port); \
        create table visit_1 partition of visit for values in (1); \
        create table visit_2 partition of visit for values in (2); \
        create index visit_name on only visit (name); \
        create index visit_1_name on visit_1 (name); \
        alter index visit_name attach partition visit_1_name";
    db.execute_unprepared(begun).await.unwrap();
    let numbers = "select to_regclass('visit_name')::oid::bigint * 4294967296 \
        + to_regclass('visit_1_name')::oid::bigint";
    let before: i64 = ask(&db.primary(), numbers).await.unwrap();
    let spec = || IndexSpec::new("visit_name", "visit").column("name");
    for spec in [spec(), spec().concurrently()] {
        let error = spec.ensure(&db).await.unwrap_err().to_string();
        assert!(error.contains("is not whole"), "{error}");
        assert_eq!(ask::<i64>(&db.primary(), numbers).await.unwrap(), before);
    }
    let rest = "create index visit_2_name on visit_2 (name); \
        alter index visit_name attach partition visit_2_name";
    db.execute_unprepared(rest).await.unwrap();
    assert_eq!(spec().ensure(&db).await.unwrap(), Ensured::Present);
}
