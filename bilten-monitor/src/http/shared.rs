//! What every request of one service has in common.

use std::fmt;
use std::sync::{Arc, Weak};

use http::{Extensions, Uri};

use super::route::{Route, Routes};
use super::{method, pattern};
use crate::hub::Hub;
use crate::in_flight::InFlight;
use crate::names::{REQUESTS_ACTIVE, label};
use crate::slots::Watched;

pub(super) type RouteOf = dyn Fn(&Uri) -> Option<&'static str> + Send + Sync;

/// What all requests of a service share.
pub(super) struct Shared {
    pub(super) hub: Arc<Hub>,
    routes: Arc<Routes>,
    active: Vec<Arc<InFlight>>,
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
        let active = method::LABELS.iter().map(|method| {
            let labels = [
                (label::METHOD, (*method).into()),
                (label::SCHEME, scheme.into()),
            ];
            let make = || InFlight::new(&hub.registry, &REQUESTS_ACTIVE, &labels);
            hub.shared_in_flight(&format!("{} {method}", scheme), make)
        });
        let routes = Arc::new(Routes::new(hub, scheme));
        hub.watch(Arc::downgrade(&routes) as Weak<dyn Watched>);
        Self {
            routes,
            active: active.collect(),
            excluded,
            route_of,
            hub: Arc::clone(hub),
        }
    }

    pub(super) fn is_excluded(&self, uri: &Uri) -> bool {
        self.excluded.iter().any(|excluded| {
            let below = uri.path().strip_prefix(excluded);
            below.is_some_and(|below| below.is_empty() || below.starts_with('/'))
        })
    }

    pub(super) fn active(&self, method: u8) -> &InFlight {
        let last = self.active.len() - 1;
        &self.active[usize::from(method).min(last)]
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
