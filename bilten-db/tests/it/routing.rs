use std::collections::BTreeSet;

use bilten_db::scope::{Route, with_route, with_tags};
use bilten_db::sea_orm::sea_query::{LockBehavior, LockType};
use bilten_db::sea_orm::{
    ActiveModelTrait, ActiveValue::Set, ColumnTrait, ConnectionTrait, Database, DatabaseConnection,
    EntityTrait, LoaderTrait, ModelTrait, PaginatorTrait, QueryFilter, QueryOrder, QuerySelect,
    Statement, StreamTrait, TransactionTrait,
};
use futures_util::TryStreamExt;

use crate::fixture::{
    Shop, ask, builder_for, cluster, event, place, port, private, tally, ticket, until_open,
    who_reads,
};
use crate::pieces::Pieces;
use crate::warnings::Warnings;

#[tokio::test]
async fn reads_are_dealt_evenly_over_the_replicas() {
    let shop = Shop::open("even").await;
    let db = shop.connect().await;
    until_open(&db).await;
    let replicas = shop.replica_ports();
    let tally = tally(&db, 150 * replicas.len()).await;
    let expected = replicas.into_iter().map(|port| (port, 150)).collect();
    assert_eq!(tally, expected);
}

#[tokio::test]
async fn the_node_of_a_statement_is_told_without_sending_it() {
    let shop = Shop::open("preview").await;
    let db = shop.connect().await;
    let told = |sql| db.preview(sql).map(|node| node.to_string());
    let replicas: BTreeSet<_> = (0..10).filter_map(|_| told("select 1")).collect();
    let all: BTreeSet<String> = db
        .status()
        .replicas()
        .map(|replica| replica.id.clone())
        .collect();
    assert_eq!(replicas, all);
    let on_primary = async { told("select 1") };
    for primary in [
        told("delete from event"),
        with_route(Route::Primary, on_primary).await,
    ] {
        assert_eq!(primary.as_deref(), Some("primary"));
    }
    let group = with_route(Route::Group("reports"), async { told("select 1") });
    assert_eq!(group.await, None, "nobody is there");
    assert_eq!(
        db.status()
            .nodes
            .iter()
            .map(|node| node.in_flight)
            .sum::<u32>(),
        0
    );
}

#[tokio::test]
async fn every_kind_of_write_goes_to_the_primary() {
    let shop = Shop::open("writes").await;
    let db = shop.connect().await;
    let named = |name: &str| event::ActiveModel {
        name: Set(name.to_owned()),
        ..Default::default()
    };

    let one = named("one").insert(&db).await.unwrap();
    assert_eq!(one.port, shop.primary_port());
    let many = event::Entity::insert_many([named("two"), named("three")])
        .exec_with_returning(&db)
        .await
        .unwrap();
    assert!(many.iter().all(|event| event.port == shop.primary_port()));
    let plain = event::Entity::insert(named("four"))
        .exec(&db)
        .await
        .unwrap();
    assert!(plain.last_insert_id > one.id);

    let mut changed: event::ActiveModel = one.into();
    changed.name = Set("first".to_owned());
    assert_eq!(changed.update(&db).await.unwrap().name, "first");
    let updated = event::Entity::update_many()
        .col_expr(event::Column::Name, "all".into())
        .filter(event::Column::Name.ne("first"))
        .exec(&db)
        .await
        .unwrap();
    assert_eq!(updated.rows_affected, 3);

    shop.settle().await;
    let first = event::Entity::find()
        .order_by_asc(event::Column::Id)
        .one(&db)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(first.delete(&db).await.unwrap().rows_affected, 1);
    let deleted = event::Entity::delete_many().exec(&db).await.unwrap();
    assert_eq!(deleted.rows_affected, 3);
    assert_eq!(
        db.status().learned_writes,
        0,
        "no write was tried on a replica"
    );
}

#[tokio::test]
async fn locking_reads_go_to_the_primary() {
    let shop = Shop::open("locks").await;
    let db = shop.connect().await;
    let find = event::Entity::find;
    find().lock_exclusive().all(&db).await.unwrap();
    find().lock_shared().all(&db).await.unwrap();
    find()
        .lock_with_behavior(LockType::Update, LockBehavior::SkipLocked)
        .all(&db)
        .await
        .unwrap();
    find().lock(LockType::NoKeyUpdate).all(&db).await.unwrap();
    assert_eq!(
        db.status().learned_writes,
        0,
        "a replica would have refused the lock"
    );
}

#[tokio::test]
async fn a_writing_with_goes_to_the_primary() {
    let shop = Shop::open("with").await;
    let db = shop.connect().await;
    let sql = "with x as (insert into event (name) values ('a') returning port) select port from x";
    assert_eq!(ask::<i32>(&db, sql).await.unwrap(), shop.primary_port());
    assert_eq!(db.status().learned_writes, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hidden_write_is_refused_once_and_learned() {
    let postgres = private(1);
    let db = builder_for(&postgres).connect().await.unwrap();
    for _ in 0..5 {
        let took: i32 = ask(&db, "select hidden_write()").await.unwrap();
        assert_eq!(took, i32::from(postgres.primary().port()));
    }
    assert_eq!(db.status().learned_writes, 1);
    let refusals = postgres
        .replica(0)
        .log_tail()
        .matches("cannot execute INSERT")
        .count();
    assert_eq!(refusals, 1, "{}", postgres.replica(0).log_tail());
    let rows = postgres
        .primary()
        .psql("select count(*) from event")
        .unwrap();
    assert_eq!(rows, "5", "each call wrote exactly once");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hidden_write_is_refused_once_whatever_its_values_and_tags() {
    let postgres = private(1);
    let db = builder_for(&postgres).connect().await.unwrap();
    let primary = port(postgres.primary());
    for n in 0..5 {
        let sql = format!("select hidden_write(), {n}, 'value {n}'");
        let tagged = with_tags([("route", format!("/{n}").as_str())], ask::<i32>(&db, &sql)).await;
        assert_eq!(tagged.unwrap(), primary);
        let session = db.session();
        assert_eq!(ask::<i32>(&session, &sql).await.unwrap(), primary);
    }
    assert_eq!(db.status().learned_writes, 1);
    let log = postgres.replica(0).log_tail();
    assert_eq!(log.matches("cannot execute INSERT").count(), 1, "{log}");
    let rows = postgres.primary().psql("select count(*) from event");
    assert_eq!(rows.unwrap(), "10", "each call wrote exactly once");
}

#[tokio::test]
async fn a_function_that_only_the_primary_answers_rightly_goes_there() {
    let shop = Shop::open("functions").await;
    let db = shop
        .builder()
        .deny_functions(["pg_catalog.\"Inet_Client_Port\""])
        .connect()
        .await
        .unwrap();
    for call in [
        "pg_advisory_lock(42)",
        "pg_try_advisory_xact_lock(42)",
        "set_config('bilten.a', 'b', false)",
        "nextval('event_id_seq')",
        "inet_client_port()",
    ] {
        let sql = format!("select inet_server_port(), {call}");
        assert_eq!(
            ask::<i32>(&db, &sql).await.unwrap(),
            shop.primary_port(),
            "{call}"
        );
    }
    assert_eq!(db.status().learned_writes, 0);
}

#[tokio::test]
async fn words_inside_quotes_do_not_make_a_write() {
    let shop = Shop::open("quotes").await;
    let db = shop.connect().await;
    for text in [
        "'for update; delete'",
        "$$ insert; $$",
        "/* delete */ 'a'",
        "E'it\\'s; update'",
    ] {
        let sql = format!("select inet_server_port(), {text}");
        let port: i32 = ask(&db, &sql).await.unwrap();
        assert!(shop.replica_ports().contains(&port), "{text}");
    }
}

#[tokio::test]
async fn a_stream_of_many_rows_comes_from_one_replica() {
    let shop = Shop::open("stream").await;
    let db = shop.connect().await;
    let sql = "select inet_server_port(), n from generate_series(1, 100000) n";
    let stmt = Statement::from_string(ConnectionTrait::get_database_backend(&db), sql);
    let mut rows = db.stream_raw(stmt).await.unwrap();
    let (mut ports, mut last) = (BTreeSet::new(), 0);
    while let Some(row) = rows.try_next().await.unwrap() {
        ports.insert(row.try_get_by_index::<i32>(0).unwrap());
        let n: i32 = row.try_get_by_index(1).unwrap();
        assert_eq!(n, last + 1, "each row once and in order");
        last = n;
    }
    assert_eq!((last, ports.len()), (100_000, 1));
    assert!(shop.replica_ports().contains(ports.first().unwrap()));
}

#[tokio::test]
async fn cursors_loaders_and_counts_read_from_replicas() {
    let shop = Shop::open("loaders").await;
    let db = shop.connect().await;
    for n in 1..=3 {
        let name = Set(format!("event {n}"));
        let event = event::ActiveModel {
            name,
            ..Default::default()
        }
        .insert(&db)
        .await
        .unwrap();
        let seat = Set(format!("seat {n}"));
        ticket::ActiveModel {
            event_id: Set(event.id),
            seat,
            ..Default::default()
        }
        .insert(&db)
        .await
        .unwrap();
    }
    shop.settle().await;

    let events = event::Entity::find()
        .order_by_asc(event::Column::Id)
        .all(&db)
        .await
        .unwrap();
    let tickets = events.load_many(ticket::Entity, &db).await.unwrap();
    assert_eq!(tickets.iter().map(Vec::len).collect::<Vec<_>>(), [1, 1, 1]);
    let both = event::Entity::find()
        .find_with_related(ticket::Entity)
        .all(&db)
        .await
        .unwrap();
    assert_eq!(both.len(), 3);
    let mut cursor = event::Entity::find().cursor_by(event::Column::Id);
    let last = cursor.after(events[1].id).first(10).all(&db).await.unwrap();
    assert_eq!(last, [events[2].clone()]);
    assert_eq!(event::Entity::find().count(&db).await.unwrap(), 3);
    let names: Vec<String> = event::Entity::find()
        .select_only()
        .column(event::Column::Name)
        .into_tuple()
        .all(&db)
        .await
        .unwrap();
    assert_eq!(names.len(), 3);
}

#[tokio::test]
async fn reads_of_a_one_node_scope_stay_with_one_replica() {
    let shop = Shop::open("one_node").await;
    let db = shop.connect().await;
    until_open(&db).await;
    for _ in 0..4 {
        let ports = with_route(Route::OneNode, tally(&db, 20)).await;
        assert_eq!(ports.len(), 1, "{ports:?}");
        assert!(shop.replica_ports().contains(ports.keys().next().unwrap()));
    }
}

#[tokio::test]
async fn hints_send_reads_to_the_primary_or_to_replicas_only() {
    let shop = Shop::open("hints").await;
    let db = shop.connect().await;
    assert_eq!(
        with_route(Route::Primary, who_reads(&db)).await.unwrap(),
        shop.primary_port()
    );
    let port = with_route(Route::Replica, who_reads(&db)).await.unwrap();
    assert!(shop.replica_ports().contains(&port));

    let alone = cluster().primary(&shop.primary).connect().await.unwrap();
    let error = with_route(Route::Replica, who_reads(&alone))
        .await
        .unwrap_err();
    assert!(
        error.to_string().contains("no replica is in rotation"),
        "{error}"
    );
}

#[tokio::test]
async fn without_replicas_the_primary_serves_everything_and_warns_of_nothing() {
    let warnings = Warnings::of("bilten_db");
    let _told = tracing::subscriber::set_default(warnings.clone());
    let shop = Shop::open("alone").await;
    let db = cluster().primary(&shop.primary).connect().await.unwrap();
    let tally = tally(&db, 30).await;
    assert_eq!(tally, [(shop.primary_port(), 30)].into());
    let sql = "insert into event (name) values ('a') returning port";
    assert_eq!(ask::<i32>(&db, sql).await.unwrap(), shop.primary_port());
    assert_eq!(
        ask::<i64>(&db, "select count(*) from event").await.unwrap(),
        1
    );
    let session = db.session();
    assert_eq!(who_reads(&session).await.unwrap(), shop.primary_port());
    let tx = db.begin().await.unwrap();
    assert_eq!(who_reads(&tx).await.unwrap(), shop.primary_port());
    tx.rollback().await.unwrap();
    assert_eq!(warnings.told(), 0);
    let primary: DatabaseConnection = db.primary();
    assert_eq!(who_reads(&primary).await.unwrap(), shop.primary_port());
}

#[tokio::test]
async fn a_replica_session_refuses_writes_even_on_a_writable_server() {
    let shop = Shop::open("read_only").await;
    // By mistake the primary is named as a replica too.
    let db = cluster()
        .primary(&shop.primary)
        .replica("r1", &shop.primary)
        .independent_replicas()
        .connect()
        .await
        .unwrap();
    let took: i32 = ask(&db, "select hidden_write()").await.unwrap();
    assert_eq!(took, shop.primary_port());
    assert_eq!(
        db.status().learned_writes,
        1,
        "the replica session refused it first"
    );
}

#[tokio::test]
async fn adopted_connections_are_routed_too() {
    let shop = Shop::open("adopted").await;
    let connect = Database::connect::<&str>;
    let primary = connect(&shop.primary).await.unwrap();
    let replica = connect(&shop.replicas[0]).await.unwrap();
    let db = cluster()
        .from_connections(primary, [("r1".to_owned(), replica)])
        .connect()
        .await
        .unwrap();
    assert_eq!(who_reads(&db).await.unwrap(), shop.replica_ports()[0]);
    assert_eq!(
        ask::<i32>(&db, "select hidden_write()").await.unwrap(),
        shop.primary_port()
    );
    let places = place::Entity::find().all(&db).await.unwrap();
    assert_eq!(places.len(), 1);
}

/// What the classifier calls a read must not be refused by a standby. Pieces of real queries are put together in every
/// way; errors of meaning are fine, a refusal to write is not.
#[tokio::test]
async fn no_statement_called_a_read_is_refused_by_a_standby() {
    let shop = Shop::open("standby").await;
    let standby = Database::connect(&shop.replicas[0]).await.unwrap();
    let heads = [
        "",
        "with x as (select 1) ",
        "with x as materialized (table event) ",
        "with x as (insert into event (name) values ('a') returning *) ",
    ];
    let columns = [
        "*",
        "count(*)",
        "now()",
        "nextval('event_id_seq')",
        "'nextval(1)'",
        "txid_current()",
        "pg_notify('a', 'b')",
        "lo_create(0)",
        "setval('event_id_seq', 1)",
        "random()",
        "gen_random_uuid()",
        "pg_logical_emit_message(true, 'a', 'b')",
    ];
    let sources = [
        "event",
        "x",
        "generate_series(1, 3) as event(id)",
        "(select * from event for update) as event",
        "event tablesample system (10)",
    ];
    let tails = [
        "",
        " for update",
        " for key share skip locked",
        " limit 1 offset 0",
        " order by 1 for no key update of event",
        " -- for update",
    ];
    let pieces = Pieces {
        heads: &heads,
        columns: &columns,
        sources: &sources,
        tails: &tails,
        middles: &[" into temp copied"],
    };
    let refusals = ["read-only transaction", "during recovery"];
    let (reads, writes) = pieces.are_not_refused(&standby, &refusals).await;
    assert!(
        reads > 100 && writes > 100,
        "{reads} reads, {writes} writes"
    );
}

#[tokio::test]
async fn tags_reach_the_server_and_change_no_route() {
    let shop = Shop::open("tags").await;
    let db = shop
        .builder()
        .tag("service", "shop")
        .connect()
        .await
        .unwrap();
    let own = "select query from pg_stat_activity where pid = pg_backend_pid()";
    let plain: String = ask(&db, own).await.unwrap();
    assert_eq!(plain, format!("{own} /*service='shop'*/"));
    let tagged = with_tags([("route", "/events")], ask::<String>(&db, own)).await;
    assert_eq!(
        tagged.unwrap(),
        format!("{own} /*route='%2Fevents',service='shop'*/")
    );
    let from = with_tags([("for", "update; delete")], who_reads(&db)).await;
    assert!(shop.replica_ports().contains(&from.unwrap()));
    let insert = "insert into event (name) values ('a')";
    db.execute_unprepared(insert).await.unwrap();
    let empty = cluster().primary(&shop.primary).tag("", "x");
    assert!(empty.connect().await.is_err());
}
