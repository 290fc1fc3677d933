//! The metrics of the other crates, which speak through the `metrics` facade and know nothing of this table.
//!
//! A test reads their sources and fails when a name here is not emitted there, or the other way round.

use super::label::{CACHE as CACHE_NAME, CHECK, LEVEL, NODE, PLAIN_OUTCOME, REASON, REGION, STATE};
use super::own::QUERY_SECONDS;
use super::spec::{counter, gauge, histogram};
use super::{Pair, Spec, same};

const IN_CACHE: &[Pair] = &[CACHE_NAME];
const IN_REGION: &[Pair] = &[CACHE_NAME, REGION];
const ON_NODE: &[Pair] = &[NODE];
const OF_CHECK: &[Pair] = &[CHECK];

/// `bilten-cache`.
pub(crate) const CACHE: &[Spec] = &[
    counter(
        same("bilten_cache_hits_total"),
        &[CACHE_NAME, REGION, LEVEL],
        "Reads that a level of the cache served.",
    ),
    counter(
        same("bilten_cache_misses_total"),
        IN_REGION,
        "Reads that neither level could serve.",
    ),
    counter(
        same("bilten_cache_stale_total"),
        IN_REGION,
        "Reads answered with a value whose time was over.",
    ),
    counter(
        same("bilten_cache_coalesced_total"),
        IN_REGION,
        "Reads that waited for a load somebody else had begun.",
    ),
    counter(
        same("bilten_cache_cancelled_total"),
        IN_REGION,
        "Reads that were given up before they had an answer.",
    ),
    counter(
        same("bilten_cache_loads_total"),
        IN_REGION,
        "Keys for which a loader was called: one call for many keys counts for each, here, as an error and as a time.",
    ),
    counter(
        same("bilten_cache_load_errors_total"),
        IN_REGION,
        "Loaders that failed, panicked or took too long.",
    ),
    histogram(
        same("bilten_cache_load_seconds"),
        IN_REGION,
        QUERY_SECONDS,
        "Time of a loader.",
    )
    .seconds(),
    counter(
        same("bilten_cache_refused_total"),
        &[CACHE_NAME, REGION, REASON],
        "Values that were not kept, by reason: `ticket` (its key changed meanwhile, memory does not take it), `lease` (for the same reason the second level does not), `unencodable`, `too_large`, `tags` (more than 64, or one of more than 256 bytes), `key_too_long`, `no_turn` (the second level had too many calls under way); and `overloaded`, a load that found no place.",
    ),
    counter(
        same("bilten_cache_undecodable_total"),
        IN_REGION,
        "Stored values that could not be read back.",
    ),
    counter(
        same("bilten_cache_outrun_total"),
        IN_REGION,
        "Stored values that were not used, because a change of their key is newer than what their load had heard of.",
    ),
    counter(
        same("bilten_cache_remote_failures_total"),
        IN_CACHE,
        "Calls to the second level that failed or took too long.",
    ),
    counter(
        same("bilten_cache_breaker_opened_total"),
        IN_CACHE,
        "How often the circuit to the second level opened.",
    ),
    counter(
        same("bilten_cache_invalidations_total"),
        IN_CACHE,
        "Invalidations made by this process.",
    ),
    counter(
        same("bilten_cache_deferred_total"),
        IN_CACHE,
        "Invalidations that had to wait for the second level to come back.",
    ),
    counter(
        same("bilten_cache_flushes_total"),
        IN_CACHE,
        "How often the whole first level was emptied.",
    ),
    counter(
        same("bilten_cache_evictions_total"),
        IN_CACHE,
        "Entries that the first level had no room for.",
    ),
    counter(
        same("bilten_cache_log_records_total"),
        IN_CACHE,
        "Records of the invalidation log that were read.",
    ),
    counter(
        same("bilten_cache_log_unreadable_total"),
        IN_CACHE,
        "Records and markers of the log that nobody could read; each counted as everything.",
    ),
    counter(
        same("bilten_cache_log_gaps_total"),
        IN_CACHE,
        "Gaps found in the invalidation log.",
    ),
    gauge(
        same("bilten_cache_memory_entries"),
        IN_CACHE,
        "Entries in this process.",
    ),
    gauge(
        same("bilten_cache_memory_bytes"),
        IN_CACHE,
        "What the entries in this process weigh, in bytes.",
    ),
    gauge(
        same("bilten_cache_connected"),
        IN_CACHE,
        "1 while the second level answers and the log is up to date, 0 while not.",
    ),
    gauge(
        same("bilten_cache_log_position"),
        IN_CACHE,
        "The last record of the invalidation log that was applied.",
    ),
    gauge(
        same("bilten_cache_log_lag_records"),
        IN_CACHE,
        "Records of the invalidation log that are known and not applied yet.",
    ),
    gauge(
        same("bilten_cache_log_age_seconds"),
        IN_CACHE,
        "Seconds since the invalidation log was last read to its end.",
    )
    .seconds(),
    gauge(
        same("bilten_cache_markers"),
        IN_CACHE,
        "Scopes that are remembered as invalidated.",
    ),
    gauge(
        same("bilten_cache_waiting"),
        IN_CACHE,
        "Invalidations that wait for the second level.",
    ),
    gauge(
        same("bilten_cache_disk_bytes"),
        IN_CACHE,
        "What values and source tokens of a second level on this machine's disk take, in bytes.",
    ),
];

/// `bilten-db`.
pub(crate) const DB: &[Spec] = &[
    counter(
        same("bilten_db_statements_total"),
        &[NODE, REASON, PLAIN_OUTCOME],
        "Statements by node, reason of the choice (`stale`: the replica lags more than `max_lag`), and outcome: `ok`, `error`, or `cancelled` when nobody waited for the end (a deadline, a caller who left, the loser of a hedge).",
    ),
    histogram(
        same("bilten_db_statement_seconds"),
        ON_NODE,
        QUERY_SECONDS,
        "From the choice of the node to its answer, waiting for a connection included.",
    )
    .seconds(),
    histogram(
        same("bilten_db_acquire_seconds"),
        ON_NODE,
        QUERY_SECONDS,
        "Waiting for a connection of the node's pool.",
    )
    .seconds(),
    gauge(
        same("bilten_db_in_flight"),
        ON_NODE,
        "Statements running or waiting on the node.",
    ),
    gauge(
        same("bilten_db_node_up"),
        ON_NODE,
        "1 when the node is in rotation, 0 when it is ejected, NaN (no value) when it left the cluster.",
    ),
    gauge(
        same("bilten_db_node_fenced"),
        ON_NODE,
        "1 when the node takes writes although another one is the primary, 0 when not, as it said last, NaN (no value) when it left the cluster.",
    ),
    counter(
        same("bilten_db_ejections_total"),
        ON_NODE,
        "How often the node was taken out of rotation.",
    ),
    counter(
        same("bilten_db_misread_total"),
        ON_NODE,
        "Reads that turned out to write and ran on the primary.",
    ),
    counter(
        same("bilten_db_failovers_total"),
        ON_NODE,
        "How often the node became the primary in place of another.",
    ),
    counter(
        same("bilten_db_hedges_won_total"),
        ON_NODE,
        "Hedged reads that this node answered before the first one.",
    ),
    counter(
        same("bilten_db_retries_refused_total"),
        ON_NODE,
        "Reads that failed on the node and were not tried again, because the retry budget was spent.",
    ),
    counter(
        same("bilten_db_overloaded_total"),
        ON_NODE,
        "Reads refused because the primary already served as many in place of replicas as it may.",
    ),
    gauge(
        same("bilten_db_lag_seconds"),
        ON_NODE,
        "Age of the newest state of the primary that the replica has, NaN (no value) while it is not known.",
    )
    .seconds(),
    gauge(
        same("bilten_db_lag_bytes"),
        ON_NODE,
        "What the replica has not replayed of the primary's log, NaN (no value) while it is not known.",
    )
    .bytes(),
    gauge(
        same("bilten_db_pool_connections"),
        &[NODE, STATE],
        "Connections of the node's pool by state, as of the last probe.",
    ),
    counter(
        same("bilten_db_discoveries_total"),
        &[PLAIN_OUTCOME],
        "Questions for the replicas by outcome; an error is also a panic, no answer in time, and an answer that names none.",
    ),
    gauge(
        same("bilten_db_discovery_refused"),
        &[],
        "Replicas of the last answer that could not be added.",
    ),
];

/// `bilten-health`.
pub(crate) const HEALTH: &[Spec] = &[
    gauge(
        same("health_check_up"),
        OF_CHECK,
        "1 when the check's last run was up or degraded, 0 when not, or too long ago in the background, NaN (no value) while nobody asks for one on demand, and once it was removed.",
    ),
    gauge(
        same("health_check_degraded"),
        OF_CHECK,
        "1 when the check's last run was degraded, 0 when it was up or down, NaN (no value) where the other has none.",
    ),
    histogram(
        same("health_check_duration_seconds"),
        OF_CHECK,
        QUERY_SECONDS,
        "Time of one run of a check.",
    )
    .seconds(),
    counter(
        same("health_status_changes_total"),
        OF_CHECK,
        "How often the check's status changed.",
    ),
];
