//! What this process takes of the machine's memory.

use crate::check::{CheckBuilder, Verdict, check};
use std::future::ready;

/// This process may take at most `max_bytes` of physical memory. Zero is refused at build.
///
/// It is local and so fit for liveness: a restart gives leaked memory back.
///
/// ```
/// use bilten_health::{Health, checks};
///
/// # async fn run() -> Result<(), bilten_health::BuildError> {
/// let health = Health::builder().check(checks::memory("memory", 4 << 30).in_liveness()).build()?;
/// assert!(health.check().await.healthy);
/// # Ok(())
/// # }
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(run()).unwrap();
/// ```
pub fn memory(name: impl Into<String>, max_bytes: u64) -> CheckBuilder {
    check(name, move || {
        let used = memory_stats::memory_stats().map(|stats| stats.physical_mem as u64);
        ready(judge(used, max_bytes))
    })
    .local()
    .refuse_limit(
        "max_bytes",
        (max_bytes == 0).then(|| "zero".to_owned()),
        "the bytes that the process may take",
    )
}

fn judge(used: Option<u64>, max: u64) -> Verdict {
    match used {
        None => Verdict::unknown("this system does not tell how much memory the process takes"),
        Some(used) if used > max => {
            Verdict::down(format!("{used} bytes are taken, more than {max}"))
        }
        Some(_) => Verdict::up(),
    }
    .detail("used_bytes", used)
}
