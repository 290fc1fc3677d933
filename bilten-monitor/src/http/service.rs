use std::mem;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::{Request, Response};
use tower_service::Service;

use super::body::TimedBody;
use super::exchange::{Exchange, Unwinding};
use super::future::TimedResponse;
use super::shared::Shared;

/// A service whose requests are timed. Made by [`HttpLayer`](super::HttpLayer), which has an example.
#[derive(Clone, Debug)]
pub struct TimedService<S> {
    inner: S,
    shared: Arc<Shared>,
}

impl<S> TimedService<S> {
    pub(super) const fn new(inner: S, shared: Arc<Shared>) -> Self {
        Self { inner, shared }
    }
}

impl<S, ReqBody, ResBody> Service<Request<ReqBody>> for TimedService<S>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>>,
    ResBody: http_body::Body,
{
    type Response = Response<TimedBody<ResBody>>;
    type Error = S::Error;
    type Future = TimedResponse<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<ReqBody>) -> Self::Future {
        // Before the inner call: a handler may panic before there is a future.
        let is_timed = !self.shared.is_timed_already() && !self.shared.is_excluded(request.uri());
        let mut exchange = is_timed.then(|| Exchange::begin(&self.shared, &request));
        let unwinding = Unwinding(&mut exchange);
        let entered = Exchange::enter(unwinding.0);
        // Made where it stays: a request is large, and a closure or a second place would be a copy of it.
        let mut response = TimedResponse::new(self.inner.call(request));
        Exchange::leave(entered);
        mem::forget(unwinding);
        response.watch(exchange);
        response
    }
}
