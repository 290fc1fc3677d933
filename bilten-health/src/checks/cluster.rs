//! How a primary and its replicas are.

use crate::check::{Check, CheckBuilder, CheckContext, Verdict, check};
use crate::report::Reason;
use bilten_db::Cluster;
use bilten_db::status::{ClusterStatus, NodeStatus};
use sea_orm::ConnectionTrait;
use tokio::time::timeout;

/// Sends `SELECT 1` to the primary and looks at what the cluster knows of its replicas.
///
/// A primary that does not answer is down. A primary whose pool is full is degraded, because it is alive, and so is a cluster
/// with a replica out of rotation, because its reads go elsewhere. The details have every node: role, state, pool.
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
    check(name, ClusterCheck(cluster.clone()))
}

struct ClusterCheck(Cluster);

impl Check for ClusterCheck {
    async fn check(&self, context: &CheckContext) -> Verdict {
        let limit = context.budget();
        let answer = timeout(limit, self.0.primary().execute_unprepared("SELECT 1")).await;
        let status = self.0.status();
        let verdict = match answer {
            Ok(Ok(_)) => replicas(&status),
            _ if is_full(status.primary()) => {
                Verdict::degraded("every connection to the primary is in use")
                    .reason(Reason::Saturated)
            }
            Ok(Err(error)) => Verdict::failed(&error),
            Err(_) => Verdict::down(format!("no answer from the primary within {limit:?}"))
                .reason(Reason::Timeout),
        };
        verdict.detail(
            "nodes",
            serde_json::to_value(&status.nodes).unwrap_or_default(),
        )
    }
}

fn replicas(status: &ClusterStatus) -> Verdict {
    let out: Vec<_> = status
        .replicas()
        .filter(|node| !node.is_up())
        .map(|node| &*node.id)
        .collect();
    if out.is_empty() {
        Verdict::up()
    } else {
        Verdict::degraded(format!("out of rotation: {}", out.join(", ")))
    }
}

/// In rotation, and no connection left.
fn is_full(node: &NodeStatus) -> bool {
    node.is_up() && node.pool.max > 0 && node.pool.size >= node.pool.max && node.pool.idle == 0
}
