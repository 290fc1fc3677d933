//! The tower layer that times requests.

mod body;
mod endpoint;
mod exchange;
mod future;
mod layer;
mod method;
#[cfg(feature = "axum")]
#[path = "pattern_axum.rs"]
mod pattern;
#[cfg(not(feature = "axum"))]
#[path = "pattern_none.rs"]
mod pattern;
mod route;
mod service;
mod shared;
mod unmeasured;

pub use body::TimedBody;
pub use future::TimedResponse;
pub use layer::HttpLayer;
pub use service::TimedService;
pub use unmeasured::Unmeasured;
