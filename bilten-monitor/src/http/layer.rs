use std::fmt;
use std::sync::{Arc, OnceLock};

use http::Uri;
use tower_layer::Layer;

use super::service::TimedService;
use super::shared::{RouteOf, Shared};
use crate::hub::Hub;
use crate::monitor::Monitor;

/// Paths that probes and scrapers ask for; they would drown what users do.
const PROBES: [&str; 5] = ["/metrics", "/livez", "/readyz", "/startupz", "/healthz"];

impl Monitor {
    /// A tower layer that times every request until the last byte of its response.
    ///
    /// In axum add it with `Router::layer`, after the routes: so it sees their patterns (feature `axum`).
    /// `/metrics`, `/livez`, `/readyz`, `/startupz`, `/healthz` and what is below them are left out.
    ///
    /// A request is counted once, by the outermost layer of a monitor that it passes, whatever other monitors' layers
    /// lie between: one that a handler sends on to another service of the same monitor, within its own task, is a part
    /// of the first. The log tells so once. The route is the one that the outermost layer sees: one around the whole
    /// router (or in front of it) sees no pattern, and counts as `unmatched` what a layer further in would have named.
    #[must_use]
    pub fn http(&self) -> HttpLayer {
        HttpLayer {
            hub: Arc::clone(&self.inner().hub),
            excluded: PROBES.to_vec(),
            route_of: None,
            scheme: "http",
            shared: Arc::default(),
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
    /// What all services made by this layer measure with. axum makes one for each route, and for a route that is
    /// still a handler one for each connection: its numbers must outlive them.
    shared: Arc<OnceLock<Arc<Shared>>>,
}

impl HttpLayer {
    /// Paths that are not measured, in place of the probes' paths, and neither is what is below them. Compared without the query; a `/` at a
    /// path's end says nothing.
    #[must_use]
    pub fn exclude(mut self, paths: impl IntoIterator<Item = &'static str>) -> Self {
        self.excluded = paths.into_iter().map(without_end).collect();
        self.shared = Arc::default();
        self
    }

    /// Names the route. `None` and an empty name leave it to the router's pattern, and count as `unmatched` where there is none; so
    /// does a panic, which the request does not see and the log tells once.
    ///
    /// A route is a constant of the program; a raw path cannot be given.
    #[must_use]
    pub fn route(
        mut self,
        route_of: impl Fn(&Uri) -> Option<&'static str> + Send + Sync + 'static,
    ) -> Self {
        self.route_of = Some(Arc::new(route_of));
        self.shared = Arc::default();
        self
    }

    /// The value of the label `url.scheme`. Defaults to `http`.
    #[must_use]
    pub fn scheme(mut self, scheme: &'static str) -> Self {
        self.scheme = scheme;
        self.shared = Arc::default();
        self
    }
}

/// What is below `/internal/` is what is below `/internal`.
fn without_end(path: &'static str) -> &'static str {
    let end = path.trim_end_matches('/');
    if end.is_empty() { path } else { end }
}

impl<S> Layer<S> for HttpLayer {
    type Service = TimedService<S>;

    fn layer(&self, inner: S) -> TimedService<S> {
        let shared = self.shared.get_or_init(|| {
            let (excluded, route_of) = (self.excluded.clone(), self.route_of.clone());
            Arc::new(Shared::new(&self.hub, self.scheme, excluded, route_of))
        });
        TimedService::new(inner, Arc::clone(shared))
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
