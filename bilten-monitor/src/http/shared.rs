//! What every request of one service has in common.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use http::{Extensions, Uri};

use super::endpoint::Endpoint;
use super::pattern;
use super::route::{Route, Routes};
use crate::context;
use crate::hub::Hub;
use crate::slots::Watched;

pub(super) type RouteOf = dyn Fn(&Uri) -> Option<&'static str> + Send + Sync;

/// What all requests of a service share.
pub(super) struct Shared {
    monitor: usize,
    told: AtomicBool,
    routes: Arc<Routes>,
    excluded: Vec<&'static str>,
    route_of: Option<Arc<RouteOf>>,
}

impl Shared {
    pub(super) fn new(
        hub: &Arc<Hub>,
        scheme: &'static str,
        excluded: Vec<&'static str>,
        route_of: Option<Arc<RouteOf>>,
    ) -> Self {
        let routes = Arc::new(Routes::new(Arc::new(Endpoint::new(hub, scheme))));
        hub.watch(Arc::downgrade(&routes) as Weak<dyn Watched>);
        Self {
            monitor: hub.mark(),
            told: AtomicBool::new(false),
            routes,
            excluded,
            route_of,
        }
    }

    /// Whether the request has passed a layer of the same monitor further out, which counts it.
    pub(super) fn is_timed_already(&self) -> bool {
        let is_timed = context::is_timed_by(self.monitor);
        if is_timed && !self.told.load(Ordering::Relaxed) {
            self.told.store(true, Ordering::Relaxed);
            tracing::warn!(
                target: "bilten_monitor",
                "a request passes two HTTP layers of one monitor: the outer one counts it; leave the inner one out",
            );
        }
        is_timed
    }

    pub(super) fn is_excluded(&self, uri: &Uri) -> bool {
        let path = uri.path();
        self.excluded
            .iter()
            .any(|excluded| is_at_or_below(path, excluded))
    }

    pub(super) fn route(&self, uri: &Uri, extensions: &Extensions) -> &Arc<Route> {
        let named = self.route_of.as_ref().and_then(|route_of| route_of(uri));
        named
            .or_else(|| pattern::matched(extensions))
            .map_or_else(|| self.routes.unmatched(), |name| self.routes.named(name))
    }
}

fn is_at_or_below(path: &str, excluded: &str) -> bool {
    // Almost no path has this one's last letter at its place: one look instead of a comparison.
    let last = excluded.len().wrapping_sub(1);
    let bytes = (path.as_bytes().get(last), excluded.as_bytes().last());
    let is_likely = bytes.0 == bytes.1;
    is_likely
        && path
            .strip_prefix(excluded)
            .is_some_and(|below| below.is_empty() || below.starts_with('/'))
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared")
            .field("routes", &self.routes)
            .finish_non_exhaustive()
    }
}
