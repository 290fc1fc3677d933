//! The status of a cluster, taken from its nodes.

use std::time::Duration;

use crate::node::Node;
use crate::router::Router;
use crate::status::{ClusterStatus, NodeStatus, PoolStatus, Role, Rotation, State};

/// What is known about each node right now.
pub(crate) fn snapshot(router: &Router) -> ClusterStatus {
    let topology = router.topology();
    let replicas = topology
        .replicas
        .iter()
        .map(|node| node_status(node, Role::Replica));
    ClusterStatus {
        nodes: std::iter::once(node_status(&topology.primary, Role::Primary))
            .chain(replicas)
            .collect(),
        learned_writes: router.learned(),
        discovery: router.roster().findings.get(),
    }
}

fn node_status(node: &Node, role: Role) -> NodeStatus {
    let load = node.backend.load();
    let lag = node.seen().and_then(|seen| seen.lag);
    NodeStatus {
        id: node.id.to_string(),
        address: node.backend.address().to_owned(),
        role,
        state: state(node),
        reason: node.health.reason(),
        next_trial: (!node.health.is_up()).then(|| node.pause_left()),
        rotation: node.health.rotation(),
        in_flight: node.in_flight(),
        weight: node.traits().weight,
        group: node.traits().group.as_deref().map(str::to_owned),
        latency: Duration::from_micros(node.latency_us().into()),
        pool: PoolStatus {
            size: load.size,
            idle: load.idle,
            max: load.max,
        },
        ejections: node.health.ejections(),
        lag_bytes: lag.map(|lag| lag.bytes),
        lag: lag.map(|lag| lag.time),
    }
}

fn state(node: &Node) -> State {
    match (
        node.health.rotation(),
        node.health.is_up(),
        node.is_lagging(),
    ) {
        (Rotation::Out, ..) => State::Out,
        (_, false, _) => State::Ejected,
        (_, true, true) => State::Lagging,
        (_, true, false) => State::Up,
    }
}
