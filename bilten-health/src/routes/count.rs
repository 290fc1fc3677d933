//! Counting the requests that are being worked on.

use crate::health::Health;
use crate::shutdown;
use axum::Router;
use axum::body::{Body, Bytes, HttpBody};
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, Version, header};
use axum::middleware::{Next, from_fn};
use http_body::{Frame, SizeHint};
use std::pin::Pin;
use std::task::{Context, Poll};

impl Health {
    /// Counts each request to `app` until its answer has been sent to the end, so that [`Health::drain`] can wait for them.
    ///
    /// Once the shutdown has begun, answers over HTTP/1 also say `connection: close`, so that clients and load balancers which keep
    /// connections for later let go of them while the server still takes new ones.
    ///
    /// Merge [`Health::routes`] afterwards: a probe is nothing to wait for. What `app` answers for paths that it does not know is
    /// counted when it has a fallback of its own; that of axum is lost when routers are merged.
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
            let health = health.clone();
            async move {
                // HTTP/2 has no such header; its connections end when the server stops.
                let keeps_connections = request.version() <= Version::HTTP_11;
                let mut response = next.run(request).await;
                if keeps_connections && health.runner.life.phase().shutting_down {
                    say_close(response.headers_mut());
                }
                response.map(|inner| {
                    Body::new(Counted {
                        inner,
                        _counted: counted,
                    })
                })
            }
        }))
    }
}

/// Whatever the handler said, but for an answer that changes the protocol: there the header has another meaning.
fn say_close(headers: &mut HeaderMap) {
    let upgrades = |value: &HeaderValue| {
        let value = value.as_bytes().to_ascii_lowercase();
        value.windows(7).any(|word| word == b"upgrade")
    };
    if !headers.get_all(header::CONNECTION).iter().any(upgrades) {
        headers.remove("keep-alive");
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
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
