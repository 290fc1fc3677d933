//! What readers and the source noticed.

use std::fmt;
use std::time::Duration;

use crate::source::{PER_SECOND, Plan};

#[derive(Debug)]
pub(crate) struct Read {
    pub(crate) bin: usize,
    pub(crate) took: Duration,
    pub(crate) failed: bool,
    pub(crate) old: Duration,
}

/// Half a second.
#[derive(Debug, Default, Clone)]
pub(crate) struct Bin {
    pub(crate) p99: Duration,
    pub(crate) reads: usize,
    pub(crate) failed: usize,
    pub(crate) oldest: Duration,
    pub(crate) calls_per_second: u64,
}

#[derive(Debug)]
pub(crate) struct Tally {
    pub(crate) bins: Vec<Bin>,
    p50: Duration,
    p99: Duration,
    failed: f64,
    calls: u64,
    oldest: Duration,
}

impl Tally {
    pub(crate) fn of(plan: &Plan, reads: Vec<Read>, calls: Vec<u64>) -> Self {
        let mut bins = vec![Vec::new(); plan.bins()];
        let mut all = Vec::with_capacity(reads.len());
        let failed = reads.iter().filter(|read| read.failed).count();
        let oldest = reads.iter().map(|read| read.old).max().unwrap_or_default();
        for read in reads {
            all.push(read.took);
            if let Some(bin) = bins.get_mut(read.bin) {
                bin.push((read.took, read.failed, read.old));
            }
        }
        all.sort_unstable();
        let calls_in_all = calls.iter().sum();
        let bin = |(reads, calls): (Vec<(Duration, bool, Duration)>, u64)| {
            let mut times: Vec<_> = reads.iter().map(|(took, ..)| *took).collect();
            times.sort_unstable();
            Bin {
                p99: at(&times, 99),
                reads: reads.len(),
                failed: reads.iter().filter(|(_, failed, _)| *failed).count(),
                oldest: reads.iter().map(|(.., old)| *old).max().unwrap_or_default(),
                calls_per_second: calls * u64::from(PER_SECOND),
            }
        };
        Self {
            bins: bins.into_iter().zip(calls).map(bin).collect(),
            p50: at(&all, 50),
            p99: at(&all, 99),
            failed: failed as f64 / all.len().max(1) as f64,
            calls: calls_in_all,
            oldest,
        }
    }

    /// The same as a sentence below a picture.
    pub(crate) fn sentence(&self) -> String {
        format!(
            "p99 {}, {:.1} % of reads failed, {} calls of the source, oldest answer {:.2} s",
            millis(self.p99),
            self.failed * 100.0,
            self.calls,
            self.oldest.as_secs_f64()
        )
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:>8} {:>10} {:>6.1} % {:>21} {:>13.2} s",
            millis(self.p50),
            millis(self.p99),
            self.failed * 100.0,
            self.calls,
            self.oldest.as_secs_f64()
        )
    }
}

fn millis(time: Duration) -> String {
    let ms = time.as_secs_f64() * 1e3;
    match ms {
        _ if ms < 1.0 => format!("{ms:.2} ms"),
        _ if ms < 10.0 => format!("{ms:.1} ms"),
        _ => format!("{ms:.0} ms"),
    }
}

fn at(sorted: &[Duration], percent: usize) -> Duration {
    sorted
        .get(sorted.len().saturating_sub(1) * percent / 100)
        .copied()
        .unwrap_or_default()
}
