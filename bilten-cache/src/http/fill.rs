//! A request to the origin whose answer may be stored. Runs in the task of the load: whoever asked may go away.

use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{ETAG, IF_MODIFIED_SINCE, IF_NONE_MATCH, LAST_MODIFIED};
use http::{HeaderMap, Request, Response, StatusCode, response};
use http_body::{Body, Frame};
use tokio::sync::oneshot;
use tokio::time::Instant;
use tower_service::Service;

use super::body::{CachedBody, Piece, Pieces};
use super::page::{Page, Stored};
use super::policy::Refusal;
use super::shared::{Mark, Shared};
use crate::error::BoxError;
use crate::loader::{LoadContext, Loaded};

/// What is said at once to whoever asked. Everybody else waits for the load.
pub(super) enum Reply<B: Body, E> {
    Error(E),
    /// For this one request.
    Own(Response<B>, &'static str),
    /// Is being stored meanwhile.
    Filling(response::Parts, CachedBody<B>),
}

pub(super) struct Fill<S, Q, B: Body, E> {
    pub(super) shared: Arc<Shared>,
    pub(super) service: S,
    pub(super) request: Request<Q>,
    /// The URI's key, and the one where this answer is kept.
    pub(super) first_key: String,
    pub(super) key: String,
    /// The page that the origin is asked about.
    pub(super) old: Option<Arc<Stored>>,
    /// Whether there was anything of the URI.
    pub(super) is_known: bool,
    pub(super) reply: oneshot::Sender<Reply<B, E>>,
}

impl<S, Q, B> Fill<S, Q, B, S::Error>
where
    S: Service<Request<Q>, Response = Response<B>>,
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    /// # Errors
    ///
    /// None: what went wrong is a value that is not kept.
    pub(super) async fn run(
        mut self,
        cx: LoadContext<Stored>,
    ) -> Result<Loaded<Stored>, Infallible> {
        let asked = self.request.headers().clone();
        self.prepare();
        // A change that comes from now on refuses this load; one that came before has taken the page away.
        let generation = match self.is_known {
            true => self.shared.generation(&self.first_key).await,
            false => fastrand::u64(..),
        };
        let arrival = Arrival {
            shared: self.shared,
            key: self.key,
            old: self.old,
            asked,
            generation,
            reply: self.reply,
        };
        Ok(match call(self.service, self.request).await {
            Ok(response) => arrival.take_in(response, cx.remaining()).await,
            Err(error) => arrival.failed(Reply::Error(error)).await,
        })
    }

    /// Asks for the whole resource in its one form, or whether the old page is still good.
    fn prepare(&mut self) {
        if let Some(uri) = self.shared.setup.query.rewrite(self.request.uri()) {
            *self.request.uri_mut() = uri;
        }
        let headers = self.request.headers_mut();
        headers.remove(IF_NONE_MATCH);
        headers.remove(IF_MODIFIED_SINCE);
        let Some(page) = self.old.as_ref().and_then(|old| old.page()) else {
            return;
        };
        for (ours, theirs) in [(ETAG, IF_NONE_MATCH), (LAST_MODIFIED, IF_MODIFIED_SINCE)] {
            if let Some(validator) = page.headers.get(ours) {
                headers.insert(theirs, validator.clone());
            }
        }
    }
}

/// An answer of the service, and what to do with it.
struct Arrival<B: Body, E> {
    shared: Arc<Shared>,
    key: String,
    old: Option<Arc<Stored>>,
    /// The headers of the request as its client sent them.
    asked: HeaderMap,
    generation: u64,
    reply: oneshot::Sender<Reply<B, E>>,
}

impl<B, E> Arrival<B, E>
where
    B: Body<Data = Bytes>,
{
    async fn take_in(self, response: Response<B>, time: Duration) -> Loaded<Stored> {
        let (parts, body) = response.into_parts();
        if let Some(page) = self.old.as_ref().and_then(|old| old.page())
            && parts.status == StatusCode::NOT_MODIFIED
        {
            return self
                .shared
                .lives_on(page, &self.asked, parts, self.generation);
        }
        if is_failure(parts.status) {
            let reply = Reply::Own(Response::from_parts(parts, body), "status");
            return self.failed(reply).await;
        }
        match self.shared.examine(&self.asked, &parts) {
            Ok(page) if self.shared.has_room(&body) => self.store(page, parts, body, time).await,
            Ok(_) => self.pass(parts, body, Refusal::TooLarge).await,
            Err(refusal) => self.pass(parts, body, refusal).await,
        }
    }

    async fn failed(self, reply: Reply<B, E>) -> Loaded<Stored> {
        self.shared.mark(&self.key, Mark::Failed).await;
        let _ = self.reply.send(reply);
        Loaded::new(Stored::Failed).uncached()
    }

    async fn pass(self, parts: response::Parts, body: B, why: Refusal) -> Loaded<Stored> {
        self.shared
            .not_to_be_stored(&self.key, &self.asked, why)
            .await;
        let reply = Reply::Own(Response::from_parts(parts, body), why.detail());
        let _ = self.reply.send(reply);
        Loaded::new(Stored::Pass).uncached()
    }

    /// Takes the body in while the client reads it.
    async fn store(
        self,
        page: Page,
        parts: response::Parts,
        body: B,
        time: Duration,
    ) -> Loaded<Stored> {
        let (pieces, for_client) = CachedBody::filling(body.size_hint());
        let Self {
            shared,
            key,
            asked,
            generation,
            reply,
            ..
        } = self;
        let _ = reply.send(Reply::Filling(parts, for_client));
        let until = Instant::now() + time.mul_f32(0.8);
        match collect(body, pieces, shared.setup.max_body_bytes, until).await {
            Some(body) => shared.loaded(Page {
                body,
                generation,
                ..page
            }),
            None => {
                shared
                    .not_to_be_stored(&key, &asked, Refusal::TooLarge)
                    .await;
                Loaded::new(Stored::Pass).uncached()
            }
        }
    }
}

impl Shared {
    /// The generation of the URI's first page, if it has one still; else a new one.
    async fn generation(&self, first_key: &str) -> u64 {
        let there = self.pages.held(first_key).await;
        let there = there.as_ref().and_then(|held| held.value.page());
        there.map_or_else(|| fastrand::u64(..), |page| page.generation)
    }

    fn lives_on(
        &self,
        page: &Page,
        asked: &HeaderMap,
        news: response::Parts,
        generation: u64,
    ) -> Loaded<Stored> {
        match self.validated(page, asked, news) {
            Ok(page) => self.loaded(Page { generation, ..page }),
            // It was good for those who asked.
            Err(_) => Loaded::new(Stored::Page(page.clone())).uncached(),
        }
    }

    async fn not_to_be_stored(&self, key: &str, asked: &HeaderMap, why: Refusal) {
        // What one request did to itself says nothing about the next.
        if why != Refusal::LongFields {
            self.mark(&self.pass_key(key, asked), Mark::Pass).await;
        }
    }

    fn has_room<B: Body>(&self, body: &B) -> bool {
        usize::try_from(body.size_hint().lower())
            .is_ok_and(|bytes| bytes <= self.setup.max_body_bytes)
    }
}

/// The statuses of RFC 5861 4, for which a stale response may stand in.
pub(super) fn is_failure(status: StatusCode) -> bool {
    matches!(status.as_u16(), 500 | 502 | 503 | 504)
}

/// Calls a service when it is ready for it.
pub(super) async fn call<S: Service<Q>, Q>(
    mut service: S,
    request: Q,
) -> Result<S::Response, S::Error> {
    poll_fn(|cx| service.poll_ready(cx)).await?;
    service.call(request).await
}

/// Takes a body in and hands it on piece by piece. `None` when it is not to be stored; whoever reads it then reads on without us.
async fn collect<B>(body: B, pieces: Pieces<B>, limit: usize, until: Instant) -> Option<Bytes>
where
    B: Body<Data = Bytes>,
{
    let mut body = Box::pin(body);
    let mut parts: Vec<Bytes> = Vec::new();
    let mut size = 0_usize;
    loop {
        let Ok(frame) = tokio::time::timeout_at(until, next(&mut body)).await else {
            let _ = pieces.send(Piece::Rest(body));
            return None;
        };
        let frame = match frame {
            None => {
                let _ = pieces.send(Piece::Last(Bytes::new()));
                return Some(joined(parts, size));
            }
            Some(Err(error)) => {
                let _ = pieces.send(Piece::Error(error));
                return None;
            }
            Some(Ok(frame)) => frame,
        };
        match frame.into_data() {
            Ok(data) => {
                size = size.saturating_add(data.len());
                let whole = body.is_end_stream() && size <= limit;
                parts.push(data.clone());
                let _ = pieces.send(if whole {
                    Piece::Last(data)
                } else {
                    Piece::Data(data)
                });
                if whole {
                    return Some(joined(parts, size));
                }
            }
            // They come once, after a body that is sent once.
            Err(frame) => {
                if let Ok(trailers) = frame.into_trailers() {
                    let _ = pieces.send(Piece::Trailers(trailers));
                }
                let _ = pieces.send(Piece::Rest(body));
                return None;
            }
        }
        if size > limit {
            let _ = pieces.send(Piece::Rest(body));
            return None;
        }
    }
}

async fn next<B: Body>(body: &mut Pin<Box<B>>) -> Option<Result<Frame<B::Data>, B::Error>> {
    poll_fn(|cx| body.as_mut().poll_frame(cx)).await
}

fn joined(mut parts: Vec<Bytes>, size: usize) -> Bytes {
    if parts.len() == 1 {
        return parts.swap_remove(0);
    }
    let mut whole = BytesMut::with_capacity(size);
    parts.iter().for_each(|part| whole.extend_from_slice(part));
    whole.freeze()
}
