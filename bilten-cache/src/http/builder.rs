use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderName;
use http::request::Parts;

use super::layer::HttpCache;
use super::page::{Stored, codec};
use super::setup::Setup;
use super::shared::{KeyOf, Shared};
use super::uri::Query;
use crate::Cache;
use crate::error::Error;

/// Raised when the bytes of a page mean something else.
const SCHEMA: u32 = 1;
/// Room for a page's headers and tags beside its body.
const HEAD_BYTES: usize = 1 << 20;

impl Cache {
    /// Starts to build a tower layer that keeps whole HTTP responses in this cache, by the rules of `Cache-Control`: see
    /// [`http`](crate::http).
    pub fn http(&self) -> HttpCacheBuilder {
        HttpCacheBuilder::new(self.clone())
    }
}

/// Settings of an [`HttpCache`], from [`Cache::http`](crate::Cache::http).
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use std::time::Duration;
///
/// let cache = bilten_cache::Cache::builder("shop").build().await?;
/// let pages = cache
///     .http()
///     .query_parameters(["page", "city"]) // all others neither make a page of their own nor reach the handler
///     .stale_if_error(Duration::from_secs(3600))
///     .max_body_bytes(256 << 10)
///     .build()?;
/// # let _ = pages;
/// # Ok(()) }
/// ```
#[must_use = "a builder does nothing until `build()`"]
pub struct HttpCacheBuilder {
    cache: Cache,
    key_of: Option<Arc<KeyOf>>,
    pub(crate) setup: Setup,
}

impl HttpCacheBuilder {
    fn new(cache: Cache) -> Self {
        Self {
            cache,
            key_of: None,
            setup: Setup::default(),
        }
    }

    /// The region that holds the pages. Defaults to `http`, so that keys read like URLs: `http://shop.example/events?page=2`.
    /// Routers that see the same path for different things, such as nested ones, need a region each.
    pub fn region(mut self, name: impl Into<String>) -> Self {
        self.setup.region = name.into();
        self
    }

    /// How long a response is fresh that says neither `max-age` nor `Expires`. By default such a response is not stored. Never
    /// applies to requests with `Cookie`: nobody said that what one user sees is for all. That holds in processes too which share
    /// the pages and have no such setting.
    pub fn time_to_live(mut self, time_to_live: Duration) -> Self {
        self.setup.rules.time_to_live = Some(time_to_live);
        self
    }

    /// The window for responses that do not name one. Defaults to zero. Never applies to `must-revalidate`, `proxy-revalidate`,
    /// `no-cache`, and `s-maxage` on its own, which all forbid it.
    pub fn stale_while_revalidate(mut self, window: Duration) -> Self {
        self.setup.rules.stale_while_revalidate = window;
        self
    }

    /// The window in which a stale response stands in for an origin that fails (500, 502, 503, 504, an error, a panic, too much time), for
    /// responses that do not name one. Defaults to zero.
    pub fn stale_if_error(mut self, window: Duration) -> Self {
        self.setup.rules.stale_if_error = window;
        self
    }

    /// How long a stale response is kept that has an `ETag` or `Last-Modified`, so that its handler may answer 304. Defaults to an
    /// hour.
    pub fn revalidate_within(mut self, window: Duration) -> Self {
        self.setup.rules.revalidate_within = window;
        self
    }

    /// The longest that a response is kept, whatever it says. Defaults to a day. Invalidations are remembered as long.
    pub fn longest_life(mut self, limit: Duration) -> Self {
        self.setup.rules.longest = limit;
        self
    }

    /// Lets requests with `Authorization` take part: their responses are stored if they say `public`, `s-maxage` or `must-revalidate`
    /// (RFC 9111 3.5), and they are answered with what was stored. Defaults to no: they go by.
    pub fn authorized(mut self, yes: bool) -> Self {
        self.setup.rules.authorized = yes;
        self
    }

    /// Whether `Cache-Control` of requests counts. Defaults to yes. Turn it off where strangers must not be able to reach the origin
    /// whenever they like, with `no-cache`.
    pub fn request_directives(mut self, yes: bool) -> Self {
        self.setup.obey = yes;
        self
    }

    /// Whether pages of different hosts are different. Defaults to yes. Without it, nobody fills the store by inventing hosts; turn it off
    /// only where no handler looks at the host.
    pub fn by_host(mut self, yes: bool) -> Self {
        self.setup.by_host = yes;
        self
    }

    /// Makes the order of query parameters irrelevant. Handlers see them sorted by name.
    pub fn sorted_query(mut self) -> Self {
        self.setup.query = Query::Sorted;
        self
    }

    /// The query parameters that make a page of their own, in whatever order. When an answer is to be stored, its handler does not see the
    /// others, so nobody can put something of his own into what all see. The bound against endless query strings. By default every
    /// query is a page of its own.
    pub fn query_parameters<T: Into<String>>(mut self, names: impl IntoIterator<Item = T>) -> Self {
        self.setup.query = Query::Only(names.into_iter().map(Into::into).collect());
        self
    }

    /// Chooses the key by itself, in place of host, path and query. `None` lets the request go by. Requests with the same key get the
    /// same page, and a change of a key takes out that one only.
    pub fn key(
        mut self,
        key_of: impl Fn(&Parts) -> Option<String> + Send + Sync + 'static,
    ) -> Self {
        self.key_of = Some(Arc::new(key_of));
        self
    }

    /// A response header with tags, separated by commas or spaces, besides [`CacheTags`](super::CacheTags). It is taken off the
    /// response. Defaults to none.
    pub fn tag_header(mut self, name: HeaderName) -> Self {
        self.setup.tag_header = Some(name);
        self
    }

    /// The largest body that is stored, in bytes. Defaults to 1 MiB. A larger one streams through.
    pub fn max_body_bytes(mut self, bytes: usize) -> Self {
        self.setup.max_body_bytes = bytes;
        self
    }

    /// How many places a URI has for variants by `Vary`, besides the first one. Defaults to 64. A variant has two of them to choose
    /// from; if both are taken, it pushes another out. All processes should have the same number.
    pub fn variants(mut self, places: u32) -> Self {
        self.setup.variants = places;
        self
    }

    /// How long a process remembers that a URI's responses are not stored, so that its requests need not wait for each other to
    /// find out. Defaults to 10 s; zero does not remember.
    pub fn pass_for(mut self, time: Duration) -> Self {
        self.setup.pass_for = time;
        self
    }

    /// How long an origin that failed is not asked again while there is a stale response. Defaults to 5 s.
    pub fn retry_after(mut self, pause: Duration) -> Self {
        self.setup.retry_after = pause;
        self
    }

    /// How long a request whose answer may be stored may take until its last byte. Defaults to 30 s. Then those who wait get 504. A body that is
    /// not whole after four fifths of it goes on to its reader and is not stored.
    pub fn load_timeout(mut self, limit: Duration) -> Self {
        self.setup.load_timeout = limit;
        self
    }

    /// Whether responses carry `Cache-Status` (RFC 9211): hit or why not, and the seconds of freshness left. Defaults to yes.
    pub fn cache_status(mut self, yes: bool) -> Self {
        self.setup.report.cache_status = yes;
        self
    }

    /// Whether responses carry `X-Cache`: `HIT`, `STALE`, `MISS`, `REVALIDATED` or `BYPASS`. Defaults to no.
    pub fn x_cache(mut self, yes: bool) -> Self {
        self.setup.report.x_cache = yes;
        self
    }

    /// Makes the layer.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] names the setting that has no meaning, or that differs from those of another layer on the same region.
    pub fn build(self) -> Result<HttpCache, Error> {
        let setup = self.setup.checked()?;
        let pages = self
            .cache
            .region_with::<str, Stored>(&setup.region, codec());
        let pages = pages
            .time_to_live(setup.rules.longest)
            .load_timeout(setup.load_timeout)
            .schema_version(SCHEMA)
            .weigher(Stored::weight)
            .max_value_bytes(setup.max_body_bytes.saturating_add(HEAD_BYTES))
            .build()?;
        let marks = self.cache.memory_region(format!("{}-marks", setup.region));
        Ok(HttpCache::new(Shared {
            cache: self.cache.name().to_owned(),
            pages,
            marks: marks.build()?,
            key_of: self.key_of,
            setup,
        }))
    }
}

impl fmt::Debug for HttpCacheBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpCacheBuilder")
            .field("setup", &self.setup)
            .finish_non_exhaustive()
    }
}
