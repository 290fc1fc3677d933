//! What every request of one service has in common.

use std::fmt;
use std::sync::{Arc, Weak};

use http::{Extensions, Uri};

use super::endpoint::Endpoint;
use super::pattern;
use super::route::{Route, Routes};
use crate::hub::Hub;
use crate::slots::Watched;

pub(super) type RouteOf = dyn Fn(&Uri) -> Option<&'static str> + Send + Sync;

/// What all requests of a service share.
pub(super) struct Shared {
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
            routes,
            excluded,
            route_of,
        }
    }

    pub(super) fn is_excluded(&self, uri: &Uri) -> bool {
        self.excluded.iter().any(|excluded| {
            let below = uri.path().strip_prefix(excluded);
            below.is_some_and(|below| below.is_empty() || below.starts_with('/'))
        })
    }

    pub(super) fn route(&self, uri: &Uri, extensions: &Extensions) -> &Arc<Route> {
        let named = self.route_of.as_ref().and_then(|route_of| route_of(uri));
        named
            .or_else(|| pattern::matched(extensions))
            .map_or_else(|| self.routes.unmatched(), |name| self.routes.named(name))
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared")
            .field("routes", &self.routes)
            .finish_non_exhaustive()
    }
}
