//! The gRPC health protocol, with a real client over a real connection.

use crate::doubles::{Switch, failing, health, passing};
use bilten_health::Health;
use std::time::Duration;
use tokio::net::TcpListener;
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
    let health = Health::builder()
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
async fn watch_tells_the_status_and_each_change_and_ends_with_the_shutdown() {
    let switch = Switch::new(true);
    let health = health([switch.check("a").in_readiness().cache(Duration::ZERO)]);
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
    let health = health([passing("a")]);
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
