use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use bilten_testbed::{Direction, FaultProxy, eventually};

/// A server that says back what it hears, on a thread per connection.
fn echo() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            thread::spawn(move || std::io::copy(&mut &stream, &mut &stream));
        }
    });
    address
}

fn client(proxy: &FaultProxy) -> TcpStream {
    let stream = TcpStream::connect(proxy.addr()).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    stream
}

fn say(mut stream: &TcpStream, text: &[u8]) -> std::io::Result<Vec<u8>> {
    stream.write_all(text)?;
    let mut answer = vec![0; text.len()];
    stream.read_exact(&mut answer)?;
    Ok(answer)
}

/// Whether an answer comes within 300 ms.
fn hears(mut stream: &TcpStream) -> bool {
    stream
        .set_read_timeout(Some(Duration::from_millis(300)))
        .unwrap();
    let heard = stream.read(&mut [0; 64]);
    stream
        .set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    heard.is_ok()
}

#[test]
fn without_faults_everything_is_carried_and_counted() {
    let proxy = FaultProxy::to_blocking(echo()).unwrap();
    let stream = client(&proxy);
    let large: Vec<u8> = (0..1_000_000_u32).map(|i| i.to_be_bytes()[3]).collect();
    let writer = thread::spawn({
        let (mut stream, large) = (stream.try_clone().unwrap(), large.clone());
        move || stream.write_all(&large)
    });
    let mut heard = vec![0; large.len()];
    (&stream).read_exact(&mut heard).unwrap();
    writer.join().unwrap().unwrap();
    assert!(heard == large);
    // What was carried is counted right after it has been passed on.
    eventually(Duration::from_secs(5), || {
        (proxy.accepted(), proxy.bytes_up(), proxy.bytes_down()) == (1, 1_000_000, 1_000_000)
    });
}

#[test]
fn a_delay_holds_each_way_without_lowering_the_rate() {
    let proxy = FaultProxy::to_blocking(echo()).unwrap();
    let stream = client(&proxy);
    proxy.delay(Duration::from_millis(100));
    let start = Instant::now();
    assert_eq!(say(&stream, b"hello").unwrap(), b"hello");
    assert!(
        start.elapsed() >= Duration::from_millis(200),
        "{:?}",
        start.elapsed()
    );
    let start = Instant::now();
    for _ in 0..50 {
        (&stream).write_all(b"pipelined").unwrap();
        thread::sleep(Duration::from_millis(1));
    }
    let mut heard = vec![0; 50 * 9];
    (&stream).read_exact(&mut heard).unwrap();
    assert!(
        start.elapsed() < Duration::from_millis(50 * 100),
        "fifty messages are on their way at once"
    );
}

#[test]
fn a_throttle_sets_the_rate() {
    let proxy = FaultProxy::to_blocking(echo()).unwrap();
    let stream = client(&proxy);
    proxy.throttle(20_000);
    let start = Instant::now();
    say(&stream, &[b'x'; 10_000]).unwrap();
    assert!(
        start.elapsed() >= Duration::from_millis(450),
        "{:?}",
        start.elapsed()
    );
}

#[test]
fn a_blackhole_down_carries_requests_out_and_holds_answers_back() {
    let proxy = FaultProxy::to_blocking(echo()).unwrap();
    let stream = client(&proxy);
    say(&stream, b"1").unwrap();
    proxy.blackhole(Direction::Down);
    (&stream).write_all(b"2").unwrap();
    eventually(Duration::from_secs(5), || proxy.bytes_up() == 2);
    assert!(!hears(&stream));
    proxy.heal();
    let mut late = [0; 1];
    (&stream).read_exact(&mut late).unwrap();
    assert_eq!(&late, b"2");
}

#[test]
fn a_blackhole_up_keeps_requests_from_arriving() {
    let proxy = FaultProxy::to_blocking(echo()).unwrap();
    let stream = client(&proxy);
    proxy.blackhole(Direction::Up);
    (&stream).write_all(b"2").unwrap();
    assert!(!hears(&stream));
    assert_eq!(proxy.bytes_up(), 0);
    proxy.heal();
    eventually(Duration::from_secs(5), || proxy.bytes_up() == 1);
}

#[test]
fn a_reset_is_seen_as_a_reset_and_new_connections_work() {
    let proxy = FaultProxy::to_blocking(echo()).unwrap();
    let stream = client(&proxy);
    say(&stream, b"1").unwrap();
    proxy.reset_all();
    assert_eq!(
        (&stream).read(&mut [0; 1]).unwrap_err().kind(),
        ErrorKind::ConnectionReset
    );
    assert_eq!(say(&client(&proxy), b"2").unwrap(), b"2");
}

#[test]
fn refusing_keeps_open_connections_and_healing_listens_again() {
    let proxy = FaultProxy::to_blocking(echo()).unwrap();
    let stream = client(&proxy);
    say(&stream, b"1").unwrap();
    proxy.refuse();
    assert_eq!(
        TcpStream::connect(proxy.addr()).unwrap_err().kind(),
        ErrorKind::ConnectionRefused
    );
    assert_eq!(say(&stream, b"2").unwrap(), b"2");
    proxy.heal();
    assert_eq!(say(&client(&proxy), b"3").unwrap(), b"3");
}

#[test]
fn a_cut_ends_the_connection_in_the_middle_of_an_answer() {
    let proxy = FaultProxy::to_blocking(echo()).unwrap();
    let stream = client(&proxy);
    say(&stream, b"before").unwrap();
    proxy.cut_after(4);
    (&stream).write_all(b"0123456789").unwrap();
    let mut heard = Vec::new();
    // The end may come as a close or, when bytes were still on their way up, as a reset.
    let _ = (&stream).read_to_end(&mut heard);
    assert_eq!(heard, b"0123");
    proxy.heal();
    assert_eq!(say(&client(&proxy), b"0123456789").unwrap(), b"0123456789");
}

#[test]
fn a_half_close_ends_the_answers_and_carries_requests() {
    let proxy = FaultProxy::to_blocking(echo()).unwrap();
    let stream = client(&proxy);
    say(&stream, b"1").unwrap();
    proxy.half_close();
    assert_eq!(
        (&stream).read(&mut [0; 1]).unwrap(),
        0,
        "the end of what the server says"
    );
    (&stream).write_all(b"2").unwrap();
    eventually(Duration::from_secs(5), || proxy.bytes_up() == 2);
    assert_eq!(
        say(&client(&proxy), b"3").unwrap(),
        b"3",
        "new connections are whole"
    );
}

#[test]
fn a_target_that_refuses_is_a_reset() {
    let gone = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let proxy = FaultProxy::to_blocking(gone).unwrap();
    assert_eq!(
        (&client(&proxy)).read(&mut [0; 1]).unwrap_err().kind(),
        ErrorKind::ConnectionReset
    );
}

#[test]
fn nothing_listens_after_the_proxy_is_dropped() {
    let proxy = FaultProxy::to_blocking(echo()).unwrap();
    let (address, stream) = (proxy.addr(), client(&proxy));
    say(&stream, b"1").unwrap();
    drop(proxy);
    assert!(TcpStream::connect(address).is_err());
    assert!(
        !matches!((&stream).read(&mut [0; 1]), Ok(1..)),
        "the connection ended"
    );
}

#[tokio::test(start_paused = true)]
async fn a_paused_clock_does_not_touch_the_proxy() {
    let redis = bilten_testbed::Redis::start().unwrap();
    let proxy = FaultProxy::to(redis.addr()).await.unwrap();
    assert_eq!(
        proxy.url_like("redis://:pw@db:1/2").unwrap(),
        format!("redis://:pw@{}/2", proxy.addr())
    );
    proxy.delay(Duration::from_millis(50));
    let start = Instant::now();
    let stream = client(&proxy);
    (&stream).write_all(b"PING\r\n").unwrap();
    let mut answer = [0; 7];
    (&stream).read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"+PONG\r\n");
    assert!(start.elapsed() >= Duration::from_millis(100));
}

#[test]
fn a_stranded_connection_stays_silent_and_new_ones_are_carried() {
    let proxy = FaultProxy::to_blocking(echo()).unwrap();
    let stranded = client(&proxy);
    say(&stranded, b"1").unwrap();
    proxy.strand_all();
    (&stranded).write_all(b"2").unwrap();
    assert!(!hears(&stranded));
    let new = client(&proxy);
    assert_eq!(say(&new, b"3").unwrap(), b"3");
    proxy.heal();
    assert!(!hears(&stranded), "for good");
    assert_eq!(say(&new, b"4").unwrap(), b"4");
    proxy.reset_all();
    let end = (&stranded).read(&mut [0; 1]).unwrap_err();
    assert_eq!(end.kind(), ErrorKind::ConnectionReset);
}
