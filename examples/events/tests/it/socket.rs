//! A service on a real socket, and bytes sent to it by hand.

use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use bilten_events::serve::{self, Limits};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// Longer than anything here takes.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A router behind the service's own way of serving.
pub(crate) struct Service {
    pub(crate) address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    ended: JoinHandle<()>,
}

impl Service {
    pub(crate) fn start(router: Router, limits: Limits) -> Self {
        let listener = serve::listen("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, told) = oneshot::channel::<()>();
        let told = async move { drop(told.await) };
        Self {
            address,
            stop: Some(stop),
            ended: tokio::spawn(serve::serve(listener, router, limits, told, || ())),
        }
    }

    pub(crate) fn stop(&mut self) {
        drop(self.stop.take());
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.ended.is_finished()
    }

    pub(crate) async fn end(self) {
        let ended = tokio::time::timeout(PATIENCE, self.ended).await;
        ended.expect("the service has not ended").unwrap();
    }

    /// A connection on which this was sent.
    pub(crate) async fn connection(&self, sent: &str) -> Connection {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(sent.as_bytes()).await.unwrap();
        Connection { stream }
    }
}

/// A client that says exactly what it is told to.
pub(crate) struct Connection {
    stream: TcpStream,
}

impl Connection {
    pub(crate) async fn send(&mut self, text: &str) {
        self.stream.write_all(text.as_bytes()).await.unwrap();
    }

    /// Everything until the service closes the connection.
    pub(crate) async fn rest(&mut self) -> String {
        let mut bytes = Vec::new();
        let read = tokio::time::timeout(PATIENCE, self.stream.read_to_end(&mut bytes)).await;
        read.expect("the connection is still open").unwrap();
        String::from_utf8(bytes).unwrap()
    }

    /// The answer up to and with these words.
    pub(crate) async fn until(&mut self, words: &str) -> String {
        let mut text = String::new();
        let reading = async {
            while !text.contains(words) {
                let mut bytes = [0; 4096];
                let length = self.stream.read(&mut bytes).await.unwrap();
                assert!(length > 0, "closed after {text:?}");
                text.push_str(std::str::from_utf8(&bytes[..length]).unwrap());
            }
        };
        let read = tokio::time::timeout(PATIENCE, reading).await;
        assert!(read.is_ok(), "only {text:?}");
        text
    }
}
