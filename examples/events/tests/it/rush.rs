//! A thousand buyers in the same moment.

use std::net::SocketAddr;

use bilten_events::serve::{self, Limits};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::api::Api;
use crate::socket::PATIENCE;

const BUYERS: usize = 1_000;
const SEATS: usize = 300;

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_buyers_at_once_are_all_answered() {
    let files = serve::as_many_as_allowed().unwrap();
    assert!(
        files.is_none_or(|files| files > 2 * BUYERS as u64 + 200),
        "both ends of {BUYERS} connections need more than {files:?} open files; raise `ulimit -Hn`"
    );
    let buyers = BUYERS.min(room());
    let api = Api::without_servers().await;
    let path = api.event("Rush", i32::try_from(SEATS).unwrap()).await;
    let listener = serve::listen("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = listener.local_addr().unwrap();

    // Nobody is accepted before everybody is there: the listener alone has to hold them.
    let mut connected = Vec::new();
    for user in 1..=buyers {
        connected.push(buyer(address, &path, user).await);
    }
    let (limits, never) = (Limits::default(), std::future::pending());
    tokio::spawn(serve::serve(listener, api.router(), limits, never, || ()));
    let answers = connected
        .into_iter()
        .map(|stream| tokio::spawn(status(stream)));
    let (mut sold, mut refused) = (0, 0);
    for answer in answers.collect::<Vec<_>>() {
        match answer.await.unwrap().as_str() {
            "201" => sold += 1,
            "409" => refused += 1,
            other => panic!("after {sold} sold and {refused} refused: {other}"),
        }
    }
    assert_eq!(
        (sold, refused),
        (SEATS.min(buyers), buyers.saturating_sub(SEATS))
    );
    assert_eq!(api.get(&path).await.json["ticketsSold"], sold);
}

/// How many connections the kernel lets any listener hold.
fn room() -> usize {
    let somaxconn = std::fs::read_to_string("/proc/sys/net/core/somaxconn");
    somaxconn.map_or(BUYERS, |text| text.trim().parse().unwrap())
}

async fn buyer(address: SocketAddr, path: &str, user: usize) -> TcpStream {
    let body = format!(r#"{{"userId":{user}}}"#);
    let request = format!(
        "POST {path}/tickets HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\
        Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let connecting = tokio::time::timeout(PATIENCE, TcpStream::connect(address));
    let mut stream = connecting
        .await
        .unwrap_or_else(|_| panic!("buyer {user} is not let in"))
        .unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    stream
}

/// The status of the answer, or why there is none.
async fn status(mut stream: TcpStream) -> String {
    let mut answer = String::new();
    match tokio::time::timeout(3 * PATIENCE, stream.read_to_string(&mut answer)).await {
        Ok(Ok(_)) => answer
            .split(' ')
            .nth(1)
            .map_or("an empty answer".into(), Into::into),
        Ok(Err(error)) => error.to_string(),
        Err(_) => "no answer".into(),
    }
}
