/// What each of the others is held against.
pub const OURS: &str = "bilten-monitor";

/// One way of doing the work.
#[expect(clippy::exhaustive_structs, reason = "a benchmark's own")]
pub struct Contender {
    /// What the table calls it.
    pub name: &'static str,
    /// Does the work so many times.
    pub run: Box<dyn FnMut(u32)>,
}

impl std::fmt::Debug for Contender {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Contender").field(&self.name).finish()
    }
}
