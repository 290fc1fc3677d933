//! One request on its way: the only file that knows the order of store, flight and origin.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{CONTENT_LOCATION, LOCATION};
use http::{Request, Response};
use http_body::Body;
use tower_service::Service;

use super::ask::{Ask, End};
use super::asked::{Asked, Kind};
use super::body::Answer;
use super::fill::call;
use super::reader::{Course, Reader};
use super::shared::Shared;
use super::status::{Did, Forward};
use crate::error::BoxError;

/// Answers one request.
pub(super) async fn run<S, Q, B>(
    shared: Arc<Shared>,
    service: S,
    request: Request<Q>,
) -> Answer<B, S::Error>
where
    S: Service<Request<Q>, Response = Response<B>> + Send + 'static,
    S::Future: Send,
    S::Error: Send + 'static,
    Q: Send + 'static,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError> + Send,
{
    let kind = Kind::of(
        request.method(),
        request.headers(),
        shared.setup.rules.authorized,
        shared.setup.obey,
    );
    match kind {
        Kind::Forward(why, detail) => {
            let did = Did {
                detail,
                ..Did::forwarded(why)
            };
            forward(&shared, service, request, did).await
        }
        Kind::Change => change(shared, service, request).await,
        Kind::Read(asked) => read(shared, service, asked, request).await,
    }
}

async fn forward<S, Q, B>(
    shared: &Shared,
    service: S,
    request: Request<Q>,
    did: Did,
) -> Answer<B, S::Error>
where
    S: Service<Request<Q>, Response = Response<B>>,
    B: Body,
{
    Ok(shared.own(call(service, request).await?, did))
}

async fn read<S, Q, B>(
    shared: Arc<Shared>,
    service: S,
    asked: Asked,
    request: Request<Q>,
) -> Answer<B, S::Error>
where
    S: Service<Request<Q>, Response = Response<B>> + Send + 'static,
    S::Future: Send,
    S::Error: Send + 'static,
    Q: Send + 'static,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError> + Send,
{
    let (parts, body) = request.into_parts();
    let Some(key) = shared.key(&parts) else {
        let did = Did::forwarded(Forward::Bypass).detail("key");
        return forward(&shared, service, Request::from_parts(parts, body), did).await;
    };
    let reader = Reader::new(shared, asked, parts.headers.clone(), key);
    let request = Request::from_parts(parts, body);
    let mut ask = Ask { service, request };
    // Twice: who waited for the load of another variant looks where his own is.
    for _ in 0..2 {
        let found = reader.find().await;
        match reader.course(&found) {
            Course::Serve(response) => return Ok(response),
            Course::ServeAndRefresh(response) => {
                // Whatever comes of it, the client has its response.
                let _ = ask.take_off(&reader, &found);
                return Ok(response);
            }
            Course::Forward(did) => {
                return forward(&reader.shared, ask.service, ask.request, did).await;
            }
            Course::Ask => {}
        }
        let flight = match ask.take_off(&reader, &found) {
            Ok(flight) => flight,
            Err(error) => return Ok(reader.failed(&error, &found)),
        };
        match flight.end(&reader, &found).await {
            End::Answered(answer) => return answer,
            End::Alone(ask) => {
                reader.tally(None);
                let did = reader.missed(&found).detail("not-shared");
                return forward(&reader.shared, ask.service, ask.request, did).await;
            }
            End::OtherVariant(back) => ask = back,
        }
    }
    reader.tally(None);
    let did = Did::forwarded(Forward::VaryMiss).detail("variant-busy");
    forward(&reader.shared, ask.service, ask.request, did).await
}

/// A request that may change what it names: when it succeeds, that is taken out of the store before anybody hears of it.
async fn change<S, Q, B>(
    shared: Arc<Shared>,
    service: S,
    request: Request<Q>,
) -> Answer<B, S::Error>
where
    S: Service<Request<Q>, Response = Response<B>>,
    B: Body,
{
    let (parts, body) = request.into_parts();
    let named = parts.clone();
    let key = shared.key(&parts);
    let unsure = Unsure {
        shared: Arc::clone(&shared),
        key: key.clone(),
    };
    let response = call(service, Request::from_parts(parts, body)).await?;
    unsure.settled();
    if response.status().is_success() || response.status().is_redirection() {
        let others = [LOCATION, CONTENT_LOCATION].into_iter().filter_map(|name| {
            let other = response.headers().get(name)?.to_str().ok()?;
            shared.related(&named, other)
        });
        let keys: Vec<String> = key.into_iter().chain(others).collect();
        for key in keys {
            // Redis being away is in the metrics; the answer to this request is right all the same.
            let _ = shared.pages.remove(key.as_str()).await;
        }
    }
    Ok(shared.own(response, Did::forwarded(Forward::Method)))
}

/// Takes a page out when nobody learns whether its resource was changed: the client is gone, or the service failed.
struct Unsure {
    shared: Arc<Shared>,
    key: Option<String>,
}

impl Unsure {
    fn settled(mut self) {
        self.key = None;
    }
}

impl Drop for Unsure {
    fn drop(&mut self) {
        if let Some(key) = self.key.take() {
            self.shared.pages.remove_behind(key.as_str());
        }
    }
}
