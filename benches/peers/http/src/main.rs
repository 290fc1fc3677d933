//! Processor time of each piece of work, in turns.
//!
//! `cargo xtask bench http-peers`

#![allow(clippy::print_stdout)]

use std::time::Duration;

use bilten_http_peers::{Contender, Field, OURS, fields};
use rustix::time::{ClockId, clock_gettime};

/// Rounds: every contender has its turn in each, so a busy moment of the machine meets all of them.
const ROUNDS: usize = 41;
/// Runs in one turn.
const RUNS: u32 = 10_000;

/// What one contender costs, in nanoseconds.
struct Cost {
    name: &'static str,
    /// The quickest round: what disturbs a round only ever adds to it.
    least: f64,
    median: f64,
}

/// By then a monitor knows how fast the processor's counter runs, as it does in a service that has just started.
const SETTLING: Duration = Duration::from_secs(4);

fn main() {
    let fields = fields();
    std::thread::sleep(SETTLING);
    fields.into_iter().for_each(table);
}

/// Prints what each contender adds to the base.
fn table(field: Field) {
    let costs = costs(field.contenders);
    let base = costs.get(field.base).expect("there is one");
    let added = |cost: &Cost| (cost.least - base.least, cost.median - base.median);
    let ours = costs.iter().find(|cost| cost.name == OURS).map(added);
    let (least, median) = ours.expect("it is among them");
    println!(
        "\n{}: processor time of {ROUNDS} rounds, added to \"{}\"\n",
        field.title, base.name
    );
    println!("| | least ns | added | of ours | median ns | added | of ours |");
    println!("|---|---|---|---|---|---|---|");
    for cost in &costs {
        let more = added(cost);
        println!(
            "| {} | {:.0} | {:.0} | {:.2} | {:.0} | {:.0} | {:.2} |",
            cost.name,
            cost.least,
            more.0,
            more.0 / least,
            cost.median,
            more.1,
            more.1 / median,
        );
    }
}

/// The least and the median over all rounds, in the order of the contenders.
fn costs(mut contenders: Vec<Contender>) -> Vec<Cost> {
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
    let cost = |(contender, times): (&Contender, &mut Vec<f64>)| {
        times.sort_by(f64::total_cmp);
        Cost {
            name: contender.name,
            least: times.first().copied().unwrap_or_default(),
            median: times.get(ROUNDS / 2).copied().unwrap_or_default(),
        }
    };
    contenders.iter().zip(&mut times).map(cost).collect()
}

/// Time that this thread was on a core, so that other programs cost nothing here.
#[expect(clippy::cast_precision_loss, reason = "seconds of a benchmark")]
fn processor_nanos() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as f64 * 1e9 + time.tv_nsec as f64
}
