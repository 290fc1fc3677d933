use std::fmt;
use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Buf;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use super::exchange::{Exchange, Unwinding, declared_length};
use crate::outcome::Outcome;

pin_project! {
    /// A response body that ends its request's timing with its last byte.
    ///
    /// Made by [`TimedService`](super::TimedService); [`HttpLayer`](super::HttpLayer) has an example. Dropping
    /// it before the end counts the request as cancelled, with the status and the bytes it had.
    pub struct TimedBody<B> {
        #[pin]
        body: B,
        exchange: Option<Exchange>,
        remaining: Option<u64>,
    }
}

impl<B: Body> TimedBody<B> {
    pub(super) fn new(body: B, headers: &HeaderMap, exchange: Option<Exchange>) -> Self {
        let remaining = declared_length(headers).or_else(|| body.size_hint().exact());
        Self {
            body,
            exchange,
            remaining,
        }
    }
}

impl<B> TimedBody<B> {
    pub(super) const fn unmeasured(body: B) -> Self {
        Self {
            body,
            exchange: None,
            remaining: None,
        }
    }
}

impl<B: Body> Body for TimedBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let mut this = self.project();
        let unwinding = Unwinding(this.exchange);
        let entered = unwinding.0.as_mut().map(Exchange::enter);
        let polled = this.body.as_mut().poll_frame(cx);
        drop(entered);
        mem::forget(unwinding);
        let frame = ready!(polled);
        if let Some(exchange) = this.exchange.take() {
            *this.exchange = after(exchange, &frame, this.remaining, this.body.is_end_stream());
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Counts a frame, and ends the exchange when it was the last.
///
/// A server stops polling once the declared length is written, so the end of the stream is seldom seen.
fn after<D: Buf, E>(
    mut exchange: Exchange,
    frame: &Option<Result<Frame<D>, E>>,
    remaining: &mut Option<u64>,
    at_end: bool,
) -> Option<Exchange> {
    let whole = match frame {
        None => true,
        Some(Err(_)) => {
            exchange.end(Outcome::Error("body"));
            return None;
        }
        Some(Ok(frame)) => {
            let length = frame.data_ref().map_or(0, |data| data.remaining() as u64);
            exchange.sent(length);
            *remaining = remaining.map(|left| left.saturating_sub(length));
            at_end || *remaining == Some(0) || frame.is_trailers()
        }
    };
    if whole {
        exchange.complete();
        return None;
    }
    Some(exchange)
}

impl<B> fmt::Debug for TimedBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TimedBody")
            .field("exchange", &self.exchange)
            .finish_non_exhaustive()
    }
}
