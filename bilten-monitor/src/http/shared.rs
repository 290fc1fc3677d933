//! What every request of one service has in common.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
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
    told_of_panic: AtomicBool,
    routes: Arc<Routes>,
    excluded: Vec<&'static str>,
    /// What [`letter`] says of each of them.
    letters: u64,
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
            told_of_panic: AtomicBool::new(false),
            routes,
            letters: excluded.iter().fold(0, |all, path| all | letter(path)),
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
        letter(path) & self.letters != 0
            && self
                .excluded
                .iter()
                .any(|excluded| is_at_or_below(path, excluded))
    }

    pub(super) fn route(&self, uri: &Uri, extensions: &Extensions) -> &Arc<Route> {
        let route_of = self.route_of.as_ref();
        route_of
            .and_then(|route_of| self.asked(route_of, uri))
            // A label without a value is none.
            .filter(|name| !name.is_empty())
            .or_else(|| pattern::matched(extensions))
            .map_or_else(|| self.routes.unmatched(), |name| self.routes.named(name))
    }

    /// What the program's closure says. A panic of it is no matter of the request, which would go uncounted.
    fn asked(&self, route_of: &Arc<RouteOf>, uri: &Uri) -> Option<&'static str> {
        catch_unwind(AssertUnwindSafe(|| route_of(uri))).unwrap_or_else(|_| {
            if !self.told_of_panic.swap(true, Ordering::Relaxed) {
                tracing::error!(
                    target: "bilten_monitor",
                    "the closure given to HttpLayer::route panicked: such a request counts as if it had named no route",
                );
            }
            None
        })
    }
}

/// A bit for the letter after a path's slash, and all of them where there is none: almost no path shares it with an
/// excluded one, and one look tells.
fn letter(path: &str) -> u64 {
    let second = path.as_bytes().get(1);
    second.map_or(u64::MAX, |letter| 1 << (letter % 64))
}

fn is_at_or_below(path: &str, excluded: &str) -> bool {
    path.strip_prefix(excluded)
        .is_some_and(|below| below.is_empty() || below.starts_with('/'))
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared")
            .field("routes", &self.routes)
            .finish_non_exhaustive()
    }
}
