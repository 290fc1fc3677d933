#![doc = include_str!("probes.md")]

mod accept;
mod answer;
mod authorise;
mod count;
mod facts;
mod page;

use crate::group::Group;
use crate::health::Health;
use answer::answer;
use authorise::Authorise;
use axum::Router;
use axum::extract::rejection::RawPathParamsRejection;
use axum::extract::{RawPathParams, Request};
use axum::http::request::Parts;
use axum::routing::any;
use std::sync::Arc;

/// `/livez`, `/readyz`, `/startupz`, `/healthz` and `/healthz/GROUP`, to be merged into a router. A slash at the end changes nothing.
///
/// 200 when healthy, 503 when not; GET and HEAD only; never to be stored by a cache. The body says `healthy`, `status` and `timestamp`
/// and nothing about the checks, unless [`details_for`](Self::details_for) says yes. The format follows `Accept`: JSON,
/// `application/health+json`, plain text, or a page for people (`text/html`, which is what a browser asks for).
///
/// ```
/// use axum::Router;
/// use bilten_health::{Health, check};
///
/// # async fn run() -> Result<(), bilten_health::BuildError> {
/// let health = Health::builder().check(check("orders", || async {})).build()?;
/// let app: Router = Router::new().merge(health.routes().details_for(|request| {
///     request.headers.get("authorization").is_some_and(|value| value == "Bearer of-the-operators")
/// }));
/// # let _ = app;
/// # Ok(())
/// # }
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(run()).unwrap();
/// ```
#[derive(Clone)]
#[must_use = "merge it into a router"]
pub struct Routes {
    health: Health,
    authorise: Authorise,
}

impl Health {
    /// The endpoints, for [`Router::merge`].
    pub fn routes(&self) -> Routes {
        Routes {
            health: self.clone(),
            authorise: Authorise::Nobody,
        }
    }
}

impl Routes {
    /// Who may see names, errors and details. By default nobody. A panic counts as no; the status is the same for all.
    ///
    /// It is called before each answer and must not block; [`details_for_async`](Self::details_for_async) may ask somebody.
    pub fn details_for(
        mut self,
        authorise: impl Fn(&Parts) -> bool + Send + Sync + 'static,
    ) -> Self {
        self.authorise = Authorise::Now(Arc::new(authorise));
        self
    }

    /// The same for an authoriser that has to ask somebody, a session store for instance. It runs beside the checks in a task of
    /// its own; a panic counts as no, and so does no answer within the set's deadline. An answer that a shutdown makes 503 waits for nobody.
    ///
    /// Everyone who can reach the endpoint starts it, so let it look at the request before it asks anybody.
    ///
    /// ```
    /// # async fn is_operator(session: &str) -> bool { session == "4711" }
    /// # let health = bilten_health::Health::builder().build().unwrap();
    /// let routes = health.routes().details_for_async(|request| async move {
    ///     let session = request.headers.get("x-session").and_then(|value| value.to_str().ok());
    ///     match session {
    ///         Some(session) => is_operator(session).await,
    ///         None => false,
    ///     }
    /// });
    /// # let _ = routes;
    /// ```
    pub fn details_for_async<F>(
        mut self,
        authorise: impl Fn(Parts) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = bool> + Send + 'static,
    {
        self.authorise = Authorise::Later(Arc::new(move |parts| Box::pin(authorise(parts))));
        self
    }

    /// The router itself, for any state.
    pub fn into_router<S: Clone + Send + Sync + 'static>(self) -> Router<S> {
        let fixed = [
            ("/livez", Group::Liveness),
            ("/readyz", Group::Readiness),
            ("/startupz", Group::Startup),
            ("/healthz", Group::All),
        ];
        let mut router = Router::new();
        for (path, group) in fixed {
            let Self { health, authorise } = self.clone();
            let handler = move |request: Request| {
                answer(health.clone(), authorise.clone(), Some(group), request)
            };
            // Some write a slash at the end; without a route of its own it would be the application's 404.
            let with_slash = format!("{path}/");
            router = router.route(path, any(handler.clone()));
            router = router.route(&with_slash, any(handler));
        }
        let Self { health, authorise } = self;
        // A name that is no text is the name of no group: axum's own answer would lack our headers.
        type Parameters = Result<RawPathParams, RawPathParamsRejection>;
        let named = move |parameters: Parameters, request: Request| {
            let registry = &health.runner.registry;
            // Ours is the last one: the router may be nested behind others.
            let parameters = parameters.ok();
            let name = parameters
                .as_ref()
                .and_then(|parameters| parameters.iter().last());
            let group = name.and_then(|(_, name)| registry.group_named(name));
            answer(health.clone(), authorise.clone(), group, request)
        };
        let router = router.route("/healthz/{group}", any(named.clone()));
        router.route("/healthz/{group}/", any(named))
    }
}

impl<S: Clone + Send + Sync + 'static> From<Routes> for Router<S> {
    fn from(routes: Routes) -> Self {
        routes.into_router()
    }
}

impl std::fmt::Debug for Routes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Routes")
            .field("details", &!matches!(self.authorise, Authorise::Nobody))
            .finish_non_exhaustive()
    }
}
