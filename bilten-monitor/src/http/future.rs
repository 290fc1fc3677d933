use std::fmt;
use std::future::Future;
use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http::Response;
use pin_project_lite::pin_project;

use super::body::TimedBody;
use super::exchange::{Exchange, Unwinding};
use super::unmeasured::Unmeasured;
use crate::outcome::{Outcome, short_type_name};

pin_project! {
    /// The response to a timed request, up to its head. Dropping it counts the request as cancelled.
    ///
    /// Made by [`TimedService`](super::TimedService); [`HttpLayer`](super::HttpLayer) has an example.
    pub struct TimedResponse<F> {
        #[pin]
        future: F,
        exchange: Option<Exchange>,
    }
}

impl<F> TimedResponse<F> {
    pub(super) const fn new(future: F, exchange: Option<Exchange>) -> Self {
        Self { future, exchange }
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
        let unwinding = Unwinding(this.exchange);
        let entered = unwinding.0.as_mut().map(Exchange::enter);
        let polled = this.future.poll(cx);
        drop(entered);
        mem::forget(unwinding);
        let result = ready!(polled);
        let exchange = this.exchange.take();
        Poll::Ready(match result {
            Ok(response) => Ok(answered(response, exchange)),
            Err(error) => {
                if let Some(exchange) = exchange {
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
    let (head, body) = response.into_parts();
    let mut open = None;
    if let Some(mut exchange) = exchange {
        if head.extensions.get::<Unmeasured>().is_some() {
            exchange.forget();
            return Response::from_parts(head, TimedBody::unmeasured(body));
        }
        exchange.head(head.status);
        if exchange.is_bodiless() || body.is_end_stream() {
            exchange.complete();
        } else {
            open = Some(exchange);
        }
    }
    let body = TimedBody::new(body, &head.headers, open);
    Response::from_parts(head, body)
}

impl<F> fmt::Debug for TimedResponse<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TimedResponse")
            .field("exchange", &self.exchange)
            .finish_non_exhaustive()
    }
}
