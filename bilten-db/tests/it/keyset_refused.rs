//! What a keyset and a page refuse, lest they leave out rows in silence.

use bilten_db::page::{Keyset, KeysetRequest};
use bilten_db::sea_orm::{
    ColumnTrait, ConnectionTrait, EntityTrait, FromQueryResult, JoinType, QueryFilter, QuerySelect,
    RelationTrait, Select,
};
use bilten_db::{Cluster, Error, PageExt, PageRequest};

use crate::fixture::{Shop, event, place, ticket};

/// Its model denies what the tables of these tests allow.
pub(crate) mod town {
    use bilten_db::sea_orm::{self, entity::prelude::*};

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "town")]
    pub(crate) struct Model {
        #[sea_orm(primary_key)]
        pub(crate) id: i32,
        pub(crate) city: String,
        pub(crate) zone: String,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub(crate) enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

#[derive(Debug, FromQueryResult)]
pub(crate) struct Id {
    id: i32,
}

fn towns() -> Select<town::Entity> {
    town::Entity::find().select_only().column(town::Column::Id)
}

/// The ids of all pages, or the first error.
pub(crate) async fn walk<E: EntityTrait>(
    db: &impl ConnectionTrait,
    query: impl Fn() -> Keyset<E>,
) -> Result<Vec<i32>, Error> {
    let (mut ids, mut cursor) = (Vec::new(), None);
    loop {
        let request = KeysetRequest::new(3).at(cursor);
        let page = query().page_into::<Id, _>(db, request).await?;
        ids.extend(page.items.iter().map(|row| row.id));
        cursor = page.pagination.next;
        if cursor.is_none() {
            return Ok(ids);
        }
    }
}

/// A key that is NULL in some of the 20 rows is an error on the first page; without those rows all others come.
pub(crate) async fn nulls_are_told(db: &impl ConnectionTrait) {
    for key in [town::Column::City, town::Column::Zone] {
        for query in [
            || Keyset::new(towns()),
            || Keyset::new(towns()).desc(town::Column::Id),
        ] {
            let error = walk(db, || query().asc(key)).await.unwrap_err();
            let text = error.to_string();
            let told = ["city", "zone"].iter().any(|name| text.contains(name));
            assert!(told && text.contains("is NULL in the database"), "{text}");
            assert!(text.contains("NOT NULL"), "{text}");
        }
    }
    let there = || towns().filter(town::Column::City.is_not_null());
    let ids = walk(db, || Keyset::new(there()).asc(town::Column::City)).await;
    assert_eq!(ids.unwrap().len(), 10);
    let plain = walk(db, || Keyset::new(towns())).await.unwrap();
    assert_eq!(plain, (1..=20).collect::<Vec<_>>());
}

#[tokio::test]
async fn rows_with_a_null_key_are_told_and_not_left_out() {
    let shop = Shop::open("keyset_nulls").await;
    let db = shop.connect().await;
    // Of `zone` only one row in the middle is NULL, which comes after the first page in every order.
    db.execute_unprepared(
        "create table town (id serial primary key, city text, zone text);
        insert into town (city, zone) select case when n % 2 = 1 then 'c' || n % 3 end,
            case when n <> 11 then 'z' end from generate_series(1, 20) n",
    )
    .await
    .unwrap();
    shop.settle().await;
    nulls_are_told(&db).await;
}

#[tokio::test]
async fn rows_with_a_null_key_are_told_on_sqlite() {
    let built = Cluster::builder().primary("sqlite::memory:").connect();
    let db = built.await.unwrap();
    db.execute_unprepared(
        "create table town (id integer primary key, city text, zone text);
        with recursive t(n) as (values (1) union all select n + 1 from t where n < 20)
        insert into town (id, city, zone) select n, case when n % 2 = 1 then 'c' || n % 3 end,
            case when n <> 11 then 'z' end from t",
    )
    .await
    .unwrap();
    nulls_are_told(&db).await;
}

#[tokio::test]
async fn a_view_has_keysets_although_no_catalog_vouches_for_it() {
    let shop = Shop::open("keyset_view").await;
    let db = shop.connect().await;
    let page = Keyset::new(place::Entity::find())
        .asc(place::Column::Port)
        .page(&db, KeysetRequest::new(5))
        .await
        .unwrap();
    assert_eq!(page.items.len(), 1);
}

#[tokio::test]
async fn a_cursor_changed_on_its_way_never_reaches_the_server() {
    let shop = Shop::open("keyset_changed").await;
    let db = shop.connect().await;
    let sql = "insert into event (name) select 'n' || n % 4 from generate_series(1, 40) n";
    db.execute_unprepared(sql).await.unwrap();
    shop.settle().await;
    let query = || Keyset::new(event::Entity::find()).asc(event::Column::Name);
    let first = query().page(&db, KeysetRequest::new(5)).await.unwrap();
    let cursor = first.pagination.next.unwrap();
    for at in 0..cursor.len() {
        for letter in ["0", "2", "A", "_", "\0", "\u{e9}", ""] {
            let mut changed = cursor.clone();
            changed.replace_range(at..=at, letter);
            if changed == cursor {
                continue;
            }
            let request = KeysetRequest::new(5).at(changed.clone());
            let outcome = query().page(&db, request).await;
            let Err(Error::Invalid { field, .. }) = outcome else {
                panic!("{changed}: {outcome:?}");
            };
            assert_eq!(field, "cursor");
        }
    }
}

#[tokio::test]
async fn a_query_with_a_limit_of_its_own_is_refused() {
    let shop = Shop::open("page_limited").await;
    let db = shop.connect().await;
    db.close().await;
    let find = event::Entity::find;
    let request = || PageRequest::new(1, 10);
    let outcomes = [
        find().limit(3).page(&db, request()).await.map(drop),
        find().offset(3).page(&db, request()).await.map(drop),
        find()
            .find_also_related(ticket::Entity)
            .limit(3)
            .page(&db, request())
            .await
            .map(drop),
        Keyset::new(find().limit(3))
            .page(&db, KeysetRequest::new(10))
            .await
            .map(drop),
    ];
    for outcome in outcomes {
        let error = outcome.unwrap_err();
        assert!(matches!(&error, Error::Invalid { field, .. } if field == "query"));
        let text = error.to_string();
        assert!(
            text.contains("has a limit or an offset of its own"),
            "{text}"
        );
    }
}

#[tokio::test]
async fn rows_that_an_outer_join_makes_up_are_told_although_the_column_is_never_null() {
    let shop = Shop::open("keyset_outer").await;
    let db = shop.connect().await;
    let rows = "insert into event (id, name) select n, 'a' from generate_series(1, 9) n; \
        insert into ticket (event_id, seat) select n, 'b' from generate_series(1, 8) n";
    db.execute_unprepared(rows).await.unwrap();
    shop.settle().await;
    let joined = |kind| {
        let tickets = ticket::Entity::find()
            .select_only()
            .column(ticket::Column::Id);
        Keyset::new(tickets.join(kind, ticket::Relation::Event.def()))
    };
    assert_eq!(
        walk(&db, || joined(JoinType::LeftJoin))
            .await
            .unwrap()
            .len(),
        8
    );
    for kind in [JoinType::RightJoin, JoinType::FullOuterJoin] {
        let error = walk(&db, || joined(kind)).await.unwrap_err().to_string();
        assert!(error.contains("is NULL in the database"), "{error}");
    }
}
