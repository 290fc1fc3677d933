use std::convert::Infallible;
use std::fmt;
use std::future::{Ready, ready};
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use tower_service::Service;

use super::recorder::TextRecorder;

/// Answers a scrape with the text format; other methods than GET and HEAD with 405.
///
/// In axum: `Router::new().route_service("/metrics", metrics.service())`.
///
/// ```
/// use bilten_monitor::prometheus::{Exporter, Options};
/// use http::Request;
/// use tower::ServiceExt;
///
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// let metrics = Exporter::local(Options::default())?;
/// let answer = metrics.service().oneshot(Request::get("/metrics").body(()).unwrap()).await.unwrap();
/// assert_eq!(answer.status(), 200);
/// # Ok::<(), bilten_monitor::Error>(()) }).unwrap();
/// ```
#[derive(Clone)]
pub struct MetricsService(Arc<TextRecorder>);

impl MetricsService {
    pub(super) const fn new(handle: Arc<TextRecorder>) -> Self {
        Self(handle)
    }

    fn answer(&self, method: &Method) -> Response<Full<Bytes>> {
        let body = match *method {
            Method::GET => Full::from(self.0.render()),
            Method::HEAD => Full::default(),
            _ => return refused(),
        };
        let mut response = Response::new(body);
        let headers = response.headers_mut();
        headers.insert(
            CONTENT_TYPE,
            HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8"),
        );
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        response
    }
}

fn refused() -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
    response
        .headers_mut()
        .insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
    response
}

impl<B> Service<Request<B>> for MetricsService {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        ready(Ok(self.answer(request.method())))
    }
}

impl fmt::Debug for MetricsService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MetricsService").finish_non_exhaustive()
    }
}
