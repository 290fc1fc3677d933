//! Counting the requests that are being worked on.

use crate::health::Health;
use crate::shutdown;
use axum::Router;
use axum::body::{Body, Bytes, HttpBody};
use axum::extract::Request;
use axum::middleware::{Next, from_fn};
use http_body::{Frame, SizeHint};
use std::pin::Pin;
use std::task::{Context, Poll};

impl Health {
    /// Counts each request to `app` until its answer has been sent to the end, so that [`Health::drain`] can wait for them.
    ///
    /// Merge [`Health::routes`] afterwards: a probe is nothing to wait for.
    ///
    /// ```
    /// use axum::{Router, routing::get};
    ///
    /// # let health = bilten_health::Health::builder().build().unwrap();
    /// let app: Router = Router::new().route("/", get(|| async { "hello" }));
    /// let app = health.count_requests(app).merge(health.routes());
    /// # let _ = app;
    /// ```
    pub fn count_requests<S: Clone + Send + Sync + 'static>(&self, app: Router<S>) -> Router<S> {
        let health = self.clone();
        app.layer(from_fn(move |request: Request, next: Next| {
            let counted = health.request();
            async move {
                next.run(request).await.map(|inner| {
                    Body::new(Counted {
                        inner,
                        _counted: counted,
                    })
                })
            }
        }))
    }
}

/// A body that keeps its request counted until it has been sent or dropped.
struct Counted {
    inner: Body,
    _counted: shutdown::Request,
}

impl HttpBody for Counted {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.inner).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
