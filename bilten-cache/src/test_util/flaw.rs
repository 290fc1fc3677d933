use crate::CacheBuilder;

impl CacheBuilder {
    /// Plants a bug: loads fill L1 whatever was invalidated since they began. A test that looks for stale reads must fail
    /// with it, or it would not find them.
    pub fn without_tickets(mut self) -> Self {
        self.tickets.ignored = true;
        self
    }
}
