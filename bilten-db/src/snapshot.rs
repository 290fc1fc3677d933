//! The status of a cluster, taken from its nodes.

use std::time::Duration;

use crate::lag::why_it_lags;
use crate::node::Node;
use crate::router::Router;
use crate::status::{ClusterStatus, NodeStatus, PoolStatus, Role, Rotation, State};

/// What is known about each node right now.
pub(crate) fn snapshot(router: &Router) -> ClusterStatus {
    let topology = router.topology();
    let max_lag = router.roster().max_lag();
    let replicas = topology
        .replicas
        .iter()
        .map(|node| node_status(node, Role::Replica, max_lag));
    ClusterStatus {
        nodes: std::iter::once(node_status(&topology.primary, Role::Primary, max_lag))
            .chain(replicas)
            .collect(),
        learned_writes: router.learned(),
        discovery: router.roster().findings.get(),
    }
}

fn node_status(node: &Node, role: Role, max_lag: Option<Duration>) -> NodeStatus {
    let load = node.backend.load();
    let lag = node.seen().and_then(|seen| seen.lag);
    let lags = || {
        max_lag
            .filter(|_| node.is_lagging())
            .map(|limit| why_it_lags(lag, limit))
    };
    NodeStatus {
        id: node.id.to_string(),
        address: node.backend.address().to_owned(),
        role,
        state: state(node),
        reason: node.health.reason().or_else(lags),
        next_trial: (!node.health.is_up()).then(|| node.pause_left()),
        rotation: node.health.rotation(),
        in_flight: node.in_flight(),
        weight: node.traits().weight,
        group: node.traits().group.as_deref().map(str::to_owned),
        latency: Duration::from_micros(node.latency_us().into()),
        pool: PoolStatus {
            size: load.size,
            idle: load.at_hand(),
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use metrics::with_local_recorder;
    use metrics_util::debugging::{DebugValue, DebuggingRecorder};

    use super::*;
    use crate::driver::PoolLoad;
    use crate::driver::nowhere::{Nowhere, Part};
    use crate::metrics::{Names, NodeMetrics};
    use crate::traits::Traits;

    /// Of five connections two are in use, two in the pool, and one waits for the next statement.
    #[derive(Debug)]
    struct Busy;

    impl Part for Busy {
        fn load(&self) -> PoolLoad {
            PoolLoad {
                size: 5,
                idle: 2,
                parked: 1,
                max: 9,
            }
        }
    }

    fn node() -> Node {
        let id = Arc::from("primary");
        let metrics = NodeMetrics::new(&id, &Names::default());
        let [suspicion, changed] = [(); 2].map(|()| Arc::default());
        let backend = Arc::new(Nowhere(Arc::new(Busy)));
        Node::new(id, backend, metrics, suspicion, changed, Traits::default())
    }

    #[test]
    fn what_waits_beside_the_pool_is_told_as_idle() {
        let told = node_status(&node(), Role::Primary, None).pool;
        assert_eq!((told.size, told.idle, told.max), (5, 3, 9));
        let recorder = DebuggingRecorder::new();
        let snapshotter = recorder.snapshotter();
        with_local_recorder(&recorder, || node().note_pool());
        let told = snapshotter.snapshot().into_vec();
        let level = |state: &str| {
            let is_it = |label: &metrics::Label| label.value() == state;
            let mut levels = told.iter().filter_map(|(key, _, _, value)| match value {
                DebugValue::Gauge(level) if key.key().labels().any(is_it) => Some(level.0),
                _ => None,
            });
            levels.next()
        };
        assert_eq!([level("used"), level("idle")], [Some(2.0), Some(3.0)]);
    }
}
