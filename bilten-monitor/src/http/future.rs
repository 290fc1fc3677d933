use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http::Response;
use pin_project_lite::pin_project;

use super::body::{SHORT, TimedBody};
use super::exchange::{Exchange, declared_length};
use super::unmeasured::Unmeasured;
use crate::outcome::{Outcome, short_type_name};

pin_project! {
    /// The response to a timed request, up to its head. Dropping it counts the request as cancelled.
    ///
    /// Made by [`TimedService`](super::TimedService); [`HttpLayer`](super::HttpLayer) has an example.
    pub struct TimedResponse<F> {
        // Taken out only to be dropped.
        #[pin]
        future: Option<F>,
        exchange: Option<Exchange>,
    }

    impl<F> PinnedDrop for TimedResponse<F> {
        fn drop(this: Pin<&mut Self>) {
            let mut this = this.project();
            Exchange::cut_off(this.exchange, || this.future.set(None));
        }
    }
}

impl<F> TimedResponse<F> {
    #[inline]
    pub(super) const fn new(future: F) -> Self {
        Self {
            future: Some(future),
            exchange: None,
        }
    }

    /// Times it, before it is pinned.
    #[inline]
    pub(super) fn watch(&mut self, exchange: Option<Exchange>) {
        self.exchange = exchange;
    }
}

impl<F, B, E> Future for TimedResponse<F>
where
    F: Future<Output = Result<Response<B>, E>>,
    B: http_body::Body,
{
    type Output = Result<Response<TimedBody<B>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let Some(future) = this.future.as_pin_mut() else {
            return Poll::Pending;
        };
        let polled = Exchange::watch(this.exchange, || future.poll(cx));
        let result = ready!(polled);
        let exchange = this.exchange.take();
        Poll::Ready(match result {
            Ok(response) => Ok(answered(response, exchange)),
            Err(error) => {
                if let Some(mut exchange) = exchange {
                    exchange.end(Outcome::Error(short_type_name::<E>()));
                }
                Err(error)
            }
        })
    }
}

/// Records the head, and hands the exchange to the body unless nobody will read it.
fn answered<B: http_body::Body>(
    response: Response<B>,
    exchange: Option<Exchange>,
) -> Response<TimedBody<B>> {
    let Some(mut exchange) = exchange else {
        return response.map(TimedBody::unmeasured);
    };
    if response.extensions().get::<Unmeasured>().is_some() {
        exchange.forget();
        return response.map(TimedBody::unmeasured);
    }
    let now = exchange.head(response.status());
    let remaining = length(&response);
    let is_empty = response.body().is_end_stream();
    if is_empty && remaining.is_some_and(|length| length > 0) && !exchange.is_bodiless() {
        exchange.end_at(now, Outcome::Error(SHORT));
        return response.map(TimedBody::unmeasured);
    }
    // A server asks for no byte of a body that is declared to have none, so its end would never be seen.
    if is_empty || remaining == Some(0) || exchange.is_bodiless() {
        exchange.complete_at(now);
        return response.map(TimedBody::unmeasured);
    }
    response.map(|body| TimedBody::new(body, remaining, exchange))
}

/// The bytes after which a server asks for no more.
fn length<B: http_body::Body>(response: &Response<B>) -> Option<u64> {
    declared_length(response.headers()).or_else(|| response.body().size_hint().exact())
}

impl<F> fmt::Debug for TimedResponse<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TimedResponse")
            .field("exchange", &self.exchange)
            .finish_non_exhaustive()
    }
}
