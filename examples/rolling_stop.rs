//! Two instances are replaced one after the other, under load, and no request is lost.
//!
//! Each is a real server: it starts, becomes ready, drains and stops. In front of them is a balancer that asks `/readyz` and
//! believes it. With `--without-drain` they just end, as a process does that knows no signals, and the exit status tells what
//! that costs.

#![allow(clippy::print_stdout)]

use std::collections::BTreeMap;
use std::io::{Error, ErrorKind, Result};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::{Router, routing::get};
use bilten_health::{Health, check};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::oneshot;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, sleep, timeout};

/// How often the balancer asks; one 503 is enough for it.
const PROBE_EVERY: Duration = Duration::from_millis(50);
/// Longer than the balancer needs to notice; behind Kubernetes that is some 5 s.
const DRAIN_MIN: Duration = Duration::from_secs(1);
const DRAIN_MAX: Duration = Duration::from_secs(10);
const CLIENTS: usize = 8;

#[tokio::main]
async fn main() -> Result<ExitCode> {
    let drains = !std::env::args().any(|word| word == "--without-drain");
    let balancer = Arc::new(Balancer::default());
    let door = TcpListener::bind("127.0.0.1:0").await?;
    let address = door.local_addr()?;
    tokio::spawn(Arc::clone(&balancer).carry(door));

    let mut running = Vec::new();
    for name in ["one", "two"] {
        running.push(balancer.add(Instance::start(name).await?).await?);
    }
    let load = Load::start(address);
    sleep(Duration::from_millis(300)).await;
    for (number, name) in ["three", "four"].into_iter().enumerate() {
        // The new one first, then the old one: there is always somebody.
        running.push(balancer.add(Instance::start(name).await?).await?);
        match drains {
            true => running[number].stop().await?,
            false => running[number].kill(),
        }
        sleep(Duration::from_millis(300)).await;
    }
    let (answered, lost) = load.stop().await;
    for instance in &mut running[2..] {
        instance.stop().await?;
    }
    for (name, count) in &answered {
        println!("{name:>5} answered {count}");
    }
    println!("{lost} requests lost");
    let everyone = answered.len() == running.len();
    Ok(if lost == 0 && everyone {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// One server with its health, on a runtime of its own in place of a process.
struct Instance {
    name: &'static str,
    address: SocketAddr,
    signal: Option<oneshot::Sender<()>>,
    server: JoinHandle<Result<()>>,
    runtime: Option<Runtime>,
}

impl Instance {
    async fn start(name: &'static str) -> Result<Self> {
        let health = Health::builder()
            .check(check("orders", async || ()).in_readiness())
            .wait_for_start()
            .build()
            .map_err(Error::other)?;
        let work = move || async move {
            sleep(Duration::from_millis(20)).await;
            name
        };
        // Only what users ask for is counted: a probe is nothing to wait for.
        let app = health.count_requests(Router::new().route("/", get(work)));
        let app = app.merge(health.routes());
        let (signal, signalled) = oneshot::channel();
        let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()?;
        let server = runtime.spawn(serve(name, listener, app, health.clone(), signalled));
        println!(
            "{name:>5} listens, /readyz {}",
            status(address, "/readyz").await?
        );
        sleep(Duration::from_millis(100)).await; // migrations, warm-up
        health.mark_started();
        println!(
            "{name:>5} has started, /readyz {}",
            status(address, "/readyz").await?
        );
        Ok(Self {
            name,
            address,
            signal: Some(signal),
            server,
            runtime: Some(runtime),
        })
    }

    /// Signals, looks at the probes while it drains, and waits for its end.
    async fn stop(&mut self) -> Result<()> {
        if let Some(signal) = self.signal.take() {
            let _ = signal.send(());
        }
        sleep(PROBE_EVERY).await;
        let (ready, live) = (
            status(self.address, "/readyz"),
            status(self.address, "/livez"),
        );
        println!(
            "{:>5} stops, /readyz {}, /livez {}",
            self.name,
            ready.await?,
            live.await?
        );
        timeout(2 * DRAIN_MAX, &mut self.server).await???;
        println!("{:>5} is gone", self.name);
        Ok(())
    }

    /// Ends everything at once.
    fn kill(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        self.kill();
    }
}

async fn serve(
    name: &'static str,
    listener: std::net::TcpListener,
    app: Router,
    health: Health,
    signalled: oneshot::Receiver<()>,
) -> Result<()> {
    let stop = async move {
        let _ = signalled.await; // SIGTERM, in a process of its own
        let drained = health.drain(DRAIN_MIN, DRAIN_MAX).await;
        println!("{name:>5} drained, {} in flight", drained.in_flight);
    };
    let listener = TcpListener::from_std(listener)?;
    axum::serve(listener, app)
        .with_graceful_shutdown(stop)
        .await
}

/// Sends each connection to the next instance that is ready. It never tries a second one: that would hide a lost request.
#[derive(Default)]
struct Balancer {
    ready: Mutex<Vec<SocketAddr>>,
    turn: AtomicUsize,
}

impl Balancer {
    /// Begins to ask an instance, and waits until it is in.
    async fn add(self: &Arc<Self>, instance: Instance) -> Result<Instance> {
        let address = instance.address;
        tokio::spawn(Arc::clone(self).watch(address, instance.name));
        let asked = Instant::now();
        while !self.ready().contains(&address) {
            if asked.elapsed() > Duration::from_secs(20) {
                return Err(Error::new(ErrorKind::TimedOut, "it never became ready"));
            }
            sleep(PROBE_EVERY).await;
        }
        Ok(instance)
    }

    async fn watch(self: Arc<Self>, address: SocketAddr, name: &'static str) {
        let mut was_ready = false;
        loop {
            let is_ready = status(address, "/readyz")
                .await
                .is_ok_and(|status| status == 200);
            if is_ready != was_ready {
                let mut ready = self.ready.lock().unwrap_or_else(PoisonError::into_inner);
                match is_ready {
                    true => ready.push(address),
                    false => ready.retain(|other| *other != address),
                }
                println!(
                    "{name:>5} {} traffic",
                    if is_ready { "gets" } else { "gets no" }
                );
            }
            was_ready = is_ready;
            sleep(PROBE_EVERY).await;
        }
    }

    async fn carry(self: Arc<Self>, door: TcpListener) {
        while let Ok((mut client, _)) = door.accept().await {
            let ready = self.ready();
            if ready.is_empty() {
                continue;
            }
            let chosen = ready[self.turn.fetch_add(1, Ordering::Relaxed) % ready.len()];
            tokio::spawn(async move {
                let mut server = TcpStream::connect(chosen).await?;
                copy_bidirectional(&mut client, &mut server).await
            });
        }
    }

    fn ready(&self) -> Vec<SocketAddr> {
        self.ready
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

/// Clients that keep their connections and ask without a pause.
struct Load {
    clients: JoinSet<(BTreeMap<String, usize>, usize)>,
    over: Arc<AtomicBool>,
}

impl Load {
    fn start(address: SocketAddr) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let mut clients = JoinSet::new();
        for _ in 0..CLIENTS {
            let over = Arc::clone(&over);
            clients.spawn(async move {
                let (mut answered, mut lost) = (BTreeMap::new(), 0);
                let mut client = Client {
                    address,
                    connection: None,
                };
                while !over.load(Ordering::Relaxed) {
                    match client.get("/").await {
                        Ok((200, body)) => *answered.entry(body).or_insert(0) += 1,
                        Ok(_) | Err(_) => lost += 1,
                    }
                }
                (answered, lost)
            });
        }
        Self { clients, over }
    }

    /// Who answered how often, and how many requests were lost.
    async fn stop(self) -> (BTreeMap<String, usize>, usize) {
        self.over.store(true, Ordering::Relaxed);
        let (mut answered, mut lost) = (BTreeMap::new(), 0);
        for (by, unanswered) in self.clients.join_all().await {
            lost += unanswered;
            for (name, count) in by {
                *answered.entry(name).or_insert(0) += count;
            }
        }
        (answered, lost)
    }
}

/// A connection that is kept until the server says `connection: close`.
struct Client {
    address: SocketAddr,
    connection: Option<BufReader<TcpStream>>,
}

impl Client {
    async fn get(&mut self, path: &str) -> Result<(u16, String)> {
        let mut stream = match self.connection.take() {
            Some(kept) => kept,
            None => BufReader::new(TcpStream::connect(self.address).await?),
        };
        let request = format!("GET {path} HTTP/1.1\r\nhost: shop\r\n\r\n");
        stream.get_mut().write_all(request.as_bytes()).await?;
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if stream.read_line(&mut head).await? == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
        }
        let head = head.to_ascii_lowercase();
        let header = |name: &str| head.lines().find_map(|line| line.strip_prefix(name));
        let length = header("content-length: ").and_then(|value| value.parse().ok());
        let mut body = vec![0; length.unwrap_or(0)];
        stream.read_exact(&mut body).await?;
        if header("connection: ") != Some("close") {
            self.connection = Some(stream);
        }
        let status = head.split(' ').nth(1).and_then(|word| word.parse().ok());
        let body = String::from_utf8(body).map_err(Error::other)?;
        Ok((status.ok_or(ErrorKind::InvalidData)?, body))
    }
}

/// The status of one answer, over a connection of its own.
async fn status(address: SocketAddr, path: &str) -> Result<u16> {
    let mut client = Client {
        address,
        connection: None,
    };
    let asked = timeout(Duration::from_secs(5), client.get(path));
    Ok(asked.await??.0)
}
