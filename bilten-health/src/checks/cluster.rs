//! How a primary and its replicas are.

use super::saturation::{Load, Saturation};
use crate::check::{Check, CheckBuilder, CheckContext, Verdict, check};
use crate::report::Reason;
use bilten_db::Cluster;
use bilten_db::status::{ClusterStatus, NodeStatus, Role, State};
use sea_orm::ConnectionTrait;
use serde_json::{Value, json};
use tokio::time::{Instant, timeout};

/// Sends `SELECT 1` to the primary and looks at what the cluster knows of its replicas.
///
/// A primary that does not answer is down. A primary whose pool is full is degraded for up to 30 s after its last answer, because
/// it is alive, and so is a cluster with a replica out of rotation, because its reads go elsewhere.
///
/// The details have `nodes`, the primary first, each with `id`, `address`, `role` (`primary` or `replica`), `state` (`up`,
/// `lagging` or `ejected`) and its `reason`, the `pool` as `size`, `idle` and `max` connections, `in_flight` statements and
/// `ejections`; a replica also with `lag_ms`, how old the newest state is that it has replayed, and `lag_bytes` of the log still
/// to be replayed, both numbers, or `null` while they are not known.
///
/// ```
/// use bilten_health::{Health, checks};
///
/// # async fn run() -> Result<(), Box<dyn std::error::Error>> {
/// let cluster = bilten_db::Cluster::builder().primary("sqlite::memory:").connect().await?;
/// let health = Health::builder().check(checks::cluster("orders", &cluster).in_readiness()).build()?;
/// assert!(health.check().await.healthy);
/// # Ok(())
/// # }
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(run()).unwrap();
/// ```
pub fn cluster(name: impl Into<String>, cluster: &Cluster) -> CheckBuilder {
    check(
        name,
        ClusterCheck {
            cluster: cluster.clone(),
            saturation: Saturation::default(),
        },
    )
}

struct ClusterCheck {
    cluster: Cluster,
    saturation: Saturation,
}

impl Check for ClusterCheck {
    async fn check(&self, context: &CheckContext) -> Verdict {
        let limit = context.budget();
        let full_before = is_full(&self.cluster.status());
        let answer = timeout(limit, self.cluster.primary().execute_unprepared("SELECT 1")).await;
        let status = self.cluster.status();
        let verdict = match answer {
            Ok(Ok(_)) => {
                self.saturation.answered(Instant::now());
                replicas(&status)
            }
            _ if self
                .saturation
                .explains_failure(full_before, Instant::now()) =>
            {
                Verdict::degraded("every connection to the primary is in use")
                    .reason(Reason::Saturated)
            }
            Ok(Err(error)) => Verdict::failed(&error),
            Err(_) => Verdict::down(format!("no answer from the primary within {limit:?}"))
                .reason(Reason::Timeout),
        };
        let nodes: Vec<_> = status.nodes.iter().map(describe).collect();
        verdict.detail("nodes", nodes)
    }
}

fn replicas(status: &ClusterStatus) -> Verdict {
    let out: Vec<_> = status
        .replicas()
        .filter(|node| !node.is_up())
        .map(|node| match (node.state, lag_ms(node)) {
            (State::Lagging, Some(lag)) => format!("{} ({lag:.0} ms behind)", node.id),
            (State::Lagging, None) => format!("{} (too far behind)", node.id),
            _ => node.id.clone(),
        })
        .collect();
    if out.is_empty() {
        Verdict::up()
    } else {
        Verdict::degraded(format!("out of rotation: {}", out.join(", ")))
    }
}

/// One node as the details show it.
fn describe(node: &NodeStatus) -> Value {
    let pool = node.pool;
    let mut shown = json!({
        "id": node.id,
        "address": node.address,
        "role": node.role,
        "state": node.state,
        "pool": { "size": pool.size, "idle": pool.idle, "max": pool.max },
        "in_flight": node.in_flight,
        "ejections": node.ejections,
    });
    if let Some(reason) = &node.reason {
        shown["reason"] = reason.as_str().into();
    }
    if node.role == Role::Replica {
        shown["lag_ms"] = lag_ms(node).into();
        shown["lag_bytes"] = node.lag_bytes.into();
    }
    shown
}

fn lag_ms(node: &NodeStatus) -> Option<f64> {
    node.lag.map(|lag| lag.as_secs_f64() * 1000.0)
}

/// The primary is in rotation and has no connection left.
fn is_full(status: &ClusterStatus) -> bool {
    let primary = status.primary();
    let pool = primary.pool;
    primary.is_up()
        && Load {
            size: pool.size,
            idle: pool.idle,
            max: pool.max,
        }
        .is_full()
}
