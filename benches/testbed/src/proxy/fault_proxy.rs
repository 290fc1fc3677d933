use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc as blocking;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tokio::runtime;
use tokio::sync::{mpsc, watch};

use super::connection::{Counts, Direction, Faults};
use super::listen::{Order, listen};
use crate::Error;
use crate::machine::port::Port;
use crate::url::ServerUrl;

/// Longest wait for the proxy's thread to put a fault in force.
const ORDER_LIMIT: Duration = Duration::from_secs(10);

/// A TCP proxy in front of a server that delays, throttles, loses, cuts and refuses on request.
///
/// It runs on a thread and a clock of its own: neither a test's paused clock nor a busy test runtime touches it.
/// Faults are in force when the call returns. Everything ends when it is dropped.
///
/// ```no_run
/// # async fn example() -> Result<(), bilten_testbed::Error> {
/// use bilten_testbed::{Direction, FaultProxy, Redis};
///
/// let redis = Redis::start()?;
/// let proxy = FaultProxy::to(redis.addr()).await?;
/// let url = proxy.url_like(&redis.url())?;
/// // ... connect a client to `url` ...
/// proxy.blackhole(Direction::Down); // requests arrive, answers do not
/// proxy.reset_all();
/// proxy.heal();
/// # Ok(())
/// # }
/// ```
pub struct FaultProxy {
    port: Port,
    faults: Arc<watch::Sender<Faults>>,
    counts: Arc<Counts>,
    orders: Option<mpsc::UnboundedSender<Order>>,
    thread: Option<JoinHandle<()>>,
    cuts: AtomicU64,
}

impl FaultProxy {
    /// Listens on a loopback port of its own and carries every connection to the address.
    ///
    /// # Errors
    /// When no port is free or no thread can be started.
    #[expect(
        clippy::unused_async,
        reason = "part of the interface: a proxy inside the caller's runtime would be one"
    )]
    pub async fn to(target: SocketAddr) -> Result<Self, Error> {
        Self::to_blocking(target)
    }

    /// [`Self::to`] for callers without a runtime.
    ///
    /// # Errors
    /// As [`Self::to`].
    pub fn to_blocking(target: SocketAddr) -> Result<Self, Error> {
        let fail = |e| Error::io("start a fault proxy", e);
        let port = Port::reserve()?;
        let listener =
            std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, port.number())).map_err(fail)?;
        listener.set_nonblocking(true).map_err(fail)?;
        let runtime = runtime::Builder::new_current_thread()
            .enable_io()
            .enable_time()
            .build()
            .map_err(fail)?;
        let faults = Arc::new(watch::channel(Faults::default()).0);
        let watched = faults.clone();
        let (orders, received) = mpsc::unbounded_channel();
        let counts = Arc::new(Counts::default());
        let seen = counts.clone();
        let thread = thread::Builder::new()
            .name(format!("fault-proxy-{}", port.number()))
            .spawn(move || runtime.block_on(listen(listener, target, received, watched, seen)))
            .map_err(fail)?;
        Ok(Self {
            port,
            faults,
            counts,
            orders: Some(orders),
            thread: Some(thread),
            cuts: AtomicU64::new(0),
        })
    }

    /// Where to connect to.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port.number()).into()
    }

    /// The same URL with the proxy's host and port.
    ///
    /// # Errors
    /// When it is no URL with a host.
    pub fn url_like(&self, url: &str) -> Result<String, Error> {
        Ok(ServerUrl::parse("the URL to go through the proxy", url)?
            .with_address(self.addr())
            .text())
    }

    /// Every byte arrives so much later, in each direction; the order and the rate stay.
    pub fn delay(&self, delay: Duration) {
        self.faults.send_modify(|faults| faults.delay = delay);
    }

    /// Each direction of each connection carries at most so many bytes a second.
    pub fn throttle(&self, bytes_per_second: u64) {
        self.faults
            .send_modify(|faults| faults.bytes_per_second = Some(bytes_per_second.max(1)));
    }

    /// Nothing arrives any more in this direction and nobody is told; after [`Self::heal`] what was sent arrives.
    pub fn blackhole(&self, direction: Direction) {
        self.faults
            .send_modify(|faults| faults.blackhole = Some(direction));
    }

    /// Clients of now see the end of what the server says, while what they send still arrives.
    pub fn half_close(&self) {
        self.faults.send_modify(|faults| faults.half_closes += 1);
    }

    /// Connections of now carry nothing any more, for good, and nobody is told; new ones are carried. So it is when a firewall forgets
    /// a connection, or when a machine is lost and another takes its address.
    pub fn strand_all(&self) {
        self.faults.send_modify(|faults| faults.strands += 1);
    }

    /// Resets (RST) all connections of now; new ones are carried.
    pub fn reset_all(&self) {
        self.order(Order::Reset);
    }

    /// New connections are refused; those of now stay.
    pub fn refuse(&self) {
        self.order(Order::Refuse);
    }

    /// Each connection is closed after so many more bytes to the client, in the middle of an answer if it falls so.
    pub fn cut_after(&self, bytes: u64) {
        let call = self.cuts.fetch_add(1, Ordering::Relaxed) + 1;
        self.faults
            .send_modify(|faults| faults.cut_after = Some((bytes, call)));
    }

    /// Ends all faults; connections that were reset, cut, stranded or half closed stay so.
    ///
    /// # Panics
    /// When the port cannot be listened on again after [`Self::refuse`].
    pub fn heal(&self) {
        self.order(Order::Listen);
        self.faults.send_modify(|faults| {
            *faults = Faults {
                half_closes: faults.half_closes,
                resets: faults.resets,
                strands: faults.strands,
                ..Faults::default()
            };
        });
    }

    /// How many connections were accepted.
    #[must_use]
    pub fn accepted(&self) -> u64 {
        self.counts.accepted.load(Ordering::Relaxed)
    }

    /// How many bytes were delivered to the server.
    #[must_use]
    pub fn bytes_up(&self) -> u64 {
        self.counts.up.load(Ordering::Relaxed)
    }

    /// How many bytes were delivered to clients.
    #[must_use]
    pub fn bytes_down(&self) -> u64 {
        self.counts.down.load(Ordering::Relaxed)
    }

    fn order(&self, order: impl FnOnce(blocking::Sender<()>) -> Order) {
        let (done, wait) = blocking::channel();
        let sent = self
            .orders
            .as_ref()
            .is_some_and(|orders| orders.send(order(done)).is_ok());
        let outcome = wait.recv_timeout(ORDER_LIMIT);
        assert!(
            sent && outcome.is_ok(),
            "the fault proxy on {} did not obey: {outcome:?}",
            self.addr()
        );
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        // The end of the orders ends the thread, and with its runtime every connection.
        self.orders = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl fmt::Debug for FaultProxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FaultProxy")
            .field("addr", &self.addr())
            .field("faults", &*self.faults.borrow())
            .finish_non_exhaustive()
    }
}
