use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bilten_db::discovery::{Discovery, Dns, Resolve};
use bilten_db::{Cluster, ClusterBuilder, Error};
use bilten_testbed::{Postgres, PostgresNode, eventually, eventually_async};

use crate::fixture::{
    LIMIT, ask, builder_for, cluster, port, private, tally, until_open, until_up, who_reads,
};

/// A name service that says what the test tells it to.
#[derive(Clone)]
struct Names(Arc<Told>);

struct Told {
    answer: Mutex<Option<Vec<SocketAddr>>>,
    asked: AtomicUsize,
}

impl Names {
    fn of(nodes: &[&PostgresNode]) -> Self {
        let names = Self(Arc::new(Told {
            answer: Mutex::new(None),
            asked: AtomicUsize::new(0),
        }));
        names.tell(nodes);
        names
    }

    fn tell(&self, nodes: &[&PostgresNode]) {
        *self.0.answer.lock().unwrap() = Some(nodes.iter().map(|node| node.addr()).collect());
    }

    fn fail(&self) {
        *self.0.answer.lock().unwrap() = None;
    }

    /// Waits until it was asked, and the cluster has heard, this often.
    fn until_asked(&self, times: usize) {
        let before = self.0.asked.load(Ordering::SeqCst);
        let asked = || self.0.asked.load(Ordering::SeqCst) > before + times;
        eventually(LIMIT, asked);
    }

    fn discovery(&self) -> Discovery {
        let dns = Dns::with_resolver(
            "postgres://postgres@replicas.internal/postgres",
            self.clone(),
        );
        Discovery::new(dns).every(Duration::from_millis(20))
    }
}

impl Resolve for Names {
    async fn resolve(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        assert_eq!((host, port), ("replicas.internal", 5432));
        self.0.asked.fetch_add(1, Ordering::SeqCst);
        let answer = self.0.answer.lock().unwrap().clone();
        answer.ok_or_else(|| io::Error::other("no name server answers"))
    }
}

fn primary(postgres: &Postgres) -> ClusterBuilder {
    cluster().primary(postgres.primary().url())
}

fn ids(db: &Cluster) -> Vec<String> {
    let mut ids: Vec<_> = db.status().replicas().map(|r| r.id.clone()).collect();
    ids.sort();
    ids
}

fn id(node: &PostgresNode) -> String {
    node.addr().to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_come_and_go_with_the_name() {
    let postgres = private(2);
    let [r1, r2] = [postgres.replica(0), postgres.replica(1)];
    let names = Names::of(&[r1]);
    let db = primary(&postgres).discovery(names.discovery());
    let db = db.connect().await.unwrap();
    assert_eq!(ids(&db), [id(r1)], "known before the first read");
    assert_eq!(tally(&db, 4).await, [(port(r1), 4)].into());

    names.tell(&[r1, r2]);
    eventually(LIMIT, || {
        db.status().replicas().filter(|r| r.is_up()).count() == 2
    });
    until_open(&db).await;
    assert_eq!(tally(&db, 10).await, [(port(r1), 5), (port(r2), 5)].into());

    // A statement that runs there may end.
    let slow = tokio::spawn({
        let db = db.clone();
        let sql = format!(
            "select pg_sleep(case inet_server_port() when {} then 1 else 0 end) is null",
            r1.port()
        );
        async move { [ask::<bool>(&db, &sql).await, ask::<bool>(&db, &sql).await] }
    });
    eventually(LIMIT, || {
        db.status().replicas().any(|r| r.in_flight > 0) || slow.is_finished()
    });
    names.tell(&[r2]);
    eventually(LIMIT, || ids(&db) == [id(r2)]);
    for answer in slow.await.unwrap() {
        answer.unwrap();
    }
    assert_eq!(tally(&db, 4).await, [(port(r2), 4)].into());

    names.tell(&[r2, r1]);
    eventually(LIMIT, || {
        db.status().replicas().filter(|r| r.is_up()).count() == 2
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn the_names_of_the_system_are_looked_up() {
    let postgres = private(1);
    let replica = postgres.replica(0);
    let url = format!("postgres://postgres@localhost:{}/postgres", replica.port());
    let db = primary(&postgres).discovery(Dns::new(url));
    let db = db.connect().await.unwrap();
    // Where localhost is an address of IPv6 as well, nobody listens on that one.
    until_up(&db, &id(replica), true).await;
    assert_eq!(tally(&db, 4).await, [(port(replica), 4)].into());
    assert_eq!(db.status().discovery.unwrap().problem, None);

    let nowhere = Dns::new("postgres://postgres@no-such-host.invalid/postgres");
    let db = primary(&postgres).discovery(nowhere);
    let db = db.connect().await.unwrap();
    assert!(ids(&db).is_empty());
    assert!(db.status().discovery.unwrap().problem.is_some());
    assert_eq!(who_reads(&db).await.unwrap(), port(postgres.primary()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_service_that_is_away_or_knows_nothing_takes_no_replica_away() {
    let postgres = private(1);
    let replica = postgres.replica(0);
    let names = Names::of(&[replica]);
    let db = primary(&postgres).discovery(names.discovery().grace(1));
    let db = db.connect().await.unwrap();
    names.fail();
    names.until_asked(3);
    names.tell(&[]);
    names.until_asked(3);
    assert_eq!(ids(&db), [id(replica)]);
    assert_eq!(who_reads(&db).await.unwrap(), port(replica));

    // Once away at the start, it is asked again.
    let late = Names::of(&[]);
    late.fail();
    let db = primary(&postgres).discovery(late.discovery());
    let db = db.connect().await.unwrap();
    assert!(ids(&db).is_empty());
    assert_eq!(who_reads(&db).await.unwrap(), port(postgres.primary()));
    late.tell(&[replica]);
    eventually_async(LIMIT, || async {
        who_reads(&db).await.unwrap() == port(replica)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_answer_that_lacks_a_replica_is_not_believed() {
    let postgres = private(2);
    let [r1, r2] = [postgres.replica(0), postgres.replica(1)];
    let names = Names::of(&[r1, r2]);
    let db = primary(&postgres).discovery(names.discovery().grace(u32::MAX));
    let db = db.connect().await.unwrap();
    names.tell(&[r1]);
    names.until_asked(5);
    assert_eq!(ids(&db).len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_named_by_hand_and_what_became_the_primary_stays() {
    let postgres = private(2);
    let [r1, r2] = [postgres.replica(0), postgres.replica(1)];
    let names = Names::of(&[r2]);
    let db = primary(&postgres)
        .replica("by-hand", r1.url())
        .discovery(names.discovery().grace(1))
        .connect()
        .await
        .unwrap();
    postgres.primary().kill().unwrap();
    r2.promote().unwrap();
    eventually(LIMIT, || db.status().primary().id == id(r2));
    names.tell(&[r1]);
    names.until_asked(4);
    assert_eq!(db.status().primary().id, id(r2), "every write needs it");
    assert!(ids(&db).contains(&"by-hand".to_owned()), "{:?}", ids(&db));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_discovered_replica_that_is_dead_joins_when_it_is_back() {
    let postgres = private(1);
    let replica = postgres.replica(0);
    replica.kill().unwrap();
    let names = Names::of(&[replica]);
    let db = primary(&postgres).discovery(names.discovery());
    let db = db.connect().await.unwrap();
    assert_eq!(who_reads(&db).await.unwrap(), port(postgres.primary()));
    replica.restart().unwrap();
    until_up(&db, &id(replica), true).await;
    assert_eq!(who_reads(&db).await.unwrap(), port(replica));
}

#[tokio::test(flavor = "multi_thread")]
async fn asking_ends_with_the_cluster() {
    let postgres = private(1);
    let names = Names::of(&[postgres.replica(0)]);
    let db = primary(&postgres).discovery(names.discovery());
    let db = db.connect().await.unwrap();
    names.until_asked(1);
    drop(db);
    // The task holds a clone of the names; without it only this one is left.
    eventually(LIMIT, || Arc::strong_count(&names.0) == 1);

    let senseless = builder_for(&postgres).discovery(names.discovery().grace(0));
    let error = senseless.connect().await.unwrap_err();
    assert!(matches!(error, Error::Invalid { .. }), "{error}");
    assert!(error.to_string().contains("discovery.grace"), "{error}");
}
