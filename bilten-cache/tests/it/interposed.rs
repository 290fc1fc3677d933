//! A way to a server on which something happens between two commands that a client has sent at once.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use crate::harness::DEADLINE;

/// Carries commands one by one, and stops behind one of them once the server has answered it.
pub(crate) struct Interposed {
    addr: SocketAddr,
    stop: Stop,
    stopped: mpsc::UnboundedReceiver<mpsc::UnboundedSender<Then>>,
    listener: JoinHandle<()>,
}

/// Behind how many commands with these bytes to stop.
type Stop = Arc<Mutex<Option<(String, usize)>>>;

/// What becomes of a connection that has stopped.
#[derive(Debug, PartialEq)]
pub(crate) enum Then {
    GoesOn,
    IsCut,
}

impl Interposed {
    pub(crate) async fn before(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let stop = Stop::default();
        let (tell, stopped) = mpsc::unbounded_channel();
        let stops = Arc::clone(&stop);
        let listener = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (stops, tell) = (Arc::clone(&stops), tell.clone());
                tokio::spawn(async move {
                    let server = TcpStream::connect(server).await?;
                    carry(client, server, &stops, &tell).await
                });
            }
        });
        Self {
            addr,
            stop,
            stopped,
            listener,
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://{}", self.addr)
    }

    /// The connection on which they come stops behind so many commands with these bytes.
    pub(crate) fn stop_behind(&self, commands: usize, bytes: &str) {
        *self.stop.lock().unwrap() = Some((bytes.to_owned(), commands));
    }

    /// Until a connection has stopped, and the server has done all that came before.
    pub(crate) async fn stopped(&mut self) -> mpsc::UnboundedSender<Then> {
        let stopped = tokio::time::timeout(DEADLINE, self.stopped.recv());
        stopped.await.expect("so many commands come").unwrap()
    }
}

impl Drop for Interposed {
    fn drop(&mut self) {
        self.listener.abort();
    }
}

async fn carry(
    client: TcpStream,
    server: TcpStream,
    stop: &Stop,
    tell: &mpsc::UnboundedSender<mpsc::UnboundedSender<Then>>,
) -> io::Result<()> {
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let (answered, mut answers) = watch::channel(0);
    let answers_come = tokio::spawn(async move {
        let mut frames = Frames::default();
        while let Some(frame) = frames.next(&mut from_server).await? {
            to_client.write_all(&frame).await?;
            answered.send_modify(|answered| *answered += 1);
        }
        io::Result::Ok(())
    });
    let (mut frames, mut sent) = (Frames::default(), 0);
    while let Some(command) = frames.next(&mut from_client).await? {
        to_server.write_all(&command).await?;
        sent += 1;
        if !is_last(stop, &command) {
            continue;
        }
        let are_all_there = answers.wait_for(|answered| *answered >= sent).await.is_ok();
        assert!(are_all_there, "the server is there");
        let (then, mut hears) = mpsc::unbounded_channel();
        let _ = tell.send(then);
        if hears.recv().await != Some(Then::GoesOn) {
            break;
        }
    }
    answers_come.abort();
    Ok(())
}

fn is_last(stop: &Stop, command: &[u8]) -> bool {
    let mut stop = stop.lock().unwrap();
    let Some((bytes, left)) = &mut *stop else {
        return false;
    };
    let has_them = command
        .windows(bytes.len())
        .any(|part| part == bytes.as_bytes());
    *left -= usize::from(has_them);
    let is_last = *left == 0;
    if is_last {
        *stop = None;
    }
    is_last
}

/// Commands and answers as they come, one by one.
#[derive(Default)]
struct Frames(Vec<u8>);

impl Frames {
    async fn next(
        &mut self,
        from: &mut (impl AsyncReadExt + Unpin),
    ) -> io::Result<Option<Vec<u8>>> {
        loop {
            if let Some(length) = length(&self.0) {
                let rest = self.0.split_off(length);
                return Ok(Some(std::mem::replace(&mut self.0, rest)));
            }
            if from.read_buf(&mut self.0).await? == 0 {
                return Ok(None);
            }
        }
    }
}

/// The bytes of the first command or answer of RESP2, once all of them are there.
fn length(bytes: &[u8]) -> Option<usize> {
    let end = bytes.windows(2).position(|two| two == b"\r\n")? + 2;
    let number = || -> i64 {
        let digits = std::str::from_utf8(&bytes[1..end - 2]).unwrap();
        digits.parse().unwrap()
    };
    let whole = match bytes[0] {
        b'$' => match usize::try_from(number()) {
            Ok(length) => end + length + 2,
            Err(_) => end,
        },
        b'*' => {
            let mut whole = end;
            for _ in 0..number().max(0) {
                whole += length(bytes.get(whole..)?)?;
            }
            whole
        }
        b'+' | b'-' | b':' => end,
        other => panic!("a frame that begins with {other}"),
    };
    (whole <= bytes.len()).then_some(whole)
}
