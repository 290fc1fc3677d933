//! What all services of one layer share: the store, the rules, and the looks into the store.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use http::header::{AUTHORIZATION, COOKIE};
use http::request::Parts;
use http::{HeaderMap, response};

use super::answer;
use super::page::{Page, Stored};
use super::policy::{Refusal, judge};
use super::setup::Setup;
use super::status::{Did, Forward};
use super::tags;
use super::uri;
use super::vary::Selecting;
use crate::Region;
use crate::key::MAX_KEY_BYTES;
use crate::loader::Loaded;
use crate::region::Held;

/// A response with a longer head is not stored.
const MOST_HEAD_BYTES: usize = 64 * 1024;

/// Room for what is added to the key of a page: region, escapes, variant.
const KEY_ROOM: usize = 128;

pub(super) type KeyOf = dyn Fn(&Parts) -> Option<String> + Send + Sync;

/// Why a key is left alone for some seconds. Known to this process only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mark {
    /// Its responses are not stored, so nobody waits for anybody.
    Pass,
    /// Its origin has failed a moment ago.
    Failed,
}

pub(super) struct Shared {
    pub(super) cache: String,
    pub(super) pages: Region<str, Stored>,
    pub(super) marks: Region<str, Mark>,
    pub(super) key_of: Option<Arc<KeyOf>>,
    pub(super) setup: Setup,
}

/// What the store has for one request.
#[derive(Debug)]
pub(super) struct Found {
    /// Where an answer to the request is kept.
    pub(super) key: String,
    pub(super) held: Option<Held<Stored>>,
    /// When what is there was made, whether it is of use or not.
    pub(super) than: Option<u64>,
    /// Why, if nothing was found.
    pub(super) miss: Forward,
}

impl Found {
    /// The page and how many seconds ago its origin made it.
    pub(super) fn page(&self) -> Option<(&Page, u64)> {
        let held = self.held.as_ref()?;
        let page = held.value.page()?;
        Some((
            page,
            page.policy.initial_age.saturating_add(held.age.as_secs()),
        ))
    }
}

impl Shared {
    /// The key of what a request names; `None` when it cannot be stored.
    pub(super) fn key(&self, request: &Parts) -> Option<String> {
        let key = match &self.key_of {
            Some(key_of) => key_of(request)?,
            None => uri::key(request, self.setup.by_host, &self.setup.query)?,
        };
        (key.len() + KEY_ROOM <= MAX_KEY_BYTES).then_some(key)
    }

    /// What else a change of this request's resource touches, by the headers of its answer.
    pub(super) fn related(&self, request: &Parts, named: &str) -> Option<String> {
        match self.key_of {
            Some(_) => None,
            None => uri::related(request, self.setup.by_host, &self.setup.query, named),
        }
    }

    /// Looks for the page that fits a request: the first variant is kept under the URI itself, the others beside it.
    pub(super) async fn find(&self, key: &str, request: &HeaderMap) -> Found {
        let found = |key: String, held: Option<Held<Stored>>, than, miss| Found {
            key,
            held,
            than,
            miss,
        };
        let Some(first) = self.pages.held(key).await else {
            return found(key.to_owned(), None, None, Forward::UriMiss);
        };
        let made = Some(first.made);
        let other = first
            .value
            .page()
            .filter(|page| !page.selecting.matches(request));
        let Some(other) = other else {
            return found(key.to_owned(), Some(first), made, Forward::UriMiss);
        };
        let fits = |held: &Held<Stored>| {
            held.value
                .page()
                .is_some_and(|page| page.selecting.matches(request))
        };
        let [one, two] = other.selecting.again(request).places(self.setup.variants);
        let place = |n| format!("{key}#{:x}.{n}", other.generation);
        let mut key = place(one);
        let mut held = self.pages.held(&key).await;
        // Somebody else's is there: then the second place, and at last in place of what is there.
        if held.as_ref().is_some_and(|held| !fits(held)) {
            key = place(two);
            held = self.pages.held(&key).await;
        }
        let made = held.as_ref().map(|held| held.made);
        found(key, held.filter(fits), made, Forward::VaryMiss)
    }

    /// The key under which a process remembers that the answers to such requests are not stored: a user's say nothing about a
    /// stranger's.
    pub(super) fn pass_key<'k>(&self, key: &'k str, request: &HeaderMap) -> Cow<'k, str> {
        match request.contains_key(AUTHORIZATION) || request.contains_key(COOKIE) {
            true => format!("{key}#known").into(),
            false => key.into(),
        }
    }

    /// Whether the key was marked so a moment ago.
    pub(super) fn is_marked(&self, key: &str, mark: Mark) -> bool {
        self.marks.peek(key).is_some_and(|there| *there == mark)
    }

    pub(super) async fn mark(&self, key: &str, mark: Mark) {
        let time = match mark {
            Mark::Pass => self.setup.pass_for,
            Mark::Failed => self.setup.retry_after,
        };
        if !time.is_zero() {
            let made = Loaded::new(mark).time_to_live(time);
            let made = async move |_| Ok::<_, std::convert::Infallible>(made);
            let _ = self.marks.get_or_load(key, made).await;
        }
    }

    /// A page without its body, if the answer to a request with these headers may be stored.
    pub(super) fn examine(
        &self,
        request: &HeaderMap,
        response: &response::Parts,
    ) -> Result<Page, Refusal> {
        let now = SystemTime::now();
        let policy = judge(
            &self.setup.rules,
            request,
            response.status,
            &response.headers,
            now,
        )?;
        let selecting = Selecting::of(&response.headers, request)?;
        let headers = answer::kept(&response.headers, self.setup.tag_header.as_ref(), now);
        let head: usize = headers
            .iter()
            .map(|(name, value)| name.as_str().len() + value.len())
            .sum();
        if head > MOST_HEAD_BYTES {
            return Err(Refusal::TooLarge);
        }
        Ok(Page {
            status: response.status,
            headers,
            body: bytes::Bytes::new(),
            policy,
            selecting,
            tags: tags::of(response, self.setup.tag_header.as_ref()),
            generation: 0,
        })
    }

    /// The page after its origin has said that it is still good.
    pub(super) fn validated(
        &self,
        page: &Page,
        request: &HeaderMap,
        mut news: response::Parts,
    ) -> Result<Page, Refusal> {
        let told = tags::of(&news, self.setup.tag_header.as_ref());
        news.headers = answer::updated(page, &news.headers);
        news.status = page.status;
        let mut next = self.examine(request, &news)?;
        next.tags = if told.is_empty() {
            page.tags.clone()
        } else {
            told
        };
        next.body = page.body.clone();
        Ok(next)
    }

    /// What the store is given.
    pub(super) fn loaded(&self, page: Page) -> Loaded<Stored> {
        use http::header::{ETAG, LAST_MODIFIED};
        let asks = page.headers.contains_key(ETAG) || page.headers.contains_key(LAST_MODIFIED);
        let (tags, keep) = (page.tags.clone(), page.policy.keep(&self.setup.rules, asks));
        Loaded::new(Stored::Page(page))
            .tags(tags)
            .time_to_live(keep)
    }

    /// Writes what was done into a response.
    pub(super) fn tell(&self, did: Did, headers: &mut HeaderMap) {
        if let Some(header) = &self.setup.tag_header {
            headers.remove(header);
        }
        did.write(headers, &self.cache, self.setup.report);
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared")
            .field("cache", &self.cache)
            .field("region", &self.pages.name())
            .field("rules", &self.setup.rules)
            .finish_non_exhaustive()
    }
}
