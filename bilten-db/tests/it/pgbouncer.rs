//! A cluster that reaches its servers through a PgBouncer each.

use std::time::{Duration, Instant};

use bilten_db::sea_orm::{
    AccessMode, ActiveModelTrait, ActiveValue::Set, ConnectOptions, ConnectionTrait, Database,
    DatabaseConnection, EntityTrait, TransactionTrait,
};
use bilten_db::{Cluster, ClusterBuilder, PoolConfig};
use bilten_testbed::{Direction, FaultProxy, PgBouncer, Postgres, PostgresNode, eventually};
use futures_util::future::join_all;
use tokio::time::timeout;

use crate::fixture::{
    HELD, LIMIT, ask, cluster, event, hold, is_up, patient, port, private, reason, seen, tally,
    who_reads,
};
use crate::warnings::Warnings;

/// What the driver sends at the start of a session and PgBouncer would refuse.
const IGNORED: (&str, &str) = ("ignore_startup_parameters", "extra_float_digits, options");

struct Poolers {
    postgres: Postgres,
    primary: PgBouncer,
    replica: PgBouncer,
}

impl Poolers {
    fn start(mode: &str) -> Self {
        Self::start_with(mode, "2")
    }

    fn start_with(mode: &str, size: &str) -> Self {
        let postgres = private(1);
        let before = |node: &PostgresNode| {
            let settings = [("pool_mode", mode), ("default_pool_size", size), IGNORED];
            PgBouncer::before(node, &settings).unwrap()
        };
        let primary = before(postgres.primary());
        let replica = before(postgres.replica(0));
        Self {
            postgres,
            primary,
            replica,
        }
    }

    fn builder(&self) -> ClusterBuilder {
        cluster()
            .primary(self.primary.url())
            .replica("r1", self.replica.url())
    }

    /// A cluster with one connection to the replica beside its probe's, and what counts the connections to that.
    async fn connect_by_proxy(&self) -> (FaultProxy, Cluster) {
        let proxy = FaultProxy::to_blocking(self.replica.addr()).unwrap();
        let pool = patient().max(1).query_timeout(Some(FAR));
        let pool = pool.idle_timeout(None);
        let built = cluster()
            .primary(self.primary.url())
            .replica("r1", proxy.url_like(&self.replica.url()).unwrap())
            .pool(pool);
        let db = built.connect().await.unwrap();
        tally(&db, 4).await;
        // When the second question is asked the first one was answered: the pool's connection is one of before.
        (0..2).for_each(|_| until_probed(self.postgres.replica(0)));
        (proxy, db)
    }

    /// Cuts the probe of the replica until a stranger has taken its place, and waits until two probes were in vain.
    async fn displace_the_probe(&self, proxy: &FaultProxy) -> DatabaseConnection {
        let mut options = ConnectOptions::new(self.replica.url());
        options.max_connections(1).connect_timeout(FAR);
        let stranger = tokio::spawn(async move {
            let db = Database::connect(options).await.unwrap();
            ask::<i32>(&db, "select 1").await.unwrap();
            db
        });
        let cut = "select count(pg_terminate_backend(pid)) from pg_stat_activity \
            where query like '%pg_control_system%' and pid <> pg_backend_pid()";
        eventually(LIMIT, || {
            self.postgres.replica(0).psql(cut).unwrap();
            stranger.is_finished()
        });
        // The probe has nobody to ask from here on. Each that is in vain begins anew: when the third is there, two were.
        let before = proxy.accepted();
        eventually(LIMIT, || proxy.accepted() >= before + 3);
        stranger.await.unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pooler_for_sessions_is_not_noticed() {
    let poolers = Poolers::start("session");
    // Two server connections: one for the probe, and one for the pool.
    let db = poolers.builder().pool(patient().max(1));
    let db = db.connect().await.unwrap();
    let [primary, replica] = [poolers.postgres.primary(), poolers.postgres.replica(0)];
    assert_eq!(tally(&db, 20).await, [(port(replica), 20)].into());
    for n in 0..20 {
        let session = db.session();
        let name = Set(format!("{n}"));
        let new = event::ActiveModel {
            name,
            ..Default::default()
        };
        let id = new.insert(&session).await.unwrap().id;
        let token = session.token().await.unwrap().unwrap();
        let next = db.session_with(token);
        let found = event::Entity::find_by_id(id).one(&next).await.unwrap();
        assert!(found.is_some(), "write {n}");
    }
    let tx = db.begin().await.unwrap();
    assert_eq!(who_reads(&tx).await.unwrap(), port(primary));
    tx.commit().await.unwrap();
    let written: i32 = ask(&db, "select hidden_write()").await.unwrap();
    assert_eq!(written, port(primary), "the replica refused it");
}

/// What may not be waited for; a pooler keeps who waits for a server of it for two minutes.
const FAR: Duration = Duration::from_secs(600);

/// The pooler's connections are cut, and what it opens anew has no answer: it tells nobody that its server is gone. The first reads
/// meet connections that were cut; those after them are let in and wait.
#[tokio::test(flavor = "multi_thread")]
async fn a_read_does_not_wait_for_a_server_that_is_gone_behind_its_pooler() {
    let postgres = private(1);
    let [primary, replica] = [postgres.primary(), postgres.replica(0)];
    let way = FaultProxy::to_blocking(replica.addr()).unwrap();
    let far = FAR.as_secs().to_string();
    // So long the pooler waits for its server, and lets others wait for it.
    let waits = ["server_connect_timeout", "query_wait_timeout"].map(|name| (name, &*far));
    let settings = [("pool_mode", "session"), IGNORED, waits[0], waits[1]];
    let pooler = PgBouncer::at(way.addr(), &settings).unwrap();
    let pool = patient().max(4).query_timeout(Some(FAR));
    let built = Cluster::builder().primary(primary.url());
    let built = built.replica("r1", pooler.url()).pool(pool);
    let db = built.connect().await.unwrap();
    assert_eq!(tally(&db, 20).await, [(port(replica), 20)].into());
    // It waits for nothing, so it shows nothing.
    let read_only = Some(AccessMode::ReadOnly);
    let rests = db.begin_with_config(None, read_only).await.unwrap();
    assert_eq!(who_reads(&rests).await.unwrap(), port(replica));
    way.blackhole(Direction::Both);
    way.reset_all();
    let answers = timeout(LIMIT, async {
        while is_up(&db, "r1") {
            assert_eq!(who_reads(&db).await.unwrap(), port(primary));
        }
    });
    answers.await.expect("a read that waits for nothing");
    let why = reason(&db, "r1");
    assert!(why.contains("no answer to anything"), "{why}");
    drop(rests);
}

/// The first to come after the server went waits in the pooler for it, which tells all others at once that it is gone.
#[tokio::test(flavor = "multi_thread")]
async fn nobody_waits_in_a_pooler_that_tells_others_that_its_server_is_gone() {
    let poolers = Poolers::start_with("session", "9");
    let pool = PoolConfig::default().max(4).query_timeout(Some(FAR));
    let db = poolers.builder().pool(pool).connect().await.unwrap();
    let [primary, replica] = [poolers.postgres.primary(), poolers.postgres.replica(0)];
    replica.kill().unwrap();
    let begun = Instant::now();
    for _ in 0..20 {
        assert_eq!(who_reads(&db).await.unwrap(), port(primary));
    }
    assert!(begun.elapsed() < LIMIT, "{:?}", begun.elapsed());
}

/// Until the next question of a probe.
fn until_probed(node: &PostgresNode) {
    let now = node.psql("select clock_timestamp()").unwrap();
    let asked = format!(
        "select count(*) from pg_stat_activity where query_start > '{now}' \
            and query like '%pg_control_system%' and pid <> pg_backend_pid()"
    );
    eventually(LIMIT, || node.psql(&asked).unwrap() == "1");
}

/// Of two server connections one is the probe's; the other one works, and a stranger takes the probe's when it is lost.
#[tokio::test(flavor = "multi_thread")]
async fn a_pooler_that_has_no_connection_left_is_not_taken_for_a_dead_server() {
    let poolers = Poolers::start("session");
    let replica = poolers.postgres.replica(0);
    let holder = hold(&replica.url()).await;
    let (proxy, db) = poolers.connect_by_proxy().await;
    let long = tokio::spawn({
        let db = db.clone();
        async move { ask::<i32>(&db, "select held()").await }
    });
    eventually(LIMIT, || replica.psql(HELD).unwrap() == "1");
    let stranger = poolers.displace_the_probe(&proxy).await;
    assert!(!long.is_finished(), "nobody gave it up");
    holder.rollback().await.unwrap();
    let from = long.await.unwrap().unwrap();
    assert_eq!(from, port(replica), "nobody gave it up");
    assert!(is_up(&db, "r1") && seen(&db, "r1").ejections == 0);
    drop(stranger);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_connection_that_answers_shows_that_its_server_is_there() {
    let poolers = Poolers::start("session");
    let replica = poolers.postgres.replica(0);
    let (proxy, db) = poolers.connect_by_proxy().await;
    let stranger = poolers.displace_the_probe(&proxy).await;
    assert!(is_up(&db, "r1") && seen(&db, "r1").ejections == 0);
    assert_eq!(who_reads(&db).await.unwrap(), port(replica));
    drop(stranger);
}

#[tokio::test]
async fn a_pooler_that_mixes_prepared_statements_is_told_by_its_remedy() {
    let warnings = Warnings::of("bilten_db::node");
    let _told = tracing::subscriber::set_default(warnings.clone());
    let poolers = Poolers::start("transaction");
    let db = poolers.builder().connect().await.unwrap();
    let mut mixed = 0;
    for n in 0..200 {
        // Each is the first statement of some session, and all of them have the same name.
        let sql = format!("select {n} + pg_backend_pid() * 0 from pg_sleep(0.001)");
        let answers = join_all((0..4).map(|_| ask::<i32>(&db, &sql))).await;
        mixed += answers.iter().filter(|answer| answer.is_err()).count();
        if mixed > 3 {
            break;
        }
    }
    assert!(mixed > 3, "this PgBouncer knows prepared statements");
    assert_eq!(warnings.told(), 1);
}

/// Why it is no matter of errors alone: one server connection is left to two clients whose first statements have one name.
#[tokio::test(flavor = "multi_thread")]
async fn a_pooler_that_mixes_prepared_statements_can_give_the_answer_of_another() {
    let poolers = Poolers::start("transaction");
    let client = async || {
        let mut options = ConnectOptions::new(poolers.primary.url());
        options.max_connections(1).test_before_acquire(false);
        Database::connect(options).await.unwrap()
    };
    let [one, two, three] = [client().await, client().await, client().await];
    let sql = |n| format!("select {n} from pg_sleep(0.2)");
    let (first, second) = (sql(1), sql(2));
    let both = async || {
        let answers = tokio::join!(ask::<i32>(&one, &first), ask::<i32>(&two, &second));
        (answers.0.unwrap(), answers.1.unwrap())
    };
    // Each is prepared on a server connection of its own.
    let tx = one.begin().await.unwrap();
    assert_eq!(ask::<i32>(&tx, &first).await.unwrap(), 1);
    assert_eq!(ask::<i32>(&two, &second).await.unwrap(), 2);
    tx.commit().await.unwrap();
    let tx = three.begin().await.unwrap();
    tx.execute_unprepared("select 3").await.unwrap();
    let (one, two) = both().await;
    assert_eq!(one, two, "the same statement answered both");
    tx.rollback().await.unwrap();
}

/// Of two server connections one is the probe's, which a stranger takes when it is lost; the other one is that of a transaction.
#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_that_waits_for_an_answer_shows_that_its_server_is_there() {
    let poolers = Poolers::start("session");
    let replica = poolers.postgres.replica(0);
    let (proxy, db) = poolers.connect_by_proxy().await;
    let gate = hold(&replica.url()).await;
    let read_only = Some(AccessMode::ReadOnly);
    let tx = db.begin_with_config(None, read_only).await.unwrap();
    let work = tokio::spawn(async move { ask::<i32>(&tx, "select held()").await });
    eventually(LIMIT, || replica.psql(HELD).unwrap() == "1");
    let stranger = poolers.displace_the_probe(&proxy).await;
    gate.rollback().await.unwrap();
    let from = work.await.unwrap().unwrap();
    assert_eq!(from, port(replica), "nobody gave it up");
    assert_eq!(seen(&db, "r1").ejections, 0);
    drop(stranger);
}
