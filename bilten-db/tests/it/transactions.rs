use std::time::Duration;

use bilten_db::sea_orm::{
    AccessMode, ActiveModelTrait, ActiveValue::Set, ConnectionTrait, DbErr, EntityTrait,
    IntoDatabaseExecutor, IsolationLevel, PaginatorTrait, TransactionError, TransactionTrait,
};
use bilten_testbed::{Direction, FaultProxy};

use crate::fixture::{Shop, ask, cluster, event, patient, private, who_reads};

fn named(name: &str) -> event::ActiveModel {
    event::ActiveModel {
        name: Set(name.to_owned()),
        ..Default::default()
    }
}

#[tokio::test]
async fn a_transaction_and_all_its_reads_run_on_one_connection_of_the_primary() {
    let shop = Shop::open("tx").await;
    let db = shop.connect().await;
    let tx = db.begin().await.unwrap();
    let pid: i32 = ask(&tx, "select pg_backend_pid()").await.unwrap();
    named("a").insert(&tx).await.unwrap();
    for _ in 0..5 {
        assert_eq!(who_reads(&tx).await.unwrap(), shop.primary_port());
        assert_eq!(
            ask::<i32>(&tx, "select pg_backend_pid()").await.unwrap(),
            pid
        );
    }
    assert_eq!(event::Entity::find().count(&tx).await.unwrap(), 1);
    tx.commit().await.unwrap();
}

/// A step of a migration, with what `Migrator::up` of sea-orm-migration asks for.
async fn step<'c>(db: impl IntoDatabaseExecutor<'c>) -> i32 {
    let db = db.into_database_executor();
    let sql = "create table step (id int primary key, port int default inet_server_port())";
    db.execute_unprepared(sql).await.unwrap();
    let sql = "insert into step (id) values (1)";
    db.execute_unprepared(sql).await.unwrap();
    ask(&db, "select port from step").await.unwrap()
}

#[tokio::test]
async fn a_migration_takes_the_primary_and_reads_there_what_it_wrote() {
    let shop = Shop::open("tx_migration").await;
    let db = shop.connect().await;
    assert_eq!(step(&db.primary()).await, shop.primary_port());
    db.execute_unprepared("drop table step").await.unwrap();
    let tx = db.begin().await.unwrap();
    assert_eq!(step(&*tx).await, shop.primary_port());
    tx.rollback().await.unwrap();
}

#[tokio::test]
async fn a_reading_transaction_runs_on_one_replica() {
    let shop = Shop::open("tx_read").await;
    let db = shop.connect().await;
    let level = Some(IsolationLevel::RepeatableRead);
    let tx = db
        .begin_with_config(level, Some(AccessMode::ReadOnly))
        .await
        .unwrap();
    let port = who_reads(&tx).await.unwrap();
    assert!(shop.replica_ports().contains(&port));
    assert_eq!(who_reads(&tx).await.unwrap(), port);
    tx.commit().await.unwrap();
}

#[tokio::test]
async fn a_serializable_transaction_runs_on_the_primary_even_to_read() {
    let shop = Shop::open("tx_serial").await;
    let db = shop.connect().await;
    let level = Some(IsolationLevel::Serializable);
    let tx = db
        .begin_with_config(level, Some(AccessMode::ReadOnly))
        .await
        .unwrap();
    assert_eq!(who_reads(&tx).await.unwrap(), shop.primary_port());
    tx.rollback().await.unwrap();
}

#[tokio::test]
async fn a_closure_commits_or_rolls_back_as_a_whole() {
    let shop = Shop::open("tx_closure").await;
    let db = shop.connect().await;
    let kept = db
        .transaction::<_, i32, DbErr>(|tx| {
            Box::pin(async move { Ok(named("kept").insert(tx).await?.id) })
        })
        .await;
    assert!(kept.is_ok());
    let lost = db
        .transaction::<_, (), DbErr>(|tx| {
            Box::pin(async move {
                named("lost").insert(tx).await?;
                Err(DbErr::Custom("no".into()))
            })
        })
        .await;
    assert!(matches!(
        lost,
        Err(TransactionError::Transaction(DbErr::Custom(_)))
    ));
    let names = event::Entity::find().all(&db.primary()).await.unwrap();
    assert_eq!(
        names.iter().map(|e| e.name.as_str()).collect::<Vec<_>>(),
        ["kept"]
    );
}

#[tokio::test]
async fn a_dropped_transaction_rolls_back_and_gives_its_connection_back() {
    let shop = Shop::open("tx_drop").await;
    let db = shop
        .builder()
        .pool(patient().max(1))
        .connect()
        .await
        .unwrap();
    for _ in 0..3 {
        let tx = db.begin().await.unwrap();
        named("dropped").insert(&tx).await.unwrap();
        drop(tx);
    }
    assert_eq!(event::Entity::find().count(&db.primary()).await.unwrap(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_savepoint_whose_end_is_refused_leaves_the_outer_transaction() {
    let shop = Shop::open("tx_savepoint").await;
    let db = shop.connect().await;
    let unique = "create unique index one_name on event (name)";
    db.execute_unprepared(unique).await.unwrap();
    let tx = db.begin().await.unwrap();
    named("a").insert(&tx).await.unwrap();
    let skipped = tx
        .transaction::<_, (), DbErr>(|nested| {
            Box::pin(async move {
                named("b").insert(nested).await?;
                // A row that is there already is passed over.
                let _ = named("a").insert(nested).await;
                Ok(())
            })
        })
        .await;
    assert!(skipped.is_err(), "its end is refused");
    named("c").insert(&tx).await.unwrap();
    tx.commit().await.unwrap();
    let names = event::Entity::find().all(&db.primary()).await.unwrap();
    let names: Vec<_> = names.iter().map(|e| e.name.as_str()).collect();
    assert_eq!(names, ["a", "c"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closure_in_a_lost_transaction_tells_its_own_error() {
    let shop = Shop::open("tx_own_error").await;
    let db = shop.connect().await;
    let lost = db
        .transaction::<_, (), DbErr>(|tx| {
            Box::pin(async move {
                let wrong = "insert into nowhere values (1)";
                let _ = tx.execute_unprepared(wrong).await;
                let _ = tx.begin().await;
                Err(DbErr::Custom("sold out".into()))
            })
        })
        .await;
    let own = DbErr::Custom("sold out".into());
    assert!(matches!(lost, Err(TransactionError::Transaction(error)) if error == own));
}

#[tokio::test]
async fn a_commit_says_so_when_an_error_inside_has_undone_all() {
    let shop = Shop::open("tx_undone").await;
    let db = shop.connect().await;
    let wrong = "insert into nowhere values (1)";
    let tx = db.begin().await.unwrap();
    named("a").insert(&tx).await.unwrap();
    tx.execute_unprepared(wrong).await.unwrap_err();
    let error = tx.commit().await.unwrap_err();
    assert!(
        error.to_string().contains("nothing is committed"),
        "{error}"
    );
    assert!(!bilten_db::Error::outcome_is_unknown(&error), "{error}");
    assert_eq!(event::Entity::find().count(&db.primary()).await.unwrap(), 0);

    // An error that a savepoint undid is none of the whole.
    let tx = db.begin().await.unwrap();
    named("b").insert(&tx).await.unwrap();
    let inner = tx.begin().await.unwrap();
    inner.execute_unprepared(wrong).await.unwrap_err();
    inner.rollback().await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(event::Entity::find().count(&db.primary()).await.unwrap(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_that_was_never_sent_leaves_no_doubt() {
    let postgres = private(0);
    let proxy = FaultProxy::to_blocking(postgres.primary().addr()).unwrap();
    let url = proxy.url_like(&postgres.primary().url()).unwrap();
    let pool = patient().query_timeout(Some(Duration::from_secs(2)));
    let db = cluster().primary(url).pool(pool);
    let db = db.connect().await.unwrap();
    let tx = db.begin().await.unwrap();
    named("a").insert(&tx).await.unwrap();
    let inner = tx.begin().await.unwrap();
    let wrong = "insert into nowhere values (1)";
    inner.execute_unprepared(wrong).await.unwrap_err();
    inner.rollback().await.unwrap();
    // Whether the transaction is whole has to be asked first, and nobody answers that.
    proxy.blackhole(Direction::Both);
    let error = tx.commit().await.unwrap_err();
    assert!(!bilten_db::Error::outcome_is_unknown(&error), "{error}");
}
