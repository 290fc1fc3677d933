//! A database that speaks MySQL's protocol: enough of it to be connected to and to answer `SELECT 1`.

use crate::doubles::{health, of};
use crate::polling::becomes;
use bilten_health::{Health, Reason, Status, checks};
use sea_orm::{ConnectOptions, Database, TransactionTrait};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

/// Protocol 4.1, transactions, long passwords, authentication by plugin.
const CAPABILITIES: u32 = 0x0000_0200 | 0x0000_2000 | 0x0000_8000 | 0x0008_0000;
const OK: &[u8] = &[0, 0, 0, 2, 0, 0, 0];
const END_OF_ROWS: &[u8] = &[0xfe, 0, 0, 2, 0];

/// A server that answers while `answers` says so.
async fn serve() -> (String, watch::Sender<bool>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (switch, answers) = watch::channel(true);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(converse(stream, answers.clone()));
        }
    });
    (
        format!("mysql://app@{address}/shop?ssl-mode=disabled"),
        switch,
    )
}

async fn converse(
    mut stream: TcpStream,
    mut answers: watch::Receiver<bool>,
) -> std::io::Result<()> {
    send(&mut stream, 0, &greeting()).await?;
    receive(&mut stream).await?;
    send(&mut stream, 2, OK).await?;
    let mut transaction = 0;
    loop {
        let command = receive(&mut stream).await?;
        let _ = answers.wait_for(|answers| *answers).await;
        transaction = match command.get(1..) {
            Some(b"BEGIN") => 1,
            Some(b"COMMIT" | b"ROLLBACK") => 0,
            _ => transaction,
        };
        let replies: Vec<Vec<u8>> = match command.first() {
            // A plain query, a ping, a reset of the connection.
            Some(0x03 | 0x0e | 0x1f) => vec![vec![0, 0, 0, 2 | transaction, 0, 0, 0]],
            // A statement is prepared: number 1, neither columns nor parameters told.
            Some(0x16) => vec![vec![0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]],
            Some(0x17) => vec![
                vec![1],
                column(),
                END_OF_ROWS.to_vec(),
                vec![0, 0, 1, 0, 0, 0, 0, 0, 0, 0],
                END_OF_ROWS.to_vec(),
            ],
            // A statement is closed: no answer. Anything else ends the conversation.
            Some(0x19) => Vec::new(),
            _ => return Ok(()),
        };
        for (number, reply) in (1..).zip(replies) {
            send(&mut stream, number, &reply).await?;
        }
    }
}

fn greeting() -> Vec<u8> {
    let [low, high] = [CAPABILITIES as u16, (CAPABILITIES >> 16) as u16].map(u16::to_le_bytes);
    [
        &b"\x0a8.0.0\0"[..],
        &[1, 0, 0, 0],
        b"12345678\0",
        &low,
        &[45, 2, 0],
        &high,
        &[21],
        &[0; 10],
        b"123456789012\0",
        b"mysql_native_password\0",
    ]
    .concat()
}

/// One 64-bit number called `1`.
fn column() -> Vec<u8> {
    let mut text = b"\x03def\0\0\0\x011\0\x0c".to_vec();
    text.extend([63, 0, 1, 0, 0, 0, 8, 0x81, 0, 0, 0, 0]);
    text
}

async fn send(stream: &mut TcpStream, number: u8, body: &[u8]) -> std::io::Result<()> {
    let length = u8::try_from(body.len()).unwrap();
    stream.write_all(&[length, 0, 0, number]).await?;
    stream.write_all(body).await
}

async fn receive(stream: &mut TcpStream) -> std::io::Result<Vec<u8>> {
    let mut head = [0; 4];
    stream.read_exact(&mut head).await?;
    let mut body = vec![0; usize::from(head[0]) + 256 * usize::from(head[1])];
    stream.read_exact(&mut body).await?;
    Ok(body)
}

async fn checking() -> (Health, sea_orm::DatabaseConnection, watch::Sender<bool>) {
    let (url, switch) = serve().await;
    let mut options = ConnectOptions::new(url);
    options.max_connections(1).sqlx_logging(false);
    let connection = Database::connect(options).await.unwrap();
    let check = checks::database("mysql", &connection).cache(Duration::ZERO);
    (health([check]), connection, switch)
}

// The order: the only connection is taken by a transaction, then the question comes, then the transaction ends.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_pool_is_degraded_and_not_down() {
    let (health, connection, _switch) = checking().await;
    becomes(&health, true).await;
    let transaction = connection.begin().await.unwrap();
    let report = health.check().await;
    assert_eq!(report.status, Status::Degraded, "{}", report.to_json());
    assert_eq!(of(&report, "mysql").reason, Some(Reason::Saturated));
    transaction.rollback().await.unwrap();
    becomes(&health, true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_hangs_is_down_however_small_its_pool() {
    let (health, connection, switch) = checking().await;
    becomes(&health, true).await;
    let deadline = Instant::now() + Duration::from_secs(20);
    while connection.get_mysql_connection_pool().num_idle() == 0 {
        assert!(Instant::now() < deadline, "the connection never came back");
        sleep(Duration::from_millis(5)).await;
    }
    switch.send(false).unwrap();
    for _ in 0..2 {
        let report = health.check().await;
        assert_eq!(report.status, Status::Down, "{}", report.to_json());
    }
    switch.send(true).unwrap();
    becomes(&health, true).await;
}
