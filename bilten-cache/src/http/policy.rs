//! Whether a response may be stored, and what a stored one is good for. Pure: RFC 9111 sections 3 and 4, RFC 5861.

use std::time::{Duration, SystemTime};

use http::header::{AGE, AUTHORIZATION, COOKIE, DATE, ETAG, EXPIRES, LAST_MODIFIED, SET_COOKIE};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use super::directives::{RequestDirectives, ResponseDirectives};

/// What an operator allows. The response decides the rest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rules {
    /// How long a response is fresh that does not say so itself.
    pub(crate) time_to_live: Option<Duration>,
    pub(crate) stale_while_revalidate: Duration,
    pub(crate) stale_if_error: Duration,
    /// How long one is kept that can be validated.
    pub(crate) revalidate_within: Duration,
    /// The longest life of all.
    pub(crate) longest: Duration,
    pub(crate) authorized: bool,
}

/// What the stored response is good for. In seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Policy {
    /// How long it is fresh, from when its origin made it.
    pub(super) lifetime: u64,
    /// How old it was when it came.
    pub(super) initial_age: u64,
    pub(super) while_revalidate: u64,
    pub(super) if_error: u64,
    /// `must-revalidate`: never stale.
    pub(super) strict: bool,
    /// `no-cache`: asked each time.
    pub(super) always_validate: bool,
}

/// Why a response is not stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    Status,
    NoStore,
    Private,
    SetCookie,
    Authorization,
    /// Nothing says how long it is good, or it is good for no time at all.
    NoLifetime,
    Vary,
    /// The request has too much text in the fields that choose.
    LongFields,
    TooLarge,
}

impl Refusal {
    /// The word in the `detail` of `Cache-Status`.
    pub(super) fn detail(self) -> &'static str {
        match self {
            Self::Status => "status",
            Self::NoStore => "no-store",
            Self::Private => "private",
            Self::SetCookie => "set-cookie",
            Self::Authorization => "authorization",
            Self::NoLifetime => "no-lifetime",
            Self::Vary => "vary",
            Self::LongFields => "long-fields",
            Self::TooLarge => "too-large",
        }
    }
}

/// The statuses whose meaning we know well enough to store them. Not 206: parts are not put together here.
const STORABLE: [u16; 14] = [
    200, 203, 204, 300, 301, 302, 307, 308, 404, 405, 410, 414, 451, 501,
];

/// Whether the answer to a request with these headers may be stored, and for what.
pub(super) fn judge(
    rules: &Rules,
    request: &HeaderMap,
    status: StatusCode,
    response: &HeaderMap,
    now: SystemTime,
) -> Result<Policy, Refusal> {
    let says = ResponseDirectives::of(response);
    if !STORABLE.contains(&status.as_u16()) {
        return Err(Refusal::Status);
    }
    if says.no_store {
        return Err(Refusal::NoStore);
    }
    if says.private {
        return Err(Refusal::Private);
    }
    if response.contains_key(SET_COOKIE) {
        return Err(Refusal::SetCookie);
    }
    let for_all = says.public || says.s_maxage.is_some() || says.must_revalidate;
    if request.contains_key(AUTHORIZATION) && !(rules.authorized && for_all) {
        return Err(Refusal::Authorization);
    }
    let told = told_lifetime(&says, response, now);
    let lifetime = match (told, rules.time_to_live) {
        (Some(lifetime), _) => lifetime,
        (None, _) if says.no_cache => 0,
        // Nobody thought about who this is for: what one user sees is not for the next.
        (None, Some(default)) if !request.contains_key(COOKIE) => default.as_secs(),
        (None, _) => return Err(Refusal::NoLifetime),
    };
    let policy = Policy {
        lifetime,
        initial_age: initial_age(response, now),
        while_revalidate: says
            .stale_while_revalidate
            .unwrap_or(rules.stale_while_revalidate.as_secs()),
        if_error: says
            .stale_if_error
            .unwrap_or(rules.stale_if_error.as_secs()),
        // `s-maxage` includes `proxy-revalidate`, RFC 9111 5.2.2.10.
        strict: says.must_revalidate || says.s_maxage.is_some() && !windows_told(&says),
        always_validate: says.no_cache,
    };
    match policy.keep(rules, can_be_validated(response)).is_zero() {
        true => Err(Refusal::NoLifetime),
        false => Ok(policy),
    }
}

/// Who sends both means both: a response with `s-maxage` and one of the windows of RFC 5861 wants to be served stale.
fn windows_told(says: &ResponseDirectives) -> bool {
    says.stale_while_revalidate.is_some() || says.stale_if_error.is_some()
}

fn can_be_validated(response: &HeaderMap) -> bool {
    response.contains_key(ETAG) || response.contains_key(LAST_MODIFIED)
}

/// Whether a stored response is of nobody's use who sends a cookie: it does not say itself how long it is good, so that is an operator's
/// word, which is about strangers only. Not this process's rules tell: others, or the release before, may have had that word.
pub(super) fn is_for_strangers(request: &HeaderMap, stored: &HeaderMap) -> bool {
    if !request.contains_key(COOKIE) {
        return false;
    }
    let says = ResponseDirectives::of(stored);
    !says.no_cache && told_lifetime(&says, stored, SystemTime::UNIX_EPOCH).is_none()
}

/// The lifetime that the response gives itself: `s-maxage`, else `max-age`, else `Expires`.
fn told_lifetime(says: &ResponseDirectives, response: &HeaderMap, now: SystemTime) -> Option<u64> {
    if let Some(seconds) = says.s_maxage.or(says.max_age) {
        return Some(seconds);
    }
    // An unreadable date, such as the usual `0`, lies in the past. Of two that disagree the earlier one counts.
    let expires = response.get_all(EXPIRES).iter().map(moment).min()?;
    let made = date(response, DATE).unwrap_or(now);
    Some(expires.map_or(0, |expires| seconds_between(made, expires)))
}

/// How old a response is that comes in now.
fn initial_age(response: &HeaderMap, now: SystemTime) -> u64 {
    let told = response.get(AGE).and_then(|age| age.to_str().ok());
    // Of a list the first counts; what is no number is ignored: RFC 9111 5.1.
    let told = told.and_then(|age| age.split(',').next()?.trim().parse().ok());
    let apparent = date(response, DATE).map_or(0, |made| seconds_between(made, now));
    apparent.max(told.unwrap_or(0))
}

pub(super) fn date(headers: &HeaderMap, name: HeaderName) -> Option<SystemTime> {
    moment(headers.get(name)?)
}

fn moment(date: &HeaderValue) -> Option<SystemTime> {
    httpdate::parse_http_date(date.to_str().ok()?).ok()
}

fn seconds_between(from: SystemTime, to: SystemTime) -> u64 {
    to.duration_since(from).map_or(0, |time| time.as_secs())
}

/// What a request gets for which there is a stored response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Decision {
    Serve,
    /// Stale, while a request to the origin runs behind it.
    ServeAndRefresh,
    /// The origin has to be asked.
    Ask,
}

impl Policy {
    /// How long from now the response is of any use.
    pub(super) fn keep(&self, rules: &Rules, can_be_validated: bool) -> Duration {
        let window = match self.strict || self.always_validate {
            true => 0,
            false => self.while_revalidate.max(self.if_error),
        };
        let fresh = match self.always_validate {
            true => 0,
            false => self.lifetime.saturating_sub(self.initial_age),
        };
        let stale = match can_be_validated {
            true => window.max(rules.revalidate_within.as_secs()),
            false => window,
        };
        Duration::from_secs(fresh.saturating_add(stale)).min(rules.longest)
    }

    /// What to do at this age.
    pub(super) fn decide(&self, asked: &RequestDirectives, age: u64) -> Decision {
        // A browser that reloads says `max-age=0` and means "ask".
        let too_old = asked.max_age.is_some_and(|limit| limit == 0 || age > limit);
        if asked.no_cache || self.always_validate || too_old {
            return Decision::Ask;
        }
        if age < self.lifetime {
            let left = self.lifetime - age;
            let enough = asked.min_fresh.is_none_or(|least| left >= least);
            return if enough {
                Decision::Serve
            } else {
                Decision::Ask
            };
        }
        if self.strict || asked.min_fresh.is_some() {
            return Decision::Ask;
        }
        let stale_for = age - self.lifetime;
        if asked.max_stale.is_some_and(|limit| stale_for <= limit) {
            Decision::Serve
        } else if stale_for < self.while_revalidate {
            Decision::ServeAndRefresh
        } else {
            Decision::Ask
        }
    }

    /// Whether it stands in for an origin that fails.
    pub(super) fn serves_after_error(&self, asked: &RequestDirectives, age: u64) -> bool {
        let stale_for = age.saturating_sub(self.lifetime);
        !self.strict && !self.always_validate && !asked.no_cache && stale_for < self.if_error
    }
}
