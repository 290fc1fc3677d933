//! The same claims on MariaDB, where replication goes by GTID and a replica refuses writes by `read_only`.

mod death;
mod limits;
mod routing;
mod sessions;
mod shape;

use bilten_db::ClusterBuilder;
use bilten_db::sea_orm::{ConnectionTrait, Database};
use bilten_testbed::{MariaDb, MariaDbNode};

use crate::fixture::cluster;

/// `event.port` holds the port of the server that took the insert; `place` answers with the port of the server that
/// reads, and so does `who()`.
const TABLES: [&str; 6] = [
    "create table event (id int auto_increment primary key, name varchar(100) not null, port int not null default 0)",
    "create table ticket (id int auto_increment primary key, event_id int not null, seat varchar(20) not null)",
    "create trigger taken before insert on event for each row set new.port = @@port",
    "create function who() returns int reads sql data return @@port",
    "create view place as select 1 as id, who() as port",
    "create function hidden_write() returns int modifies sql data \
        begin insert into event (name) values ('hidden'); return @@port; end",
];

const DATABASE: &str = "shop";

/// Servers of the test's own with the tables above.
async fn private(replicas: usize) -> MariaDb {
    let maria = MariaDb::builder().replicas(replicas).start().unwrap();
    prepare(&maria).await;
    maria
}

async fn prepare(maria: &MariaDb) {
    let create = format!("create database {DATABASE}");
    maria.primary().sql(&create).unwrap();
    let db = Database::connect(url(maria.primary())).await.unwrap();
    for sql in TABLES {
        db.execute_unprepared(sql).await.unwrap();
    }
    db.close().await.unwrap();
    maria.wait_for_replicas().unwrap();
}

fn url(node: &MariaDbNode) -> String {
    node.url_for(DATABASE)
}

fn builder_for(maria: &MariaDb) -> ClusterBuilder {
    let builder = cluster().primary(url(maria.primary()));
    let numbered = maria.replicas().iter().enumerate();
    numbered.fold(builder, |builder, (i, node)| {
        builder.replica(format!("r{}", i + 1), url(node))
    })
}

fn port(node: &MariaDbNode) -> i32 {
    i32::from(node.port())
}

fn count(node: &MariaDbNode) -> String {
    node.sql_in(DATABASE, "select count(*) from event").unwrap()
}
