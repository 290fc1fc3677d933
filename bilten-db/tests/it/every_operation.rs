//! Everything that SeaORM does with a connection, done with a cluster, a session and a transaction. Who answered is told by
//! the rows themselves.

use std::collections::BTreeSet;

use bilten_db::Cluster;
use bilten_db::sea_orm::sea_query::Expr;
use bilten_db::sea_orm::{
    AccessMode, ActiveModelTrait, ActiveValue::Set, ColumnTrait, ConnectionTrait, DatabaseBackend,
    DbErr, DerivePartialModel, EntityTrait, LoaderTrait, ModelTrait, PaginatorTrait, QueryFilter,
    QueryOrder, QuerySelect, SelectExt, Statement, StreamTrait, TransactionSession,
    TransactionTrait,
};
use futures_util::TryStreamExt;

use crate::fixture::{Shop, event, numbers, place, places_of_stream, until_open, who_reads};

/// The operation, and the port of the server that did it.
type Told = Vec<(&'static str, i32)>;

#[derive(Debug, DerivePartialModel)]
#[sea_orm(entity = "numbers::Entity")]
struct Port {
    port: i32,
}

fn sql(sql: &str) -> Statement {
    Statement::from_string(DatabaseBackend::Postgres, sql)
}

fn counted(rows: impl TryInto<i32>) -> i32 {
    rows.try_into().ok().unwrap()
}

/// The view `numbers` has as many rows as the port of the server that counts them, and each row names it.
async fn reads<C: ConnectionTrait + StreamTrait + Send>(db: &C) -> Told {
    let mut told = finds(db).await;
    told.extend(related(db).await);
    told.extend(pages(db).await);
    told.extend(streams(db).await);
    told.extend(raw_reads(db).await);
    told
}

async fn finds<C: ConnectionTrait>(db: &C) -> Told {
    let one = place::Entity::find().one(db).await.unwrap().unwrap();
    let all = numbers::Entity::find().all(db).await.unwrap();
    let by_id = place::Entity::find_by_id(1).one(db).await.unwrap();
    let count = numbers::Entity::find().count(db).await.unwrap();
    let partial = numbers::Entity::find().into_partial_model::<Port>();
    let partial = partial.one(db).await.unwrap().unwrap();
    let tuple = numbers::Entity::find()
        .select_only()
        .column(numbers::Column::Port);
    let tuple: Option<i32> = tuple.into_tuple().one(db).await.unwrap();
    let mut cursor = numbers::Entity::find().cursor_by(numbers::Column::Id);
    let next = cursor.after(10).first(3).all(db).await.unwrap();
    let ids: Vec<i32> = next.iter().map(|row| row.id).collect();
    assert_eq!(ids, [11, 12, 13]);
    vec![
        ("find one", one.port),
        ("find all", all[0].port),
        ("find by id", by_id.unwrap().port),
        ("count", counted(count)),
        ("partial model", partial.port),
        ("tuple", tuple.unwrap()),
        ("cursor", next[0].port),
    ]
}

async fn related<C: ConnectionTrait>(db: &C) -> Told {
    let one = numbers::Column::Id.eq(1);
    let also = place::Entity::find().find_also_related(numbers::Entity);
    let (place, number) = also.one(db).await.unwrap().unwrap();
    assert_eq!(place.port, number.unwrap().port, "one statement");
    let with = place::Entity::find().find_with_related(numbers::Entity);
    let with = with.all(db).await.unwrap();
    // Each of these is a statement more, for rows that were found before.
    let places: &[place::Model] = std::slice::from_ref(&place);
    let many = places.load_many(numbers::Entity, db).await.unwrap();
    let first = numbers::Entity::find().filter(one).all(db).await.unwrap();
    let back = first.load_one(place::Entity, db).await.unwrap();
    let own = place.find_related(numbers::Entity).one(db).await.unwrap();
    vec![
        ("find also related", place.port),
        ("find with related", with[0].1[0].port),
        ("load many", many[0][0].port),
        ("load one", back[0].as_ref().unwrap().port),
        ("find related", own.unwrap().port),
    ]
}

async fn pages<C: ConnectionTrait>(db: &C) -> Told {
    let query = || numbers::Entity::find().order_by_asc(numbers::Column::Id);
    let mut pages = query().paginate(db, 20);
    let second = pages.fetch_page(1).await.unwrap();
    assert_eq!((second[0].id, second.len()), (21, 20));
    let items = pages.num_items().await.unwrap();
    let both = pages.num_items_and_pages().await.unwrap();
    assert_eq!(both.number_of_pages, both.number_of_items.div_ceil(20));
    let first = pages.fetch_and_next().await.unwrap().unwrap();
    assert_eq!((first[0].id, pages.cur_page()), (1, 1));
    let mut rest = pages.into_stream();
    let next = rest.try_next().await.unwrap().unwrap();
    assert_eq!(next[0].id, 21);
    vec![
        ("fetch page", second[0].port),
        ("num items", counted(items)),
        ("num items and pages", counted(both.number_of_items)),
        ("fetch and next", first[0].port),
        ("stream of pages", next[0].port),
    ]
}

async fn streams<C: ConnectionTrait + StreamTrait + Send>(db: &C) -> Told {
    let rows = numbers::Entity::find().stream(db).await.unwrap();
    let rows: Vec<numbers::Model> = rows.try_collect().await.unwrap();
    assert_eq!(counted(rows.len()), rows[0].port, "all rows, and no more");
    let ports = numbers::Entity::find().limit(3);
    let ports = ports.stream_partial_model::<_, Port>(db).await.unwrap();
    let ports: Vec<Port> = ports.try_collect().await.unwrap();
    let (_, raw) = places_of_stream(db, "select port from numbers").await;
    assert_eq!(raw.len(), 1, "from one server");
    vec![
        ("stream", rows[0].port),
        ("stream of partial models", ports[0].port),
        ("raw stream", raw.into_iter().next().unwrap()),
    ]
}

async fn raw_reads<C: ConnectionTrait>(db: &C) -> Told {
    let text = "select port from numbers";
    let one = db.query_one_raw(sql(text)).await.unwrap().unwrap();
    let all = db.query_all_raw(sql(text)).await.unwrap();
    assert!(place::Entity::find().exists(db).await.unwrap());
    let raw = place::Entity::find().from_raw_sql(sql("select * from place"));
    let executed = db.execute_raw(sql(text)).await.unwrap();
    let unprepared = db.execute_unprepared(text).await.unwrap();
    vec![
        ("query one", one.try_get_by_index(0).unwrap()),
        ("query all", all[7].try_get_by_index(0).unwrap()),
        ("find by raw sql", raw.one(db).await.unwrap().unwrap().port),
        ("execute a read", counted(executed.rows_affected())),
        ("a read unprepared", counted(unprepared.rows_affected())),
    ]
}

fn named(name: &str) -> event::ActiveModel {
    event::ActiveModel {
        name: Set(name.to_owned()),
        ..Default::default()
    }
}

/// A row takes the port of the server that it is inserted or updated on. Nothing is left behind.
async fn writes<C: ConnectionTrait + StreamTrait + TransactionTrait + Send>(db: &C) -> Told {
    let mut told = inserts(db).await;
    told.extend(updates(db).await);
    told.extend(raw_writes(db).await);
    told.extend(transactions(db).await);
    // Deleted rows tell where they were found, and a standby deletes none.
    let first = event::Entity::find().lock_exclusive();
    let first = first.order_by_asc(event::Column::Id).all(db).await.unwrap();
    told.push(("lock", first[0].port));
    let gone = first[0].clone().delete(db).await.unwrap();
    assert_eq!(gone.rows_affected, 1);
    let gone = event::Entity::delete_by_id(first[1].id).exec(db).await;
    assert_eq!(gone.unwrap().rows_affected, 1);
    let active = event::ActiveModel::from(first[2].clone());
    assert_eq!(active.delete(db).await.unwrap().rows_affected, 1);
    let one = event::Entity::delete_many().filter(event::Column::Id.eq(first[3].id));
    let one = one.exec_with_returning(db).await.unwrap();
    told.push(("delete, returning", one[0].port));
    let rest = event::Entity::delete_many().exec(db).await.unwrap();
    assert_eq!(counted(rest.rows_affected), counted(first.len()) - 4);
    told
}

async fn inserts<C: ConnectionTrait>(db: &C) -> Told {
    let one = named("one").insert(db).await.unwrap();
    let saved = named("saved").save(db).await.unwrap();
    let insert = || event::Entity::insert(named("a"));
    let id = insert().exec(db).await.unwrap().last_insert_id;
    assert!(id > one.id);
    assert_eq!(insert().exec_without_returning(db).await.unwrap(), 1);
    let returned = insert().exec_with_returning(db).await.unwrap();
    let many = || event::Entity::insert_many([named("b"), named("c")]);
    let last = many().exec(db).await.unwrap().last_insert_id;
    assert!(last.is_some_and(|last| last > returned.id));
    let both = many().exec_with_returning(db).await.unwrap();
    vec![
        ("insert", one.port),
        ("save", saved.port.unwrap()),
        ("insert, returning", returned.port),
        ("insert many, returning", both[1].port),
    ]
}

async fn updates<C: ConnectionTrait>(db: &C) -> Told {
    let is_here = || Expr::cust("inet_server_port()");
    let many = || {
        event::Entity::update_many()
            .col_expr(event::Column::Port, is_here())
            .filter(event::Column::Name.eq("b"))
    };
    // What was inserted elsewhere would still say so.
    let forget = event::Entity::update_many().col_expr(event::Column::Port, Expr::value(0));
    forget.exec(db).await.unwrap();
    assert_eq!(many().exec(db).await.unwrap().rows_affected, 2);
    let returned = many().exec_with_returning(db).await.unwrap();
    let mut one = event::ActiveModel::from(returned[0].clone());
    one.name = Set("changed".to_owned());
    let one = one.update(db).await.unwrap();
    assert_eq!(one.name, "changed");
    let rest = event::Entity::update_many().col_expr(event::Column::Port, is_here());
    rest.exec(db).await.unwrap();
    vec![
        ("update many, returning", returned[0].port),
        ("update", one.port),
    ]
}

async fn raw_writes<C: ConnectionTrait + StreamTrait>(db: &C) -> Told {
    let insert = "insert into event (name) values ('raw')";
    let executed = db.execute_raw(sql(insert)).await.unwrap();
    assert_eq!(executed.rows_affected(), 1);
    let unprepared = db.execute_unprepared(insert).await.unwrap();
    assert_eq!(unprepared.rows_affected(), 1);
    let returning = format!("{insert} returning port");
    let one = db.query_one_raw(sql(&returning)).await.unwrap().unwrap();
    let with = format!("with x as ({returning}) select port from x");
    let all = db.query_all_raw(sql(&with)).await.unwrap();
    let hidden = db.query_one_raw(sql("select hidden_write()")).await;
    let (_, streamed) = places_of_stream(db, &returning).await;
    vec![
        ("query one that writes", one.try_get_by_index(0).unwrap()),
        ("query all that writes", all[0].try_get_by_index(0).unwrap()),
        (
            "a hidden write",
            hidden.unwrap().unwrap().try_get_by_index(0).unwrap(),
        ),
        ("stream that writes", streamed.into_iter().next().unwrap()),
    ]
}

async fn transactions<C: TransactionTrait>(db: &C) -> Told {
    let tx = db.begin().await.unwrap();
    let begun = named("begun").insert(&tx).await.unwrap();
    let read = who_reads(&tx).await.unwrap();
    tx.commit().await.unwrap();
    let closure = db.transaction::<_, i32, DbErr>(|tx| {
        Box::pin(async move { Ok(named("closure").insert(tx).await?.port) })
    });
    let closure = closure.await.unwrap();
    let lost = db.begin().await.unwrap();
    let back = named("rolled back").insert(&lost).await.unwrap().port;
    lost.rollback().await.unwrap();
    vec![
        ("insert in a transaction", begun.port),
        ("read in a transaction", read),
        ("insert in a closure", closure),
        ("insert that is rolled back", back),
    ]
}

/// The servers of all of them, which must be among these.
fn servers(told: &[(&'static str, i32)], among: &[i32]) -> BTreeSet<i32> {
    for (operation, port) in told {
        assert!(among.contains(port), "{operation}: {port}, not {among:?}");
    }
    told.iter().map(|(_, port)| *port).collect()
}

async fn events(db: &Cluster) -> u64 {
    event::Entity::find().count(&db.primary()).await.unwrap()
}

#[tokio::test]
async fn every_operation_of_a_cluster_goes_where_it_belongs() {
    let shop = Shop::open("every_cluster").await;
    let db = shop.connect().await;
    until_open(&db).await;
    let (primary, replicas) = (shop.primary_port(), shop.replica_ports());
    let all = replicas.iter().copied().collect();
    assert_eq!(servers(&reads(&db).await, &replicas), all);
    servers(&writes(&db).await, &[primary]);
    assert_eq!(db.status().learned_writes, 1, "the hidden one alone");
    assert_eq!(servers(&reads(&db).await, &replicas), all);
    assert_eq!(events(&db).await, 0);
}

#[tokio::test]
async fn every_operation_of_a_session_stays_on_one_replica_until_it_writes() {
    let shop = Shop::open("every_session").await;
    let db = shop.connect().await;
    until_open(&db).await;
    let primary = shop.primary_port();
    let session = db.session();
    let one = servers(&reads(&session).await, &shop.replica_ports());
    assert_eq!(one.len(), 1, "{one:?}");
    assert!(!session.wrote());
    servers(&writes(&session).await, &[primary]);
    servers(&reads(&session).await, &[primary]);
    assert_eq!(events(&db).await, 0);
}

#[tokio::test]
async fn every_operation_in_a_transaction_stays_in_it() {
    let shop = Shop::open("every_tx").await;
    let db = shop.connect().await;
    let primary = shop.primary_port();
    let session = db.session();
    for tx in [db.begin().await.unwrap(), session.begin().await.unwrap()] {
        named("of this transaction").insert(&tx).await.unwrap();
        servers(&reads(&tx).await, &[primary]);
        servers(&writes(&tx).await, &[primary]);
        named("of this transaction").insert(&tx).await.unwrap();
        assert_eq!(events(&db).await, 0, "nobody else sees it");
        tx.rollback().await.unwrap();
    }
    assert_eq!(events(&db).await, 0);
}

#[tokio::test]
async fn every_read_of_a_reading_transaction_stays_on_its_replica() {
    let shop = Shop::open("every_reading_tx").await;
    let db = shop.connect().await;
    let read_only = Some(AccessMode::ReadOnly);
    let tx = db.begin_with_config(None, read_only).await.unwrap();
    let one = servers(&reads(&tx).await, &shop.replica_ports());
    assert_eq!(one.len(), 1, "{one:?}");
    named("a").insert(&tx).await.unwrap_err();
    tx.rollback().await.unwrap();
    assert_eq!(events(&db).await, 0);
}
