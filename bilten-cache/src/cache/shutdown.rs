use std::time::Duration;

use tokio::time::{Instant, timeout, timeout_at};

use crate::shared::Shared;
use crate::status::Shutdown;
use crate::tail;

/// What closing the connections may take after everything else.
const GOODBYE: Duration = Duration::from_secs(1);
/// What is added to a clock must not overflow it.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// In the order in which each part needs the next one.
pub(super) async fn run(shared: &Shared, limit: Duration) -> Shutdown {
    let deadline = Instant::now() + limit.min(LONGEST);
    let engine = &shared.engine;
    let _ = timeout_at(deadline, engine.tasks.finished()).await;
    shared.stop_tail().await;
    if let Some(gate) = &engine.gate {
        let _ = timeout_at(deadline, tail::deliver_all(engine, gate)).await;
        // Nobody follows the log any more, so nothing that it could take back may be served.
        engine.coherence.doubt();
        engine.memory.clear();
        let _ = timeout(GOODBYE, gate.remote().close()).await;
    }
    let report = Shutdown {
        undelivered: engine.recovery.len(),
        unfinished: engine.tasks.running(),
    };
    if !report.is_clean() {
        tracing::warn!(cache = %engine.name, %report, "the cache was shut down before everything was done");
    }
    report
}
