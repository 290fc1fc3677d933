use bilten_db::PageExt;
use bilten_db::index::{Ensured, IndexSpec, unused};
use bilten_db::page::{Keyset, KeysetRequest};
use bilten_db::sea_orm::{ConnectionTrait, DatabaseBackend, EntityTrait, QueryOrder, Statement};
use bilten_db::{Cluster, Error, PageRequest};

use super::{builder_for, count, port, private, url};
use crate::fixture::{cluster, event, tally};
use crate::keyset_refused::{self, nulls_are_told};

#[tokio::test(flavor = "multi_thread")]
async fn pages_and_keysets_work_on_mariadb() {
    let maria = private(1).await;
    let db = builder_for(&maria).connect().await.unwrap();
    let fill = "insert into event (name) select concat('n', seq % 7) from seq_1_to_45";
    db.execute_unprepared(fill).await.unwrap();
    maria.wait_for_replicas().unwrap();

    let by_id = || event::Entity::find().order_by_asc(event::Column::Id);
    let page = by_id().page(&db, PageRequest::new(3, 20)).await.unwrap();
    assert_eq!((page.items.len(), page.pagination.total), (5, Some(45)));
    let zero = by_id().page(&db, PageRequest::new(0, 20)).await;
    assert!(matches!(zero, Err(Error::Invalid { .. })));

    let keyset = || Keyset::new(event::Entity::find()).desc(event::Column::Name);
    let mut seen = keyset_refused::walk(&db, keyset).await.unwrap();
    seen.sort_unstable();
    let all: Vec<i32> = (1..=45).collect();
    assert_eq!(seen, all, "every row once");
}

mod show {
    use bilten_db::sea_orm::{self, entity::prelude::*};

    /// In the order of the server's `enum`, which is not that of the alphabet.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, EnumIter, DeriveActiveEnum)]
    #[sea_orm(rs_type = "String", db_type = "Enum", enum_name = "state")]
    pub(crate) enum State {
        #[sea_orm(string_value = "open")]
        Open,
        #[sea_orm(string_value = "closed")]
        Closed,
    }

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "show")]
    pub(crate) struct Model {
        #[sea_orm(primary_key)]
        pub(crate) id: i32,
        pub(crate) state: State,
        pub(crate) place: String,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub(crate) enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// The ids of all pages, on the way there and, in reverse, on the way back.
async fn walk(db: &Cluster, keyset: fn() -> Keyset<show::Entity>) -> [Vec<i32>; 2] {
    let (mut there, mut back) = (Vec::new(), Vec::new());
    let (mut cursor, mut last) = (None, None);
    loop {
        let request = KeysetRequest::new(2).at(cursor);
        let page = keyset().page(db, request).await.unwrap();
        there.extend(page.items.iter().map(|show| show.id));
        cursor = page.pagination.next.clone();
        if cursor.is_none() {
            break;
        }
        last = Some(page);
    }
    let mut page = last;
    while let Some(now) = page {
        back.extend(now.items.iter().rev().map(|show| show.id));
        let Some(previous) = now.pagination.previous else {
            break;
        };
        let request = KeysetRequest::new(2).at(previous);
        page = Some(keyset().page(db, request).await.unwrap());
    }
    [there, back]
}

#[tokio::test(flavor = "multi_thread")]
async fn every_row_is_shown_in_the_order_of_its_column() {
    type Query = fn() -> Keyset<show::Entity>;
    let maria = private(0).await;
    let db = builder_for(&maria).connect().await.unwrap();
    for sql in [
        "create table `show` (id int primary key, state enum('open', 'closed') not null, \
            place varchar(20) character set utf8mb4 collate utf8mb4_bin not null)",
        "insert into `show` select seq, if(seq % 2, 'open', 'closed'), \
            elt(1 + seq % 3, 'b', 'B', 'a') from seq_1_to_9",
    ] {
        db.execute_unprepared(sql).await.unwrap();
    }
    let by_state = || Keyset::new(show::Entity::find()).asc(show::Column::State);
    let back = || Keyset::new(show::Entity::find()).desc(show::Column::State);
    let by_place = || Keyset::new(show::Entity::find()).asc(show::Column::Place);
    // Capitals come first in a binary collation.
    let table: [(Query, [i32; 9]); 3] = [
        (by_state, [1, 3, 5, 7, 9, 2, 4, 6, 8]),
        (back, [8, 6, 4, 2, 9, 7, 5, 3, 1]),
        (by_place, [1, 4, 7, 2, 5, 8, 3, 6, 9]),
    ];
    for (keyset, expected) in table {
        let [there, back] = walk(&db, keyset).await;
        assert_eq!(there, expected);
        let mut before: Vec<i32> = expected[..8].to_vec();
        before.reverse();
        assert_eq!(back, before);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_with_a_null_key_are_told_on_mariadb() {
    let maria = private(1).await;
    let db = builder_for(&maria).connect().await.unwrap();
    for sql in [
        "create table town (id int auto_increment primary key, city varchar(20), zone varchar(20))",
        "insert into town (city, zone) select if(seq % 2 = 1, concat('c', seq % 3), null), if(seq <> 11, 'z', null) from seq_1_to_20",
    ] {
        db.execute_unprepared(sql).await.unwrap();
    }
    maria.wait_for_replicas().unwrap();
    nulls_are_told(&db).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_of_mariadb_that_opens_another_schema_serves_no_read() {
    let maria = private(2).await;
    maria.primary().sql("create database beside").unwrap();
    let view = "create view place as select 1 as id, -1 as port";
    maria.primary().sql_in("beside", view).unwrap();
    maria.wait_for_replicas().unwrap();
    let db = cluster()
        .primary(url(maria.primary()))
        .replica("r1", url(maria.replica(0)))
        .replica("beside", maria.replica(1).url_for("beside"))
        .connect()
        .await
        .unwrap();
    let right = port(maria.replica(0));
    assert_eq!(tally(&db, 20).await, [(right, 20)].into());
    let reason = db.status().nodes[2].reason.clone().unwrap_or_default();
    assert!(
        reason.contains("`beside` opens the database `beside`"),
        "{reason}"
    );
    assert!(reason.contains("the primary `shop`"), "{reason}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_of_mariadb_is_made_once_and_used() {
    let maria = private(0).await;
    let db = builder_for(&maria).connect().await.unwrap();
    let fill = "insert into event (name) select concat('n', seq) from seq_1_to_2000";
    db.execute_unprepared(fill).await.unwrap();
    db.execute_unprepared("analyze table event").await.unwrap();
    let find = || {
        let sql = "select * from event where name = ?";
        Statement::from_sql_and_values(DatabaseBackend::MySql, sql, ["n7".into()])
    };
    let by_name = IndexSpec::new("event_name", "event").column("name");
    assert!(by_name.verify(&db, find()).await.is_err());
    assert_eq!(by_name.ensure(&db).await.unwrap(), Ensured::Created);
    assert_eq!(by_name.ensure(&db).await.unwrap(), Ensured::Present);
    by_name.verify(&db, find()).await.unwrap();
    let other = IndexSpec::new("event_name", "event").column("port");
    let error = other.ensure(&db).await.unwrap_err().to_string();
    assert!(error.contains("has the columns [\"name\"]"), "{error}");
    let last = || IndexSpec::new("event_last", "event").column_desc("port");
    assert_eq!(last().ensure(&db).await.unwrap(), Ensured::Created);
    assert_eq!(last().ensure(&db).await.unwrap(), Ensured::Present);
    let other = IndexSpec::new("event_last", "event").column("port");
    let error = other.ensure(&db).await.unwrap_err().to_string();
    assert!(error.contains("is ordered by `port` DESC"), "{error}");
    let partial = IndexSpec::new("event_late", "event").column("name");
    let refused = partial.filter("id > 7").ensure(&db).await.unwrap_err();
    assert!(matches!(refused, Error::Invalid { .. }), "{refused}");
    let error = unused(&db).await.unwrap_err();
    assert!(matches!(error, Error::Invalid { .. }), "{error}");
}

/// Its number is that by which MySQL tells of a connection that idled.
#[tokio::test(flavor = "multi_thread")]
async fn a_trigger_that_follows_none_is_told_once() {
    let maria = private(0).await;
    let db = builder_for(&maria).connect().await.unwrap();
    let text = "insert into event (name) values ('once'); \
        create trigger second before insert on event for each row follows nowhere set new.port = 1";
    let error = db.execute_unprepared(text).await.unwrap_err();
    assert!(error.to_string().contains("4031"), "{error}");
    assert_eq!(count(maria.primary()), "1");
}
