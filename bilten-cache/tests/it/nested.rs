//! An endpoint that is no Redis and answers with arrays in arrays without end.

use std::io;
use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use bilten_cache::{Cache, Redis, RedisClient};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::process::Command;
use tokio::time::Instant;

use crate::harness::DEADLINE;

const CHILD: &str = "BILTEN_NESTED_CHILD";
const TEST: &str =
    "nested::answers_nested_without_end_end_a_process_over_fred_and_none_over_redis_rs";
const DEPTH: usize = 500_000;

/// Answers whatever it hears so.
async fn endpoint() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let answer = b"*1\r\n".repeat(DEPTH);
        while let Ok((mut socket, _)) = listener.accept().await {
            let answer = answer.clone();
            tokio::spawn(async move {
                let _ = socket.read(&mut [0; 1024]).await;
                let _ = socket.write_all(&answer).await;
                // Until the other end has read it and leaves.
                while matches!(socket.read(&mut [0; 1024]).await, Ok(1..)) {}
            });
        }
    });
    address
}

/// The life of a child: it asks for a while, and ends well if it can.
async fn live(told: &str) {
    let (client, url) = told.split_once(' ').unwrap();
    let (client, lasts) = match client {
        "fred" => (RedisClient::Fred, DEADLINE),
        _ => (RedisClient::RedisRs, Duration::from_secs(2)),
    };
    let redis = Redis::url(url).client(client);
    let cache = Cache::builder("shop").redis(redis).build().await.unwrap();
    let stock = cache.region::<str, u32>("stock").build().unwrap();
    let (begun, mut n) = (Instant::now(), 0);
    while begun.elapsed() < lasts {
        n += 1;
        let load = async move |_| Ok::<_, io::Error>(n);
        let loaded = stock.get_or_load(&n.to_string(), load).await;
        assert_eq!(*loaded.unwrap(), n);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn ended(client: &str) -> ExitStatus {
    let address = endpoint().await;
    let child = Command::new(std::env::current_exe().unwrap())
        .args([TEST, "--exact", "--nocapture", "--test-threads=1"])
        .env(CHILD, format!("{client} redis://{address}"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn();
    let mut child = child.unwrap();
    let ended = tokio::time::timeout(DEADLINE * 3, child.wait()).await;
    ended.expect("it ends").unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_nested_without_end_end_a_process_over_fred_and_none_over_redis_rs() {
    if let Ok(told) = std::env::var(CHILD) {
        return live(&told).await;
    }
    let by_fred = ended("fred").await;
    assert!(
        by_fred.signal().is_some(),
        "fred bears it now: say so in docs/redis-clients.md ({by_fred})"
    );
    let by_redis_rs = ended("redis-rs").await;
    assert!(by_redis_rs.success(), "{by_redis_rs}");
}
