//! A TCP proxy that misbehaves on request.

mod connection;
mod fault_proxy;
mod listen;

pub use connection::Direction;
pub use fault_proxy::FaultProxy;
