//! The endpoints, as a probe sees them.

use crate::doubles::{Switch, failing, health, ms, passing};
use axum::Router;
use axum::body::Body;
use axum::http::request::Builder;
use axum::http::{HeaderMap, HeaderValue, Method, Request, StatusCode, header};
use bilten_health::{Group, Health, check};
use http_body_util::BodyExt;
use tokio::time::advance;
use tower::ServiceExt;

pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

pub(crate) async fn ask(app: &Router, request: Builder) -> Answer {
    let response = app
        .clone()
        .oneshot(request.body(Body::empty()).unwrap())
        .await
        .unwrap();
    let (parts, body) = response.into_parts();
    let body = String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap();
    Answer {
        status: parts.status,
        headers: parts.headers,
        body,
    }
}

pub(crate) async fn get(app: &Router, path: &str) -> Answer {
    ask(app, Request::get(path)).await
}

fn app(health: &Health) -> Router {
    Router::new().merge(health.routes())
}

fn app_with_details(health: &Health) -> Router {
    Router::new().merge(
        health
            .routes()
            .details_for(|parts| parts.headers.contains_key("x-operator")),
    )
}

#[tokio::test(start_paused = true)]
async fn each_path_asks_its_group() {
    let app = app(&health([
        failing("db").in_readiness(),
        failing("mail").non_critical(),
    ]));
    for (path, expected) in [
        ("/livez", 200),
        ("/readyz", 503),
        ("/startupz", 200),
        ("/healthz", 503),
    ] {
        let answer = get(&app, path).await;
        assert_eq!(answer.status.as_u16(), expected, "{path}");
        let json: serde_json::Value = serde_json::from_str(&answer.body).unwrap();
        assert_eq!(
            json["healthy"],
            expected == 200,
            "status and body agree on {path}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_group_has_a_path_and_a_stranger_has_none() {
    let health = Health::builder()
        .check(passing("a"))
        .check(failing("b"))
        .group("edge", ["a"])
        .build()
        .unwrap();
    let app = app(&health);
    assert_eq!(get(&app, "/healthz/edge").await.status, 200);
    assert_eq!(get(&app, "/healthz/all").await.status, 503);
    assert_eq!(get(&app, "/healthz/stranger").await.status, 404);
    assert_eq!(get(&app, "/healthz/%22%3Cb%3E").await.status, 404);
    assert_eq!(get(&app, "/healthz/%ff").await.status, 404);
}

#[tokio::test(start_paused = true)]
async fn the_public_answer_has_no_names_errors_or_details() {
    let leaky = check("internal-db-7", || async {
        Err::<(), _>("postgres://bob:hunter2@db7.internal refused")
    });
    let health = health([leaky.in_readiness()]);
    for app in [app(&health), app_with_details(&health)] {
        for path in [
            "/readyz",
            "/healthz",
            "/readyz?verbose",
            "/healthz?details=true&format=full",
        ] {
            for accept in ["*/*", "application/health+json", "text/plain", "text/html"] {
                let answer = ask(&app, Request::get(path).header("accept", accept)).await;
                for secret in ["internal", "db7", "bob", "hunter2", "refused", "postgres"] {
                    assert!(
                        !answer.body.contains(secret),
                        "{path} {accept}: {}",
                        answer.body
                    );
                }
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn details_are_for_those_who_may_see_them_and_credentials_for_nobody() {
    let leaky = check("db", || async {
        Err::<(), _>("postgres://bob:hunter2@db7.internal refused")
    });
    let app = app_with_details(&health([leaky]));
    let answer = ask(&app, Request::get("/healthz").header("x-operator", "1")).await;
    assert_eq!(answer.status, 503);
    assert!(
        answer.body.contains("postgres://***@db7.internal refused"),
        "{}",
        answer.body
    );
    assert!(!answer.body.contains("hunter2"));
}

#[tokio::test(start_paused = true)]
async fn head_has_the_headers_of_get_and_no_body() {
    let app = app(&health([failing("db").in_readiness()]));
    for path in [
        "/livez",
        "/readyz",
        "/startupz",
        "/healthz",
        "/healthz/nobody",
    ] {
        let (get, head) = (get(&app, path).await, ask(&app, Request::head(path)).await);
        assert_eq!(get.status, head.status);
        assert_eq!(get.headers, head.headers, "{path}");
        assert!(head.body.is_empty() && !get.body.is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn other_methods_are_told_what_is_allowed() {
    let app = app(&health([passing("db")]));
    for method in ["POST", "PUT", "DELETE", "OPTIONS", "TRACE", "PATCH", "BREW"] {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        for path in ["/readyz", "/healthz/nobody", "/healthz/%ff"] {
            let answer = ask(&app, Request::builder().method(&method).uri(path)).await;
            assert_eq!(answer.status, 405, "{path}");
            assert_eq!(answer.headers[header::ALLOW], "GET, HEAD");
            assert_eq!(answer.headers[header::CACHE_CONTROL], "no-store");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn no_answer_may_be_stored() {
    let app = app(&health([failing("db")]));
    for path in [
        "/livez",
        "/readyz",
        "/startupz",
        "/healthz",
        "/healthz/all",
        "/healthz/nobody",
        "/healthz/%ff",
    ] {
        let headers = get(&app, path).await.headers;
        assert_eq!(headers[header::CACHE_CONTROL], "no-store", "{path}");
        assert_eq!(headers[header::X_CONTENT_TYPE_OPTIONS], "nosniff", "{path}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_format_follows_the_accept_header() {
    let app = app_with_details(&health([passing("a"), failing("b").non_critical()]));
    let ask = |accept: &'static str| {
        let app = app.clone();
        async move {
            ask(
                &app,
                Request::get("/healthz")
                    .header("accept", accept)
                    .header("x-operator", "1"),
            )
            .await
        }
    };
    let kubelet = ask("*/*").await;
    assert_eq!(kubelet.headers[header::CONTENT_TYPE], "application/json");

    let draft = ask("application/health+json").await;
    assert_eq!(
        draft.headers[header::CONTENT_TYPE],
        "application/health+json"
    );
    let json: serde_json::Value = serde_json::from_str(&draft.body).unwrap();
    assert_eq!(json["status"], "warn");
    assert_eq!(json["checks"]["a:responseTime"][0]["observedUnit"], "ms");
    assert_eq!(json["checks"]["a:responseTime"][0]["status"], "pass");
    assert!(json["checks"]["a:responseTime"][0].get("output").is_none());
    assert_eq!(
        json["checks"]["b:responseTime"][0]["output"],
        "it does not work"
    );

    let page = ask("text/html,*/*;q=0.8").await;
    assert_eq!(
        page.headers[header::CONTENT_TYPE],
        "text/html; charset=utf-8"
    );
    assert!(
        page.headers[header::CONTENT_SECURITY_POLICY]
            .to_str()
            .unwrap()
            .contains("default-src 'none'")
    );
    assert!(
        page.body.contains("<h1 class=degraded>Degraded</h1>")
            && page.body.contains("it does not work")
    );

    let policy = page.headers[header::CONTENT_SECURITY_POLICY]
        .to_str()
        .unwrap();
    assert!(policy.contains("img-src data:") && page.body.contains("href=\"data:image/svg+xml,"));
    assert!(!page.body.contains("<script"));

    let plain = ask("text/plain").await;
    assert!(plain.body.starts_with("degraded\na up "), "{}", plain.body);
}

#[tokio::test(start_paused = true)]
async fn a_hundred_probes_a_second_are_all_answered_from_one_run() {
    let switch = Switch::new(true);
    let app = app(&health([switch.check("db").in_readiness()]));
    for _ in 0..99 {
        assert_eq!(get(&app, "/readyz").await.status, 200);
        advance(ms(10)).await;
    }
    assert_eq!(switch.runs.get(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_question_from_another_health_check_is_answered_for_this_service_alone() {
    let (db, other) = (Switch::new(true), Switch::new(false));
    let health = Health::builder()
        .check(db.check("db").in_readiness())
        .check(other.check("other").peer().in_readiness())
        .group("others", ["other"])
        .build()
        .unwrap();
    let app = app(&health);
    let hop = |path: &str| Request::get(path).header(bilten_health::hop::HOP_HEADER, "1");
    for path in ["/readyz", "/healthz", "/healthz/others"] {
        assert_eq!(ask(&app, hop(path)).await.status, 200, "{path}");
    }
    assert_eq!((db.runs.get(), other.runs.get()), (1, 0));
    for path in ["/readyz", "/healthz", "/healthz/others"] {
        assert_eq!(get(&app, path).await.status, 503, "{path}");
    }
    assert_eq!(
        (db.runs.get(), other.runs.get()),
        (1, 1),
        "one run for both"
    );

    db.set(false);
    advance(ms(1001)).await;
    assert_eq!(ask(&app, hop("/readyz")).await.status, 503);
    assert_eq!(other.runs.get(), 1);
    health.begin_shutdown();
    assert_eq!(ask(&app, hop("/healthz/others")).await.status, 503);
    assert_eq!(ask(&app, hop("/livez")).await.status, 200);
}

#[tokio::test(start_paused = true)]
async fn a_slash_at_the_end_and_the_case_of_a_group_change_nothing() {
    let health = Health::builder()
        .check(passing("a").tags(["Slow"]).in_readiness())
        .check(failing("b"))
        .group("Edge", ["A"])
        .build()
        .unwrap();
    let app = app(&health);
    for (path, status) in [
        ("/livez/", 200),
        ("/readyz/", 200),
        ("/startupz/", 200),
        ("/healthz/", 503),
        ("/healthz/edge", 200),
        ("/healthz/EDGE/", 200),
        ("/healthz/ALL/", 503),
        ("/healthz/nobody/", 404),
    ] {
        let answer = get(&app, path).await;
        assert_eq!(answer.status, status, "{path}");
        assert_eq!(answer.headers[header::CACHE_CONTROL], "no-store", "{path}");
    }
    for group in [Group::Named("eDGE"), Group::Tag("sLOW")] {
        let report = health.check_group(group).await;
        assert_eq!(report.checks.len(), 1, "{group}");
    }
}

#[tokio::test(start_paused = true)]
async fn requests_no_one_expects_get_an_answer() {
    let app = app(&health([passing("db")]));
    let long = format!("/readyz?{}", "x".repeat(60_000));
    assert_eq!(get(&app, &long).await.status, 200);
    let accept = HeaderValue::from_bytes(&[0xff, 0xfe]).unwrap();
    assert_eq!(
        ask(&app, Request::get("/readyz").header("accept", accept))
            .await
            .status,
        200
    );
    let many = "text/plain;q=0.1,".repeat(5000);
    assert_eq!(
        ask(&app, Request::get("/readyz").header("accept", many))
            .await
            .status,
        200
    );
}

// What a router alone cannot show: the server in front of it refuses what it will not read.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_query_of_a_hundred_kilobytes_hurts_nobody() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(axum::serve(listener, app(&health([passing("db")]))).into_future());
    let send = async |path: &str| {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        // It may answer and close before it has read everything.
        let _ = stream.write_all(request.as_bytes()).await;
        let mut answer = vec![0; 12];
        stream.read_exact(&mut answer).await.unwrap();
        String::from_utf8(answer).unwrap()
    };
    let refused = send(&format!("/readyz?{}", "x".repeat(100_000))).await;
    assert!(refused.starts_with("HTTP/1.1 4"), "{refused}");
    assert_eq!(send("/readyz").await, "HTTP/1.1 200");
}

#[tokio::test(start_paused = true)]
async fn groups_are_found_behind_a_parameter_of_the_application() {
    let health = Health::builder().check(passing("db")).group("edge", ["db"]);
    let routes = health.build().unwrap().routes().into_router();
    let app = Router::new().nest("/t/{tenant}", routes);
    for (path, expected) in [
        ("/t/7/readyz", 200),
        ("/t/7/healthz/edge", 200),
        ("/t/7/healthz/edge/", 200),
        ("/t/edge/healthz/7", 404),
        ("/t/7/healthz/%ff", 404),
    ] {
        assert_eq!(get(&app, path).await.status, expected, "{path}");
    }
}
