//! Alerts over HTTP, to servers that answer, fail, hang and redirect.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use bilten_monitor::Error;
use bilten_monitor::alert::WebhookSink;

use crate::scene::{SOON, Scene};

/// A server that gives these answers, one for each connection, and reports the requests' bodies and heads.
fn server(answers: Vec<String>) -> (String, Receiver<(String, String)>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!(
        "http://{}/hook?token=secret",
        listener.local_addr().expect("an address")
    );
    let (sender, requests) = channel();
    std::thread::spawn(move || {
        for answer in answers {
            let Ok((mut stream, _)) = listener.accept() else {
                return;
            };
            let request = read(&stream);
            // Before the answer: whoever has that one looks for the request at once.
            sender.send(request).ok();
            stream.write_all(answer.as_bytes()).ok();
        }
    });
    (url, requests)
}

fn read(stream: &TcpStream) -> (String, String) {
    let mut reader = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") && reader.read_line(&mut head).is_ok_and(|read| read > 0) {}
    let length = head.lines().find_map(|line| {
        line.to_ascii_lowercase()
            .strip_prefix("content-length: ")?
            .parse()
            .ok()
    });
    let mut body = vec![0; length.unwrap_or(0)];
    reader.read_exact(&mut body).ok();
    (head, String::from_utf8_lossy(&body).into_owned())
}

fn answer(status: &str) -> String {
    format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
}

/// The sink waits as long as it takes: no server is too slow for it.
fn scene(url: &str) -> Scene {
    scene_within(SOON, url)
}

fn scene_within(limit: Duration, url: &str) -> Scene {
    let sink = WebhookSink::builder(url)
        .header("authorization", "Bearer also-secret")
        .pause(Duration::from_millis(1))
        .timeout(limit)
        .build()
        .expect("a sink");
    assert!(!format!("{sink:?}").contains("secret"));
    Scene::with(|builder| builder.alert_sink(sink))
}

fn slow(scene: &Scene) {
    let span = scene.monitor.query("report \"x\"").start();
    scene.clock.advance(Duration::from_millis(250));
    span.finish(bilten_monitor::Outcome::Success);
}

#[test]
fn an_alert_is_posted_as_json() {
    let (url, requests) = server(vec![answer("204 No Content")]);
    let scene = scene(&url);
    slow(&scene);
    let (head, body) = requests.recv_timeout(SOON).expect("a request");
    assert!(
        head.starts_with("POST /hook?token=secret HTTP/1.1"),
        "{head}"
    );
    assert!(
        head.to_ascii_lowercase()
            .contains("authorization: bearer also-secret"),
        "{head}"
    );
    let alert: serde_json::Value = serde_json::from_str(&body).expect("JSON");
    assert_eq!(alert["kind"], "slow query");
    assert_eq!(alert["subject"], "report \"x\"");
    assert_eq!(alert["durationSeconds"], 0.25);
    assert!(scene.monitor.flush(SOON));
    assert_eq!(scene.monitor.losses().sink_failures, 0);
}

#[test]
fn a_server_error_is_tried_again_and_a_refusal_is_not() {
    let (url, requests) = server(vec![
        answer("500 Oops"),
        answer("429 Slow down"),
        answer("200 OK"),
    ]);
    let recovered = scene(&url);
    slow(&recovered);
    assert!(recovered.monitor.flush(SOON));
    let ids: Vec<_> = requests.try_iter().map(|(_, body)| id(&body)).collect();
    assert!(
        ids.len() == 3 && ids.iter().all(|id| *id == ids[0]),
        "{ids:?}"
    );
    assert_eq!(recovered.monitor.losses().sink_failures, 0);

    let (url, requests) = server(vec![answer("403 No"), answer("200 OK")]);
    let refused = scene(&url);
    slow(&refused);
    assert!(refused.monitor.flush(SOON));
    assert_eq!(requests.try_iter().count(), 1);
    assert_eq!(refused.monitor.losses().sink_failures, 1);
}

fn id(body: &str) -> String {
    let alert: serde_json::Value = serde_json::from_str(body).expect("JSON");
    alert["id"].as_str().expect("an id").to_owned()
}

#[test]
fn no_two_alerts_have_one_id() {
    let ids = [(); 2].map(|()| {
        let (url, requests) = server(vec![answer("200 OK"), answer("200 OK")]);
        let scene = scene(&url);
        slow(&scene);
        scene.clock.advance(Duration::from_secs(61));
        slow(&scene);
        assert!(scene.monitor.flush(SOON));
        requests.try_iter().map(|(_, body)| id(&body)).collect()
    });
    let all: std::collections::HashSet<String> = ids.iter().flatten().cloned().collect::<_>();
    let ids: Vec<Vec<String>> = ids.into();
    assert_eq!((all.len(), ids.concat().len()), (4, 4), "{ids:?}");
}

/// Runs itself anew: the environment of a process is not to be changed while it runs.
#[test]
fn an_alert_goes_past_the_proxy_of_the_environment_and_through_the_one_that_is_named() {
    const NAME: &str = "webhook::an_alert_goes_past_the_proxy_of_the_environment_and_through_the_one_that_is_named";
    if std::env::var_os("ALL_PROXY").is_none() {
        let itself = std::env::current_exe().expect("a path");
        let mut again = std::process::Command::new(itself);
        again.args(["--exact", NAME]);
        again.envs(
            ["ALL_PROXY", "HTTP_PROXY", "http_proxy"].map(|name| (name, "http://127.0.0.1:9")),
        );
        let ended = again.output().expect("run");
        let text = String::from_utf8_lossy(&ended.stdout);
        assert!(
            ended.status.success() && text.contains("1 passed"),
            "{text}"
        );
        return;
    }
    let (url, requests) = server(vec![answer("200 OK")]);
    let direct = scene(&url);
    slow(&direct);
    assert!(direct.monitor.flush(SOON));
    assert_eq!(direct.monitor.losses().sink_failures, 0);
    assert_eq!(requests.try_iter().count(), 1);

    let (proxy, asked) = server(vec![answer("200 OK")]);
    let proxy = proxy.split("/hook").next().expect("an address").to_owned();
    let sink = WebhookSink::builder("http://alerts.invalid/hook").proxy(proxy);
    let sink = sink.attempts(1).build().expect("a sink");
    let through = Scene::with(|builder| builder.alert_sink(sink));
    slow(&through);
    assert!(through.monitor.flush(SOON));
    let (head, _) = asked.recv_timeout(SOON).expect("it was asked");
    assert!(head.contains("alerts.invalid"), "{head}");
}

#[test]
fn a_redirect_to_another_host_is_not_followed() {
    let (elsewhere, stolen) = server(vec![answer("200 OK")]);
    let redirect = format!(
        "HTTP/1.1 307 Elsewhere\r\nlocation: {elsewhere}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
    );
    let (url, requests) = server(vec![redirect]);
    let scene = scene(&url);
    slow(&scene);
    assert!(scene.monitor.flush(SOON));
    assert_eq!(requests.try_iter().count(), 1);
    assert_eq!(stolen.try_iter().count(), 0);
    assert_eq!(scene.monitor.losses().sink_failures, 1);
}

#[test]
fn a_webhook_that_hangs_or_is_gone_is_given_up_and_the_program_never_waits() {
    let hanging = TcpListener::bind("127.0.0.1:0").expect("a port");
    let hanging_at = hanging.local_addr().expect("an address");
    // Bound and not listening: nobody else gets the port meanwhile.
    let gone = tokio::net::TcpSocket::new_v4().expect("a socket");
    gone.bind("127.0.0.1:0".parse().expect("an address"))
        .expect("a port");
    let gone_at = gone.local_addr().expect("an address");
    for address in [hanging_at, gone_at] {
        let scene = scene_within(Duration::from_millis(300), &format!("http://{address}/"));
        slow(&scene);
        assert!(
            scene.alerts.next_within(SOON).is_some(),
            "the other sink has it"
        );
        assert!(scene.monitor.flush(SOON));
        assert_eq!(scene.monitor.losses().sink_failures, 1);
    }
}

#[test]
fn what_cannot_work_is_refused_without_showing_a_secret() {
    let refused = [
        WebhookSink::builder("not a url secret").build(),
        WebhookSink::builder("ftp://secret/").build(),
        WebhookSink::builder("/secret").build(),
        WebhookSink::builder("http://host/")
            .header("bad name", "secret")
            .build(),
        WebhookSink::builder("http://host/")
            .header("name", "secret\n")
            .build(),
        WebhookSink::builder("http://host/")
            .timeout(Duration::ZERO)
            .build(),
        WebhookSink::builder("http://host/").attempts(0).build(),
        WebhookSink::builder("http://host/")
            .proxy("no url secret")
            .build(),
    ];
    for (n, refused) in refused.into_iter().enumerate() {
        let error = refused.expect_err("refused");
        assert!(
            matches!(error, Error::Webhook { .. } | Error::Zero { .. }),
            "{n}"
        );
        assert!(!format!("{error} {error:?}").contains("secret"), "{n}");
    }
}
