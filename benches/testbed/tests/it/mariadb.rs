use std::io::Read;
use std::net::TcpStream;
use std::time::Duration;

use bilten_testbed::{Error, MariaDb, eventually};

fn table(maria: &MariaDb) {
    let sql = "create database shop; create table shop.t (n int primary key)";
    maria.primary().sql(sql).unwrap();
    maria.wait_for_replicas().unwrap();
}

#[test]
fn replicas_follow_and_refuse_writes() {
    let maria = MariaDb::builder().replicas(2).start().unwrap();
    table(&maria);
    let insert = "insert into t values (1), (2)";
    maria.primary().sql_in("shop", insert).unwrap();
    maria.wait_for_replicas().unwrap();
    for replica in maria.replicas() {
        let rows = replica.sql_in("shop", "select n, n + 1 from t order by n");
        assert_eq!(rows.unwrap(), "1\t2\n2\t3");
        assert_eq!(replica.sql("select @@read_only").unwrap(), "1");
    }
    let url = maria.replica(1).url_for("shop");
    assert_eq!(
        url,
        format!("mysql://app@127.0.0.1:{}/shop", maria.replica(1).port())
    );
    let error = maria
        .primary()
        .sql("select * from shop.nothing")
        .unwrap_err();
    assert!(
        matches!(&error, Error::Refused { answer, .. } if answer.contains("1146")),
        "{error}"
    );
}

#[test]
fn a_paused_replay_of_mariadb_lags_exactly_until_it_goes_on() {
    let maria = MariaDb::builder().replicas(1).start().unwrap();
    table(&maria);
    let replica = maria.replica(0);
    replica.pause_replay().unwrap();
    maria
        .primary()
        .sql_in("shop", "insert into t values (1)")
        .unwrap();
    let position = maria.primary().sql("select @@gtid_current_pos").unwrap();
    eventually(Duration::from_secs(10), || {
        let status = replica.sql("show slave status").unwrap();
        status.split('\t').any(|received| received == position)
    });
    assert_eq!(
        replica.sql_in("shop", "select count(*) from t").unwrap(),
        "0"
    );
    replica.resume_replay().unwrap();
    maria.wait_for_replicas().unwrap();
    assert_eq!(
        replica.sql_in("shop", "select count(*) from t").unwrap(),
        "1"
    );
}

#[test]
fn after_a_kill_and_a_promotion_the_old_primary_can_follow_the_new_one() {
    let maria = MariaDb::builder().replicas(1).start().unwrap();
    table(&maria);
    let (old, new) = (maria.primary(), maria.replica(0));
    old.kill().unwrap();
    new.promote().unwrap();
    new.sql_in("shop", "insert into t values (7)").unwrap();
    old.restart().unwrap();
    old.follow(new).unwrap();
    eventually(Duration::from_secs(20), || {
        old.sql_in("shop", "select n from t")
            .is_ok_and(|rows| rows == "7")
    });
    assert_eq!(old.sql("select @@read_only").unwrap(), "1");
}

#[test]
fn a_frozen_mariadb_answers_nobody_and_goes_on_afterwards() {
    let maria = MariaDb::start().unwrap();
    let node = maria.primary();
    let port = node.port();
    node.pause().unwrap();
    let mut stream = TcpStream::connect(node.addr()).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_millis(300)))
        .unwrap();
    // The kernel takes the connection; the server would speak first.
    assert!(stream.read(&mut [0; 1]).is_err());
    node.resume().unwrap();
    assert_eq!(node.sql("select 1").unwrap(), "1");
    node.restart().unwrap();
    assert_eq!(node.port(), port);
}
