//! Servers in containers.

pub(crate) mod engine;
mod spec;

#[cfg(feature = "docker")]
mod container;
#[cfg(feature = "docker")]
mod sweep;
#[cfg(feature = "docker")]
pub(crate) use container::start;

#[cfg(not(feature = "docker"))]
mod absent;
#[cfg(not(feature = "docker"))]
pub(crate) use absent::start;

pub(crate) use spec::ContainerSpec;
