//! Answers requests until told to stop, then lets those under way finish.

use std::time::Duration;

use axum::Router;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

/// How long requests under way may still take once the service was told to stop.
const DRAIN: Duration = Duration::from_secs(10);

/// Serves until `stop` completes, calls `stopping`, and waits at most ten seconds for requests under way.
///
/// # Errors
/// The listener's error.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    stop: impl Future<Output = ()> + Send + 'static,
    stopping: impl FnOnce() + Send + 'static,
) -> std::io::Result<()> {
    let (told, hear) = oneshot::channel();
    let signal = async move {
        stop.await;
        stopping();
        let _ = told.send(());
    };
    let server = axum::serve(listener, router).with_graceful_shutdown(signal);
    let overtime = async {
        // The sender is dropped unheard only when the server ended by itself, and then there is nothing to cut short.
        if hear.await.is_err() {
            std::future::pending::<()>().await;
        }
        tokio::time::sleep(DRAIN).await;
    };
    tokio::select! {
        result = server.into_future() => result,
        () = overtime => {
            tracing::warn!(seconds = DRAIN.as_secs(), "requests were still under way and are cut off");
            Ok(())
        }
    }
}

/// Completes on Ctrl-C, and on Unix on SIGTERM as well. Listens from the call on, not only once it is awaited.
#[cfg(unix)]
pub fn told_to_stop() -> impl Future<Output = ()> + Send + 'static {
    use tokio::signal::unix::{SignalKind, signal};
    let listen = |kind| {
        let signals = signal(kind);
        async move {
            match signals {
                Ok(mut signals) => {
                    signals.recv().await;
                }
                Err(_) => std::future::pending().await,
            }
        }
    };
    let (interrupted, terminated) = (
        listen(SignalKind::interrupt()),
        listen(SignalKind::terminate()),
    );
    async move {
        tokio::select! {
            () = interrupted => {}
            () = terminated => {}
        }
    }
}

/// Completes on Ctrl-C.
#[cfg(not(unix))]
pub async fn told_to_stop() {
    if tokio::signal::ctrl_c().await.is_err() {
        std::future::pending::<()>().await;
    }
}
