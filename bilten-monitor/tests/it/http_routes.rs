//! The tower layer's labels: routes, methods, and what is left out. However many there are, the series stay few.

use bilten_monitor::alert::AlertKind;
use http::Request;
use http_body_util::BodyExt;
use tower::{Layer, Service, ServiceExt, service_fn};

use crate::http_layer::{ACTIVE, COUNT, answer, ask, request, route};
use crate::scene::{Lines, Scene};

/// Sends many requests through one layer and reads every answer.
async fn ask_each(scene: &Scene, requests: impl Iterator<Item = Request<()>>, status: u16) {
    let inner = service_fn(move |_: Request<()>| answer(status));
    let mut service = scene.monitor.http().route(route).layer(inner);
    for request in requests {
        let response = service.call(request).await.expect("infallible");
        drop(response.into_body().collect().await);
    }
}

#[tokio::test]
async fn a_request_is_told_by_its_route_and_never_by_its_path() {
    let scene = Scene::new();
    ask(&scene, "GET", "/users/42?token=secret", 200).await;
    let scrape = scene.scrape();
    let labels = [
        ("http_route", "/users/{id}"),
        ("http_request_method", "GET"),
        ("http_response_status_code", "200"),
        ("url_scheme", "http"),
        ("outcome", "success"),
    ];
    assert_eq!(scrape.sum(COUNT, &labels), 1.0);
    assert_eq!(scrape.sum(COUNT, &[]), 1.0);
    assert_eq!(
        scrape.sum("http_server_time_to_first_byte_seconds_count", &[]),
        1.0
    );
    assert_eq!(
        scrape.sum("http_server_response_body_size_bytes_sum", &[]),
        5.0
    );
    assert!(
        !scrape.text.contains("42") && !scrape.text.contains("secret"),
        "{}",
        scrape.text
    );
}

#[tokio::test]
async fn a_hundred_thousand_unknown_paths_are_one_series() {
    let scene = Scene::new();
    let paths = (0..100_000).map(|n| format!("/wp-admin/{n}.php"));
    ask_each(&scene, paths.map(|path| request("GET", &path)), 404).await;
    let scrape = scene.scrape();
    assert_eq!(
        scrape.sum(
            COUNT,
            &[
                ("http_route", "unmatched"),
                ("http_response_status_code", "404")
            ]
        ),
        100_000.0
    );
    assert_eq!(scrape.values_of("http_route").len(), 1);
}

#[tokio::test]
async fn a_hundred_thousand_unknown_methods_are_one_series() {
    let scene = Scene::new();
    ask(&scene, "BREW", "/users/1", 200).await;
    let methods = (0..100_000).map(|n| format!("X{n}"));
    ask_each(
        &scene,
        methods.map(|method| request(&method, "/users/1")),
        200,
    )
    .await;
    let scrape = scene.scrape();
    assert_eq!(scrape.values_of("http_request_method"), ["_OTHER"].into());
    assert_eq!(scrape.sum(COUNT, &[]), 100_001.0);
}

#[tokio::test]
async fn of_a_hundred_thousand_routes_those_too_many_are_counted_under_other() {
    let scene = Scene::with(|builder| builder.max_label_values(10));
    let named = |uri: &http::Uri| Some(&*Box::leak(uri.path().to_owned().into_boxed_str()));
    let mut service = scene
        .monitor
        .http()
        .route(named)
        .layer(service_fn(|_: Request<()>| answer(200)));
    for n in 0..100_000 {
        let response = service
            .call(request("GET", &format!("/r{n}")))
            .await
            .expect("infallible");
        drop(response.into_body().collect().await);
    }
    let scrape = scene.scrape();
    assert_eq!(scrape.sum(COUNT, &[]), 100_000.0);
    assert_eq!(scrape.sum(COUNT, &[("http_route", "other")]), 99_990.0);
    assert_eq!(scene.monitor.losses().overflowed, 99_990);
    assert_eq!(
        scene
            .alerts()
            .iter()
            .filter(|alert| alert.kind == AlertKind::TooManyLabels)
            .count(),
        1
    );
}

#[tokio::test]
async fn errors_beyond_the_combinations_that_a_route_keeps_apart_are_counted_as_errors() {
    const METHODS: [&str; 8] = [
        "GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "BREW",
    ];
    let scene = Scene::new();
    let layer = scene.monitor.http().route(route);
    let ask = async |method: &str, status: u16| {
        let service = layer.layer(service_fn(move |_: Request<()>| answer(status)));
        let answered = service.oneshot(request(method, "/users/1")).await;
        drop(answered.expect("infallible").into_body().collect().await);
    };
    for method in METHODS {
        for status in [200, 201, 202, 203, 400, 401, 403, 404] {
            ask(method, status).await;
        }
    }
    assert_eq!(scene.monitor.losses().overflowed, 0);
    for n in 0..103 {
        ask("GET", if n < 100 { 502 } else { 418 }).await;
    }
    let scrape = scene.scrape();
    assert_eq!(scrape.sum(COUNT, &[]), 64.0 + 103.0);
    assert_eq!(scrape.sum(COUNT, &[("outcome", "error")]), 100.0);
    let failed = [
        ("http_response_status_code", "5xx"),
        ("error_type", "other"),
    ];
    assert_eq!(scrape.sum(COUNT, &failed), 100.0);
    let refused = [("http_response_status_code", "4xx"), ("outcome", "success")];
    assert_eq!(scrape.sum(COUNT, &refused), 3.0);
    assert_eq!(scene.monitor.losses().overflowed, 103);
    let alerts = scene.alerts();
    let told = alerts
        .iter()
        .filter(|alert| alert.kind == AlertKind::TooManyLabels);
    let told: Vec<_> = told.map(|alert| alert.subject.as_str()).collect();
    assert_eq!(told, ["method and status"]);
}

#[tokio::test]
async fn probes_are_left_out_unless_they_are_asked_for() {
    let scene = Scene::new();
    for path in [
        "/metrics",
        "/livez",
        "/readyz",
        "/startupz",
        "/healthz",
        "/healthz?verbose",
        "/healthz/edge",
    ] {
        ask(&scene, "GET", path, 200).await;
    }
    assert_eq!(scene.scrape().sum(COUNT, &[]), 0.0);
    ask(&scene, "GET", "/healthzone", 200).await;
    assert_eq!(scene.scrape().sum(COUNT, &[]), 1.0);
    let service = scene
        .monitor
        .http()
        .exclude([])
        .layer(service_fn(|_: Request<()>| answer(200)));
    let response = service
        .oneshot(request("GET", "/healthz"))
        .await
        .expect("infallible");
    drop(response.into_body().collect().await);
    assert_eq!(scene.scrape().sum(COUNT, &[]), 2.0);
}

#[tokio::test]
async fn what_is_below_an_excluded_path_is_left_out_however_that_path_ends() {
    let scene = Scene::new();
    let service = scene
        .monitor
        .http()
        .exclude(["/internal/", "/"])
        .layer(service_fn(|_: Request<()>| answer(200)));
    for (path, counted) in [
        ("/internal", 0.0),
        ("/internal/", 0.0),
        ("/internal/jobs", 0.0),
        ("/", 0.0),
        ("/internals", 1.0),
    ] {
        let response = service.clone().oneshot(request("GET", path)).await;
        drop(response.expect("infallible").into_body().collect().await);
        assert_eq!(scene.scrape().sum(COUNT, &[]), counted, "{path}");
    }
}

#[tokio::test]
async fn a_panic_of_the_closure_that_names_routes_is_no_matter_of_the_request() {
    let lines = Lines::default();
    let _told = tracing::subscriber::set_default(lines.subscriber());
    let scene = Scene::new();
    let layer = scene.monitor.http().route(|uri| match uri.path() {
        "/known" => Some("/known"),
        path => panic!("no route for {path}"),
    });
    let service = layer.layer(service_fn(|_: Request<()>| answer(200)));
    for path in ["/odd", "/known", "/odd"] {
        let response = service.clone().oneshot(request("GET", path)).await;
        drop(response.expect("infallible").into_body().collect().await);
    }
    let scrape = scene.scrape();
    assert_eq!(scrape.sum(COUNT, &[("http_route", "unmatched")]), 2.0);
    assert_eq!(scrape.sum(COUNT, &[("http_route", "/known")]), 1.0);
    assert_eq!(scrape.sum(ACTIVE, &[]), 0.0);
    let text = lines.text();
    assert_eq!(
        text.matches("HttpLayer::route panicked").count(),
        1,
        "{text}"
    );
}

#[tokio::test]
async fn a_route_without_a_name_counts_as_none() {
    let scene = Scene::new();
    let layer = scene.monitor.http().route(|_| Some(""));
    let service = layer.layer(service_fn(|_: Request<()>| answer(200)));
    let response = service.oneshot(request("GET", "/odd")).await;
    drop(response.expect("infallible").into_body().collect().await);
    assert_eq!(
        scene.scrape().sum(COUNT, &[("http_route", "unmatched")]),
        1.0
    );
}
