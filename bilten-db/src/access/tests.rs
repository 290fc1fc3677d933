use proptest::prelude::*;
use sea_orm::DatabaseBackend::{self as DbBackend, MySql, Postgres, Sqlite};

use super::{Access, classify, classify_denying, is_alone, may_hide_a_write, spoils_limit};

const READS: &[&str] = &[
    "select 1",
    "SELECT * FROM event",
    "  \n\t select 1 ;",
    "select 1;;  ; -- done",
    "-- a comment\nselect 1",
    "/* a */ /* b */ select 1",
    "(select 1) union all (select 2)",
    "((select 1))",
    "values (1), (2)",
    "table event",
    "with x as (select 1) select * from x",
    "with recursive t(n) as (values (1) union all select n + 1 from t where n < 5) select * from t",
    "select 'for update; delete from event'",
    "select 'it''s; delete'",
    "select a.\"update\", a.delete from a",
    "select \"for update\" from a",
    "select substring(name from 1 for 3) from event",
    "select replace(name, 'a', 'b') from event",
    "select count(*) as num_items from (select id from event) as sub_query",
    "select updated_at, deleted, inserted_by, intolerant, for_update from event",
    "select id from event where name = $1 limit 20 offset 40",
    "select trim(both from name) from event order by 1",
    "select truncate(1.5, 1)",
    "select lower(name) from \"Ünïcode\" where größe > 1",
    "select 1e5, 1.5, .5, 1., 1.e5",
    "explain select 1",
    "EXPLAIN (select 1) union all (select 2)",
    "explain query plan select * from event",
    "EXPLAIN (COSTS) select 1",
    "explain (costs) (select 1) union all (select 2)",
];

const WRITES: &[&str] = &[
    "",
    "   ",
    "-- nothing",
    ";",
    "insert into event values (1)",
    "INSERT INTO event (name) VALUES ('a') RETURNING id",
    "update event set name = 'select'",
    "delete from event",
    "merge into event using x on true when matched then delete",
    "replace into event values (1)",
    "truncate event",
    "create table a (id int)",
    "drop table a",
    "alter table a add b int",
    "set search_path = x",
    "show all",
    "begin",
    "commit",
    "explain analyze select 1",
    "explain (analyze) select 1",
    "explain (verbose) select 1",
    "explain (costs) analyze select 1",
    "explain (costs, analyze) select 1",
    "explain (costs off) select 1",
    "explain (costs) insert into event values (1)",
    "explain (costs) with x as (delete from event returning id) select * from x",
    "explain (costs)",
    "explain insert into event values (1)",
    "explain with x as (delete from event returning id) select * from x",
    "explain explain select 1",
    "explain query select 1",
    "explain event",
    "call p()",
    "do $$ begin end $$",
    "copy event to stdout",
    "listen x",
    "vacuum",
    "select 1; delete from event",
    "select 1; select 2",
    "select * from event for update",
    "select * from event FOR\n UPDATE",
    "select * from event for /* now */ update",
    "select * from event for update skip locked",
    "select * from event for no key update",
    "select * from event for key share",
    "select * from event for share of event nowait",
    "select * into copy from event",
    "select 1. into copy",
    "select * from event where price > 1. for update",
    "select * from event limit 1.0for update",
    "with x as (insert into event values (1) returning id) select * from x",
    "with x as (update event set a = 1 returning *) select * from x",
    "WITH x AS (DELETE FROM event RETURNING *) SELECT * FROM x",
    "with x as (select 1) insert into event select * from x",
    "with x as (select 1) delete from event",
    "select 'unfinished",
    "select \"unfinished",
    "select /* unfinished",
    "select (1",
    "select 1)",
    "select 1 \0",
    "select 'a\0'",
    "select 1 /* \0 */",
    "select 1 -- \0",
    "'select'",
    "\"select\" 1",
    "selectx 1",
];

#[test]
fn what_reads_everywhere_is_a_read() {
    for backend in [Postgres, MySql, Sqlite] {
        for sql in READS {
            // `"` quotes a string in MySQL, so a qualified `"update"` is not SQL there.
            let mysql_only = backend == MySql && sql.contains('"');
            let param = backend != Postgres && sql.contains('$');
            if !mysql_only && !param {
                assert_eq!(classify(backend, sql), Access::Read, "{backend:?}: {sql}");
            }
        }
    }
}

#[test]
fn what_writes_locks_or_is_not_understood_is_a_write() {
    for backend in [Postgres, MySql, Sqlite] {
        for sql in WRITES {
            assert_eq!(classify(backend, sql), Access::Write, "{backend:?}: {sql}");
        }
    }
}

#[test]
fn a_second_statement_is_seen() {
    let table = [
        ("select 1", true),
        ("delete from event;", true),
        ("select ';' from event ; -- no more", true),
        ("select 1; delete from event", false),
        ("select 1 /* unfinished", false),
        ("", true),
    ];
    for (sql, alone) in table {
        assert_eq!(is_alone(Sqlite, sql), alone, "{sql}");
    }
}

#[test]
fn a_column_that_is_named_as_a_limit_is_none() {
    let own = Some("has a limit of its own");
    let table = [
        ("select seats as limit from event limit 5", None),
        ("select x AS fetch, y as limit from a limit 5", None),
        ("select seats as limit from event limit 7 limit 5", own),
        ("select a.limit from a fetch first 7 rows only limit 5", own),
    ];
    for (sql, problem) in table {
        assert_eq!(spoils_limit(Postgres, sql), problem, "{sql}");
    }
}

#[test]
fn postgres_quotes_and_functions() {
    let table = [
        ("select $$ delete; $$", Access::Read),
        ("select $a$ $b$ for update $a$", Access::Read),
        ("select $a$ never ends $b$", Access::Write),
        ("select $1, $2", Access::Read),
        ("select e'it\\'s; delete'", Access::Read),
        ("select E'a\\\\'", Access::Read),
        ("select e'a\\'", Access::Write),
        ("select 'a\\'", Access::Write),
        ("select 'c:\\dir'", Access::Read),
        ("select /* a /* nested */ delete */ 1", Access::Read),
        (
            "select data #> '{a}', data @> '{}' from event",
            Access::Read,
        ),
        ("select a[1] from event", Access::Read),
        ("select nextval('s')", Access::Write),
        ("select NextVal ('s')", Access::Write),
        // Written so, a name is not what it looks like.
        ("select U&\"nextva\\006c\"('s')", Access::Write),
        ("select u&'\\0061' from event", Access::Write),
        ("select u & 'a' from event", Access::Read),
        ("select nextval/**/('s')", Access::Write),
        ("select \"nextval\"('s')", Access::Write),
        ("select pg_catalog.setval('s', 1)", Access::Write),
        ("select currval('s'), lastval()", Access::Write),
        ("select pg_advisory_lock(42)", Access::Write),
        (
            "select query_to_xml_and_xmlschema('x', true, true, '')",
            Access::Write,
        ),
        (
            "select pg_copy_physical_replication_slot('a', 'b')",
            Access::Write,
        ),
        ("select pg_sync_replication_slots()", Access::Write),
        ("select * from ts_stat('select t from d')", Access::Write),
        ("select pg_try_advisory_xact_lock(42)", Access::Write),
        ("select set_config('a.b', 'c', false)", Access::Write),
        ("select pg_export_snapshot()", Access::Write),
        ("select lo_create(0)", Access::Write),
        ("select LoWrite(0, 'a')", Access::Write),
        ("explain format=json select 1", Access::Write),
        ("select loread(0, 1)", Access::Write),
        ("select pg_rotate_logfile_old()", Access::Write),
        ("select txid_current()", Access::Write),
        ("select pg_notify('a', 'b')", Access::Write),
        ("select pg_current_wal_insert_lsn()", Access::Write),
        ("select nextval from event", Access::Read),
        (
            "select pg_is_in_recovery(), inet_server_port()",
            Access::Read,
        ),
        ("table event for update", Access::Write),
        ("select 1 -- for update\r; delete from event", Access::Write),
    ];
    for (sql, access) in table {
        assert_eq!(classify(Postgres, sql), access, "{sql}");
    }
}

#[test]
fn mysql_comments_quotes_and_variables() {
    let table = [
        ("select `update`, `a``b` from `delete`", Access::Read),
        ("select 1 # for update", Access::Read),
        ("select 1 # \n for update", Access::Write),
        ("select 1 # \r\n", Access::Read),
        ("select 1 # \r ' \n for update -- '", Access::Write),
        ("select 1 -- \r ' \n , get_lock('a', 1) -- '", Access::Write),
        ("select 1 -- for update", Access::Read),
        ("select 5--1 from a", Access::Read),
        ("select 5--1; delete from a", Access::Write),
        ("select \"delete; update\"", Access::Read),
        ("select 'it\\'s'", Access::Write),
        ("select * from a lock in share mode", Access::Write),
        ("select * from a for share", Access::Write),
        ("select /*! sql_no_cache */ 1", Access::Write),
        ("select /*M! 1 */", Access::Write),
        ("select /*My comment*/ 1", Access::Read),
        ("select next value for s", Access::Write),
        ("select previous value for s", Access::Write),
        ("select next, value from a", Access::Read),
        ("select sql_calc_found_rows * from a limit 1", Access::Write),
        (
            "select group_replication_set_as_primary('a')",
            Access::Write,
        ),
        ("select is_used_lock('a')", Access::Write),
        ("select * from a for system_time as of now()", Access::Read),
        ("select * from a limit 1 into dumpfile 'b'", Access::Write),
        ("with x as (select 1) update a set b = 1", Access::Write),
        ("select /*+ max_execution_time(10) */ 1", Access::Read),
        ("select @a := 1", Access::Write),
        ("select @@version", Access::Write),
        ("select 1 into @a", Access::Write),
        ("select * from a into outfile 'b'", Access::Write),
        ("select get_lock('a', 1)", Access::Write),
        ("select last_insert_id()", Access::Write),
        ("explain format=json select 1", Access::Read),
        ("EXPLAIN FORMAT = tree (select 1)", Access::Read),
        ("explain format=json delete from event", Access::Write),
        ("explain format=json analyze select 1", Access::Write),
        ("explain format=json for connection 7", Access::Write),
        ("explain format=json format=json select 1", Access::Write),
        ("explain analyze format=tree select 1", Access::Write),
        ("analyze format=json select 1", Access::Write),
        ("explain format", Access::Write),
        ("select a from b procedure analyse(10)", Access::Write),
        ("select a.procedure from a", Access::Read),
        ("select source_pos_wait('a', 4), sleep(1)", Access::Read),
    ];
    for (sql, access) in table {
        assert_eq!(classify(MySql, sql), access, "{sql}");
    }
}

/// By the manual's table of loadable functions, and by what a server has by itself. A read-only session does not refuse them.
#[test]
fn functions_of_mysql_that_change_the_server_are_no_reads() {
    let changes = "keyring_key_store keyring_key_fetch keyring_key_generate keyring_aws_rotate_cmk \
        keyring_aws_rotate_keys keyring_hashicorp_update_config \
        set_firewall_mode set_firewall_group_mode read_firewall_users read_firewall_whitelist \
        read_firewall_groups read_firewall_group_allowlist firewall_group_enlist \
        firewall_group_delist mysql_firewall_flush_status \
        gen_dictionary_load gen_dictionary_drop masking_dictionaries_flush \
        masking_dictionary_remove masking_dictionary_term_add masking_dictionary_term_remove \
        load_rewrite_rules flush_rewrite_rules audit_api_message_emit_udf \
        audit_log_filter_flush audit_log_encryption_password_set audit_log_rotate \
        innodb_redo_log_archive_start innodb_redo_log_archive_stop \
        innodb_redo_log_archive_flush innodb_redo_log_consumer_register \
        innodb_redo_log_consumer_advance innodb_redo_log_consumer_unregister \
        innodb_redo_log_sharp_checkpoint innodb_set_open_files_limit \
        option_tracker_option_register option_tracker_option_unregister \
        option_tracker_usage_set spider_direct_sql spider_bg_direct_sql spider_copy_tables \
        spider_flush_table_mon_cache version_tokens_set version_tokens_lock_shared \
        asynchronous_connection_failover_reset asynchronous_connection_failover_add_managed \
        group_replication_set_as_primary service_get_write_locks";
    for name in changes.split_whitespace() {
        let sql = format!("select {name}('a', 'b')");
        assert_eq!(classify(MySql, &sql), Access::Write, "{sql}");
    }
    let reads = "gen_dictionary gen_blocklist gen_range gen_rnd_email mask_inner mask_pan \
        normalize_statement create_digest asymmetric_sign option_tracker_usage_get \
        mysql_query_attribute_string mysqlx_generate_document_id";
    for name in reads.split_whitespace() {
        let sql = format!("select {name}('a', 'b')");
        assert_eq!(classify(MySql, &sql), Access::Read, "{sql}");
    }
}

#[test]
fn sqlite_quotes_and_functions() {
    let table = [
        ("select [update], `delete` from \"insert\"", Access::Read),
        ("select 'a\\'", Access::Read),
        ("select last_insert_rowid()", Access::Write),
        ("select changes()", Access::Write),
        ("select load_extension('a')", Access::Write),
        ("pragma journal_mode = delete", Access::Write),
        ("select ?1, :name, @name, $name", Access::Read),
    ];
    for (sql, access) in table {
        assert_eq!(classify(Sqlite, sql), access, "{sql}");
    }
}

#[test]
fn a_denied_function_makes_a_write() {
    let denied = ["record_visit".into()];
    let sql = "select app.Record_Visit(1)";
    assert_eq!(classify(Postgres, sql), Access::Read);
    assert_eq!(classify_denying(Postgres, sql, &denied), Access::Write);
}

fn backend() -> impl Strategy<Value = DbBackend> {
    prop_oneof![Just(Postgres), Just(MySql), Just(Sqlite)]
}

/// Pieces that a lexer could trip over, in any order.
fn soup() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "select", "with", "from", "as", "for", "update", "a", "1", "(", ")", ";", ",", ".", "'",
        "''", "\"", "`", "[", "]", "$$", "$a$", "$1", "--", "/*", "*/", "#", "\n", "\r", "\\",
        "e'", "@", ":=", "é", "\0", " ", "-", "/",
    ]);
    prop::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn never_panics(backend in backend(), sql in ".*") {
        let _ = classify(backend, &sql);
    }

    #[test]
    fn never_panics_on_broken_quotes(backend in backend(), sql in soup()) {
        let _ = classify(backend, &sql);
    }

    /// Whatever stands around it, a data-modifying keyword outside comments and quotes is seen.
    #[test]
    fn a_bare_write_keyword_is_never_a_read(
        backend in backend(),
        keyword in prop::sample::select(vec!["insert", "UPDATE", "Delete", "merge", "into"]),
        before in "[a-z0-9 ,()=*+<>\n]{0,20}",
        after in "[a-z0-9 ,()=*+<>\n;]{0,20}",
        gap in prop::sample::select(vec![" ", "\n", "/* c */", " -- c\n", "'text'", ";", "("]),
    ) {
        let sql = format!("with x as (select {before}{gap}{keyword} {after}) select 1");
        prop_assert_eq!(classify(backend, &sql), Access::Write, "{}", sql);
    }

    /// Comments change nothing.
    #[test]
    fn a_comment_between_words_changes_nothing(backend in backend(), comment in "[a-z ;']{0,12}") {
        let sql = format!("select/*{comment}*/1/*{comment}*/from/*{comment}*/a");
        prop_assert_eq!(classify(backend, &sql), Access::Read, "{}", sql);
    }
}

#[test]
fn a_call_that_may_do_more_than_read_is_told() {
    let table = [
        ("select true", false),
        (
            "select * from event where id in (1, 2) and name like 'hidden_write('",
            false,
        ),
        (
            "select count(*), Max(price) from event -- hidden_write()",
            false,
        ),
        (
            "with x as (select 1) select coalesce(sum(n), 0) over (partition by m) from x",
            false,
        ),
        ("select cast(price as numeric(10, 2)) from event", false),
        (
            "with recursive tree (id, depth) as (select 1, 0), \"leaf\" (\"id\") as (select 1) select * from tree",
            false,
        ),
        (
            "select * from (with t(n) as (select 1) select n from t) as u(x)",
            false,
        ),
        (
            "select * from unnest($1) as u(x), (values (1, 2)) as \"v\" (a, b)",
            false,
        ),
        (
            "select at at time zone ('utc') from event fetch first (5) rows only",
            false,
        ),
        ("select 1 from event where name similar to ('a%')", false),
        (
            "select jsonb_set(a, b, c), Array_Position(d, 1) from event",
            false,
        ),
        (
            "with t(n) as (select record_visit(7)) select n from t",
            true,
        ),
        (
            "with t(n) as (select 1) select record_visit(n) from t",
            true,
        ),
        (
            "with t(n) as (select 1) (select record_visit(n) from t)",
            true,
        ),
        (
            "select now()::timestamp with time zone, record_visit(7)",
            true,
        ),
        (
            "select cast(now() as timestamp with time zone), record_visit(7)",
            true,
        ),
        ("explain (costs) select lower(a) from event", false),
        ("select explain(a) from event", true),
        ("select record_visit(7) as visits", true),
        ("select distinct on (a) record_visit(a) from event", true),
        ("select first(a) from event", true),
        ("select hidden_write()", true),
        ("select \"count\"(*) from event", true),
        ("select app.count(*) from event", true),
        ("select 1 where exists (select record_visit (7))", true),
        ("select a_name_that_is_longer_than_every_other(1)", true),
        ("select 'no end", true),
    ];
    for (sql, hides) in table {
        assert_eq!(may_hide_a_write(Postgres, sql), hides, "{sql}");
    }
    let table = [
        ("explain format=json (select 1)", false),
        (
            "explain format=json with t(n) as (select 1) select n from t",
            false,
        ),
        ("explain format=json select record_visit(7)", true),
        ("explain format(select 1)", true),
    ];
    for (sql, hides) in table {
        assert_eq!(may_hide_a_write(MySql, sql), hides, "{sql}");
    }
}
