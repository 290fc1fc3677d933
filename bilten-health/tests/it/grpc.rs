//! The gRPC health protocol, with a real client over a real connection.

use crate::doubles::{Count, Switch, failing, passing, patience, patient};
use bilten_health::{Group, Health, Status};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::time::timeout;
use tonic::Code;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Channel, Server};
use tonic_health::pb::health_check_response::ServingStatus::{
    self, NotServing, ServiceUnknown, Serving,
};
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

async fn client(health: &Health) -> HealthClient<Channel> {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = Server::builder().add_service(health.grpc());
    tokio::spawn(server.serve_with_incoming(TcpIncoming::from(listener)));
    let channel = Channel::from_shared(format!("http://{address}")).unwrap();
    HealthClient::new(channel.connect().await.unwrap())
}

fn of(service: &str) -> HealthCheckRequest {
    HealthCheckRequest {
        service: service.to_owned(),
    }
}

async fn check(client: &mut HealthClient<Channel>, service: &str) -> Result<ServingStatus, Code> {
    client
        .check(of(service))
        .await
        .map(|answer| answer.get_ref().status())
        .map_err(|status| status.code())
}

async fn next(stream: &mut tonic::Streaming<HealthCheckResponse>) -> Option<ServingStatus> {
    let message = timeout(Duration::from_secs(20), stream.message())
        .await
        .expect("an answer in time");
    message.unwrap().map(|answer| answer.status())
}

#[tokio::test]
async fn check_tells_serving_not_serving_and_not_found() {
    let health = patience()
        .check(passing("a").in_readiness())
        .check(failing("b"))
        .group("edge", ["b"])
        .build()
        .unwrap();
    let mut client = client(&health).await;
    for (service, expected) in [
        ("", Ok(Serving)),
        ("readiness", Ok(Serving)),
        ("liveness", Ok(Serving)),
        ("all", Ok(NotServing)),
        ("edge", Ok(NotServing)),
        ("b", Err(Code::NotFound)),
        ("nobody", Err(Code::NotFound)),
    ] {
        assert_eq!(check(&mut client, service).await, expected, "{service}");
    }
    health.begin_shutdown();
    assert_eq!(check(&mut client, "").await, Ok(NotServing));
    assert_eq!(check(&mut client, "liveness").await, Ok(Serving));
}

#[tokio::test]
async fn a_call_from_another_health_check_is_answered_for_this_service_alone() {
    let other = Switch::new(false);
    let health = patient([
        passing("a").in_readiness(),
        other.check("b").peer().in_readiness(),
    ]);
    let mut client = client(&health).await;
    let mut call = tonic::Request::new(of(""));
    call.metadata_mut()
        .insert(bilten_health::hop::HOP_HEADER, "1".parse().unwrap());
    let answer = client.check(call).await.unwrap();
    assert_eq!((answer.get_ref().status(), other.runs.get()), (Serving, 0));
    assert_eq!(check(&mut client, "").await, Ok(NotServing));
}

#[tokio::test]
async fn watch_tells_the_status_and_each_change_and_ends_with_the_shutdown() {
    let switch = Switch::new(true);
    let health = patient([switch.check("a").in_readiness().cache(Duration::ZERO)]);
    let mut stream = client(&health)
        .await
        .watch(of(""))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(next(&mut stream).await, Some(Serving));
    switch.set(false);
    assert_eq!(next(&mut stream).await, Some(NotServing));
    switch.set(true);
    assert_eq!(next(&mut stream).await, Some(Serving));
    health.begin_shutdown();
    assert_eq!(next(&mut stream).await, Some(NotServing));
    assert_eq!(next(&mut stream).await, None);
}

#[tokio::test]
async fn watching_an_unknown_service_is_told_so_and_stays_open() {
    let health = patient([passing("a")]);
    let mut stream = client(&health)
        .await
        .watch(of("nobody"))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(next(&mut stream).await, Some(ServiceUnknown));
    assert!(
        timeout(Duration::from_millis(50), stream.message())
            .await
            .is_err(),
        "the stream stays open"
    );
    health.begin_shutdown();
    assert_eq!(next(&mut stream).await, None, "but holds up no shutdown");
}

// The order: somebody watches each kind of service, the shutdown begins, the server is told to stop.
#[tokio::test]
async fn a_server_with_watchers_stops() {
    let health = patient([passing("a").in_readiness().local().in_liveness()]);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let begun = health.clone();
    let server = tokio::spawn(
        Server::builder()
            .add_service(health.grpc())
            .serve_with_incoming_shutdown(TcpIncoming::from(listener), async move {
                begun.watch(Group::Readiness).next().await;
                while begun.check().await.status != Status::ShuttingDown {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            }),
    );
    let channel = Channel::from_shared(format!("http://{address}")).unwrap();
    let mut client = HealthClient::new(channel.connect().await.unwrap());
    let mut streams = Vec::new();
    for (service, first) in [
        ("", Serving),
        ("liveness", Serving),
        ("startup", Serving),
        ("nobody", ServiceUnknown),
    ] {
        let mut stream = client.watch(of(service)).await.unwrap().into_inner();
        assert_eq!(next(&mut stream).await, Some(first), "{service}");
        streams.push(stream);
    }
    health.begin_shutdown();
    let stopped = timeout(Duration::from_secs(20), server).await;
    stopped.expect("the server stops").unwrap().unwrap();
    for (stream, last) in streams.iter_mut().zip([Some(NotServing), None, None, None]) {
        assert_eq!(
            next(stream).await,
            last,
            "liveness is not touched by a shutdown"
        );
    }
}

#[tokio::test]
async fn names_no_one_expects_are_not_found() {
    let mut client = client(&patient([passing("a")])).await;
    for name in [
        "x".repeat(1 << 20),
        "\0\n\u{1b}[31m".into(),
        "../livez".into(),
        "all/".into(),
    ] {
        assert_eq!(check(&mut client, &name).await, Err(Code::NotFound));
    }
    assert_eq!(check(&mut client, "all").await, Ok(Serving));
    assert_eq!(
        check(&mut client, "Readiness").await,
        Ok(Serving),
        "whatever the case"
    );
}

// The client gives up long before the check does: the run goes on, and the next question has its result.
#[tokio::test]
async fn a_client_that_gives_up_early_changes_no_result() {
    let (runs, go) = (Count::default(), Arc::new(Notify::new()));
    let (counter, wait) = (runs.clone(), Arc::clone(&go));
    let slow = bilten_health::check("a", move || {
        counter.add();
        let wait = Arc::clone(&wait);
        async move { wait.notified().await }
    });
    let health = patient([slow.in_readiness().cache(Duration::from_secs(600))]);
    let mut client = client(&health).await;
    let mut hasty = tonic::Request::new(of(""));
    hasty.set_timeout(Duration::from_millis(20));
    assert!(client.check(hasty).await.is_err());
    go.notify_one();
    assert_eq!(check(&mut client, "").await, Ok(Serving));
    assert_eq!(runs.get(), 1);
}

#[tokio::test]
async fn a_watch_from_another_health_check_is_answered_for_this_service_alone() {
    let (own, other) = (Switch::new(true), Switch::new(false));
    let health = patient([
        own.check("a").in_readiness().cache(Duration::ZERO),
        other.check("b").peer().in_readiness(),
    ]);
    let mut client = client(&health).await;
    let mut call = tonic::Request::new(of(""));
    call.metadata_mut()
        .insert(bilten_health::hop::HOP_HEADER, "1".parse().unwrap());
    let mut stream = client.watch(call).await.unwrap().into_inner();
    assert_eq!(next(&mut stream).await, Some(Serving));
    own.set(false);
    assert_eq!(next(&mut stream).await, Some(NotServing));
    assert_eq!(other.runs.get(), 0);
    own.set(true);
    assert_eq!(next(&mut stream).await, Some(Serving));
    health.begin_shutdown();
    assert_eq!(next(&mut stream).await, Some(NotServing));
}
