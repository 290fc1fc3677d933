use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Buf;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use super::exchange::Exchange;
use crate::outcome::Outcome;

pin_project! {
    /// A response body that ends its request's timing with its last byte.
    ///
    /// Made by [`TimedService`](super::TimedService); [`HttpLayer`](super::HttpLayer) has an example. Dropping
    /// it before the end counts the request as cancelled, with the status and the bytes it had. A body that fails is an
    /// error of type `body`, and one that ends before the declared length an error of type `short_body`.
    pub struct TimedBody<B> {
        // Taken out only to be dropped.
        #[pin]
        body: Option<B>,
        exchange: Option<Exchange>,
        // Of a declared length; the largest number without one.
        remaining: u64,
    }

    impl<B> PinnedDrop for TimedBody<B> {
        fn drop(this: Pin<&mut Self>) {
            let mut this = this.project();
            Exchange::cut_off(this.exchange, || this.body.set(None));
        }
    }
}

const UNDECLARED: u64 = u64::MAX;

impl<B> TimedBody<B> {
    pub(super) const fn new(body: B, remaining: Option<u64>, exchange: Exchange) -> Self {
        Self {
            body: Some(body),
            exchange: Some(exchange),
            remaining: match remaining {
                Some(length) => length,
                None => UNDECLARED,
            },
        }
    }

    pub(super) const fn unmeasured(body: B) -> Self {
        Self {
            body: Some(body),
            exchange: None,
            remaining: UNDECLARED,
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
        let this = self.project();
        let Some(mut body) = this.body.as_pin_mut() else {
            return Poll::Ready(None);
        };
        let polled = Exchange::watch(this.exchange, || body.as_mut().poll_frame(cx));
        let frame = ready!(polled);
        if let Some(open) = this.exchange.as_mut() {
            let at_end = || body.is_end_stream();
            let ended = after(open, frame.as_ref(), this.remaining, at_end);
            if let Some(ended) = ended {
                end(this.exchange, ended);
            }
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        let hint = self.body.as_ref().map(Body::size_hint);
        hint.unwrap_or_default()
    }
}

/// Counts a frame, and says how the exchange ended if it did; `at_end` when the body says that there is no more.
///
/// A server stops polling once the declared length is written, so the end of the stream is seldom seen.
fn after<D: Buf, E>(
    exchange: &mut Exchange,
    frame: Option<&Result<Frame<D>, E>>,
    remaining: &mut u64,
    at_end: impl FnOnce() -> bool,
) -> Option<Ended> {
    let Some(frame) = frame else {
        return Some(end_at(*remaining));
    };
    let Ok(frame) = frame else {
        return Some(Ended::Failed);
    };
    let mut length = frame.data_ref().map_or(0, |data| data.remaining() as u64);
    if *remaining != UNDECLARED {
        // A server sends no more than was declared.
        length = length.min(*remaining);
        *remaining -= length;
    }
    exchange.sent(length);
    let whole = *remaining == 0 || frame.is_trailers() || at_end();
    whole.then(|| end_at(*remaining))
}

/// What an end is worth when so much was still to come.
const fn end_at(remaining: u64) -> Ended {
    match remaining {
        0 | UNDECLARED => Ended::Whole,
        _ => Ended::Short,
    }
}

fn end(exchange: &mut Option<Exchange>, ended: Ended) {
    match (exchange.as_mut(), ended) {
        (Some(open), Ended::Whole) => open.complete(),
        (Some(open), Ended::Failed) => open.end(Outcome::Error("body")),
        (Some(open), Ended::Short) => open.end(Outcome::Error(SHORT)),
        (None, _) => {}
    }
    *exchange = None;
}

/// The error type of a response that ends before the length it declares: its client waits for the rest, and loses the
/// connection.
pub(super) const SHORT: &str = "short_body";

/// How a response's body ended by itself.
#[derive(Clone, Copy, Debug)]
enum Ended {
    Whole,
    Failed,
    Short,
}

impl<B> fmt::Debug for TimedBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TimedBody")
            .field("exchange", &self.exchange)
            .finish_non_exhaustive()
    }
}
