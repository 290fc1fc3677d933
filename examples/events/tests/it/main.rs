//! x
mod indexes;
