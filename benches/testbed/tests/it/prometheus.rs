use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::time::Duration;

use bilten_testbed::{Prometheus, eventually, promtool};

#[test]
fn it_scrapes_a_target_and_answers_queries() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let target = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let _ = stream.read(&mut [0; 4096]);
            let body = "answer 42\n";
            let head = "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\nconnection: close\r\n";
            let _ = write!(stream, "{head}content-length: {}\r\n\r\n{body}", body.len());
        }
    });
    let prometheus = Prometheus::scraping(&target, None).unwrap();
    eventually(Duration::from_secs(20), || {
        prometheus.query("answer").unwrap().contains("\"42\"")
    });
    let wrong = prometheus.query("answer{").unwrap_err().to_string();
    assert!(wrong.contains("400"), "{wrong}");
}

#[test]
fn the_tool_tells_what_is_wrong() {
    let check = |text: &str| promtool(&["check", "metrics"], Path::new("."), text);
    assert!(check("# HELP a_total Counts.\n# TYPE a_total counter\na_total 1\n").is_ok());
    let wrong = check("# HELP a Counts.\n# TYPE a counter\na 1\n")
        .unwrap_err()
        .to_string();
    assert!(wrong.contains("_total"), "{wrong}");
}
