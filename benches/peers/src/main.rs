//! Placeholder until the crates below have landed.

fn main() {}
