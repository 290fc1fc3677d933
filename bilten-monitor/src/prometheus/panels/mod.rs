//! What the dashboard shows: a row for each crate, and the expressions of each panel.

mod cache;
mod health;
mod nodes;
mod process;
mod queries;
mod requests;

/// A row of panels.
pub(super) struct Row {
    pub(super) title: &'static str,
    pub(super) panels: &'static [Panel],
}

/// One graph.
pub(super) struct Panel {
    pub(super) title: &'static str,
    /// Grafana's name of the unit.
    pub(super) unit: &'static str,
    /// A legend and an expression in which `[[..]]` stands for a metric or a label.
    pub(super) lines: &'static [(&'static str, &'static str)],
}

const fn panel(
    title: &'static str,
    unit: &'static str,
    lines: &'static [(&'static str, &'static str)],
) -> Panel {
    Panel { title, unit, lines }
}

pub(super) const ROWS: &[Row] = &[
    requests::ROW,
    queries::ROW,
    cache::ROW,
    nodes::ROW,
    health::ROW,
    process::ROW,
];
