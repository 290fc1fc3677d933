use std::fmt;
use std::sync::{Arc, Weak};

use http::{Extensions, Uri};
use tower_layer::Layer;

use super::route::{Route, Routes};
use super::service::TimedService;
use super::{method, pattern};
use crate::hub::Hub;
use crate::in_flight::InFlight;
use crate::monitor::Monitor;
use crate::names::{REQUESTS_ACTIVE, label};
use crate::slots::Watched;

/// Paths that probes and scrapers ask for; they would drown what users do.
const PROBES: [&str; 5] = ["/metrics", "/livez", "/readyz", "/startupz", "/healthz"];

type RouteOf = dyn Fn(&Uri) -> Option<&'static str> + Send + Sync;

impl Monitor {
    /// A tower layer that times every request until the last byte of its response.
    ///
    /// In axum add it with `Router::layer`, after the routes: so it sees their patterns (feature `axum`).
    /// `/metrics`, `/livez`, `/readyz`, `/startupz`, `/healthz` and what is below them are left out.
    #[must_use]
    pub fn http(&self) -> HttpLayer {
        HttpLayer {
            hub: Arc::clone(&self.inner().hub),
            excluded: PROBES.to_vec(),
            route_of: None,
            scheme: "http",
        }
    }
}

/// Times requests. Made by [`Monitor::http`]; works with any service on `http` 1.
///
/// ```
/// use bilten_monitor::Monitor;
/// use http::{Request, Response};
/// use http_body_util::Empty;
/// use tower::{ServiceBuilder, ServiceExt, service_fn};
///
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// let monitor = Monitor::builder().build()?;
/// let service = ServiceBuilder::new()
///     .layer(monitor.http().route(|uri| (uri.path() == "/events").then_some("/events")))
///     .service(service_fn(|_: Request<()>| async {
///         Ok::<_, std::io::Error>(Response::new(Empty::<bytes::Bytes>::new()))
///     }));
/// let response = service.oneshot(Request::get("/events").body(()).unwrap()).await;
/// assert!(response.is_ok_and(|response| response.status() == 200));
/// # Ok::<(), bilten_monitor::Error>(()) }).unwrap();
/// ```
#[derive(Clone)]
pub struct HttpLayer {
    hub: Arc<Hub>,
    excluded: Vec<&'static str>,
    route_of: Option<Arc<RouteOf>>,
    scheme: &'static str,
}

impl HttpLayer {
    /// Paths that are not measured, in place of the probes' paths, and neither is what is below them. Compared without the query.
    #[must_use]
    pub fn exclude(mut self, paths: impl IntoIterator<Item = &'static str>) -> Self {
        self.excluded = paths.into_iter().collect();
        self
    }

    /// Names the route where no router left a pattern. `None` counts as `unmatched`.
    ///
    /// A route is a constant of the program; a raw path cannot be given.
    #[must_use]
    pub fn route(
        mut self,
        route_of: impl Fn(&Uri) -> Option<&'static str> + Send + Sync + 'static,
    ) -> Self {
        self.route_of = Some(Arc::new(route_of));
        self
    }

    /// The value of the label `url.scheme`. Defaults to `http`.
    #[must_use]
    pub const fn scheme(mut self, scheme: &'static str) -> Self {
        self.scheme = scheme;
        self
    }
}

impl<S> Layer<S> for HttpLayer {
    type Service = TimedService<S>;

    fn layer(&self, inner: S) -> TimedService<S> {
        TimedService::new(inner, Arc::new(Shared::new(self)))
    }
}

impl fmt::Debug for HttpLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpLayer")
            .field("excluded", &self.excluded)
            .field("scheme", &self.scheme)
            .finish_non_exhaustive()
    }
}

/// What all requests of a service share.
pub(super) struct Shared {
    pub(super) hub: Arc<Hub>,
    routes: Arc<Routes>,
    active: Vec<Arc<InFlight>>,
    excluded: Vec<&'static str>,
    route_of: Option<Arc<RouteOf>>,
}

impl Shared {
    fn new(layer: &HttpLayer) -> Self {
        let hub = &layer.hub;
        let active = method::LABELS.iter().map(|method| {
            let labels = [
                (label::METHOD, (*method).into()),
                (label::SCHEME, layer.scheme.into()),
            ];
            let make = || InFlight::new(&hub.registry, &REQUESTS_ACTIVE, &labels);
            hub.shared_in_flight(&format!("{} {method}", layer.scheme), make)
        });
        let routes = Arc::new(Routes::new(hub, layer.scheme));
        hub.watch(Arc::downgrade(&routes) as Weak<dyn Watched>);
        Self {
            routes,
            active: active.collect(),
            excluded: layer.excluded.clone(),
            route_of: layer.route_of.clone(),
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
