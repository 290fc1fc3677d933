use bilten_db::PageExt;
use bilten_db::index::{Ensured, IndexSpec, unused};
use bilten_db::page::{Keyset, KeysetRequest};
use bilten_db::sea_orm::{ConnectionTrait, DatabaseBackend, EntityTrait, QueryOrder, Statement};
use bilten_db::{Error, PageRequest};

use super::{builder_for, private};
use crate::fixture::event;

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
    let (mut seen, mut cursor) = (Vec::new(), None);
    loop {
        let request = KeysetRequest::new(10).at(cursor.clone());
        let page = keyset().page(&db, request).await.unwrap();
        seen.extend(page.items.into_iter().map(|event| event.id));
        cursor = page.pagination.next;
        if cursor.is_none() {
            break;
        }
    }
    seen.sort_unstable();
    let all: Vec<i32> = (1..=45).collect();
    assert_eq!(seen, all, "every row once");
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
    let partial = IndexSpec::new("event_late", "event").column("name");
    let refused = partial.filter("id > 7").ensure(&db).await.unwrap_err();
    assert!(matches!(refused, Error::Invalid { .. }), "{refused}");
    let error = unused(&db).await.unwrap_err();
    assert!(matches!(error, Error::Invalid { .. }), "{error}");
}
