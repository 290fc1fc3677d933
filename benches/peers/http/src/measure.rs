//! Processor time and allocations of one piece of work, in turns.

use rustix::time::{ClockId, clock_gettime};

/// Rounds: every contender has its turn in each, so a busy moment of the machine meets all of them.
const ROUNDS: usize = 21;
/// Runs in one turn.
const RUNS: u32 = 20_000;

/// One way of doing the work.
pub(crate) struct Contender {
    pub(crate) name: &'static str,
    /// Does the work so many times.
    pub(crate) run: Box<dyn FnMut(u32)>,
}

/// What one contender costs.
pub(crate) struct Cost {
    pub(crate) name: &'static str,
    pub(crate) nanos: f64,
    pub(crate) allocations: f64,
}

/// The median over all rounds, in the order of the contenders.
pub(crate) fn costs(mut contenders: Vec<Contender>) -> Vec<Cost> {
    let mut times = vec![Vec::with_capacity(ROUNDS); contenders.len()];
    for contender in &mut contenders {
        (contender.run)(RUNS);
    }
    for _ in 0..ROUNDS {
        for (contender, times) in contenders.iter_mut().zip(&mut times) {
            let started = processor_nanos();
            (contender.run)(RUNS);
            times.push((processor_nanos() - started) / f64::from(RUNS));
        }
    }
    let cost = |(contender, times): (&mut Contender, &mut Vec<f64>)| {
        times.sort_by(f64::total_cmp);
        let counted = allocation_counter::measure(|| (contender.run)(1000));
        #[expect(clippy::cast_precision_loss, reason = "a few thousand")]
        let allocations = counted.count_total as f64 / 1000.0;
        Cost {
            name: contender.name,
            nanos: times.get(ROUNDS / 2).copied().unwrap_or_default(),
            allocations,
        }
    };
    contenders.iter_mut().zip(&mut times).map(cost).collect()
}

/// Time that this thread was on a core, so that other programs cost nothing here.
#[expect(clippy::cast_precision_loss, reason = "seconds of a benchmark")]
fn processor_nanos() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as f64 * 1e9 + time.tv_nsec as f64
}
