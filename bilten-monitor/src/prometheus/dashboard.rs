//! The Grafana dashboard, written from the same table of names as the metrics.

use serde_json::{Value, json};

use super::panels::{Panel, ROWS};
use super::template::{resolved, selected};
use crate::names::Naming;

/// A Grafana dashboard as JSON: requests, queries, cache, database nodes, health and the monitor itself.
///
/// Put the text into a file that Grafana provisions, or import it by hand. It asks for a Prometheus data source, and for
/// the services to show: what Prometheus scrapes under one `job` is one of them, and several are added up.
///
/// ```
/// use bilten_monitor::{Naming, prometheus};
///
/// let dashboard = prometheus::dashboard(Naming::OpenTelemetry);
/// assert!(dashboard.contains("http_server_request_duration_seconds_bucket"));
/// ```
#[must_use]
pub fn dashboard(naming: Naming) -> String {
    let mut panels = Vec::new();
    let (mut id, mut y) = (1, 0);
    for row in ROWS {
        panels.push(json!({
            "id": id, "type": "row", "title": row.title, "collapsed": false, "panels": [],
            "gridPos": {"x": 0, "y": y, "w": WIDTH, "h": 1},
        }));
        id += 1;
        y += 1;
        for (at, panel) in row.panels.iter().enumerate() {
            let (x, line) = (at % ACROSS, at / ACROSS);
            let place = json!({"x": x * WIDTH / ACROSS, "y": y + line * HEIGHT, "w": WIDTH / ACROSS, "h": HEIGHT});
            panels.push(graph(panel, id, &place, naming));
            id += 1;
        }
        y += row.panels.len().div_ceil(ACROSS) * HEIGHT;
    }
    let dashboard = json!({
        "uid": "bilten",
        "title": "bilten",
        "tags": ["bilten"],
        "schemaVersion": 39,
        "editable": true,
        "refresh": "10s",
        "time": {"from": "now-30m", "to": "now"},
        "templating": {"list": [
            {"name": "datasource", "type": "datasource", "query": "prometheus", "label": "Data source"},
            services(naming),
        ]},
        "panels": panels,
    });
    format!("{dashboard:#}\n")
}

/// The services that are shown, which is what every expression asks for.
const WHICH: &str = "job=~\"$job\"";

/// The choice of services, from those that have anything to show.
fn services(naming: Naming) -> Value {
    let anything = "[[http.server.request.duration]]_count|[[db.client.operation.duration]]_count|[[health_check_up]]|bilten_.+";
    let anything = resolved(anything, naming).unwrap_or_default();
    let query = format!("label_values({{__name__=~\"{anything}\"}}, job)");
    json!({
        "name": "job", "type": "query", "label": "Service", "query": query, "definition": query,
        "datasource": {"type": "prometheus", "uid": "${datasource}"},
        "refresh": 2, "sort": 1, "multi": true, "includeAll": true, "allValue": ".*",
        "current": {"text": "All", "value": "$__all"},
    })
}

/// Columns of Grafana's grid, graphs side by side, and the height of one.
const WIDTH: usize = 24;
const ACROSS: usize = 3;
const HEIGHT: usize = 8;

fn graph(panel: &Panel, id: usize, place: &Value, naming: Naming) -> Value {
    let targets = panel.lines.iter().zip(b'A'..).map(|((legend, expression), name)| {
        // A label in a legend is that of the expression's metric.
        let both = filled(&format!("{legend}\n{expression}"), naming);
        let (legend, expression) = both.split_once('\n').unwrap_or_default();
        json!({"refId": char::from(name).to_string(), "expr": expression, "legendFormat": legend})
    });
    json!({
        "id": id,
        "type": "timeseries",
        "title": panel.title,
        "gridPos": place,
        "datasource": {"type": "prometheus", "uid": "${datasource}"},
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0}, "overrides": []},
        "options": {"legend": {"showLegend": true, "displayMode": "list", "placement": "bottom"}},
        "targets": targets.collect::<Vec<_>>(),
    })
}

/// What the panels name is in the table: a test resolves all of it.
fn filled(template: &str, naming: Naming) -> String {
    selected(template, naming, WHICH).unwrap_or_else(|missing| format!("absent({missing:?})"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::all;

    #[test]
    fn every_expression_names_what_the_table_has() {
        for naming in [Naming::OpenTelemetry, Naming::Short] {
            let text = dashboard(naming);
            assert!(!text.contains("absent(") && !text.contains("[["), "{text}");
        }
    }

    #[test]
    fn every_metric_of_importance_is_shown() {
        let lines = || {
            ROWS.iter()
                .flat_map(|row| row.panels)
                .flat_map(|panel| panel.lines)
        };
        let hidden: Vec<_> = all()
            .map(|spec| spec.name.otel)
            .filter(|name| {
                !lines().any(|(_, expression)| expression.contains(&format!("[[{name}]]")))
            })
            .collect();
        // Rare events and constants: the reference has them, the dashboard would be longer for nothing.
        let left_out = [
            "bilten.runtime.workers",
            "bilten.monitor.unrecorded",
            "bilten_cache_cancelled_total",
            "bilten_cache_undecodable_total",
            "bilten_cache_outrun_total",
            "bilten_cache_breaker_opened_total",
            "bilten_cache_deferred_total",
            "bilten_cache_flushes_total",
            "bilten_cache_log_records_total",
            "bilten_cache_log_unreadable_total",
            "bilten_cache_memory_entries",
            "bilten_cache_log_position",
            "bilten_cache_markers",
            "bilten_cache_disk_bytes",
            "bilten_db_node_fenced",
            "bilten_db_misread_total",
            "bilten_db_hedges_won_total",
            "bilten_db_retries_refused_total",
            "bilten_db_overloaded_total",
            "bilten_db_lag_bytes",
            "bilten_db_discoveries_total",
            "bilten_db_discovery_refused",
        ];
        assert_eq!(hidden, left_out);
    }
}
