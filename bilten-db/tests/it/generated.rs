//! SQL that nobody wrote, against a real standby: what is called a read there must not be refused as a write.

use bilten_db::access::{Access, classify};
use bilten_db::sea_orm::{ConnectionTrait, Database, DatabaseBackend, DatabaseConnection};
use proptest::prelude::*;
use proptest::sample::select;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

use crate::fixture::Shop;

const STATEMENTS: usize = 1500;

fn words(words: &'static [&'static str]) -> impl Strategy<Value = String> {
    select(words).prop_map(str::to_owned)
}

fn expression() -> impl Strategy<Value = String> {
    let leaf = words(&[
        "1",
        "null",
        "'for update'",
        "$$ delete $$",
        "id",
        "name",
        "E'it\\'s'",
        "now()",
        "random()",
        "nextval('event_id_seq')",
        "setval('event_id_seq', 1)",
        "txid_current()",
        "\"nextval\"('event_id_seq')",
        "pg_catalog.nextval('event_id_seq')",
        "pg_notify('a', 'b')",
        "lo_create(0)",
        "count(*) over ()",
        "inet_server_port()",
        "pg_is_in_recovery()",
        "current_setting('server_version')",
        "/* delete */ 2",
        "pg_current_xact_id()",
        "set_config('a.b', 'c', true)",
        "pg_export_snapshot()",
    ]);
    leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            (
                inner.clone(),
                words(&["=", "is distinct from", "||", "<"]),
                inner.clone()
            )
                .prop_map(|(a, op, b)| format!("({a}) {op} ({b})")),
            (
                words(&["coalesce", "concat", "greatest", "md5"]),
                inner.clone()
            )
                .prop_map(|(f, a)| format!("{f}(({a})::text)")),
            inner
                .clone()
                .prop_map(|a| format!("case when true then {a} end")),
            inner.prop_map(|a| format!("(select {a} from event limit 1)")),
        ]
    })
}

fn query() -> impl Strategy<Value = String> {
    let source = words(&[
        "event",
        "event as e",
        "only event",
        "(table event) as e",
        "x",
        "generate_series(1, 3) as g(id)",
        "(values (1, 'a')) as v(id, name)",
        "event tablesample system (5)",
        "(select * from event for share) as e",
        "event natural join ticket",
    ]);
    let end = words(&[
        "",
        "",
        "",
        " limit 3",
        " order by 1",
        " for update",
        " for no key update skip locked",
        " for key share",
        " -- for update",
        ";",
        "; delete from event",
        " into temp copied",
        " /* for update",
        " fetch first row only",
    ]);
    let head = words(&[
        "",
        "",
        "",
        "explain ",
        "explain analyze ",
        "with x as (select 1 as id) ",
        "with x as (delete from event returning *) ",
        "with recursive x(id) as (values (1)) ",
        "-- c\n",
        "/* c */ ",
        "with x as (insert into event (name) values ('a') returning *) ",
        "(",
        "values (1); ",
        "create table z as ",
    ]);
    (head, prop::collection::vec(expression(), 1..3), source, end).prop_map(
        |(head, columns, source, end)| {
            let close = if head == "(" { ")" } else { "" };
            format!(
                "{head}select {} from {source}{close}{end}",
                columns.join(", ")
            )
        },
    )
}

pub(crate) async fn standby(name: &str) -> (Shop, DatabaseConnection) {
    let shop = Shop::open(name).await;
    let standby = Database::connect(&shop.replicas[0]).await.unwrap();
    (shop, standby)
}

/// What it says when it refuses. Errors of meaning are fine.
pub(crate) async fn is_refused(standby: &DatabaseConnection, sql: &str) -> Option<String> {
    let error = standby.execute_unprepared(sql).await.err()?.to_string();
    let refused = error.contains("read-only transaction") || error.contains("during recovery");
    refused.then_some(error)
}

#[tokio::test]
async fn no_generated_read_is_refused_by_a_standby() {
    let (_shop, standby) = standby("generated").await;
    // The same statements in each run; `PROPTEST_RNG_SEED` and the like do not matter here.
    let mut runner = TestRunner::deterministic();
    let (mut reads, mut answered, mut writes, mut refused_writes) = (0, 0, 0, 0);
    for _ in 0..STATEMENTS {
        let sql = query().new_tree(&mut runner).unwrap().current();
        let access = classify(DatabaseBackend::Postgres, &sql);
        let refused = is_refused(&standby, &sql).await;
        match access {
            Access::Read => {
                assert_eq!(refused, None, "called a read: {sql}");
                reads += 1;
                answered += usize::from(standby.execute_unprepared(&sql).await.is_ok());
            }
            Access::Write => {
                writes += 1;
                refused_writes += usize::from(refused.is_some());
            }
        }
    }
    assert!(
        reads > 100 && answered > 50 && writes > 100 && refused_writes > 20,
        "the test proves little: {reads} reads, {answered} answered, {writes} writes, {refused_writes} refused"
    );
}
