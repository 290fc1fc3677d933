//! A session for each HTTP request, and its token carried to the user's next request.

#[cfg(feature = "axum")]
mod extract;
mod layer;
mod service;
mod vehicle;

#[cfg(feature = "axum")]
pub use extract::NoSessionLayer;
pub use layer::{RequestSession, SessionLayer};
pub use service::{SessionFuture, SessionService};
