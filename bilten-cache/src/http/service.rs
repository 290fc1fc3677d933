use std::fmt;
use std::mem;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use tower_service::Service;

use super::body::CachedBody;
use super::exchange;
use super::shared::Shared;
use crate::error::BoxError;

/// A service whose responses are kept. Made by [`HttpCache`](super::HttpCache), which has an example.
///
/// It is always ready: the service inside is asked when the store has no answer, so what is stored is served however busy it is.
#[derive(Clone)]
pub struct CachedService<S> {
    inner: S,
    shared: Arc<Shared>,
}

impl<S> CachedService<S> {
    pub(super) fn new(inner: S, shared: Arc<Shared>) -> Self {
        Self { inner, shared }
    }
}

impl<S, Q, B> Service<Request<Q>> for CachedService<S>
where
    S: Service<Request<Q>, Response = Response<B>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Send + 'static,
    Q: Send + 'static,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError> + Send,
{
    type Response = Response<CachedBody<B>>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Q>) -> Self::Future {
        let fresh = self.inner.clone();
        let service = mem::replace(&mut self.inner, fresh);
        Box::pin(exchange::run(Arc::clone(&self.shared), service, request))
    }
}

impl<S> fmt::Debug for CachedService<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CachedService")
            .field("shared", &self.shared)
            .finish_non_exhaustive()
    }
}
