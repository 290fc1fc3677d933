//! One connection, from its first byte to its end.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tower::ServiceExt;

use super::Limits;

/// Answers one request after the other; once `stopping` is told, none but the one under way.
pub(super) async fn serve(
    stream: TcpStream,
    router: Router,
    limits: Limits,
    mut stopping: watch::Receiver<()>,
) {
    // Answers are small and written at once: nothing is gained by waiting for more.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "a connection has ended already");
        return;
    }
    let work = Work::default();
    let mut under_way = work.requests.subscribe();
    let service = service_fn(move |request: http::Request<Incoming>| {
        let counted = work.begin();
        let answer = router.clone().oneshot(request.map(Body::new));
        async move {
            let answer = answer.await;
            drop(counted);
            answer
        }
    });
    let mut connection = pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(limits.head)
            .serve_connection(TokioIo::new(stream), service)
    );
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        _ = stopping.changed() => {
            connection.as_mut().graceful_shutdown();
            tokio::select! {
                ended = connection => ended,
                () = nothing_to_do(&mut under_way, limits.leave) => Ok(()),
            }
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended early");
    }
}

/// Completes once no request has been under way for `leave`. hyper closes idle connections itself; this is for those
/// that it goes on waiting for: half a head, or an answer that the other side does not take.
async fn nothing_to_do(under_way: &mut watch::Receiver<usize>, leave: Duration) {
    loop {
        let busy = under_way.wait_for(|requests| *requests == 0).await.is_ok();
        if !busy
            || tokio::time::timeout(leave, under_way.changed())
                .await
                .is_err()
        {
            return;
        }
    }
}

/// The requests of one connection that are being worked on.
#[derive(Clone, Default)]
struct Work {
    requests: Arc<watch::Sender<usize>>,
}

impl Work {
    fn begin(&self) -> Counted {
        self.requests.send_modify(|requests| *requests += 1);
        Counted(self.clone())
    }
}

/// One of them; dropped when it is answered, or when its client went away.
struct Counted(Work);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.requests.send_modify(|requests| *requests -= 1);
    }
}
