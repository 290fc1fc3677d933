//! The same requests and the same queries through bilten-monitor and what people would pick instead, in one run.
//!
//! `cargo xtask bench http-peers`

#![allow(clippy::print_stdout)]

mod measure;
mod queries;
mod requests;

use measure::{Contender, Cost, costs};

fn main() {
    table("One request of an axum service", requests::contenders());
    table("One query", queries::contenders());
}

fn table(title: &str, contenders: Vec<Contender>) {
    let costs = costs(contenders);
    let bare = costs.first().map_or(0.0, |cost| cost.nanos);
    let bare_allocations = costs.first().map_or(0.0, |cost| cost.allocations);
    println!("\n{title} (processor time, median of 21 rounds)\n");
    println!("| | ns | added ns | added allocations |\n|---|---|---|---|");
    for Cost {
        name,
        nanos,
        allocations,
    } in costs
    {
        println!(
            "| {name} | {nanos:.0} | {:.0} | {:.2} |",
            nanos - bare,
            allocations - bare_allocations
        );
    }
}
