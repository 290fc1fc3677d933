//! Criterion benchmarks of the bilten crates beside the raw libraries below them.
