use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::{HeaderMap, Request, Response};
use tokio::time::timeout;
use tower_service::Service;

use super::layer::{RequestSession, SessionLayer};
use crate::{Session, Token};

/// A response is not held up longer than this for its token.
const TOKEN_LIMIT: Duration = Duration::from_secs(1);

/// Gives each request a session. Made by [`SessionLayer`].
#[derive(Debug, Clone)]
pub struct SessionService<S> {
    inner: S,
    layer: SessionLayer,
}

impl<S> SessionService<S> {
    pub(super) fn new(inner: S, layer: SessionLayer) -> Self {
        Self { inner, layer }
    }
}

impl<S, B, R> Service<Request<B>> for SessionService<S>
where
    S: Service<Request<B>, Response = Response<R>>,
    S::Future: Send + 'static,
    S::Error: 'static,
    R: Send + 'static,
{
    type Response = Response<R>;
    type Error = S::Error;
    type Future = SessionFuture<Response<R>, S::Error>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let layer = self.layer.clone();
        let sealed = layer.vehicle.read(request.headers());
        let session = Arc::new(layer.cluster.session_sealed(sealed, &layer.key));
        request
            .extensions_mut()
            .insert(RequestSession(Arc::clone(&session)));
        let response = self.inner.call(request);
        SessionFuture(Box::pin(async move {
            let mut response = response.await?;
            if session.wrote() {
                layer.mark(&session, response.headers_mut()).await;
            }
            Ok(response)
        }))
    }
}

impl SessionLayer {
    async fn mark(&self, session: &Session, headers: &mut HeaderMap) {
        let token = match timeout(TOKEN_LIMIT, session.token()).await {
            Ok(Ok(Some(token))) => token,
            // The writes are there, but how far is not known: until the token is too old, the primary answers.
            _ => Token::nowhere(),
        };
        if let Some((name, value)) = self.carry(&token.seal(&self.key)) {
            headers.append(name, value);
        }
    }
}

type Boxed<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// The response, with its token.
pub struct SessionFuture<R, E>(Boxed<Result<R, E>>);

impl<R, E> Future for SessionFuture<R, E> {
    type Output = Result<R, E>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.as_mut().poll(cx)
    }
}

impl<R, E> fmt::Debug for SessionFuture<R, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionFuture").finish_non_exhaustive()
    }
}
