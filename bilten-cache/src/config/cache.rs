use serde::Deserialize;

use super::human::{Size, Span};
use crate::CacheBuilder;
use crate::error::Error;

/// What a configuration says about a cache; the settings have the names of the setters of [`CacheBuilder`], but `memory` is a size.
///
/// ```
/// use bilten_cache::config::CacheSettings;
///
/// let text = r#"{ "memory": "256MiB", "isolated_ttl": "5s", "read_only": true }"#;
/// let settings: CacheSettings = serde_json::from_str(text)?;
/// # let _ = settings;
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(try_from = "Said")]
pub struct CacheSettings {
    said: Said,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Said {
    memory: Option<Size>,
    #[cfg(feature = "quick-cache")]
    clock_pro: Option<bool>,
    remote_budget: Option<Span>,
    remote_concurrency: Option<usize>,
    isolated_ttl: Option<Span>,
    source_lag: Option<Span>,
    max_concurrent_loads: Option<usize>,
    read_only: Option<bool>,
}

impl TryFrom<Said> for CacheSettings {
    type Error = Error;

    fn try_from(said: Said) -> Result<Self, Error> {
        let settings = Self { said };
        CacheBuilder::of("settings").settings(&settings).check()?;
        Ok(settings)
    }
}

impl CacheBuilder {
    /// Takes what a configuration says; what it does not say stays.
    pub fn settings(mut self, settings: &CacheSettings) -> Self {
        // All of them, or the compiler says which one was forgotten.
        let Said {
            memory,
            #[cfg(feature = "quick-cache")]
            clock_pro,
            remote_budget,
            remote_concurrency,
            isolated_ttl,
            source_lag,
            max_concurrent_loads,
            read_only,
        } = settings.said;
        if let Some(Size(bytes)) = memory {
            self = self.memory_bytes(bytes);
        }
        #[cfg(feature = "quick-cache")]
        if clock_pro == Some(true) {
            self = self.clock_pro();
        }
        if let Some(Span(budget)) = remote_budget {
            self = self.remote_budget(budget);
        }
        if let Some(calls) = remote_concurrency {
            self = self.remote_concurrency(calls);
        }
        if let Some(Span(limit)) = isolated_ttl {
            self = self.isolated_ttl(limit);
        }
        if let Some(Span(longest)) = source_lag {
            self = self.source_lag(longest);
        }
        if let Some(loads) = max_concurrent_loads {
            self = self.max_concurrent_loads(loads);
        }
        if read_only == Some(true) {
            self = self.read_only();
        }
        self
    }
}
