use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bilten_db::scope::{Route, with_route};
use bilten_db::sea_orm::{AccessMode, TransactionTrait};
use bilten_db::{Balance, Cluster, PoolConfig, Replica};
use bilten_testbed::{FaultProxy, eventually_async};
use tokio::task::JoinHandle;

use crate::fixture::{
    LIMIT, Shop, ask, builder_for, cluster, patient, port, private, tally, until_open, until_up,
    who_reads,
};

/// One read that keeps its node busy until it is aborted.
fn busy(db: &Cluster) -> JoinHandle<()> {
    let db = db.clone();
    tokio::spawn(async move {
        let _ = ask::<bool>(&db, "select pg_sleep(60) is null").await;
    })
}

async fn until_busy(db: &Cluster, statements: u32) {
    eventually_async(LIMIT, || async {
        db.status().replicas().map(|r| r.in_flight).sum::<u32>() == statements
    })
    .await;
}

#[tokio::test]
async fn shares_follow_the_weights() {
    let shop = Shop::open("weights").await;
    let db = cluster()
        .primary(&shop.primary)
        .replica("large", Replica::new(&shop.replicas[0]).weight(3))
        .replica("small", &shop.replicas[1])
        .balance(Balance::Weighted)
        .connect()
        .await
        .unwrap();
    let [large, small] = [0, 1].map(|n| shop.replica_ports()[n]);
    until_open(&db).await;
    let shares = tally(&db, 400).await;
    assert!(shares[&large].abs_diff(300) <= 4, "{shares:?}");
    assert_eq!(shares[&large] + shares[&small], 400, "{shares:?}");
    assert_eq!(db.status().replicas().next().unwrap().weight, 3);
}

#[tokio::test]
async fn the_fewest_in_flight_gets_the_next_read() {
    let shop = Shop::open("least_in_flight").await;
    let balance = Balance::LeastInFlight;
    let db = shop.builder().balance(balance).connect().await.unwrap();
    until_open(&db).await;
    let sleeper = busy(&db);
    until_busy(&db, 1).await;
    let shares = tally(&db, 30).await;
    assert_eq!(shares.len(), 1, "the busy replica was asked: {shares:?}");
    sleeper.abort();
    until_busy(&db, 0).await;
    assert_eq!(tally(&db, 30).await.len(), 2, "equals are asked in turn");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_became_slow_is_left_and_asked_again_later() {
    let shop = Shop::open("peak_ewma").await;
    let ports = shop.replica_ports();
    let upstream = format!("127.0.0.1:{}", ports[0]).parse().unwrap();
    let proxy = FaultProxy::to(upstream).await.unwrap();
    let through = proxy.url_like(&shop.replicas[0]).unwrap();
    let db = cluster()
        .primary(&shop.primary)
        .replica("slow", &through)
        .replica("quick", &shop.replicas[1])
        .balance(Balance::PeakEwma)
        .connect()
        .await
        .unwrap();
    // A login that took long counts too, and is forgotten.
    let both_are_asked = || async { tally(&db, 20).await.len() == 2 };
    eventually_async(LIMIT, both_are_asked).await;

    proxy.delay(Duration::from_millis(200));
    // One slow answer is enough to learn it.
    eventually_async(LIMIT, || async {
        who_reads(&db).await.unwrap();
        let slow = db.status().replicas().next().unwrap().latency;
        slow > Duration::from_millis(100)
    })
    .await;
    let begun = Instant::now();
    let during = tally(&db, 200).await;
    let asked = during.get(&ports[0]).copied().unwrap_or(0);
    // What is known of it is forgotten with the time.
    let most = 4 + usize::try_from(begun.elapsed().as_secs()).unwrap();
    assert!(asked <= most, "the slow one is left: {during:?}");
}

#[tokio::test]
async fn the_own_zone_comes_first_and_the_others_when_it_is_full() {
    let shop = Shop::open("zones").await;
    let near = Replica::new(&shop.replicas[0]).zone("eu-1a");
    let near = near.pool(patient().max(1));
    let db = cluster()
        .primary(&shop.primary)
        .zone("eu-1a")
        .replica("near", near)
        .replica("far", Replica::new(&shop.replicas[1]).zone("eu-1b"))
        .connect()
        .await
        .unwrap();
    let [near, far] = [0, 1].map(|n| shop.replica_ports()[n]);
    // A connection that was just used may still be on its way back into a pool of one, so ask until it is there.
    let held = loop {
        let read_only = Some(AccessMode::ReadOnly);
        let tx = db.begin_with_config(None, read_only).await.unwrap();
        if who_reads(&tx).await.unwrap() == near {
            break tx;
        }
        tx.rollback().await.unwrap();
    };
    assert_eq!(tally(&db, 10).await, BTreeMap::from([(far, 10)]));
    held.commit().await.unwrap();
    eventually_async(LIMIT, || async { who_reads(&db).await.unwrap() == near }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_other_zone_takes_over_when_the_own_is_down() {
    let postgres = private(2);
    let db = cluster()
        .primary(postgres.primary().url())
        .zone("eu-1a")
        .replica(
            "near",
            Replica::new(postgres.replica(0).url()).zone("eu-1a"),
        )
        .replica("far", postgres.replica(1).url())
        .connect()
        .await
        .unwrap();
    let [near, far] = [0, 1].map(|n| port(postgres.replica(n)));
    assert_eq!(tally(&db, 20).await, BTreeMap::from([(near, 20)]));
    postgres.replica(0).kill().unwrap();
    until_up(&db, "near", false).await;
    assert_eq!(tally(&db, 20).await, BTreeMap::from([(far, 20)]));
}

#[tokio::test]
async fn a_group_serves_only_those_who_ask_for_it() {
    let shop = Shop::open("groups").await;
    let db = cluster()
        .primary(&shop.primary)
        .replica("r1", &shop.replicas[0])
        .replica("night", Replica::new(&shop.replicas[1]).group("reports"))
        .connect()
        .await
        .unwrap();
    let [plain, night] = [0, 1].map(|n| shop.replica_ports()[n]);
    assert_eq!(tally(&db, 20).await, BTreeMap::from([(plain, 20)]));
    assert_eq!(tally(&db.session(), 5).await, BTreeMap::from([(plain, 5)]));
    let session = db.session().group("reports");
    assert_eq!(tally(&session, 5).await, BTreeMap::from([(night, 5)]));
    let scope = with_route(Route::Group("reports"), tally(&db, 5)).await;
    assert_eq!(scope, BTreeMap::from([(night, 5)]));

    let misspelled = who_reads(&db.session().group("report")).await;
    let error = misspelled.unwrap_err().to_string();
    assert!(error.contains("group `report` has no replica"), "{error}");
    assert_eq!(
        db.status().replicas().nth(1).unwrap().group.as_deref(),
        Some("reports")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn work_that_was_set_apart_never_falls_on_others() {
    let postgres = private(2);
    let db = cluster()
        .primary(postgres.primary().url())
        .replica("r1", postgres.replica(0).url())
        .replica(
            "night",
            Replica::new(postgres.replica(1).url()).group("reports"),
        )
        .connect()
        .await
        .unwrap();
    let pinned = db.session().group("reports");
    assert_eq!(who_reads(&pinned).await.unwrap(), port(postgres.replica(1)));
    postgres.replica(1).kill().unwrap();
    until_up(&db, "night", false).await;
    for session in [pinned, db.session().group("reports")] {
        for _ in 0..3 {
            let error = who_reads(&session).await.unwrap_err().to_string();
            assert!(error.contains("no replica is in rotation"), "{error}");
        }
        assert_ne!(session.node().as_deref(), Some("primary"));
    }
    assert_eq!(who_reads(&db).await.unwrap(), port(postgres.replica(0)));
    // And the other way round: the reports' replica does not serve plain reads.
    postgres.replica(1).restart().unwrap();
    until_up(&db, "night", true).await;
    postgres.replica(0).kill().unwrap();
    until_up(&db, "r1", false).await;
    assert_eq!(who_reads(&db).await.unwrap(), port(postgres.primary()));
}

#[tokio::test]
async fn a_replica_with_senseless_settings_is_refused_by_name() {
    let table = [
        (
            Replica::new("postgres://localhost/shop").weight(0),
            "replica `r1`.weight",
        ),
        (
            Replica::new("postgres://localhost/shop").weight(2),
            "replica `r1`.weight",
        ),
        (
            Replica::new("postgres://localhost/shop").zone(""),
            "replica `r1`.zone",
        ),
        (
            Replica::new("postgres://localhost/shop").group(""),
            "replica `r1`.group",
        ),
        (
            Replica::new("postgres://localhost/shop").pool(PoolConfig::default().max(0)),
            "replica `r1`.pool.max",
        ),
    ];
    for (replica, name) in table {
        let builder = Cluster::builder().primary("postgres://localhost/shop");
        let error = builder.replica("r1", replica).connect().await.unwrap_err();
        assert!(error.to_string().starts_with(name), "{error}");
    }
    let many = (0..33).fold(
        Cluster::builder().primary("postgres://localhost/shop"),
        |builder, n| builder.replica(format!("r{n}"), "postgres://localhost/shop"),
    );
    let error = many.connect().await.unwrap_err().to_string();
    assert!(error.contains("name at most 32"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_replica_left_takes_every_read_however_busy() {
    let postgres = private(2);
    let pool = patient().max(2);
    let db = builder_for(&postgres).pool(pool).connect().await.unwrap();
    postgres.replica(0).kill().unwrap();
    until_up(&db, "r1", false).await;
    let left = port(postgres.replica(1));
    let mut readers = tokio::task::JoinSet::new();
    for _ in 0..40 {
        let db = db.clone();
        readers.spawn(async move { tally(&db, 25).await });
    }
    for shares in readers.join_all().await {
        assert_eq!(shares, BTreeMap::from([(left, 25)]));
    }
}
