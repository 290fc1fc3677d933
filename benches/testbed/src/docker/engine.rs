use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::net::ToSocketAddrs;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

/// An engine of this machine answers within milliseconds.
const LIMIT: Duration = Duration::from_secs(1);

/// Whether a Docker engine answers, looked up within a second or two.
///
/// `Ok` is where, `Err` is a sentence that says where it was looked for and what happened.
pub(crate) fn answers() -> Result<String, String> {
    let mut tried = Vec::new();
    for place in places(
        std::env::var("DOCKER_HOST").ok(),
        std::env::var_os("HOME"),
        std::env::var_os("XDG_RUNTIME_DIR"),
    ) {
        match ping_within(&place) {
            Ok(()) => return Ok(place),
            Err(problem) => tried.push(format!("{place}: {problem}")),
        }
    }
    Err(format!("no Docker engine answers ({})", tried.join("; ")))
}

fn places(
    host: Option<String>,
    home: Option<std::ffi::OsString>,
    runtime: Option<std::ffi::OsString>,
) -> Vec<String> {
    if let Some(host) = host.filter(|host| !host.is_empty()) {
        return vec![host];
    }
    let sockets = [
        Some(PathBuf::from("/var/run/docker.sock")),
        runtime.map(|runtime| PathBuf::from(runtime).join("docker.sock")),
        home.map(|home| PathBuf::from(home).join(".docker/run/docker.sock")),
    ];
    sockets
        .into_iter()
        .flatten()
        .map(|path| format!("unix://{}", path.display()))
        .collect()
}

/// On a thread: connecting to a socket whose queue is full has no limit of its own.
fn ping_within(place: &str) -> Result<(), String> {
    let (send, receive) = mpsc::channel();
    let target = place.to_owned();
    thread::spawn(move || send.send(ping(&target)));
    match receive.recv_timeout(LIMIT) {
        Ok(outcome) => outcome.map_err(|e| e.to_string()),
        Err(_) => Err(format!("no answer in {LIMIT:?}")),
    }
}

fn ping(place: &str) -> io::Result<()> {
    if let Some(path) = place.strip_prefix("unix://") {
        let stream = UnixStream::connect(path)?;
        stream.set_read_timeout(Some(LIMIT))?;
        return ask(stream);
    }
    let Some(address) = place
        .strip_prefix("tcp://")
        .or_else(|| place.strip_prefix("http://"))
    else {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "neither unix:// nor tcp://",
        ));
    };
    let address = address
        .to_socket_addrs()?
        .next()
        .ok_or(io::ErrorKind::NotFound)?;
    let stream = TcpStream::connect_timeout(&address, LIMIT)?;
    stream.set_read_timeout(Some(LIMIT))?;
    ask(stream)
}

fn ask(mut stream: impl Read + Write) -> io::Result<()> {
    stream.write_all(b"GET /_ping HTTP/1.1\r\nHost: docker\r\nConnection: close\r\n\r\n")?;
    let mut status = [0; 12];
    stream.read_exact(&mut status)?;
    if status.ends_with(b" 200") {
        Ok(())
    } else {
        Err(io::Error::other("its answer to a ping is not 200"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;
    use std::time::Instant;

    #[test]
    fn the_environment_names_the_only_place() {
        assert_eq!(
            places(Some("tcp://h:1".into()), Some("/home/me".into()), None),
            ["tcp://h:1"]
        );
        let usual = places(None, Some("/home/me".into()), Some("/run/user/7".into()));
        assert_eq!(
            usual,
            [
                "unix:///var/run/docker.sock",
                "unix:///run/user/7/docker.sock",
                "unix:///home/me/.docker/run/docker.sock"
            ]
        );
    }

    #[test]
    fn an_absent_engine_is_said_at_once() {
        let start = Instant::now();
        let problem = ping_within("unix:///nowhere/docker.sock").unwrap_err();
        assert!(problem.contains("No such file"), "{problem}");
        assert!(start.elapsed() < Duration::from_secs(2));
    }

    #[test]
    fn a_silent_engine_is_given_up_within_two_seconds() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let start = Instant::now();
        assert!(ping_within(&format!("tcp://{}", listener.local_addr().unwrap())).is_err());
        assert!(
            start.elapsed() < Duration::from_secs(2),
            "{:?}",
            start.elapsed()
        );
    }

    #[test]
    fn an_engine_that_answers_is_found() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let place = format!("tcp://{}", listener.local_addr().unwrap());
        let engine = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 14];
            stream.read_exact(&mut request).unwrap();
            stream
                .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nOK")
                .unwrap();
            request
        });
        ping_within(&place).unwrap();
        assert_eq!(&engine.join().unwrap(), b"GET /_ping HTT");
    }
}
