use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};

/// Which way a fault works, seen from the client.
///
/// ```
/// use bilten_testbed::Direction;
///
/// assert!(Direction::Both.covers(Direction::Up) && !Direction::Down.covers(Direction::Up));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Direction {
    /// Requests and answers.
    Both,
    /// From the client to the server: requests do not arrive.
    Up,
    /// From the server to the client: requests are carried out and answers do not arrive.
    Down,
}

impl Direction {
    /// Whether a fault in this direction concerns the other.
    #[must_use]
    pub fn covers(self, other: Self) -> bool {
        self == Self::Both || self == other
    }
}

/// The faults in force. Events are counters: a connection acts when one has moved.
#[derive(Debug, Clone, Default)]
pub(super) struct Faults {
    pub(super) delay: Duration,
    pub(super) bytes_per_second: Option<u64>,
    pub(super) blackhole: Option<Direction>,
    /// How many bytes a connection may still carry down, and which call said so.
    pub(super) cut_after: Option<(u64, u64)>,
    pub(super) half_closes: u64,
    pub(super) resets: u64,
    pub(super) strands: u64,
}

impl Faults {
    /// What had happened when a connection was accepted: what happens later concerns it.
    pub(super) fn events(&self) -> Events {
        Events {
            half_closes: self.half_closes,
            resets: self.resets,
            strands: self.strands,
        }
    }
}

/// How many of each kind there had been.
#[derive(Debug, Clone, Copy)]
pub(super) struct Events {
    half_closes: u64,
    resets: u64,
    strands: u64,
}

#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) accepted: AtomicU64,
    pub(super) up: AtomicU64,
    pub(super) down: AtomicU64,
}

/// The most bytes on their way in one direction; then the sender feels it, as with a real network.
const IN_FLIGHT: usize = 256 * 1024;
const CHUNK: usize = 16 * 1024;

/// Carries one connection until either side ends it or a fault does.
pub(super) async fn carry(
    mut client: TcpStream,
    target: SocketAddr,
    faults: watch::Receiver<Faults>,
    before: Events,
    counts: &Counts,
) {
    let mut reset = faults.clone();
    let carried = async {
        let mut server = TcpStream::connect(target).await?;
        let _ = (client.set_nodelay(true), server.set_nodelay(true));
        let (client_read, client_write) = client.split();
        let (server_read, server_write) = server.split();
        let up = Pump {
            direction: Direction::Up,
            faults: faults.clone(),
            carried: &counts.up,
            before,
        };
        let down = Pump {
            direction: Direction::Down,
            faults,
            carried: &counts.down,
            before,
        };
        let ended = tokio::select! {
            ended = async { tokio::try_join!(up.run(client_read, server_write), down.run(server_read, client_write)) } => ended.map(drop),
            _ = reset.wait_for(|now| now.resets != before.resets) => Err(io::ErrorKind::ConnectionReset.into()),
        };
        if ended
            .as_ref()
            .is_err_and(|e| e.kind() == io::ErrorKind::ConnectionReset)
        {
            let _ = server.set_zero_linger();
        }
        ended
    };
    // A server that refuses is passed on as a reset too: the client was accepted before we knew.
    if let Err(e) = carried.await
        && matches!(
            e.kind(),
            io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionRefused
        )
    {
        let _ = client.set_zero_linger();
    }
}

struct Pump<'a> {
    direction: Direction,
    faults: watch::Receiver<Faults>,
    carried: &'a AtomicU64,
    before: Events,
}

impl Pump<'_> {
    async fn run(mut self, mut from: ReadHalf<'_>, mut to: WriteHalf<'_>) -> io::Result<()> {
        let mut queue: VecDeque<(Instant, Vec<u8>)> = VecDeque::new();
        let mut queued = 0;
        let mut open = true;
        let mut half_closed = false;
        let mut allowance = (0, u64::MAX);
        let mut changes = self.faults.clone();
        while open || !queue.is_empty() {
            let faults = self.faults.borrow_and_update().clone();
            let lost = faults.blackhole;
            let through = faults.strands == self.before.strands
                && !lost.is_some_and(|fault| fault.covers(self.direction));
            let due = queue.front().map(|(due, _)| *due);
            let mut chunk = vec![0; CHUNK];
            tokio::select! {
                changed = changes.changed() => {
                    if changed.is_err() { return Ok(()); }
                    let now = changes.borrow().half_closes;
                    if self.direction == Direction::Down && now != self.before.half_closes && !half_closed {
                        half_closed = true;
                        to.shutdown().await?;
                    }
                }
                read = from.read(&mut chunk), if open && through && queued < IN_FLIGHT => {
                    let length = read?;
                    if length == 0 {
                        open = false;
                    } else {
                        chunk.truncate(length);
                        queued += length;
                        queue.push_back((Instant::now() + faults.delay, chunk));
                    }
                }
                () = async { if let Some(due) = due { sleep_until(due).await } }, if due.is_some() && through => {
                    let Some((_, bytes)) = queue.pop_front() else { continue };
                    queued -= bytes.len();
                    if !half_closed {
                        self.deliver(&mut to, &bytes, &faults, &mut allowance).await?;
                    }
                }
            }
        }
        if half_closed {
            Ok(())
        } else {
            to.shutdown().await
        }
    }

    async fn deliver(
        &self,
        to: &mut WriteHalf<'_>,
        bytes: &[u8],
        faults: &Faults,
        allowance: &mut (u64, u64),
    ) -> io::Result<()> {
        match faults.cut_after {
            Some((limit, call)) if self.direction == Direction::Down && allowance.0 != call => {
                *allowance = (call, limit)
            }
            Some(_) => {}
            None => allowance.1 = u64::MAX,
        }
        let cut = usize::try_from(allowance.1)
            .ok()
            .filter(|left| *left < bytes.len());
        let bytes = &bytes[..cut.unwrap_or(bytes.len())];
        // Small pieces, so that a slow line looks slow and not bursty.
        let pieces = faults.bytes_per_second.map_or(CHUNK, |rate| {
            usize::try_from(rate / 50).unwrap_or(CHUNK).clamp(1, CHUNK)
        });
        for piece in bytes.chunks(pieces) {
            if let Some(rate) = faults.bytes_per_second {
                sleep(Duration::from_secs_f64(
                    piece.len() as f64 / rate.max(1) as f64,
                ))
                .await;
            }
            to.write_all(piece).await?;
            self.carried
                .fetch_add(piece.len() as u64, Ordering::Relaxed);
        }
        allowance.1 = allowance.1.saturating_sub(bytes.len() as u64);
        if cut.is_some() {
            Err(io::ErrorKind::ConnectionAborted.into())
        } else {
            Ok(())
        }
    }
}
