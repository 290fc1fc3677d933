//! The header that ends circular checks.

/// Sent by health checks that ask another service; whoever gets it answers from stored results and runs no check.
pub const HOP_HEADER: &str = "x-health-hop";
