//! Functions that a replica refuses, or, worse, accepts with a meaning of its own.

use sea_orm::DbBackend;

/// Whether calling `name` belongs on the primary.
pub(super) fn is_denied(backend: DbBackend, name: &str, denied: &[Box<str>]) -> bool {
    let (exact, prefixes): (&[&str], &[&str]) = match backend {
        DbBackend::Postgres => (POSTGRES, POSTGRES_PREFIXES),
        DbBackend::MySql => (MYSQL, MYSQL_PREFIXES),
        DbBackend::Sqlite => (SQLITE, &[]),
        _ => return true,
    };
    exact.iter().any(|f| name.eq_ignore_ascii_case(f))
        || prefixes.iter().any(|p| starts_with(name, p))
        || denied.iter().any(|f| name.eq_ignore_ascii_case(f))
}

fn starts_with(name: &str, prefix: &str) -> bool {
    name.as_bytes()
        .get(..prefix.len())
        .is_some_and(|head| head.eq_ignore_ascii_case(prefix.as_bytes()))
}

// A standby takes advisory locks, session settings and snapshots without a word, and they mean nothing there.
const POSTGRES: &[&str] = &[
    "nextval",
    "setval",
    "currval",
    "lastval",
    "set_config",
    "txid_current",
    "pg_current_xact_id",
    "pg_export_snapshot",
    "pg_notify",
    "pg_logical_emit_message",
    "pg_promote",
    "pg_reload_conf",
    "pg_switch_wal",
    "pg_terminate_backend",
    "pg_cancel_backend",
    // These run SQL that they are given as a text.
    "query_to_xml",
    "query_to_xmlschema",
    "query_to_xml_and_xmlschema",
    "cursor_to_xml",
    "cursor_to_xmlschema",
    "ts_stat",
    // A standby makes the slot, there.
    "pg_sync_replication_slots",
    "setseed",
    "gin_clean_pending_list",
    "pg_log_backend_memory_contexts",
    "pg_log_standby_snapshot",
    "pg_stat_statements_reset",
    // Large objects: also what is only read has to be opened first, for this transaction.
    "loread",
    "lowrite",
    // For this session, or for the server itself.
    "pg_stat_clear_snapshot",
    "pg_stat_force_next_flush",
    "pg_nextoid",
    "pg_stop_making_pinned_objects",
    "pg_extension_config_dump",
    "pg_import_system_collations",
    "pg_truncate_visibility_map",
    "postgres_fdw_disconnect",
    "postgres_fdw_disconnect_all",
];

const POSTGRES_PREFIXES: &[&str] = &[
    "pg_advisory_",
    "pg_try_advisory_",
    "pg_current_wal_",
    "pg_wal_replay_",
    "pg_backup_",
    "pg_start_backup",
    "pg_stop_backup",
    "pg_stat_reset",
    "pg_create_",
    "pg_copy_",
    "pg_drop_",
    "pg_replication_",
    "pg_logical_slot_",
    "lo_",
    "dblink",
    "brin_summarize_",
    "brin_desummarize_",
    "pg_file_",
    "pg_rotate_logfile",
    "pg_restore_",
    "pg_clear_",
    "binary_upgrade_",
    "heap_force_",
];

// Locks, and what belongs to one session or changes the server.
const MYSQL: &[&str] = &[
    "get_lock",
    "release_lock",
    "release_all_locks",
    "is_free_lock",
    "is_used_lock",
    "last_insert_id",
    "found_rows",
    "row_count",
    "load_file",
    "nextval",
    "setval",
    "lastval",
    "service_get_read_locks",
    "service_get_write_locks",
    "service_release_locks",
    // The firewall's own, which change what it lets through, there; `mysql_firewall_` and `firewall_group_` are the others.
    "set_firewall_mode",
    "set_firewall_group_mode",
    "read_firewall_users",
    "read_firewall_whitelist",
    "read_firewall_groups",
    "read_firewall_group_allowlist",
    // Dictionaries of data masking, and rules of the rewriter, in the server's memory.
    "gen_dictionary_load",
    "gen_dictionary_drop",
    "masking_dictionaries_flush",
    "load_rewrite_rules",
    "flush_rewrite_rules",
    "audit_api_message_emit_udf",
    "innodb_set_open_files_limit",
    "option_tracker_option_register",
    "option_tracker_option_unregister",
    "option_tracker_usage_set",
    // MariaDB's Spider: they send another server a text, or are for this one.
    "spider_direct_sql",
    "spider_bg_direct_sql",
    "spider_copy_tables",
    "spider_flush_table_mon_cache",
];

// What waits for a position (`source_pos_wait`, `wait_for_executed_gtid_set`) is not here: it changes nothing, and means something
// on a replica only.
const MYSQL_PREFIXES: &[&str] = &[
    "group_replication_",
    "asynchronous_connection_failover_",
    "keyring_",
    "version_tokens_",
    "audit_log_",
    "mysql_firewall_",
    "firewall_group_",
    "masking_dictionary_",
    "innodb_redo_log_",
];

const SQLITE: &[&str] = &[
    "last_insert_rowid",
    "changes",
    "total_changes",
    "load_extension",
    "writefile",
];
