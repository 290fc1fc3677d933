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

/// Every node that is in a cluster, in the order in which they were made.
pub(in crate::dashboard) fn nodes(readings: &[Reading]) -> Vec<Node> {
    let mut nodes: Vec<Node> = Vec::new();
    let of_nodes = readings
        .iter()
        .filter(|reading| reading.series.key.name().starts_with("bilten_db_"));
    // A node that left says so through its level; its other series stay as they were for a while.
    let is_level = |reading: &&Reading| reading.series.key.name() == UP && !reading.total.is_nan();
    for reading in of_nodes.clone().filter(is_level) {
        nodes.push(Node {
            name: reading.label("node").into_owned(),
            ..Node::default()
        });
    }
    for reading in of_nodes {
        let name = reading.label("node");
        if let Some(node) = nodes.iter_mut().find(|node| node.name == name) {
            add(node, reading);
        }
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
            match &*reading.label("reason") {
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
    use crate::dashboard::Tap;
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
        level("replica-1", 0.0);
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
    /// The handles of a node, as `bilten-db` holds them for as long as it is there.
    struct Member {
        up: metrics::Gauge,
        in_flight: metrics::Gauge,
        statements: Vec<metrics::Counter>,
    }

    impl Member {
        fn joins(name: &str) -> Self {
            let reasons = [
                "read",
                "write",
                "transaction",
                "pinned",
                "fallback",
                "retry",
                "hedge",
            ];
            let each = reasons.iter().flat_map(|reason| {
                ["ok", "error", "cancelled"].map(|outcome| {
                    metrics::counter!("bilten_db_statements_total",
                        "node" => name.to_owned(), "reason" => *reason, "outcome" => outcome)
                })
            });
            let member = Self {
                statements: each.collect(),
                up: metrics::gauge!(UP, "node" => name.to_owned()),
                in_flight: metrics::gauge!("bilten_db_in_flight", "node" => name.to_owned()),
            };
            member.up.set(1.0);
            member.in_flight.increment(1.0);
            member.statements[0].increment(1);
            member
        }

        fn leaves(self) {
            self.up.set(f64::NAN);
        }
    }

    #[test]
    fn nodes_come_and_go_for_ever_and_each_is_shown_while_it_is_there() {
        let (board, mut readings) = (Arc::new(Board::default()), Readings::default());
        let tap = Tap::on(metrics::NoopRecorder, Arc::clone(&board));
        let mut shown = || {
            let nodes = nodes(&readings.read(&board, 1.0, 0));
            let seen = nodes.iter().map(|node| (node.name.clone(), node.active));
            seen.collect::<Vec<_>>()
        };
        metrics::with_local_recorder(&tap, || {
            // Of no node: the page makes none of it.
            metrics::counter!("bilten_db_discoveries_total", "outcome" => "ok").increment(1);
            let stays = Member::joins("stays");
            for n in 0..200 {
                let name = format!("pod-{n}");
                let member = Member::joins(&name);
                stays.statements[0].increment(1);
                let both = [("stays".to_owned(), 1.0), (name, 1.0)];
                assert_eq!(shown(), both);
                member.in_flight.decrement(1.0);
                member.leaves();
                assert_eq!(shown(), both[..1]);
            }
            // One that comes back under its name begins where it was, or anew.
            let again = Member::joins("pod-0");
            assert_eq!(shown()[1], ("pod-0".to_owned(), 1.0));
            again.leaves();
        });
        assert_eq!(board.left_out(), 0);
        let of_one = |reading: &Reading| reading.label("node") == "stays" && reading.total > 200.0;
        assert!(
            readings.read(&board, 1.0, 0).iter().any(of_one),
            "its count went on"
        );
    }
}
