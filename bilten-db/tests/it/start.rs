use std::error::Error as _;
use std::net::{Ipv4Addr, TcpListener};
use std::time::{Duration, Instant};

use bilten_db::{Cluster, Error, PoolConfig};
use bilten_testbed::Postgres;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::fixture::{LIMIT, Shop, cluster, is_up, reason, serving, tally, until_up, who_reads};

/// A port on which nobody listens.
fn refused() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    format!("postgres://app:s3cret@127.0.0.1:{port}/shop")
}

/// A refusal is told at once: long before this pool would give up, however busy the machine.
fn patient() -> PoolConfig {
    let minutes = Duration::from_secs(600);
    PoolConfig::default()
        .connect_timeout(minutes)
        .acquire_timeout(minutes)
}

#[tokio::test]
async fn an_address_of_ipv6_is_connected_to() {
    let shop = Shop::open("start_ipv6").await;
    let port = shop.primary_port();
    let address = serving("[::1]:0", move |mut here| async move {
        let target = (Ipv4Addr::LOCALHOST, u16::try_from(port).unwrap());
        let mut there = TcpStream::connect(target).await.unwrap();
        let _ended = tokio::io::copy_bidirectional(&mut here, &mut there).await;
    })
    .await;
    let (before, database) = shop.primary.rsplit_once('/').unwrap();
    let (user, _) = before.rsplit_once('@').unwrap();
    let url = format!("{user}@{address}/{database}");
    let db = cluster().primary(url).connect().await.unwrap();
    assert_eq!(who_reads(&db).await.unwrap(), port);
    assert_eq!(db.status().primary().address, address.to_string());
}

#[tokio::test]
async fn a_server_of_another_kind_is_told_by_what_to_check() {
    let shop = Shop::open("start_kind").await;
    let pool = PoolConfig::default().connect_timeout(Duration::from_millis(500));
    let as_mysql = shop.primary.replacen("postgres", "mysql", 1);
    let built = Cluster::builder().primary(as_mysql).pool(pool).connect();
    let text = built.await.unwrap_err().to_string();
    assert!(
        text.contains("did not answer in time") && text.contains("PostgreSQL needs a postgres://"),
        "{text}"
    );

    // What a server of MySQL says first.
    let greeting = b"\x4a\0\0\0\x0a8.0.36\0";
    let address = serving("127.0.0.1:0", move |mut stream| async move {
        stream.write_all(greeting).await.unwrap();
        let _ended = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
    })
    .await;
    let url = format!("postgres://app@{address}/shop");
    let error = cluster().primary(url).connect().await.unwrap_err();
    let text = error.to_string();
    assert!(text.contains("is another kind of server"), "{error:?}");
}

#[tokio::test]
async fn tls_that_is_not_to_be_had_is_told_in_words() {
    let shop = Shop::open("start_tls").await;
    let url = format!("{}?sslmode=require", shop.primary);
    let built = Cluster::builder().primary(url).connect().await;
    let text = built.unwrap_err().to_string();
    assert!(text.contains("TLS") && text.contains("sslmode="), "{text}");
}

#[tokio::test]
async fn a_refused_primary_fails_the_start_at_once_with_the_cause() {
    let begun = Instant::now();
    let error = Cluster::builder()
        .primary(refused())
        .pool(patient())
        .connect()
        .await
        .unwrap_err();
    assert!(begun.elapsed() < LIMIT, "{:?}", begun.elapsed());
    let text = format!("{error} {error:?} {}", error.source().unwrap());
    assert!(text.contains("primary at 127.0.0.1:"), "{text}");
    assert!(
        text.contains("refused the connection: start the server"),
        "{text}"
    );
    assert!(text.contains("Connection refused"), "{text}");
    assert!(error.source().unwrap().source().is_none(), "said once");
    assert!(!text.contains("s3cret") && !text.contains("app:"), "{text}");
}

#[tokio::test]
async fn a_refused_replica_does_not_stop_the_start_and_joins_no_rotation() {
    let shop = Shop::open("start_refused").await;
    let begun = Instant::now();
    let db = shop
        .builder()
        .replica("gone", refused())
        .pool(patient())
        .connect()
        .await
        .unwrap();
    assert!(begun.elapsed() < LIMIT, "{:?}", begun.elapsed());
    assert!(!is_up(&db, "gone"));
    assert!(
        reason(&db, "gone").contains("refused"),
        "{}",
        reason(&db, "gone")
    );
    let ports = tally(&db, 20).await;
    assert_eq!(ports.values().sum::<usize>(), 20);
    assert!(ports.keys().all(|port| shop.replica_ports().contains(port)));
}

#[tokio::test]
async fn a_replica_whose_name_is_unknown_does_not_stop_the_start() {
    let shop = Shop::open("start_unknown").await;
    let url = "postgres://app:s3cret@no-such-host.invalid/shop";
    let db = cluster()
        .primary(&shop.primary)
        .replica("r1", url)
        .connect()
        .await
        .unwrap();
    assert!(!is_up(&db, "r1"));
    assert!(!reason(&db, "r1").contains("s3cret"));
    assert_eq!(who_reads(&db).await.unwrap(), shop.primary_port());
}

#[tokio::test]
async fn a_primary_whose_name_is_unknown_is_told_with_what_to_do() {
    let url = "postgres://app:s3cret@no-such-host.invalid/shop";
    let built = Cluster::builder().primary(url).pool(patient()).connect();
    let error = tokio::time::timeout(LIMIT, built).await.unwrap();
    let error = error.unwrap_err();
    assert!(matches!(error, Error::Unreachable { .. }), "{error:?}");
    let text = error.to_string();
    let told = "primary at no-such-host.invalid:5432 could not be resolved: correct the host name";
    assert_eq!(text, told);
    assert!(!format!("{error:?}").contains("s3cret"), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_is_told_without_being_shown() {
    let postgres = Postgres::builder().replicas(1).start().unwrap();
    postgres
        .primary()
        .psql("create role app login password 'right' in role needs_password")
        .unwrap();
    postgres.wait_for_replicas().unwrap();
    let wrong = |node: &bilten_testbed::PostgresNode| node.url_as("app", "s3cret");

    let error = cluster()
        .primary(wrong(postgres.primary()))
        .connect()
        .await
        .unwrap_err();
    let text = format!("{error} {error:?} {}", error.source().unwrap());
    assert!(text.contains("refused the user or the password"), "{text}");
    assert!(!text.contains("s3cret"), "{text}");

    let db = cluster()
        .primary(postgres.primary().url_as("app", "right"))
        .replica("r1", wrong(postgres.replica(0)))
        .connect()
        .await
        .unwrap();
    assert!(!is_up(&db, "r1"));
    assert!(
        reason(&db, "r1").contains("password authentication failed"),
        "{}",
        reason(&db, "r1")
    );
    let status = db.status();
    let pause = status.replicas().next().and_then(|r1| r1.next_trial);
    assert!(
        pause.is_some_and(|pause| pause > Duration::from_secs(30)),
        "tried again and again, it would lock the user out: {pause:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_was_down_at_the_start_joins_when_it_is_there() {
    let postgres = crate::fixture::private(1);
    postgres.replica(0).kill().unwrap();
    let db = crate::fixture::builder_for(&postgres)
        .connect()
        .await
        .unwrap();
    assert!(!is_up(&db, "r1"));
    postgres.replica(0).restart().unwrap();
    until_up(&db, "r1", true).await;
    assert_eq!(
        who_reads(&db).await.unwrap(),
        crate::fixture::port(postgres.replica(0))
    );
}

#[tokio::test]
async fn senseless_settings_are_named_with_their_remedy() {
    let url = "postgres://app:s3cret@127.0.0.1/shop";
    let with = || Cluster::builder().primary(url);
    let table = [
        (Cluster::builder(), "primary"),
        (
            Cluster::builder().primary("http://app:s3cret@db/shop"),
            "primary",
        ),
        (
            Cluster::builder().primary("postgres://app:s3/cret@db/shop"),
            "primary",
        ),
        (
            Cluster::builder().primary("postgres://app:s3cret@db:99999/shop"),
            "primary",
        ),
        (
            with().replica("r1", "postgres://app:s3cret@db/shop?sslmode=bogus"),
            "replica `r1`",
        ),
        (with().replica(url, url), "replica id"),
        (with().replica("", url), "replica id"),
        (
            with().replica("r1", url).replica("r1", url),
            "replica id `r1`",
        ),
        (with().replica("primary", url), "replica id `primary`"),
        (with().replica("r1", "sqlite://other.db"), "replica `r1`"),
        (with().replica("r1", "s3cret"), "replica `r1`"),
        (with().readers(2), "readers"),
        (with().pool(PoolConfig::default().max(2).min(3)), "pool.min"),
        (
            with().replica_pool(PoolConfig::default().max(0)),
            "replica_pool.max",
        ),
    ];
    for (builder, name) in table {
        let error = builder.connect().await.unwrap_err();
        let text = format!("{error} {error:?}");
        let Error::Invalid { field, remedy, .. } = error else {
            panic!("{name}: {text}");
        };
        assert_eq!(field, name);
        assert!(!remedy.is_empty());
        assert!(!text.contains("cret"), "{text}");
    }
}

#[test]
fn a_builder_shows_no_password() {
    let builder = Cluster::builder()
        .primary("postgres://app:s3cret@db/shop")
        .replica("r1", "postgres://app:s3cret@db/shop");
    assert!(!format!("{builder:?}").contains("s3cret"));
}
