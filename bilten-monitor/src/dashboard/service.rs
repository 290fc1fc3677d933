use std::convert::Infallible;
use std::future::{Ready, ready};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{ALLOW, RETRY_AFTER};
use http::request::Parts;
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use tower_service::Service;

use super::page::{PAGE, SCRIPT, STYLE, headers};
use super::stream::events;
use super::{Authorise, Dashboard};
use crate::http::Unmeasured;

/// What every answer's body is.
type Body = UnsyncBoxBody<Bytes, Infallible>;

const TEXT: &str = "text/plain; charset=utf-8";

impl<B> Service<Request<B>> for Dashboard {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let (parts, _) = request.into_parts();
        let mut response = self.answer(&parts);
        // Whoever watches is not to be watched: a page open for an hour is no slow request.
        response.extensions_mut().insert(Unmeasured);
        ready(Ok(response))
    }
}

impl Dashboard {
    /// One address has it all: what is wanted stands after the question mark, so it works wherever it is mounted.
    fn answer(&self, parts: &Parts) -> Response<Body> {
        let head_only = match parts.method {
            Method::GET => false,
            Method::HEAD => true,
            _ => return refused(),
        };
        let mut response = match parts.uri.query() {
            Some("style") => text("text/css; charset=utf-8", STYLE),
            Some("script") => text("text/javascript; charset=utf-8", SCRIPT),
            Some("json") => {
                let (_, text) = self.live.full(&self.title, self.may_see_details(parts));
                answer("application/json", Full::from(text))
            }
            Some("live") if head_only => text("text/event-stream", ""),
            Some("live") => self.stream(parts),
            _ => text("text/html; charset=utf-8", PAGE),
        };
        if head_only {
            *response.body_mut() = Full::default().boxed_unsync();
        }
        response
    }

    fn stream(&self, parts: &Parts) -> Response<Body> {
        let Some(seat) = self.live.seat(self.listeners) else {
            let mut full = text(TEXT, "too many pages are open, or the service ends\n");
            *full.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
            full.headers_mut()
                .insert(RETRY_AFTER, HeaderValue::from_static("5"));
            return full;
        };
        let events = events(seat, Arc::clone(&self.title), self.may_see_details(parts));
        let mut response = Response::new(StreamBody::new(events).boxed_unsync());
        *response.headers_mut() = headers("text/event-stream");
        // Some proxies hold a response back until it is whole, unless they are told.
        response
            .headers_mut()
            .insert("x-accel-buffering", HeaderValue::from_static("no"));
        response
    }

    fn may_see_details(&self, parts: &Parts) -> bool {
        self.authorise
            .as_ref()
            .is_some_and(|authorise| allows(authorise, parts))
    }
}

/// An authoriser that panics has not said yes.
fn allows(authorise: &Authorise, parts: &Parts) -> bool {
    catch_unwind(AssertUnwindSafe(|| authorise(parts))).unwrap_or_else(|_| {
        tracing::error!(target: "bilten_monitor", "the dashboard's authoriser panicked; the page has no details");
        false
    })
}

fn text(content_type: &'static str, text: &'static str) -> Response<Body> {
    answer(content_type, Full::from(text))
}

fn answer(content_type: &'static str, body: Full<Bytes>) -> Response<Body> {
    let mut response = Response::new(body.boxed_unsync());
    *response.headers_mut() = headers(content_type);
    response
}

fn refused() -> Response<Body> {
    let mut response = text(TEXT, "only GET and HEAD\n");
    *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
    response
        .headers_mut()
        .insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
    response
}
