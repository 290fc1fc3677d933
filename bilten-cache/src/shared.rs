use std::fmt;
use std::sync::Arc;

use tokio::task::AbortHandle;

use crate::engine::Engine;
use crate::registry::Registry;

/// What the handles of a cache and of its regions keep alive. The cache's own tasks end with it.
pub(crate) struct Shared {
    pub(crate) engine: Arc<Engine>,
    pub(crate) regions: Registry,
    pub(crate) tasks: Vec<AbortHandle>,
}

impl Drop for Shared {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared")
            .field("name", &self.engine.name)
            .finish_non_exhaustive()
    }
}
