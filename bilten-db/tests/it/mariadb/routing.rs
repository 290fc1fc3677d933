use bilten_db::sea_orm::{
    AccessMode, ActiveModelTrait, ActiveValue::Set, ConnectionTrait, Database, EntityTrait,
    LoaderTrait, TransactionTrait,
};
use bilten_db::{Cluster, Error};

use super::{builder_for, count, port, private, url};
use crate::fixture::{
    ask, cluster, event, patient, places_of_stream, tally, ticket, until_open, who_reads,
};
use crate::given_up::no_write_gets_into_a_lost_transaction;
use crate::pieces::Pieces;

const INSERT: &str = "insert into event (name) values ('a')";

#[tokio::test(flavor = "multi_thread")]
async fn mariadb_reads_are_dealt_over_the_replicas_and_writes_go_to_the_primary() {
    let maria = private(2).await;
    let db = builder_for(&maria).connect().await.unwrap();
    until_open(&db).await;
    let shares = tally(&db, 40).await;
    let expected = maria.replicas().iter().map(|node| (port(node), 20));
    assert_eq!(shares, expected.collect());

    let named = event::ActiveModel {
        name: Set("one".to_owned()),
        ..Default::default()
    };
    let session = db.session();
    let one = named.insert(&session).await.unwrap();
    assert_eq!(one.port, port(maria.primary()));
    let mut changed: event::ActiveModel = one.into();
    changed.name = Set("first".to_owned());
    assert_eq!(changed.update(&session).await.unwrap().name, "first");
    let seat = ticket::ActiveModel {
        event_id: Set(1),
        seat: Set("A1".to_owned()),
        ..Default::default()
    };
    // Without RETURNING the row is read back, which only a session sees for sure.
    seat.insert(&session).await.unwrap();
    maria.wait_for_replicas().unwrap();
    let events = event::Entity::find().all(&db).await.unwrap();
    let tickets = events.load_many(ticket::Entity, &db).await.unwrap();
    assert_eq!(tickets[0].len(), 1);

    let tx = db.begin().await.unwrap();
    assert_eq!(who_reads(&tx).await.unwrap(), port(maria.primary()));
    tx.execute_unprepared(INSERT).await.unwrap();
    tx.rollback().await.unwrap();
    let read_only = Some(AccessMode::ReadOnly);
    let tx = db.begin_with_config(None, read_only).await.unwrap();
    assert_ne!(who_reads(&tx).await.unwrap(), port(maria.primary()));
    tx.commit().await.unwrap();
    assert_eq!(count(maria.primary()), "1");
    assert_eq!(db.status().learned_writes, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_hidden_in_a_function_of_mariadb_is_refused_once_and_learned() {
    let maria = private(1).await;
    let db = builder_for(&maria).connect().await.unwrap();
    for _ in 0..5 {
        let took: i32 = ask(&db, "select hidden_write()").await.unwrap();
        assert_eq!(took, port(maria.primary()));
    }
    assert_eq!(db.status().learned_writes, 1);
    assert_eq!(count(maria.primary()), "5", "each call wrote exactly once");

    // Connections that are not ours set nothing; then `read_only` of the server refuses, with another number.
    let connect = Database::connect::<String>;
    let primary = connect(url(maria.primary())).await.unwrap();
    let replica = connect(url(maria.replica(0))).await.unwrap();
    let db = Cluster::builder()
        .from_connections(primary, [("r1".to_owned(), replica)])
        .connect()
        .await
        .unwrap();
    let took: i32 = ask(&db, "select hidden_write()").await.unwrap();
    assert_eq!(took, port(maria.primary()));
    assert_eq!(db.status().learned_writes, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn locks_sequences_and_files_of_mariadb_go_to_the_primary() {
    let maria = private(1).await;
    maria.primary().sql_in("shop", "create sequence s").unwrap();
    maria.wait_for_replicas().unwrap();
    let db = builder_for(&maria).connect().await.unwrap();
    let primary = port(maria.primary());
    for call in [
        "get_lock('a', 1)",
        "is_free_lock('b')",
        "release_all_locks()",
        "next value for s",
        "nextval(s)",
        "lastval(s)",
        "last_insert_id()",
        "@@server_id",
    ] {
        let sql = format!("select who(), {call}");
        assert_eq!(ask::<i32>(&db, &sql).await.unwrap(), primary, "{call}");
    }
    for tail in ["for update", "lock in share mode", "for update skip locked"] {
        let sql = format!("select who() from ticket {tail}");
        db.execute_unprepared(&sql).await.unwrap();
    }
    for text in [
        "'for update'",
        "\"delete; update\"",
        "`port` from `place` # for update",
    ] {
        let sql = format!("select who(), {text}");
        assert_ne!(ask::<i32>(&db, &sql).await.unwrap(), primary, "{text}");
    }
    assert_eq!(db.status().learned_writes, 0);
}

/// What the classifier calls a read must not be refused by a replica. Pieces of real queries are put together in every
/// way; errors of meaning are fine, a refusal to write is not.
#[tokio::test(flavor = "multi_thread")]
async fn no_statement_called_a_read_is_refused_by_a_replica_of_mariadb() {
    let maria = private(1).await;
    maria.primary().sql_in("shop", "create sequence s").unwrap();
    maria.wait_for_replicas().unwrap();
    let replica = Database::connect(url(maria.replica(0))).await.unwrap();
    let heads = [
        "",
        "with x as (select 1) ",
        "/*! explain */ ",
        "/* c */ # c\n",
        "explain ",
    ];
    let columns = [
        "*",
        "sql_calc_found_rows *",
        "count(*)",
        "now()",
        "nextval(s)",
        "next value for s",
        "setval(s, 9)",
        "lastval(s)",
        "'nextval(s)'",
        "get_lock('a', 0)",
        "uuid()",
        "@a := 1",
        "replace('a', 'b', 'c')",
        "benchmark(1, 1)",
    ];
    let sources = [
        "event",
        "`event` use index (primary)",
        "x",
        "(select * from event for update) as event",
        "event join ticket on ticket.event_id = event.id",
    ];
    let tails = [
        "",
        " for update",
        " for update nowait",
        " lock in share mode",
        " /*! for update */",
        " /*!50000 lock in share mode */",
        " limit 1 offset 0",
        " # for update",
        " into @a",
        " into outfile 'never'",
        " order by 1 limit 1",
    ];
    let pieces = Pieces {
        heads: &heads,
        columns: &columns,
        sources: &sources,
        tails: &tails,
        middles: &[],
    };
    let refusals = ["1290", "1792", "1836"];
    let (reads, writes) = pieces.are_not_refused(&replica, &refusals).await;
    assert!(
        reads > 100 && writes > 1000,
        "{reads} reads, {writes} writes"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn no_write_to_mariadb_is_lost_after_a_beginning_that_was_given_up() {
    let maria = private(0).await;
    let pool = patient().max(1);
    let db = builder_for(&maria).pool(pool).connect().await.unwrap();
    let observer = Database::connect(url(maria.primary())).await.unwrap();
    no_write_gets_into_a_lost_transaction(&db, &observer).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_of_mariadb_comes_from_one_replica() {
    let maria = private(2).await;
    let db = builder_for(&maria).connect().await.unwrap();
    let sql = "select who(), seq from seq_1_to_20000";
    let (rows, ports) = places_of_stream(&db, sql).await;
    assert_eq!((rows, ports.len()), (20_000, 1));
    assert!(!ports.contains(&port(maria.primary())));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_or_database_of_mariadb_is_told_without_being_shown() {
    let maria = private(0).await;
    let node = maria.primary();
    let told = |url: String| async move {
        let error = Cluster::builder().primary(url).connect().await.unwrap_err();
        assert!(matches!(error, Error::Unreachable { .. }), "{error:?}");
        let text = format!("{error} {error:?}");
        assert!(!text.contains("s3cret"), "{text}");
        error.to_string()
    };
    let password = told(node.url_as("needs_password", "s3cret", "shop")).await;
    assert!(password.contains("refused the user"), "{password}");
    let database = told(node.url_as("needs_password", "right", "no_such")).await;
    assert!(database.contains("knows no such database"), "{database}");
    let right = cluster().primary(node.url_as("needs_password", "right", "shop"));
    let right = right.connect().await.unwrap();
    assert_eq!(who_reads(&right).await.unwrap(), port(node));
}
