//! Every function that PostgreSQL brings along, against a real standby.

use bilten_db::access::{Access, classify};
use bilten_db::sea_orm::{
    ConnectionTrait, DatabaseBackend, DatabaseConnection, QueryResult, Statement,
};

use crate::generated::{is_refused, standby};

/// Each function with the types of its arguments; not those that only the server itself calls.
const ALL: &str = "select proname::text, provolatile = 'v', array_to_string(array( \
        select t.typname::text from unnest(proargtypes) with ordinality as a(type, nth) \
        join pg_type t on t.oid = a.type order by nth), ' ') \
    from pg_proc join pg_namespace n on n.oid = pronamespace \
    where prokind = 'f' and nspname = 'pg_catalog' and provariadic = 0 \
        and not 'internal'::regtype = any(proargtypes) \
        and prorettype not in ('trigger'::regtype, 'event_trigger'::regtype, 'internal'::regtype, \
            'language_handler'::regtype, 'index_am_handler'::regtype, 'table_am_handler'::regtype, \
            'tsm_handler'::regtype)";

/// What changes from call to call, or with the session, and still reads only: any replica may answer it.
const READS: &str = "
    amvalidate clock_timestamp current_query currtid2 gen_random_uuid pg_available_wal_summaries pg_blocking_pids
    pg_collation_actual_version pg_control_checkpoint pg_control_init pg_control_recovery pg_control_system
    pg_current_logfile pg_database_collation_actual_version pg_database_size pg_get_aios
    pg_get_backend_memory_contexts pg_get_loaded_modules pg_get_multixact_members pg_get_sequence_data
    pg_get_shmem_allocations pg_get_shmem_allocations_numa pg_get_wal_replay_pause_state
    pg_get_wal_resource_managers pg_get_wal_summarizer_state pg_hba_file_rules pg_ident_file_mappings
    pg_indexes_size pg_is_in_recovery pg_is_wal_replay_paused pg_isolation_test_session_is_blocked
    pg_jit_available pg_last_committed_xact pg_last_wal_receive_lsn pg_last_wal_replay_lsn
    pg_last_xact_replay_timestamp pg_lock_status pg_ls_archive_statusdir pg_ls_dir pg_ls_logdir
    pg_ls_logicalmapdir pg_ls_logicalsnapdir pg_ls_replslotdir pg_ls_summariesdir pg_ls_tmpdir pg_ls_waldir
    pg_notification_queue_usage pg_numa_available pg_partition_ancestors pg_partition_tree pg_prepared_xact
    pg_read_binary_file pg_read_file pg_read_file_old pg_relation_size pg_safe_snapshot_blocking_pids
    pg_sequence_last_value pg_sequence_read_tuple pg_show_all_file_settings pg_show_replication_origin_status
    pg_sleep pg_sleep_for pg_sleep_until pg_stat_file pg_stat_have_stats pg_table_size pg_tablespace_collation
    pg_tablespace_size pg_total_relation_size pg_wal_summary_contents pg_xact_commit_timestamp
    pg_xact_commit_timestamp_origin pg_xact_status random random_normal timeofday ts_rewrite txid_status uuidv4
    uuidv7 plpgsql_validator
";

/// Statistics, each with a name of its own.
const STATISTICS: &str = "pg_stat_get_";

struct Builtin {
    name: String,
    is_volatile: bool,
    /// `None` when no value of some type can be written down.
    call: Option<String>,
}

async fn all(db: &DatabaseConnection) -> Vec<Builtin> {
    let all = Statement::from_string(DatabaseBackend::Postgres, ALL);
    let rows = db.query_all_raw(all).await.unwrap();
    let builtin = |row: &QueryResult| {
        let name: String = row.try_get_by_index(0).unwrap();
        let types: String = row.try_get_by_index(2).unwrap();
        let values: Option<Vec<_>> = types.split_ascii_whitespace().map(value).collect();
        Builtin {
            is_volatile: row.try_get_by_index(1).unwrap(),
            call: values.map(|values| format!("select {name}({})", values.join(", "))),
            name,
        }
    };
    rows.iter().map(builtin).collect()
}

/// Some value of a type.
fn value(of: &str) -> Option<String> {
    let text = match of {
        "internal" | "cstring" | "record" | "any" | "trigger" => return None,
        "anyelement" | "anynonarray" | "anycompatible" | "anycompatiblenonarray" => {
            return Some("1".to_owned());
        }
        "anyarray" | "anycompatiblearray" => return Some("array[1]".to_owned()),
        _ if of.starts_with("any") || of.starts_with("pg_") && of != "pg_lsn" => return None,
        "int2" | "int4" | "int8" | "oid" | "float4" | "float8" | "numeric" | "xid" | "xid8" => "1",
        "bool" => "true",
        "text" | "varchar" | "bpchar" | "name" | "char" | "bytea" | "refcursor" => "x",
        "regclass" => "pg_class",
        "pg_lsn" => "0/1",
        "tid" => "(0,1)",
        "date" | "timestamp" | "timestamptz" => "2001-01-01",
        "interval" => "1 second",
        "json" | "jsonb" => "{}",
        _ => return Some(format!("null::pg_catalog.\"{of}\"")),
    };
    Some(format!("'{text}'::pg_catalog.\"{of}\""))
}

fn is_read(sql: &str) -> bool {
    classify(DatabaseBackend::Postgres, sql) == Access::Read
}

#[tokio::test]
async fn no_function_that_is_called_a_read_is_refused_by_a_standby() {
    let (_shop, standby) = standby("every_function").await;
    let mut called = 0;
    for function in all(&standby).await {
        let Some(call) = function.call.filter(|call| is_read(call)) else {
            continue;
        };
        // For those that sleep: in one text, as another connection may take the next one.
        let sql = format!("set statement_timeout = 300; {call}; set statement_timeout = 0");
        assert_eq!(is_refused(&standby, &sql).await, None, "{call}");
        called += 1;
    }
    assert!(called > 1000, "the test proves little: {called} functions");
}

/// A standby takes some of those that write without a word: only a list knows them. A function of a newer PostgreSQL has to be
/// put on one.
#[tokio::test]
async fn every_function_that_may_do_something_is_on_a_list() {
    let (_shop, standby) = standby("every_volatile").await;
    let known: Vec<_> = READS.split_ascii_whitespace().collect();
    let mut unknown = Vec::new();
    let (mut reads, mut writes) = (0, 0);
    for function in all(&standby).await.iter().filter(|f| f.is_volatile) {
        let name = &*function.name;
        if !is_read(&format!("select {name}()")) {
            assert!(!known.contains(&name), "{name} is on both");
            writes += 1;
        } else if known.contains(&name) || name.starts_with(STATISTICS) {
            reads += 1;
        } else {
            unknown.push(name.to_owned());
        }
    }
    assert!(unknown.is_empty(), "reads or writes? {unknown:?}");
    assert!(reads > 50 && writes > 80, "{reads} reads, {writes} writes");
}
