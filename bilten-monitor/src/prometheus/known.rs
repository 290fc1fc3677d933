//! What can go wrong beside the error budget, and what to do about it.

/// A rule as the table has it: `[[..]]` stands for a metric or a label.
pub(super) struct Known {
    pub(super) name: &'static str,
    pub(super) expression: &'static str,
    pub(super) hold: &'static str,
    pub(super) severity: &'static str,
    pub(super) summary: &'static str,
    pub(super) remedy: &'static str,
}

const fn known(
    name: &'static str,
    severity: &'static str,
    (hold, expression): (&'static str, &'static str),
    summary: &'static str,
    remedy: &'static str,
) -> Known {
    Known {
        name,
        expression,
        hold,
        severity,
        summary,
        remedy,
    }
}

pub(super) const KNOWN: &[Known] = &[
    known(
        "RuntimeSaturated",
        "ticket",
        ("10m", "[[bilten.runtime.busy_ratio]] > 0.9"),
        "the runtime's workers are busy nine tenths of the time",
        "Look for blocking calls in async code and for the hottest route; then add instances.",
    ),
    known(
        "RuntimeQueueGrows",
        "ticket",
        ("", "avg_over_time([[bilten.runtime.queue]][5m]) > 100"),
        "tasks wait in the runtime's queue",
        "A worker is blocked or there is too much work: compare the busiest worker with the average.",
    ),
    known(
        "DatabasePoolExhausted",
        "page",
        (
            "5m",
            "histogram_quantile(0.95, sum by (job, le, [[node]]) (rate([[bilten_db_acquire_seconds]]_bucket[5m]))) > 0.1",
        ),
        "statements wait for a connection of {{ $labels.node }}",
        "Find what holds connections (long transactions, slow statements) before making the pool larger.",
    ),
    known(
        "DatabaseNodeDown",
        "page",
        // One that is fenced answers, and comes back only when somebody acts: it has an alert of its own.
        (
            "2m",
            "[[bilten_db_node_up]] == 0 unless [[bilten_db_node_fenced]] == 1",
        ),
        "{{ $labels.node }} is out of rotation",
        "Look at the node itself; reads go to the others and come back by themselves when it answers.",
    ),
    known(
        "DatabaseNodeFenced",
        "page",
        ("1m", "[[bilten_db_node_fenced]] == 1"),
        "{{ $labels.node }} takes writes beside the primary",
        "Two histories: stop whoever still writes there, look for what it took, and make it a standby of the primary; only then it comes back.",
    ),
    known(
        "DatabaseReplicaLags",
        "ticket",
        (
            "5m",
            "max by (job, [[node]]) ([[bilten_db_lag_seconds]]) > 30",
        ),
        "{{ $labels.node }} is more than 30 s behind",
        "Look for long queries on the replica and for a burst of writes; reads that want newer data go to other nodes.",
    ),
    known(
        "DatabaseFailover",
        "ticket",
        ("", "increase([[bilten_db_failovers_total]][10m]) > 0"),
        "{{ $labels.node }} became the primary",
        "Check that the old primary is fenced off and that replicas follow the new one.",
    ),
    known(
        "CacheHitRateLow",
        "ticket",
        (
            "15m",
            "sum by (job, [[cache]], [[region]]) (rate([[bilten_cache_hits_total]][10m])) / (sum by (job, [[cache]], [[region]]) (rate([[bilten_cache_hits_total]][10m])) + sum by (job, [[cache]], [[region]]) (rate([[bilten_cache_misses_total]][10m]))) < 0.5 and sum by (job, [[cache]], [[region]]) (rate([[bilten_cache_misses_total]][10m])) > 1",
        ),
        "more than half of the reads of {{ $labels.cache }}/{{ $labels.region }} miss",
        "Compare the region's size and lifetime with its use; look for keys that are never read twice.",
    ),
    known(
        "CacheSecondLevelFails",
        "page",
        (
            "5m",
            "rate([[bilten_cache_remote_failures_total]][5m]) > 0.1",
        ),
        "calls of {{ $labels.cache }} to the second level fail",
        "Reads are served from memory and the loaders; look at the second level and the network to it.",
    ),
    known(
        "CacheCutOff",
        "page",
        ("1m", "[[bilten_cache_connected]] == 0"),
        "{{ $labels.cache }} is cut off from its second level",
        "This process serves from memory and the loaders; look at the second level and the network to it.",
    ),
    known(
        "CacheLogBehind",
        "ticket",
        (
            "2m",
            "[[bilten_cache_log_lag_records]] > 1000 or [[bilten_cache_log_age_seconds]] > 30",
        ),
        "{{ $labels.cache }} is behind its invalidation log",
        "Old values may be served within the bound of the region; see whether the process or the second level is too busy.",
    ),
    known(
        "CacheLoadsFail",
        "page",
        (
            "5m",
            "sum by (job, [[cache]], [[region]]) (rate([[bilten_cache_load_errors_total]][5m])) / sum by (job, [[cache]], [[region]]) (rate([[bilten_cache_loads_total]][5m])) > 0.05",
        ),
        "one load in twenty of {{ $labels.cache }}/{{ $labels.region }} fails",
        "The source behind the region fails: look at its own errors. Old values are served where that is allowed.",
    ),
    known(
        "CacheLogGaps",
        "ticket",
        ("", "increase([[bilten_cache_log_gaps_total]][10m]) > 0"),
        "{{ $labels.cache }} missed records of its invalidation log",
        "The first level was emptied, so nothing stale is served; make the log longer or find out why reading stalls.",
    ),
    known(
        "HealthCheckFails",
        "page",
        // Over a window: a check that is asked for once a minute has no value in half of it. The window is no longer than that needs, as it
        // holds next to nothing when a process has just started.
        ("2m", "max_over_time([[health_check_up]][90s]) == 0"),
        "the health check {{ $labels.check }} fails",
        "Open the health page with details; the check's error says what it could not reach.",
    ),
    known(
        "HealthCheckDegraded",
        "ticket",
        ("15m", "min_over_time([[health_check_degraded]][2m]) == 1"),
        "the health check {{ $labels.check }} is degraded",
        "It works and is slow or near a limit: the health page says which; mend it before it fails.",
    ),
    known(
        "HealthCheckFlaps",
        "ticket",
        ("", "increase([[health_status_changes_total]][10m]) > 6"),
        "the health check {{ $labels.check }} goes up and down",
        "Its limit is too near to normal: look at the check's duration, then raise its timeout or its thresholds.",
    ),
    known(
        "MonitorLabelsOverflow",
        "ticket",
        ("", "increase([[bilten.monitor.overflowed]][10m]) > 0"),
        "a label has too many values and some are counted under other",
        "Find the label in the alert of the process; make names constants, or raise max_label_values.",
    ),
    known(
        "MonitorAlertsDropped",
        "ticket",
        ("", "increase([[bilten.monitor.alerts_dropped]][10m]) > 0"),
        "an alert sink is too slow and alerts were dropped",
        "See why the sink is slow; raise alert_queue only when bursts are expected.",
    ),
    known(
        "MonitorSinkFails",
        "ticket",
        ("", "increase([[bilten.monitor.sink_failures]][10m]) > 0"),
        "a sink refuses what it is given",
        "The log says why under the target bilten_monitor: a webhook's address or token, or a recorder or clock that panics.",
    ),
    known(
        "MonitorSamplesDropped",
        "ticket",
        ("", "increase([[bilten.monitor.samples_dropped]][10m]) > 0"),
        "a metric sink is too slow and samples were dropped",
        "See why the sink is slow; the Prometheus numbers are whole.",
    ),
    known(
        "MonitorValuesRefused",
        "ticket",
        (
            "",
            "increase([[bilten.monitor.rejected]][10m]) + increase([[bilten.monitor.export_rejected]][10m]) > 0",
        ),
        "values that are no numbers, or names that are taken, are refused",
        "The log names the metric under the target bilten_monitor; mend the code that records it.",
    ),
];
