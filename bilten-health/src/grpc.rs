//! The gRPC health checking protocol, from the same reports.

use crate::group::{Group, Question};
use crate::health::Health;
use crate::hop::HOP_HEADER;
use crate::status::Status;
use crate::watch::Watch;
use futures_util::Stream;
use futures_util::stream::{once, unfold};
use std::pin::Pin;
use tonic::{Request, Response};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_server::{self, HealthServer};
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

type Answers = Pin<Box<dyn Stream<Item = Result<HealthCheckResponse, tonic::Status>> + Send>>;

/// Answers `grpc.health.v1.Health`: made by [`Health::grpc`], added to a tonic server.
///
/// The service name `""` is readiness; `liveness`, `readiness`, `startup`, `all` and your own groups go by their names, whatever the case. Healthy is
/// `SERVING`, everything else `NOT_SERVING`; no name, error or detail is told.
///
/// ```
/// # fn run() -> Result<(), bilten_health::BuildError> {
/// let health = bilten_health::Health::builder().build()?;
/// let service = health.grpc(); // tonic::transport::Server::builder().add_service(service)
/// # let _ = service;
/// # Ok(())
/// # }
/// # run().unwrap();
/// ```
#[derive(Clone, Debug)]
pub struct Service(Health);

impl Health {
    /// The gRPC health service, for a tonic server.
    #[must_use]
    pub fn grpc(&self) -> HealthServer<Service> {
        HealthServer::new(Service(self.clone()))
    }
}

impl Service {
    fn group(&self, name: &str) -> Option<Group> {
        if name.is_empty() {
            Some(Group::Readiness)
        } else {
            self.0.runner.registry.group_named(name)
        }
    }
}

#[tonic::async_trait]
impl health_server::Health for Service {
    type WatchStream = Answers;

    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, tonic::Status> {
        let Some(group) = self.group(&request.get_ref().service) else {
            return Err(tonic::Status::not_found("no such service"));
        };
        let own = request.metadata().contains_key(HOP_HEADER);
        let found = self.0.runner.answer(Question { group, own }).await;
        Ok(Response::new(answer(serving(found.public.status))))
    }

    /// A service nobody knows is told so and kept waiting, as the protocol wants; a shutdown ends every stream, because it
    /// would keep the server from stopping.
    async fn watch(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, tonic::Status> {
        let own = request.metadata().contains_key(HOP_HEADER);
        let answers: Answers = match self.group(&request.get_ref().service) {
            Some(group) => Box::pin(follow(self.0.clone(), Question { group, own })),
            None => Box::pin(unknown(self.0.clone())),
        };
        Ok(Response::new(answers))
    }
}

fn follow(
    health: Health,
    question: Question,
) -> impl Stream<Item = Result<HealthCheckResponse, tonic::Status>> {
    let followed = Followed {
        watch: health.watch_question(question),
        health,
        question,
        told: None,
    };
    unfold(Some(followed), |followed| async {
        let mut followed = followed?;
        let (serving, last) = followed.next().await?;
        followed.told = Some(serving);
        Some((Ok(answer(serving)), (!last).then_some(followed)))
    })
}

/// A group and what its watcher was told.
struct Followed {
    watch: Watch,
    health: Health,
    question: Question,
    told: Option<ServingStatus>,
}

impl Followed {
    /// The next answer and whether it is the last one; none when there is nothing left to tell.
    async fn next(&mut self) -> Option<(ServingStatus, bool)> {
        loop {
            let (status, last) = tokio::select! {
                biased;
                // Also of groups that no shutdown touches: an open stream would keep the server from stopping.
                () = self.health.runner.life.shutdown_begun() => {
                    (self.health.runner.answer(self.question).await.public.status, true)
                }
                status = self.watch.next() => (status, false),
            };
            let serving = serving(status);
            // Degraded after up is no news here.
            match self.told == Some(serving) {
                false => return Some((serving, last)),
                true if last => return None,
                true => {}
            }
        }
    }
}

fn unknown(health: Health) -> impl Stream<Item = Result<HealthCheckResponse, tonic::Status>> {
    use futures_util::StreamExt;
    let told = once(async { Some(Ok(answer(ServingStatus::ServiceUnknown))) });
    let ended = once(async move {
        health.runner.life.shutdown_begun().await;
        None
    });
    told.chain(ended).filter_map(|item| async { item })
}

const fn serving(status: Status) -> ServingStatus {
    if status.is_healthy() {
        ServingStatus::Serving
    } else {
        ServingStatus::NotServing
    }
}

const fn answer(status: ServingStatus) -> HealthCheckResponse {
    HealthCheckResponse {
        status: status as i32,
    }
}
