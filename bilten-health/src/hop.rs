//! The header that ends circular checks.

/// Sent by health checks that ask another service, over HTTP or as metadata of gRPC; whoever gets it answers for itself alone.
///
/// Such an answer comes from all checks of the group but those that ask other services in turn: `checks::http`, `checks::https` and
/// what says [`peer`](crate::CheckBuilder::peer). So a question ends at the first service it reaches, and no service can hold
/// another one down that holds it down. A check of your own that asks another service sends this header with any value and says `peer`.
pub const HOP_HEADER: &str = "x-health-hop";
