use std::sync::Arc;

use tower_layer::Layer;

use super::service::CachedService;
use super::shared::Shared;

/// A tower layer that keeps whole responses. Made by [`Cache::http`](crate::Cache::http).
///
/// Cheap to clone; all services that it makes share one store.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use bilten_cache::Cache;
/// use http::{Request, Response, header::CACHE_CONTROL};
/// use tower::{Layer, ServiceExt, service_fn};
///
/// let cache = Cache::builder("shop").build().await?;
/// let service = cache.http().build()?.layer(service_fn(|_: Request<()>| async {
///     Response::builder().header(CACHE_CONTROL, "max-age=60").body(axum::body::Body::from("expensive"))
/// }));
///
/// let first = service.clone().oneshot(Request::get("/report").body(())?).await?;
/// assert_eq!(first.headers()["cache-status"], "shop; fwd=uri-miss; fwd-status=200; stored");
/// axum::body::to_bytes(axum::body::Body::new(first.into_body()), 1 << 20).await?;
///
/// let second = service.oneshot(Request::get("/report").body(())?).await?;
/// assert_eq!(second.headers()["age"], "0");
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct HttpCache {
    shared: Arc<Shared>,
}

impl HttpCache {
    pub(super) fn new(shared: Shared) -> Self {
        Self {
            shared: Arc::new(shared),
        }
    }
}

impl<S> Layer<S> for HttpCache {
    type Service = CachedService<S>;

    fn layer(&self, inner: S) -> CachedService<S> {
        CachedService::new(inner, Arc::clone(&self.shared))
    }
}
