//! How a primary and its replicas are.

use super::saturation::{Load, Saturation};
use crate::check::{Check, CheckBuilder, CheckContext, Verdict, check};
use crate::report::Reason;
use bilten_db::Cluster;
use bilten_db::status::ClusterStatus;
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
                self.saturation.answered();
                replicas(&status)
            }
            _ if self.saturation.explains_failure(full_before) => {
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
