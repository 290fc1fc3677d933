use std::sync::Mutex;

use async_trait::async_trait;
use bilten_db::page::{Keyset, KeysetPage, KeysetRequest};
use bilten_db::sea_orm::{
    ColumnTrait, ConnectionTrait, DbBackend, DbErr, DerivePartialModel, EntityTrait, ExecResult,
    FromQueryResult, QueryFilter, QueryResult, QuerySelect, Statement,
};
use bilten_db::{Cluster, Error, ReadRouting};

use crate::fixture::{Shop, event};

mod show {
    use bilten_db::sea_orm::{self, entity::prelude::*};

    #[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
    #[sea_orm(table_name = "show")]
    pub(crate) struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub(crate) id: i64,
        #[sea_orm(column_type = "TimestampWithTimeZone")]
        pub(crate) starts: String,
        #[sea_orm(column_type = "Decimal(Some((10, 2)))")]
        pub(crate) price: String,
        pub(crate) open: bool,
        pub(crate) place: Option<String>,
        pub(crate) rank: f64,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub(crate) enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

#[derive(Debug, PartialEq, DerivePartialModel)]
#[sea_orm(entity = "event::Entity")]
struct Named {
    name: String,
}

type Page = KeysetPage<event::Model>;

async fn events(db: &Cluster, count: usize) {
    let sql = format!(
        "insert into event (name) select 'n' || (n % 7) from generate_series(1, {count}) n"
    );
    db.execute_unprepared(&sql).await.unwrap();
}

fn ids(page: &Page) -> Vec<i32> {
    page.items.iter().map(|event| event.id).collect()
}

fn by_name() -> Keyset<event::Entity> {
    Keyset::new(event::Entity::find()).asc(event::Column::Name)
}

fn mixed() -> Keyset<event::Entity> {
    let by_name = Keyset::new(event::Entity::find()).desc(event::Column::Name);
    by_name.asc(event::Column::Id)
}

/// Walks forward to the end and back again; returns the ids in order.
async fn walk(db: &impl ConnectionTrait, query: fn() -> Keyset<event::Entity>) -> Vec<i32> {
    let (mut all, mut cursor, mut pages) = (Vec::new(), None, Vec::new());
    loop {
        let request = KeysetRequest::new(6).at(cursor);
        let page = query().page(db, request).await.unwrap();
        all.extend(ids(&page));
        cursor = page.pagination.next.clone();
        pages.push(page);
        if cursor.is_none() {
            break;
        }
    }
    assert_eq!(pages[0].pagination.previous, None);
    let mut back = pages.last().unwrap().clone();
    for before in pages.iter().rev().skip(1) {
        let request = KeysetRequest::new(6).at(back.pagination.previous);
        back = query().page(db, request).await.unwrap();
        assert_eq!(ids(&back), ids(before), "the way back shows the same pages");
        assert!(back.pagination.next.is_some());
    }
    assert_eq!(back.pagination.previous, None, "the first page again");
    all
}

#[tokio::test]
async fn every_row_is_shown_once_forward_and_back() {
    let shop = Shop::open("keyset_walk").await;
    let db = shop.connect().await;
    events(&db, 40).await;
    shop.settle().await;
    let mut expected: Vec<(String, i32)> = event::Entity::find()
        .all(&db)
        .await
        .unwrap()
        .into_iter()
        .map(|event| (event.name, event.id))
        .collect();
    let ids = |rows: &[(String, i32)]| rows.iter().map(|row| row.1).collect::<Vec<_>>();
    expected.sort();
    assert_eq!(walk(&db, by_name).await, ids(&expected));
    expected.sort_by(|a, b| b.0.cmp(&a.0).then(a.1.cmp(&b.1)));
    assert_eq!(walk(&db, mixed).await, ids(&expected), "two directions");
    expected.sort_by_key(|row| row.1);
    let plain = || Keyset::new(event::Entity::find());
    assert_eq!(
        walk(&db, plain).await,
        ids(&expected),
        "the primary key alone"
    );
}

#[tokio::test]
async fn rows_that_come_and_go_move_no_other() {
    let shop = Shop::open("keyset_moving").await;
    let db = shop.connect().await;
    let session = db.session();
    events(&db, 20).await;
    session
        .execute_unprepared("update event set name = name")
        .await
        .unwrap();
    let first = by_name()
        .page(&session, KeysetRequest::new(6))
        .await
        .unwrap();
    let shown = ids(&first);
    // One that would shift all pages counted by rows, and one on the border itself.
    session
        .execute_unprepared("insert into event (name) values ('a')")
        .await
        .unwrap();
    let last = shown.last().unwrap();
    let sql = format!("delete from event where id = {last}");
    session.execute_unprepared(&sql).await.unwrap();
    let request = KeysetRequest::new(20).at(first.pagination.next);
    let rest = by_name().page(&session, request).await.unwrap();
    assert_eq!(rest.items.len(), 14);
    assert!(
        rest.items
            .iter()
            .all(|event| !shown.contains(&event.id) && event.name != "a")
    );
}

/// The page behind the last row and the page before the first lead back to the rows between them, as many as are left.
async fn empty_pages_lead_back(db: &impl ConnectionTrait, query: fn() -> Keyset<event::Entity>) {
    let page = async |cursor: &Option<String>| {
        let request = KeysetRequest::new(6).at(cursor.clone());
        query().page(db, request).await.unwrap()
    };
    let delete = async |ids: &[i32]| {
        for id in ids {
            let sql = format!("delete from event where id = {id}");
            db.execute_unprepared(&sql).await.unwrap();
        }
    };
    let first = page(&None).await;
    let second = page(&first.pagination.next).await;
    let third = page(&second.pagination.next).await;
    // Behind the end.
    delete(&ids(&third)).await;
    let empty = page(&second.pagination.next).await;
    assert!(empty.items.is_empty());
    assert_eq!(empty.pagination.next, None);
    let back = page(&empty.pagination.previous).await;
    assert_eq!(ids(&back), ids(&second));
    let ahead = page(&back.pagination.previous).await;
    assert_eq!(ids(&ahead), ids(&first));
    assert_eq!(back.pagination.next, None, "there it came from");
    // Even when the row that it came from is gone.
    let (last, left) = back.items.split_last().unwrap();
    delete(&[last.id]).await;
    let mut shorter = vec![first.items[5].id];
    shorter.extend(left.iter().map(|event| event.id));
    let back = page(&empty.pagination.previous).await;
    assert_eq!(ids(&back), shorter);
    // Before the beginning.
    delete(&ids(&first)).await;
    let empty = page(&second.pagination.previous).await;
    assert!(empty.items.is_empty());
    assert_eq!(empty.pagination.previous, None);
    let forth = page(&empty.pagination.next).await;
    assert_eq!(ids(&forth), ids(&second)[..5]);
    assert_eq!(forth.pagination.next, None);
    // Nothing is left at all.
    delete(&ids(&forth)).await;
    let empty = page(&forth.pagination.previous).await;
    let over = page(&empty.pagination.next).await;
    assert!(over.items.is_empty());
    assert_eq!(page(&None).await.pagination.next, None);
}

#[tokio::test]
async fn a_page_behind_the_last_row_leads_back() {
    let shop = Shop::open("keyset_empty").await;
    let db = shop.connect().await;
    for query in [by_name, mixed] {
        events(&db, 18).await;
        empty_pages_lead_back(&db.primary(), query).await;
    }
}

#[tokio::test]
async fn a_cursor_from_another_query_is_an_error() {
    let shop = Shop::open("keyset_foreign").await;
    let db = shop.connect().await;
    events(&db, 20).await;
    shop.settle().await;
    let first = by_name().page(&db, KeysetRequest::new(6)).await.unwrap();
    let cursor = first.pagination.next.unwrap();
    let filtered = |name: &str| {
        let some = event::Entity::find().filter(event::Column::Name.eq(name));
        Keyset::new(some).asc(event::Column::Name)
    };
    let n1 = filtered("n1")
        .page(&db, KeysetRequest::new(1))
        .await
        .unwrap();
    let of_n1 = n1.pagination.next.unwrap();
    let request = |cursor: &str| KeysetRequest::new(6).at(cursor.to_owned());
    for (what, query, cursor) in [
        ("another order", mixed(), &*cursor),
        (
            "the other direction",
            Keyset::new(event::Entity::find()).desc(event::Column::Name),
            &cursor,
        ),
        ("a filter more", filtered("n1"), &cursor),
        ("another value", filtered("n2"), &of_n1),
    ] {
        let outcome = query.page(&db, request(cursor)).await;
        let Err(Error::Invalid { field, problem, .. }) = outcome else {
            panic!("{what} was taken");
        };
        assert_eq!(field, "cursor");
        assert!(problem.contains("another query"), "{what}: {problem}");
    }
    for garbage in ["", "1", "a' or 1=1", "a0000000000000000.00", "\0"] {
        let outcome = by_name().page(&db, request(garbage)).await;
        assert!(matches!(outcome, Err(Error::Invalid { .. })), "{garbage}");
    }
    // Another limit is the same query.
    let wider = KeysetRequest::new(7).at(cursor);
    assert_eq!(by_name().page(&db, wider).await.unwrap().items.len(), 7);
}

#[tokio::test]
async fn projections_have_keysets_and_the_json_has_its_shape() {
    let shop = Shop::open("keyset_partial").await;
    let db = shop.connect().await;
    events(&db, 9).await;
    shop.settle().await;
    let page = by_name()
        .page_partial::<Named, _>(&db, KeysetRequest::new(4))
        .await
        .unwrap();
    assert_eq!(page.items[3].name, "n2");
    let select = event::Entity::find()
        .select_only()
        .column(event::Column::Name);
    let plain = Keyset::new(select).asc(event::Column::Name);
    let page = plain
        .page_into::<Named, _>(&db, KeysetRequest::new(9))
        .await
        .unwrap();
    assert_eq!(page.pagination.next, None, "as many rows as there are");
    let json = serde_json::to_value(page.map(|event| event.name)).unwrap();
    assert_eq!(json["pagination"], serde_json::json!({"limit": 9}));
    assert_eq!(json["items"][8], "n6");
}

#[tokio::test]
async fn dates_numbers_and_flags_survive_as_text() {
    let shop = Shop::open("keyset_types").await;
    let db = shop.connect().await;
    let sql = "create table show (id bigint primary key, starts timestamptz not null, price numeric(10, 2) not null,
            open bool not null, place text, rank float8 not null);
        insert into show select n, '2027-03-01 00:00:00.000001+00'::timestamptz + (n / 3) * interval '1 microsecond',
            n % 4 + 0.25, n % 2 = 0, null, random() from generate_series(1, 30) n";
    db.execute_unprepared(sql).await.unwrap();
    shop.settle().await;
    use show::Column::{Id, Open, Place, Price, Rank, Starts};
    let select = || show::Entity::find().select_only().column(Id);
    for keys in [[Starts, Price], [Price, Open], [Open, Starts]] {
        let query = || Keyset::new(select()).desc(keys[0]).desc(keys[1]);
        let (mut seen, mut cursor) = (std::collections::BTreeSet::new(), None);
        loop {
            let request = KeysetRequest::new(4).at(cursor);
            let page = query().page_into::<Id64, _>(&db, request).await.unwrap();
            assert!(page.items.iter().all(|row| seen.insert(row.id)), "{keys:?}");
            cursor = page.pagination.next;
            if cursor.is_none() {
                break;
            }
        }
        assert_eq!(seen.len(), 30, "{keys:?}");
    }
    for (column, problem) in [(Place, "may be NULL"), (Rank, "do not survive")] {
        let query = Keyset::new(select()).asc(column);
        let outcome = query.page_into::<Id64, _>(&db, KeysetRequest::new(4)).await;
        let error = outcome.unwrap_err().to_string();
        assert!(error.contains(problem), "{error}");
    }
}

#[derive(Debug, FromQueryResult)]
struct Id64 {
    id: i64,
}

#[tokio::test]
async fn keysets_work_on_sqlite() {
    let db = Cluster::builder()
        .primary("sqlite::memory:")
        .connect()
        .await
        .unwrap();
    let sql = "create table event (id integer primary key, name text not null, port int not null default 1);
        with recursive t(n) as (values (1) union all select n + 1 from t where n < 40)
        insert into event (name) select 'n' || (n % 7) from t";
    db.execute_unprepared(sql).await.unwrap();
    assert_eq!(walk(&db, by_name).await.len(), 40);
    assert_eq!(walk(&db, mixed).await.len(), 40);
}

/// Passes reads on and keeps their statements.
struct Recorder<'a> {
    db: &'a Cluster,
    heard: Mutex<Vec<Statement>>,
}

#[async_trait]
impl ConnectionTrait for Recorder<'_> {
    fn get_database_backend(&self) -> DbBackend {
        self.db.get_database_backend()
    }

    async fn execute_raw(&self, stmt: Statement) -> Result<ExecResult, DbErr> {
        self.db.execute_raw(stmt).await
    }

    async fn execute_unprepared(&self, sql: &str) -> Result<ExecResult, DbErr> {
        self.db.execute_unprepared(sql).await
    }

    async fn query_one_raw(&self, stmt: Statement) -> Result<Option<QueryResult>, DbErr> {
        self.db.query_one_raw(stmt).await
    }

    async fn query_all_raw(&self, stmt: Statement) -> Result<Vec<QueryResult>, DbErr> {
        self.heard.lock().unwrap().push(stmt.clone());
        self.db.query_all_raw(stmt).await
    }
}

#[tokio::test]
async fn an_index_answers_a_keyset_however_far() {
    let shop = Shop::open("keyset_index").await;
    let db = shop
        .builder()
        .route_reads(ReadRouting::PrimaryOnly)
        .connect()
        .await
        .unwrap();
    events(&db, 20_000).await;
    for sql in [
        "create index name_id on event (name, id)",
        "vacuum analyze event",
    ] {
        db.execute_unprepared(sql).await.unwrap();
    }
    let recorder = Recorder {
        db: &db,
        heard: Mutex::default(),
    };
    let first = by_name()
        .page(&recorder, KeysetRequest::new(500))
        .await
        .unwrap();
    let next = KeysetRequest::new(10).at(first.pagination.next);
    by_name().page(&recorder, next).await.unwrap();
    let mut statement = recorder.heard.into_inner().unwrap().pop().unwrap();
    statement.sql = format!("explain {}", statement.sql);
    let rows = db.query_all_raw(statement).await.unwrap();
    let lines = rows.iter().map(|row| row.try_get_by_index(0).unwrap());
    let plan = lines.collect::<Vec<String>>().join("\n");
    assert!(
        plan.contains("name_id") && plan.contains("Index Cond"),
        "{plan}"
    );
}
