use std::error::Error as _;
use std::time::Duration;

use bilten_db::sea_orm::{ConnectionTrait, DatabaseBackend, Statement};
use bilten_db::{Cluster, Error, Fallback, PoolConfig};

use crate::fixture::{Shop, builder_for, is_up, port, private, tally, until_open, who_reads};

#[tokio::test]
async fn the_scheme_of_a_url_may_be_written_large() {
    let shop = Shop::open("scheme").await;
    let large = |url: &str| {
        url.replacen("postgres", "POSTGRES", 1)
            .replacen("ql", "QL", 1)
    };
    let db = Cluster::builder()
        .primary(large(&shop.primary))
        .replica("r1", large(&shop.replicas[0]))
        .connect()
        .await
        .unwrap();
    assert_eq!(who_reads(&db).await.unwrap(), shop.replica_ports()[0]);
    let memory = Cluster::builder().primary("SQLite::memory:").connect();
    memory
        .await
        .unwrap()
        .execute_unprepared("select 1")
        .await
        .unwrap();
}

#[tokio::test]
async fn a_fallback_that_lets_nobody_in_is_refused() {
    let shop = Shop::open("no_fallback").await;
    let nobody = Fallback::Primary { max_in_flight: 0 };
    let built = shop.builder().fallback(nobody).connect().await;
    let error = built.unwrap_err();
    assert!(matches!(&error, Error::Invalid { field, .. } if field == "fallback.max_in_flight"));
    assert!(error.to_string().contains("Fallback::Error"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_host_is_told_at_the_start_as_one_that_does_not_answer() {
    let postgres = private(1);
    let pool = || PoolConfig::default().connect_timeout(Duration::from_secs(3));
    postgres.replica(0).pause().unwrap();
    let db = builder_for(&postgres).pool(pool()).connect().await.unwrap();
    assert!(!is_up(&db, "r1"));
    assert_eq!(who_reads(&db).await.unwrap(), port(postgres.primary()));
    let frozen = Cluster::builder().primary(postgres.replica(0).url());
    let error = frozen.pool(pool()).connect().await.unwrap_err();
    assert!(matches!(error, Error::Unreachable { .. }), "{error:?}");
    let text = error.to_string();
    assert!(
        text.contains("did not answer in time") && text.contains("connect_timeout"),
        "{text}"
    );
    let source = error.source().unwrap();
    assert_eq!(source.to_string(), "no connection or no answer within 3s");
    assert!(source.source().is_none(), "nothing is said twice");
}

#[tokio::test]
async fn text_that_no_server_takes_is_an_error_and_hurts_nobody() {
    let shop = Shop::open("bad_text").await;
    let db = shop.connect().await;
    for sql in [
        "",
        ";;",
        "select",
        "sélect 1",
        "select 'a\0b'",
        "\0",
        "select 1 /* never ends",
        "select $$ never ends",
        "select ~~~ from",
        "🦀",
        "select 1; select 2; drop",
    ] {
        let _whatever = db.execute_unprepared(sql).await;
        let prepared = Statement::from_string(DatabaseBackend::Postgres, sql);
        let _whatever = db.query_all_raw(prepared).await;
    }
    let nul = Statement::from_sql_and_values(
        DatabaseBackend::Postgres,
        "select $1::text",
        ["a\0b".into()],
    );
    db.query_one_raw(nul).await.unwrap_err();
    let status = db.status();
    assert!(status.nodes.iter().all(|node| node.is_up()), "{status:?}");
    until_open(&db).await;
    assert_eq!(tally(&db, 20).await.len(), shop.replicas.len());
    db.execute_unprepared("insert into event (name) values ('a')")
        .await
        .unwrap();
}
