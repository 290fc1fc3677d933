//! Allocations of each piece of work.
//!
//! `cargo xtask bench http-peers`

#![allow(clippy::print_stdout)]

use allocation_counter::measure;
use bilten_http_peers::{Contender, Field, fields};

const RUNS: u32 = 10_000;

fn main() {
    for Field {
        title,
        base,
        mut contenders,
    } in fields()
    {
        let counts: Vec<f64> = contenders.iter_mut().map(each).collect();
        let least = counts.get(base).copied().unwrap_or_default();
        println!("\n{title}: allocations\n\n| | each | added |\n|---|---|---|");
        for (contender, count) in contenders.iter().zip(counts) {
            println!("| {} | {count:.2} | {:.2} |", contender.name, count - least);
        }
    }
}

fn each(contender: &mut Contender) -> f64 {
    (contender.run)(1000);
    let counted = measure(|| (contender.run)(RUNS)).count_total;
    #[expect(clippy::cast_precision_loss, reason = "a few million at most")]
    let counted = counted as f64;
    counted / f64::from(RUNS)
}
