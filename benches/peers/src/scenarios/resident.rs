//! What an entry costs in memory: a process of its own for each peer and round, and how much it grows.

use super::{Column, Plan, Round, Sample, Stand, compared};
use crate::options::RESIDENT;
use crate::peer::{Failure, Peer, Setup};
use crate::workload::{Item, keys};

pub(super) const COLUMNS: &[Column] = &[compared("bytes/entry", 0)];

pub(super) fn about(plan: &Plan) -> String {
    format!(
        "{} entries with a value of {} bytes and no Redis, put in by the call that loads; by how much the \
         process's resident memory grows, per entry, in a process for each peer and round",
        plan.resident_keys,
        size_of::<Item>()
    )
}

pub(super) async fn prepare<P: Peer>(stand: Stand) -> Result<Option<Round>, Failure> {
    if !P::ALONE {
        return Ok(None);
    }
    let entries = stand.plan.resident_keys;
    Ok(Some(Box::new(move || {
        Box::pin(async move { in_a_process::<P>(entries).await })
    })))
}

async fn in_a_process<P: Peer>(entries: usize) -> Result<Sample, Failure> {
    let mut process = tokio::process::Command::new(std::env::current_exe()?);
    let process = process.args([RESIDENT, P::NAME, &entries.to_string()]);
    let output = process.output().await?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned().into());
    }
    let bytes: f64 = String::from_utf8(output.stdout)?.trim().parse()?;
    Ok(Sample::of([bytes / entries as f64]))
}

/// The work of such a process; by how many bytes it grew.
pub(crate) async fn measure<P: Peer>(entries: usize) -> Result<u64, Failure> {
    let setup = Setup {
        redis_url: String::new(),
        capacity: entries * 2,
        patterns: false,
        alone: true,
    };
    let peer = P::start(&setup).await?;
    let keys = keys("resident", entries);
    let before = resident()?;
    for key in &keys {
        peer.read(key, || async { Item::bare(0) }).await?;
    }
    let held = peer.held();
    if held != entries as u64 {
        return Err(format!("{held} of {entries} entries were kept").into());
    }
    Ok(resident()?.saturating_sub(before))
}

fn resident() -> Result<u64, Failure> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = line.and_then(|line| line.split_whitespace().next());
    let kilobytes: u64 = kilobytes.ok_or("no VmRSS")?.parse()?;
    Ok(kilobytes * 1_024)
}
