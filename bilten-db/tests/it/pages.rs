use bilten_db::page::CountMode;
use bilten_db::scope::{Route, with_route};
use bilten_db::sea_orm::{ColumnTrait, EntityTrait, QueryFilter, QueryOrder};
use bilten_db::{Error, PageExt, PageRequest};

use crate::fixture::{Shop, numbers};

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
