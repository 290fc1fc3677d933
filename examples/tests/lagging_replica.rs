//! bilten-cache over a replica of PostgreSQL whose replay is paused, read through bilten-db.

#![allow(clippy::unwrap_used)]

use std::time::{Duration, Instant};

use bilten_cache::{Cache, Region};
use bilten_db::{Cluster, Session, Token};
use bilten_testbed::Postgres;
use sea_orm::{ConnectionTrait, DbBackend, DbErr, Statement};

const LIMIT: Duration = Duration::from_secs(30);

async fn price(db: &impl ConnectionTrait) -> Result<i32, DbErr> {
    let question =
        Statement::from_string(DbBackend::Postgres, "select price from event where id = 1");
    let row = db.query_one_raw(question).await?;
    row.ok_or(DbErr::RecordNotFound("the event".into()))?
        .try_get("", "price")
}

struct Shop {
    postgres: Postgres,
    db: Cluster,
    prices: Region<i64, i32>,
}

impl Shop {
    /// An event for 10, known to the replica and to the cache.
    async fn open() -> Self {
        let postgres = Postgres::builder().replicas(1).start().unwrap();
        let table = "create table event (id int primary key, price int not null); insert into event values (1, 10)";
        postgres.primary().psql(table).unwrap();
        postgres.wait_for_replicas().unwrap();
        let db = Cluster::builder()
            .primary(postgres.primary().url())
            .replica("r1", postgres.replica(0).url())
            .connect()
            .await
            .unwrap();
        let cache = Cache::builder("shop")
            .source_order(Token::order)
            .build()
            .await
            .unwrap();
        let prices = cache.region::<i64, i32>("price").build().unwrap();
        let shop = Self {
            postgres,
            db,
            prices,
        };
        assert_eq!(shop.load().await, 10);
        shop
    }

    /// Reads as a service does: from wherever the cluster thinks fit, if the cache has it not.
    async fn load(&self) -> i32 {
        let db = self.db.clone();
        let load = async move |cx: bilten_cache::LoadContext<i32>| {
            price(&db.session_at_least(cx.at_least())).await
        };
        *self.prices.get_or_load(&1, load).await.unwrap()
    }

    /// Sells for more from now on, while the replica stands still.
    async fn raise(&self) -> Session {
        self.postgres.replica(0).pause_replay().unwrap();
        let session = self.db.session();
        let change = "update event set price = 20 where id = 1";
        session.execute_unprepared(change).await.unwrap();
        session
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_token_a_lagging_replica_puts_the_old_row_back() {
    let shop = Shop::open().await;
    shop.raise().await;
    let _ = shop.prices.remove(&1).await.unwrap();
    assert_eq!(shop.load().await, 10, "the trap that tokens are for");
    shop.postgres.replica(0).resume_replay().unwrap();
    shop.postgres.wait_for_replicas().unwrap();
    assert_eq!(shop.load().await, 10, "for its whole time to live");
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_token_a_lagging_replica_never_puts_the_old_row_back() {
    let shop = Shop::open().await;
    let session = shop.raise().await;
    let token = session.token().await.unwrap().unwrap();
    let _ = shop
        .prices
        .after(token.to_string())
        .remove(&1)
        .await
        .unwrap();
    for _ in 0..20 {
        assert_eq!(shop.load().await, 20);
        let _ = shop.prices.remove(&1).await.unwrap();
    }
    shop.postgres.replica(0).resume_replay().unwrap();
    shop.postgres.wait_for_replicas().unwrap();
    // Once it has caught up the replica serves such loads again.
    let begun = Instant::now();
    loop {
        let _ = shop.prices.remove(&1).await.unwrap();
        let db = shop.db.clone();
        let load = async move |cx: bilten_cache::LoadContext<i32>| {
            let session = db.session_at_least(cx.at_least());
            let question =
                Statement::from_string(DbBackend::Postgres, "select inet_server_port() as price");
            session
                .query_one_raw(question)
                .await?
                .unwrap()
                .try_get::<i32>("", "price")
        };
        let port = *shop.prices.get_or_load(&1, load).await.unwrap();
        if port == i32::from(shop.postgres.replica(0).port()) {
            break;
        }
        assert!(
            begun.elapsed() < LIMIT,
            "the replica serves no load any more"
        );
    }
}
