//! Who asks, and what he is told.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, Response, StatusCode};
use http_body::Body;

use super::answer;
use super::asked::Asked;
use super::body::{Answer, CachedBody, Landing};
use super::fill::{Reply, is_failure};
use super::page::Page;
use super::policy::{Decision, is_for_strangers};
use super::shared::{Found, Mark, Shared};
use super::status::{Did, Forward};
use crate::error::Error;
use crate::region_state::Level;

pub(super) struct Reader {
    pub(super) shared: Arc<Shared>,
    asked: Asked,
    pub(super) headers: HeaderMap,
    /// Of the URI.
    pub(super) key: String,
}

/// What to do with a request, by what the store has.
pub(super) enum Course<B: Body> {
    Serve(Response<CachedBody<B>>),
    ServeAndRefresh(Response<CachedBody<B>>),
    /// The service answers this one alone.
    Forward(Did),
    Ask,
}

impl Reader {
    pub(super) fn new(shared: Arc<Shared>, asked: Asked, headers: HeaderMap, key: String) -> Self {
        Self {
            shared,
            asked,
            headers,
            key,
        }
    }

    /// Counts the request, once.
    pub(super) fn tally(&self, from: Option<Level>) {
        self.shared.pages.tally(self.key.as_str(), from);
    }

    pub(super) async fn find(&self) -> Found {
        self.shared.find(&self.key, &self.headers).await
    }

    /// Whether the page is for those who send no cookie, and he sends one.
    pub(super) fn is_barred(&self, page: &Page) -> bool {
        is_for_strangers(&self.headers, &page.headers)
    }

    pub(super) fn course<B: Body>(&self, found: &Found) -> Course<B> {
        if found.page().is_some_and(|(page, _)| self.is_barred(page)) {
            self.tally(None);
            let did = Did::forwarded(Forward::Bypass).detail("cookie");
            return match self.asked.directives.only_if_cached {
                true => Course::Serve(self.shared.empty(StatusCode::GATEWAY_TIMEOUT, did)),
                false => Course::Forward(did),
            };
        }
        if let Some((page, age)) = found.page() {
            let has_failed = || self.shared.is_marked(&found.key, Mark::Failed);
            let directives = &self.asked.directives;
            match page.policy.decide(directives, age) {
                Decision::Serve => return Course::Serve(self.hit(page, age, found, None)),
                Decision::ServeAndRefresh => {
                    let response = self.hit(page, age, found, Some("stale-while-revalidate"));
                    // A request for headers alone brings no page.
                    return match self.asked.head || has_failed() {
                        true => Course::Serve(response),
                        false => Course::ServeAndRefresh(response),
                    };
                }
                Decision::Ask
                    if page.policy.serves_after_error(directives, age) && has_failed() =>
                {
                    return Course::Serve(self.hit(page, age, found, Some("stale-if-error")));
                }
                Decision::Ask => {}
            }
        }
        if self.asked.directives.only_if_cached {
            self.tally(None);
            let did = self.missed(found).detail("only-if-cached");
            return Course::Serve(self.shared.empty(StatusCode::GATEWAY_TIMEOUT, did));
        }
        if self.asked.head {
            self.tally(None);
            return Course::Forward(self.missed(found));
        }
        if found.page().is_none()
            && self
                .shared
                .is_marked(&self.shared.pass_key(&found.key, &self.headers), Mark::Pass)
        {
            self.tally(None);
            return Course::Forward(self.missed(found).detail("uncacheable"));
        }
        Course::Ask
    }

    /// Why this request goes on.
    pub(super) fn missed(&self, found: &Found) -> Did {
        Did::forwarded(match found.page() {
            None => found.miss,
            Some((page, age)) if age < page.policy.lifetime && !page.policy.always_validate => {
                Forward::Request
            }
            Some(_) => Forward::Stale,
        })
    }

    fn hit<B: Body>(
        &self,
        page: &Page,
        age: u64,
        found: &Found,
        why_stale: Option<&'static str>,
    ) -> Response<CachedBody<B>> {
        let left = left(page, age);
        let level = found.held.as_ref().map(|held| held.level);
        self.tally(level.map(|level| if left > 0 { level } else { level.stale() }));
        let detail = why_stale.filter(|_| left <= 0);
        self.shared.page(
            page,
            &self.asked,
            age,
            Did {
                detail,
                ..Did::hit(left)
            },
        )
    }

    /// The stale page instead of a failure, if it is still there: what was taken out meanwhile stands in for nothing.
    pub(super) async fn stand_in<B: Body>(&self) -> Option<Response<CachedBody<B>>> {
        let found = self.find().await;
        let (page, age) = found.page()?;
        let may_serve = page.policy.serves_after_error(&self.asked.directives, age);
        (may_serve && !self.is_barred(page))
            .then(|| self.hit(page, age, &found, Some("stale-if-error")))
    }

    /// What the load said to whoever started it.
    pub(super) async fn replied<B, E>(
        &self,
        reply: Reply<B, E>,
        landing: Landing,
        found: &Found,
    ) -> Answer<B, E>
    where
        B: Body<Data = Bytes>,
    {
        let failed = match &reply {
            Reply::Error(_) => true,
            Reply::Own(response, _) => is_failure(response.status()),
            Reply::Filling(..) => false,
        };
        if failed && let Some(response) = self.stand_in().await {
            return Ok(response);
        }
        self.tally(None);
        let did = self.missed(found);
        match reply {
            Reply::Error(error) => Err(error),
            Reply::Own(response, detail) => {
                let (parts, body) = response.into_parts();
                let did = Did {
                    origin: Some(parts.status),
                    detail: Some(detail),
                    ..did
                };
                Ok(self.first(parts, CachedBody::own(body), did))
            }
            Reply::Filling(parts, body) => {
                let did = Did {
                    origin: Some(parts.status),
                    stored: true,
                    ..did
                };
                Ok(self.first(parts, body.after(landing), did))
            }
        }
    }

    /// A response straight from the service, whose conditions it was not told.
    fn first<B: Body>(
        &self,
        parts: http::response::Parts,
        body: CachedBody<B>,
        did: Did,
    ) -> Response<CachedBody<B>> {
        let mut response = match self.asked.has_already(parts.status, &parts.headers) {
            true => CachedBody::of(answer::not_modified(&parts.headers)),
            false => Response::from_parts(parts, body),
        };
        self.shared.tell(did, response.headers_mut());
        response
    }

    /// What a flight brought home that began before or with this request.
    pub(super) async fn landed<B: Body>(
        &self,
        page: &Page,
        level: Level,
        collapsed: bool,
        asked_about: bool,
        found: &Found,
    ) -> Response<CachedBody<B>> {
        self.tally((level != Level::Loader).then_some(level));
        let mut age = page.policy.initial_age;
        let did = if level == Level::Loader {
            let origin = asked_about.then_some(StatusCode::NOT_MODIFIED);
            Did {
                origin,
                collapsed,
                stored: true,
                ..self.missed(found)
            }
        } else {
            // Somebody else had loaded it a moment before.
            let held = self.shared.pages.held(found.key.as_str()).await;
            age = age.saturating_add(held.map_or(0, |held| held.age.as_secs()));
            Did {
                collapsed,
                ..Did::hit(left(page, age))
            }
        };
        self.shared.page(page, &self.asked, age, did)
    }

    /// A load that ended without any response.
    pub(super) async fn lost<B: Body>(
        &self,
        error: &Error,
        found: &Found,
    ) -> Response<CachedBody<B>> {
        match self.stand_in().await {
            Some(response) => response,
            None => self.failed(error, found),
        }
    }

    pub(super) fn failed<B: Body>(&self, error: &Error, found: &Found) -> Response<CachedBody<B>> {
        tracing::warn!(%error, "a request whose answer may be stored had none");
        self.tally(None);
        let (status, detail) = match error {
            Error::LoadTimeout { .. } => (StatusCode::GATEWAY_TIMEOUT, "timeout"),
            Error::LoadPanicked { .. } => (StatusCode::INTERNAL_SERVER_ERROR, "panic"),
            Error::Overloaded { .. } => (StatusCode::SERVICE_UNAVAILABLE, "overloaded"),
            Error::Recursive { .. } => (StatusCode::LOOP_DETECTED, "recursive"),
            _ => (StatusCode::SERVICE_UNAVAILABLE, "abandoned"),
        };
        self.shared.empty(status, self.missed(found).detail(detail))
    }
}

/// Seconds of freshness left, below zero when it is stale.
fn left(page: &Page, age: u64) -> i64 {
    let signed = |seconds: u64| i64::try_from(seconds).unwrap_or(i64::MAX);
    signed(page.policy.lifetime) - signed(age)
}

impl Shared {
    /// The service's own response.
    pub(super) fn own<B: Body>(&self, response: Response<B>, did: Did) -> Response<CachedBody<B>> {
        let did = Did {
            origin: Some(response.status()),
            ..did
        };
        let mut response = response.map(CachedBody::own);
        self.tell(did, response.headers_mut());
        response
    }

    fn page<B: Body>(
        &self,
        page: &Page,
        asked: &Asked,
        age: u64,
        did: Did,
    ) -> Response<CachedBody<B>> {
        let mut response = CachedBody::of(answer::respond(page, asked, age));
        self.tell(did, response.headers_mut());
        response
    }

    fn empty<B: Body>(&self, status: StatusCode, did: Did) -> Response<CachedBody<B>> {
        let mut response = Response::new(CachedBody::whole(Bytes::new()));
        *response.status_mut() = status;
        self.tell(did, response.headers_mut());
        response
    }

    /// What a load that vanished is told as.
    pub(super) fn abandoned(&self) -> Error {
        Error::LoadAbandoned {
            region: self.pages.name().into(),
        }
    }
}
