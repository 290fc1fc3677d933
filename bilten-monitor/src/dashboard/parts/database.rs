//! `bilten-db`: what each node does.

use serde::Serialize;

use super::reading::Reading;
use crate::dashboard::number::millis;

const UP: &str = "bilten_db_node_up";

/// One node of the database.
#[derive(Debug, Default, PartialEq, Serialize)]
pub(in crate::dashboard) struct Node {
    pub(in crate::dashboard) name: String,
    up: bool,
    active: f64,
    /// Statements a second that the router sent here to read, and the others.
    pub(in crate::dashboard) reads: f32,
    pub(in crate::dashboard) writes: f32,
    errors: f64,
    /// Milliseconds.
    p50: f32,
    p95: f32,
    /// Waiting for a connection of the pool, in milliseconds.
    wait_p95: f32,
    ejections: f64,
    failovers: f64,
}

/// Every node that is in the cluster, in the order in which they were made.
pub(in crate::dashboard) fn nodes(readings: &[Reading]) -> Vec<Node> {
    let mut nodes: Vec<Node> = Vec::new();
    let of_nodes = readings
        .iter()
        .filter(|reading| reading.series.key.name().starts_with("bilten_db_"));
    // A node that left says so through its level; its other series stay as they were.
    let left: Vec<_> = of_nodes
        .clone()
        .filter(|reading| reading.series.key.name() == UP && reading.total.is_nan())
        .map(|reading| reading.label("node"))
        .collect();
    for reading in of_nodes {
        let name = reading.label("node");
        if left.contains(&name) {
            continue;
        }
        let at = nodes
            .iter()
            .position(|node| node.name == name)
            .unwrap_or_else(|| {
                nodes.push(Node {
                    name: name.to_owned(),
                    ..Node::default()
                });
                nodes.len() - 1
            });
        add(&mut nodes[at], reading);
    }
    nodes
}

fn add(node: &mut Node, reading: &Reading) {
    match reading.series.key.name() {
        UP => node.up = reading.total > 0.0,
        "bilten_db_in_flight" => node.active = reading.total,
        "bilten_db_ejections_total" => node.ejections = reading.total,
        "bilten_db_failovers_total" => node.failovers = reading.total,
        "bilten_db_statement_seconds" => [node.p50, node.p95] = reading.took.map(millis),
        "bilten_db_acquire_seconds" => node.wait_p95 = millis(reading.took[1]),
        "bilten_db_statements_total" => {
            if reading.label("outcome") == "error" {
                node.errors += reading.total;
            }
            match reading.label("reason") {
                "write" | "transaction" => node.writes += reading.rate,
                _ => node.reads += reading.rate,
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use metrics::{Key, Label};

    use super::super::reading::Readings;
    use super::*;
    use crate::dashboard::board::{Board, Cell};

    #[test]
    fn statements_are_told_by_node_and_by_what_they_are_for() {
        let board = Board::default();
        for (node, reason, outcome, count) in [
            ("primary", "write", "ok", 3),
            ("primary", "transaction", "ok", 1),
            ("primary", "fallback", "ok", 2),
            ("replica-1", "read", "ok", 8),
            ("replica-1", "read", "error", 1),
            ("replica-2", "read", "ok", 7),
        ] {
            let labels = [("node", node), ("reason", reason), ("outcome", outcome)];
            let labels = labels.map(|(name, value)| Label::new(name, value)).to_vec();
            let key = Key::from_parts("bilten_db_statements_total", labels);
            board.cell(&key, || Cell::Counter(Arc::new(count.into())));
        }
        let board = &board;
        let level = |node: &'static str, level: f64| {
            let up = Key::from_parts(UP, vec![Label::new("node", node)]);
            board.cell(&up, || Cell::Gauge(Arc::new(level.to_bits().into())));
        };
        level("primary", 1.0);
        level("replica-2", f64::NAN);
        let nodes = nodes(&Readings::default().read(board, 1.0, 0));
        let [primary, replica] = &nodes[..] else {
            panic!("two nodes: {nodes:?}")
        };
        assert_eq!(
            (primary.up, primary.writes, primary.reads, primary.errors),
            (true, 4.0, 2.0, 0.0)
        );
        assert_eq!(
            (replica.up, replica.writes, replica.reads, replica.errors),
            (false, 0.0, 9.0, 1.0)
        );
    }
}
