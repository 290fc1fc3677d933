use bilten_db::page::CountMode;
use bilten_db::scope::{Route, with_route};
use bilten_db::sea_orm::sea_query::Expr;
use bilten_db::sea_orm::{
    ColumnTrait, ConnectionTrait, Database, DatabaseBackend, DatabaseConnection,
    DerivePartialModel, EntityTrait, QueryFilter, QueryOrder, QuerySelect, Statement,
};
use bilten_db::{Cluster, Error, PageExt, PageRequest, ReadRouting};

use crate::fixture::{LIMIT, Shop, ask, event, hold, numbers, place, ticket};

#[tokio::test]
async fn rows_and_count_come_from_the_same_node() {
    let shop = Shop::open("page_node").await;
    let db = shop.connect().await;
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..8 {
        let query = numbers::Entity::find().order_by_asc(numbers::Column::Id);
        let page = query.page(&db, PageRequest::new(2, 20)).await.unwrap();
        let port = page.items[0].port;
        // The view has as many rows as the port of the server that counts them.
        assert_eq!(page.pagination.total, Some(u64::try_from(port).unwrap()));
        assert_eq!(page.items.len(), 20);
        assert_eq!(page.items[0].id, 21);
        seen.insert(port);
    }
    assert_eq!(seen, shop.replica_ports().into_iter().collect());
}

/// How many statements of this text run there now.
async fn running(replica: &DatabaseConnection, text: &str) -> i64 {
    let sql = format!(
        "select count(*) from pg_stat_activity where query like '%{text}%' and state = 'active' \
            and datname = current_database() and pid <> pg_backend_pid()"
    );
    ask(replica, &sql).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_and_count_run_at_the_same_time() {
    let shop = Shop::open("page_at_once").await;
    let db = shop.connect().await;
    let mut replicas = Vec::new();
    for url in &shop.replicas {
        replicas.push(Database::connect(url).await.unwrap());
    }
    let holders = [hold(&shop.replicas[0]).await, hold(&shop.replicas[1]).await];
    // One after the other they would never be seen together.
    let asleep = Expr::cust("held() is not null");
    let page = tokio::spawn(async move {
        let query = place::Entity::find().filter(asleep);
        query.page(&db, PageRequest::new(1, 5)).await
    });
    let mut seen = Vec::new();
    let mut both = async || {
        for replica in &replicas {
            seen.push(running(replica, "held()").await);
        }
        seen.contains(&2)
    };
    tokio::time::timeout(LIMIT, async { while !both().await {} })
        .await
        .expect("both run at once on one replica");
    drop(holders);
    let page = page.await.unwrap().unwrap();
    assert_eq!((page.items.len(), page.pagination.total), (1, Some(1)));
}

#[tokio::test]
async fn a_page_keeps_the_hint_around_it() {
    let shop = Shop::open("page_hint").await;
    let db = shop.connect().await;
    for route in [Route::Primary, Route::Replica, Route::OneNode] {
        let mut ports = std::collections::BTreeSet::new();
        let some_pages = async {
            for _ in 0..6 {
                let query = numbers::Entity::find().order_by_asc(numbers::Column::Id);
                let page = query.page(&db, PageRequest::new(1, 5)).await.unwrap();
                let port = page.items[0].port;
                assert_eq!(page.pagination.total, Some(u64::try_from(port).unwrap()));
                ports.insert(port);
            }
        };
        with_route(route, some_pages).await;
        match route {
            Route::Primary => assert_eq!(ports, [shop.primary_port()].into()),
            Route::Replica => assert_eq!(ports, shop.replica_ports().into_iter().collect()),
            _ => assert_eq!(ports.len(), 1, "{ports:?}"),
        }
    }
}

#[tokio::test]
async fn pages_end_where_the_rows_end() {
    let shop = Shop::open("page_end").await;
    let db = shop.connect().await;
    let query = || {
        let some = numbers::Entity::find().filter(numbers::Column::Id.lte(45));
        some.order_by_asc(numbers::Column::Id)
    };
    let last = query().page(&db, PageRequest::new(3, 20)).await.unwrap();
    assert_eq!(
        (last.items.len(), last.pagination.total_pages),
        (5, Some(3))
    );
    assert!(!last.pagination.has_next());

    let behind = query().page(&db, PageRequest::new(4, 20)).await.unwrap();
    assert_eq!((behind.items.len(), behind.pagination.total), (0, Some(45)));

    for (page, has_next) in [(1, true), (2, true), (3, false)] {
        let request = PageRequest::new(page, 20).count(CountMode::None);
        let uncounted = query().page(&db, request).await.unwrap();
        assert_eq!(
            (uncounted.pagination.total, uncounted.pagination.has_next()),
            (None, has_next)
        );
    }
    for (cap, total) in [
        (0, None),
        (10, None),
        (44, None),
        (45, Some(45)),
        (1000, Some(45)),
        (i64::MAX.unsigned_abs(), Some(45)),
        (u64::MAX, Some(45)),
    ] {
        let request = PageRequest::new(1, 20).count(CountMode::Capped(cap));
        let capped = query().page(&db, request).await.unwrap();
        assert_eq!(capped.pagination.total, total, "cap {cap}");
        assert!(capped.pagination.has_next(), "cap {cap}");
        let request = PageRequest::new(3, 20).count(CountMode::Capped(cap));
        let last = query().page(&db, request).await.unwrap();
        assert!(!last.pagination.has_next(), "cap {cap}");
    }
}

#[tokio::test]
async fn page_zero_and_limit_zero_are_errors_that_reach_no_server() {
    let shop = Shop::open("page_zero").await;
    let db = shop.connect().await;
    db.close().await;
    for (page, limit, name) in [(0, 20, "page"), (1, 0, "limit")] {
        let found = numbers::Entity::find()
            .page(&db, PageRequest::new(page, limit))
            .await;
        let Err(Error::Invalid { field, .. }) = found else {
            panic!("{name} 0 was taken");
        };
        assert_eq!(field, name);
    }
}

/// A name and nothing else.
#[derive(Debug, PartialEq, DerivePartialModel)]
#[sea_orm(entity = "event::Entity")]
struct Named {
    name: String,
}

async fn events(db: &Cluster, count: usize) {
    let sql = format!(
        "insert into event (name) select 'n' || lpad((n % 7)::text, 2, '0') from generate_series(1, {count}) n"
    );
    db.execute_unprepared(&sql).await.unwrap();
}

#[tokio::test]
async fn a_capped_count_reads_no_further_than_its_cap() {
    let shop = Shop::open("page_cap").await;
    let db = shop
        .builder()
        .route_reads(ReadRouting::PrimaryOnly)
        .connect()
        .await
        .unwrap();
    // Each row that is looked at is counted by the sequence, which belongs to the primary.
    let sql = "create sequence looked; create function look() returns int volatile language sql as \
        $$ select nextval('looked')::int $$";
    db.execute_unprepared(sql).await.unwrap();
    events(&db, 5000).await;
    let query = event::Entity::find().filter(Expr::cust("look() > 0"));
    let request = PageRequest::new(1, 10).count(CountMode::Capped(100));
    let page = query
        .order_by_asc(event::Column::Id)
        .page(&db, request)
        .await
        .unwrap();
    assert_eq!(
        (page.pagination.total, page.pagination.has_next()),
        (None, true)
    );
    let looked: i64 = ask(&db, "select last_value from looked").await.unwrap();
    // The page itself looks at all rows when it must sort them; a full count would double that.
    assert!(looked < 5000 + 200, "{looked} rows of 5000 were looked at");
}

#[tokio::test]
async fn projections_and_partial_models_have_pages() {
    let shop = Shop::open("page_partial").await;
    let db = shop.connect().await;
    events(&db, 45).await;
    shop.settle().await;
    let query = || event::Entity::find().order_by_asc(event::Column::Id);
    for count in [CountMode::Exact, CountMode::Capped(100)] {
        let request = PageRequest::new(1, 20).count(count);
        let partial = query().into_partial_model::<Named>();
        let page = partial.page(&db, request).await.unwrap();
        assert_eq!((page.items.len(), page.pagination.total), (20, Some(45)));
        assert_eq!(page.items[0], Named { name: "n01".into() });
        let tuples = query()
            .select_only()
            .column(event::Column::Id)
            .into_tuple::<i32>();
        let page = tuples.page(&db, request).await.unwrap();
        assert_eq!((page.items[19], page.pagination.total_pages), (20, Some(3)));
        let both = query().find_also_related(ticket::Entity);
        assert_eq!(
            both.page(&db, request).await.unwrap().pagination.total,
            Some(45)
        );
    }
}

#[tokio::test]
async fn an_estimate_is_marked_and_knows_whether_a_page_follows() {
    let shop = Shop::open("page_estimate").await;
    let db = shop.connect().await;
    events(&db, 1000).await;
    db.execute_unprepared("analyze event").await.unwrap();
    shop.settle().await;
    let session = db.session();
    let page = async |page| {
        let request = PageRequest::new(page, 100).count(CountMode::Estimate);
        event::Entity::find()
            .page(&session, request)
            .await
            .unwrap()
            .pagination
    };
    let first = page(1).await;
    assert_eq!(
        (first.total, first.estimated, first.has_next()),
        (Some(1000), true, true)
    );
    assert!(!page(10).await.has_next());
    assert!(!session.wrote(), "the plan of a read is no write");
    // The planner knows nothing of these rows, but what was seen is known.
    db.execute_unprepared("delete from event where id > 250")
        .await
        .unwrap();
    shop.settle().await;
    let last = page(3).await;
    assert!(!last.has_next() && last.total >= Some(250), "{last:?}");

    let lite = Cluster::builder()
        .primary("sqlite::memory:")
        .connect()
        .await
        .unwrap();
    let tables = "create table event (id integer primary key, name text not null, port int not null default 1);
        insert into event (name) values ('a'), ('b')";
    lite.execute_unprepared(tables).await.unwrap();
    let request = PageRequest::new(1, 1).count(CountMode::Estimate);
    let page = event::Entity::find().page(&lite, request).await.unwrap();
    assert_eq!(
        (page.pagination.total, page.pagination.estimated),
        (Some(2), false)
    );
}

#[tokio::test]
async fn a_limit_above_the_maximum_is_an_error() {
    let shop = Shop::open("page_max").await;
    let db = shop.connect().await;
    let found = numbers::Entity::find()
        .page(&db, PageRequest::new(1, 1001))
        .await;
    let error = found.unwrap_err().to_string();
    assert!(error.contains("limit is 1001, above the 1000"), "{error}");
    let request = PageRequest::new(1, 1001).max_limit(2000);
    let page = numbers::Entity::find().page(&db, request).await.unwrap();
    assert_eq!(page.items.len(), 1001);
}

#[tokio::test]
async fn a_raw_query_whose_end_takes_no_limit_is_an_error_that_says_so() {
    let db = Cluster::builder().primary("sqlite::memory:");
    let db = db.connect().await.unwrap();
    let table = "create table event (id integer primary key, name text, port int)";
    db.execute_unprepared(table).await.unwrap();
    let insert = "insert into event (name, port) values ('a', 1), ('b', 1), ('c', 1)";
    db.execute_unprepared(insert).await.unwrap();
    let page = async |sql: &str, count| {
        let raw = Statement::from_string(DatabaseBackend::Sqlite, sql);
        let query = event::Entity::find().from_raw_sql(raw);
        query.page(&db, PageRequest::new(1, 2).count(count)).await
    };
    let all = "select * from event order by id";
    for count in [CountMode::None, CountMode::Exact] {
        assert_eq!(page(all, count).await.unwrap().items.len(), 2);
        let inner = "select * from (select * from event limit 3) order by id";
        assert_eq!(page(inner, count).await.unwrap().items.len(), 2);
        let table = [
            (" -- all of them", "a comment"),
            (";", "a semicolon"),
            (" limit 1", "a limit of its own"),
        ];
        for (end, problem) in table {
            let error = page(&format!("{all}{end}"), count).await.unwrap_err();
            let text = error.to_string();
            assert!(matches!(error, Error::Invalid { .. }), "{text}");
            assert!(text.contains(problem), "{text}");
        }
    }
}
