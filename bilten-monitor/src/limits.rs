//! Thresholds above which an operation is slow.

use std::collections::HashMap;
use std::time::Duration;

use crate::nanos::nanos;
use crate::repeats::Rule;

/// Thresholds in nanoseconds; the largest value means never.
#[derive(Clone, Debug)]
pub(crate) struct Limits {
    pub(crate) query: Option<Duration>,
    pub(crate) request: Option<Duration>,
    pub(crate) queries: HashMap<&'static str, Duration>,
    pub(crate) routes: HashMap<&'static str, Duration>,
    pub(crate) n_plus_one: Option<Rule>,
    /// Of these queries one in so many is measured.
    pub(crate) sampled: HashMap<&'static str, u32>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            query: Some(Duration::from_millis(100)),
            request: Some(Duration::from_secs(1)),
            queries: HashMap::new(),
            routes: HashMap::new(),
            n_plus_one: None,
            sampled: HashMap::new(),
        }
    }
}

impl Limits {
    pub(crate) fn query_nanos(&self, name: &str) -> u64 {
        self.queries
            .get(name)
            .copied()
            .or(self.query)
            .map_or(u64::MAX, nanos)
    }

    /// Whether something was said of this query.
    pub(crate) fn knows(&self, query: &str) -> bool {
        self.queries.contains_key(query) || self.sampled.contains_key(query)
    }

    /// Queries of which something was said, at most.
    pub(crate) fn known(&self) -> usize {
        self.queries.len() + self.sampled.len()
    }

    pub(crate) fn one_in(&self, name: &str) -> u32 {
        self.sampled.get(name).copied().unwrap_or(1)
    }

    #[cfg_attr(
        not(feature = "http"),
        expect(dead_code, reason = "only the HTTP layer has routes")
    )]
    pub(crate) fn request_nanos(&self, route: &str) -> u64 {
        self.routes
            .get(route)
            .copied()
            .or(self.request)
            .map_or(u64::MAX, nanos)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_of_its_own_comes_before_the_general_threshold() {
        let mut limits = Limits::default();
        limits.queries.insert("report", Duration::from_secs(5));
        assert_eq!(limits.query_nanos("report"), 5_000_000_000);
        assert_eq!(limits.query_nanos("other"), 100_000_000);
        limits.query = None;
        assert_eq!(limits.query_nanos("other"), u64::MAX);
    }
}
