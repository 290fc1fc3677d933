//! The same requests and the same queries through bilten-monitor and what people would pick instead.
//!
//! `cargo xtask bench http-peers` measures times and then, in a program of its own, counts allocations: an allocator
//! that counts makes those slower that allocate.

mod contender;
mod queries;
mod requests;

pub use contender::{Contender, OURS};

/// A piece of work, and everybody who does it.
#[derive(Debug)]
#[expect(clippy::exhaustive_structs, reason = "a benchmark's own")]
pub struct Field {
    /// What the work is.
    pub title: &'static str,
    /// The place of the one to which the others add something.
    pub base: usize,
    /// Everybody.
    pub contenders: Vec<Contender>,
}

/// Every piece of work.
#[must_use]
pub fn fields() -> [Field; 3] {
    let layers = requests::Layers::new();
    [
        Field {
            title: "One request of a plain tower service",
            base: 0,
            contenders: layers.around_a_function(),
        },
        Field {
            title: "One request of an axum service",
            base: 1,
            contenders: layers.around_axum(),
        },
        Field {
            title: "One query",
            base: 0,
            contenders: queries::contenders(),
        },
    ]
}
