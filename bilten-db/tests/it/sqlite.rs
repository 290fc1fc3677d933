use std::sync::Arc;
use std::time::Duration;

use bilten_db::scope::with_deadline;
use bilten_db::sea_orm::{AccessMode, ConnectionTrait, TransactionTrait};
use bilten_db::status::State;
use bilten_db::{Cluster, Error, Fallback, PoolConfig};
use tokio::task::JoinSet;

use crate::fixture::{LIMIT, ask};

/// A folder that goes with the test.
struct Folder(std::path::PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("bilten-db-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn file(&self, name: &str) -> std::path::PathBuf {
        self.0.join(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _gone = std::fs::remove_dir_all(&self.0);
    }
}

async fn shop(folder: &Folder) -> Cluster {
    let db = Cluster::builder()
        .sqlite(folder.file("shop.db"))
        .readers(4)
        .pool(PoolConfig::default().acquire_timeout(LIMIT))
        .connect()
        .await
        .unwrap();
    db.execute_unprepared("create table event (id integer primary key, name text)")
        .await
        .unwrap();
    db
}

#[tokio::test(flavor = "multi_thread")]
async fn one_writer_and_four_readers_never_find_the_database_locked() {
    let folder = Folder::new("mixed");
    let db = Arc::new(shop(&folder).await);
    let mut tasks = JoinSet::new();
    for task in 0..20 {
        let db = Arc::clone(&db);
        tasks.spawn(async move {
            for n in 0..500 {
                if n % 4 == 0 {
                    let insert = format!("insert into event (name) values ('{task}-{n}')");
                    db.execute_unprepared(&insert).await.unwrap();
                } else {
                    ask::<i64>(&*db, "select count(*) from event")
                        .await
                        .unwrap();
                }
            }
        });
    }
    while let Some(ended) = tasks.join_next().await {
        ended.unwrap();
    }
    assert_eq!(
        ask::<i64>(&*db, "select count(*) from event")
            .await
            .unwrap(),
        20 * 125
    );
}

#[tokio::test]
async fn readers_do_not_wait_for_an_open_transaction_and_see_only_commits() {
    let folder = Folder::new("open_tx");
    let db = shop(&folder).await;
    let tx = db.begin().await.unwrap();
    tx.execute_unprepared("insert into event (name) values ('a')")
        .await
        .unwrap();
    // The only connection that writes is taken: had this read needed it, it would wait for acquire_timeout and fail.
    assert_eq!(
        ask::<i64>(&db, "select count(*) from event").await.unwrap(),
        0
    );
    tx.commit().await.unwrap();
    assert_eq!(
        ask::<i64>(&db, "select count(*) from event").await.unwrap(),
        1
    );
}

#[tokio::test]
async fn a_read_right_after_a_write_sees_it() {
    let folder = Folder::new("fresh");
    let db = shop(&folder).await;
    for n in 1..=200 {
        db.execute_unprepared("insert into event (name) values ('a')")
            .await
            .unwrap();
        assert_eq!(
            ask::<i64>(&db, "select count(*) from event").await.unwrap(),
            n
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn readers_keep_every_promise_about_the_state() {
    let folder = Folder::new("promise");
    let db = shop(&folder).await;
    let session = db.session();
    let insert = "insert into event (name) values ('a')";
    session.execute_unprepared(insert).await.unwrap();
    let token = session.token().await.unwrap().unwrap();
    for next in [
        db.session_with(token),
        db.session().max_lag(Duration::ZERO),
        db.session_at_least(Some(b"")),
    ] {
        let rows: i64 = ask(&next, "select count(*) from event").await.unwrap();
        assert_eq!((rows, next.node().as_deref()), (1, Some("readers")));
    }
}

#[tokio::test]
async fn a_reader_cannot_write() {
    let folder = Folder::new("reader");
    let db = shop(&folder).await;
    let url = format!("sqlite://{}", folder.file("shop.db").display());
    let named = Cluster::builder().primary(&url).replica("r1", &url);
    let named = named.connect().await.unwrap();
    let insert = "insert into event (name) values ('a')";
    for cluster in [&db, &named] {
        // The one way to ask a reader for a write; only its connection can tell, as SQLite knows no reading transaction.
        let read_only = Some(AccessMode::ReadOnly);
        let tx = cluster.begin_with_config(None, read_only).await.unwrap();
        let error = tx.execute_unprepared(insert).await.unwrap_err();
        let told = "attempt to write a readonly database";
        assert!(error.to_string().contains(told), "{error}");
        tx.rollback().await.unwrap();
    }
    db.execute_unprepared(insert).await.unwrap();
    let rows = "select count(*) from event";
    assert_eq!(ask::<i64>(&named, rows).await.unwrap(), 1);
}

#[tokio::test]
async fn a_database_in_memory_has_one_connection_that_is_never_lost() {
    let pool = PoolConfig::default()
        .idle_timeout(Duration::from_millis(50))
        .max_uses(1);
    let db = Cluster::builder()
        .sqlite(":memory:")
        .pool(pool)
        .connect()
        .await
        .unwrap();
    db.execute_unprepared("create table event (id integer primary key)")
        .await
        .unwrap();
    for n in 1..=50 {
        db.execute_unprepared("insert into event default values")
            .await
            .unwrap();
        assert_eq!(
            ask::<i64>(&db, "select count(*) from event").await.unwrap(),
            n
        );
    }
    let error = Cluster::builder()
        .sqlite(":memory:")
        .readers(2)
        .connect()
        .await
        .unwrap_err();
    assert!(
        matches!(error, Error::Invalid { ref field, .. } if field == "readers"),
        "{error}"
    );
}

#[tokio::test]
async fn a_path_may_hold_what_means_something_in_a_url() {
    let folder = Folder::new("odd");
    let path = folder.file("50% off? #1.db");
    let db = Cluster::builder().sqlite(&path).connect().await.unwrap();
    db.execute_unprepared("create table event (id integer primary key)")
        .await
        .unwrap();
    assert!(path.exists());
    assert_eq!(
        ask::<i64>(&db, "select count(*) from event").await.unwrap(),
        0
    );
}

#[tokio::test]
async fn a_path_that_cannot_be_opened_is_named() {
    let error = Cluster::builder()
        .sqlite("/no/such/folder/shop.db")
        .connect()
        .await
        .unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains("primary") && text.contains("/no/such/folder/shop.db"),
        "{text}"
    );
    assert!(text.contains("could not be opened"), "{text}");
    let directory = std::env::temp_dir();
    let built = Cluster::builder().sqlite(&directory).connect().await;
    let text = built.unwrap_err().to_string();
    assert!(
        text.contains("is a directory: give the path of a file"),
        "{text}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn readers_of_the_file_never_lag_behind_its_writer() {
    let folder = Folder::new("max_lag");
    let db = Cluster::builder().sqlite(folder.file("shop.db")).readers(2);
    let db = db.max_lag(Duration::from_secs(5)).fallback(Fallback::Error);
    let db = db.connect().await.unwrap();
    for _ in 0..4 {
        assert_eq!(ask::<i64>(&db, "select 1").await.unwrap(), 1);
    }
    assert!(
        db.status()
            .replicas()
            .all(|reader| reader.state == State::Up)
    );
}

#[tokio::test]
async fn the_question_for_a_token_keeps_the_deadline() {
    let folder = Folder::new("token_deadline");
    let db = shop(&folder).await;
    let session = db.session();
    session
        .execute_unprepared("insert into event (name) values ('a')")
        .await
        .unwrap();
    let asked = with_deadline(Duration::ZERO, session.token()).await;
    let told = matches!(asked, Err(Error::Deadline { write: false, .. }));
    assert!(told, "{asked:?}");
}
