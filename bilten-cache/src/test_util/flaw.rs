use crate::CacheBuilder;

impl CacheBuilder {
    /// Plants a bug: loads fill L1 whatever was invalidated since they began. A test that looks for stale reads must fail
    /// with it, or it would not find them.
    pub fn without_tickets(mut self) -> Self {
        self.tickets.ignored = true;
        self
    }

    /// Plants a bug: what was said about single keys is forgotten at once, so that a value of the second level is trusted although it was
    /// removed since. What brings such a value back shows only then.
    pub fn without_memory_of_changes(mut self) -> Self {
        self.forgets_changes = true;
        self
    }

    /// Behaves as if many calls were under way at any time: each read of the second level goes with others, where that
    /// [is offered](crate::remote::Remote::reads_together).
    pub fn crowded(mut self) -> Self {
        self.limits.crowd = 8;
        self
    }
}
