//! Keeps the least number of connections of a pool open in the background.

use std::sync::Weak;
use std::time::Duration;

use tokio::time::sleep;

use crate::health::pause;
use crate::node::Node;

/// Between two looks at the pool, which cost a few atomic loads.
const INTERVAL: Duration = Duration::from_millis(500);

/// Runs until the node is gone. Only one connection is opened at a time.
pub(crate) async fn keep(node: Weak<Node>) {
    let mut refusals = 0;
    while let Some(node) = node.upgrade() {
        if node.health.is_up() && node.backend.is_short() {
            refusals = match node.backend.fill().await {
                Ok(()) => 0,
                Err(fault) => {
                    if refusals == 0 {
                        tracing::warn!(node = %node.id, address = node.backend.address(), cause = fault.cause(),
                            "the server refuses the connections that PoolConfig::min asks for: lower it or raise the server's limit");
                    }
                    refusals + 1
                }
            };
        }
        // Before the sleep the node is let go, so that a dropped cluster goes away at once.
        drop(node);
        sleep(until_next(refusals)).await;
    }
}

/// After a refusal one second, doubling up to a minute.
fn until_next(refusals: u32) -> Duration {
    match refusals.checked_sub(1) {
        Some(strikes) => pause(strikes, fastrand::f64()),
        None => INTERVAL,
    }
}
