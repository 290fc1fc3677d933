use std::collections::BTreeMap;

use bilten_db::ReadRouting;
use bilten_db::scope::{Route, with_route};
use bilten_db::sea_orm::{AccessMode, TransactionTrait};
use bilten_db::{PageExt, PageRequest};

use crate::fixture::{Shop, ask, numbers, tally, who_reads};
use bilten_db::sea_orm::EntityTrait;

#[tokio::test]
async fn opt_in_leaves_plain_reads_on_the_primary() {
    let shop = Shop::open("mode_opt_in").await;
    let mode = ReadRouting::OptIn;
    let db = shop.builder().route_reads(mode).connect().await.unwrap();
    let primary = shop.primary_port();
    assert_eq!(tally(&db, 10).await, BTreeMap::from([(primary, 10)]));
    let page = numbers::Entity::find()
        .page(&db, PageRequest::new(1, 5))
        .await;
    assert_eq!(
        page.unwrap().items[0].port,
        primary,
        "a page asks for no replica"
    );

    let asked = [
        who_reads(&db.session()).await.unwrap(),
        with_route(Route::Replica, who_reads(&db)).await.unwrap(),
        with_route(Route::OneNode, who_reads(&db)).await.unwrap(),
    ];
    assert!(
        asked.iter().all(|port| shop.replica_ports().contains(port)),
        "{asked:?}"
    );
}

#[tokio::test]
async fn the_switch_for_emergencies_works_at_once_and_for_everything() {
    let shop = Shop::open("mode_switch").await;
    let db = shop.connect().await;
    let primary = shop.primary_port();
    let session = db.session();
    assert_ne!(who_reads(&session).await.unwrap(), primary);

    db.set_read_routing(ReadRouting::PrimaryOnly);
    assert_eq!(tally(&db, 10).await, BTreeMap::from([(primary, 10)]));
    assert_eq!(who_reads(&session).await.unwrap(), primary);
    assert_eq!(
        with_route(Route::Replica, who_reads(&db)).await.unwrap(),
        primary
    );
    let tx = db
        .begin_with_config(None, Some(AccessMode::ReadOnly))
        .await
        .unwrap();
    assert_eq!(
        ask::<i32>(&tx, "select inet_server_port()").await.unwrap(),
        primary
    );
    tx.commit().await.unwrap();

    db.set_read_routing(ReadRouting::Auto);
    assert_eq!(tally(&db, 10).await.len(), 2, "the replicas are used again");
    assert_eq!(
        who_reads(&session).await.unwrap(),
        primary,
        "a session that saw the primary does not go back in time"
    );
}
