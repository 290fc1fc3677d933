//! Answers requests until told to stop, then lets those under way finish.

mod connection;
mod files;
mod listen;
mod signal;

use std::time::Duration;

use axum::Router;
use axum::serve::Listener;
use tokio::net::TcpListener;
use tokio::sync::watch;

pub use files::as_many_as_allowed;
pub use listen::listen;
pub use signal::told_to_stop;

/// How long the other side may take.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// For the whole head of a request; it ends idle connections as well. 20 s by default.
    pub head: Duration,
    /// After the signal to stop: for what is not, or no longer, being worked on: half a head, an answer nobody reads. 1 s by default.
    pub leave: Duration,
    /// After the signal to stop: for requests being worked on. 10 s by default.
    pub drain: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            head: Duration::from_secs(20),
            leave: Duration::from_secs(1),
            drain: Duration::from_secs(10),
        }
    }
}

/// Serves until `stop` completes, calls `stopping`, and waits for requests under way as long as `limits` say.
///
/// Not `axum::serve`: that lets half a head hold its connection for ever, and a stop with it.
pub async fn serve(
    mut listener: TcpListener,
    router: Router,
    limits: Limits,
    stop: impl Future<Output = ()>,
    stopping: impl FnOnce(),
) {
    let (told, _) = watch::channel(());
    tokio::pin!(stop);
    loop {
        // axum's accept: it waits a second when the process has no file left, instead of spinning or ending.
        let stream = tokio::select! {
            (stream, _) = Listener::accept(&mut listener) => stream,
            () = &mut stop => break,
        };
        let hear = told.subscribe();
        tokio::spawn(connection::serve(stream, router.clone(), limits, hear));
    }
    drop(listener);
    stopping();
    told.send_replace(());
    // Every connection holds a receiver until it has ended.
    if tokio::time::timeout(limits.drain, told.closed())
        .await
        .is_err()
    {
        tracing::warn!(
            seconds = limits.drain.as_secs(),
            connections = told.receiver_count(),
            "requests were still under way and are cut off"
        );
    }
}
