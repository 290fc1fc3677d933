use std::fmt;

use http::HeaderName;
use serde::Deserialize;
use serde::de::{self, Deserializer, Unexpected, Visitor};

use super::human::{Size, Span};
use crate::error::Error;
use crate::http::{HttpCacheBuilder, Query, Setup};
use crate::options::LONGEST;

/// What a configuration says about a layer that keeps HTTP responses; the settings have the names of the setters of [`HttpCacheBuilder`], of which
/// `key` is left to code; `max_body_bytes` is a size, and `sorted_query` says yes or no.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use bilten_cache::Cache;
/// use bilten_cache::config::HttpSettings;
///
/// let text = r#"{ "stale_if_error": "1h", "query_parameters": ["page", "city"], "max_body_bytes": "256KiB" }"#;
/// let settings: HttpSettings = serde_json::from_str(text)?;
///
/// let cache = Cache::builder("shop").build().await?;
/// let pages = cache.http().settings(&settings).build()?;
/// # let _ = pages;
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(try_from = "Said")]
pub struct HttpSettings {
    said: Said,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Said {
    region: Option<String>,
    time_to_live: Option<Span>,
    stale_while_revalidate: Option<Span>,
    stale_if_error: Option<Span>,
    revalidate_within: Option<Span>,
    longest_life: Option<Span>,
    authorized: Option<bool>,
    request_directives: Option<bool>,
    by_host: Option<bool>,
    sorted_query: Option<bool>,
    query_parameters: Option<Vec<String>>,
    tag_header: Option<Header>,
    max_body_bytes: Option<Size>,
    variants: Option<u32>,
    pass_for: Option<Span>,
    retry_after: Option<Span>,
    load_timeout: Option<Span>,
    cache_status: Option<bool>,
    x_cache: Option<bool>,
}

impl TryFrom<Said> for HttpSettings {
    type Error = Error;

    fn try_from(said: Said) -> Result<Self, Error> {
        if said.sorted_query.is_some() && said.query_parameters.is_some() {
            return Err(Error::config(
                "sorted_query",
                "it and `query_parameters` both say what of a query counts, and those count in whatever order",
                "leave one of them out",
            ));
        }
        let settings = Self { said };
        settings.over(Self::of_any_program()).checked()?;
        Ok(settings)
    }
}

impl HttpSettings {
    /// What a program may have that agrees with these: whether its own settings do, shows when it builds the layer.
    fn of_any_program() -> Setup {
        let mut setup = Setup::default();
        setup.rules.longest = LONGEST;
        setup
    }

    fn over(&self, mut setup: Setup) -> Setup {
        // All of them, or the compiler says which one was forgotten.
        let Said {
            region,
            time_to_live,
            stale_while_revalidate,
            stale_if_error,
            revalidate_within,
            longest_life,
            authorized,
            request_directives,
            by_host,
            sorted_query,
            query_parameters,
            tag_header,
            max_body_bytes,
            variants,
            pass_for,
            retry_after,
            load_timeout,
            cache_status,
            x_cache,
        } = self.said.clone();
        let rules = &mut setup.rules;
        rules.time_to_live = time_to_live.map(|Span(span)| span).or(rules.time_to_live);
        for (said, setting) in [
            (stale_while_revalidate, &mut rules.stale_while_revalidate),
            (stale_if_error, &mut rules.stale_if_error),
            (revalidate_within, &mut rules.revalidate_within),
            (longest_life, &mut rules.longest),
            (pass_for, &mut setup.pass_for),
            (retry_after, &mut setup.retry_after),
            (load_timeout, &mut setup.load_timeout),
        ] {
            *setting = said.map_or(*setting, |Span(span)| span);
        }
        for (said, setting) in [
            (authorized, &mut rules.authorized),
            (request_directives, &mut setup.obey),
            (by_host, &mut setup.by_host),
            (cache_status, &mut setup.report.cache_status),
            (x_cache, &mut setup.report.x_cache),
        ] {
            *setting = said.unwrap_or(*setting);
        }
        match sorted_query {
            Some(true) => setup.query = Query::Sorted,
            Some(false) => setup.query = Query::Exact,
            None => {}
        }
        if let Some(names) = query_parameters {
            setup.query = Query::Only(names.into());
        }
        if let Some(Size(bytes)) = max_body_bytes {
            setup.max_body_bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
        }
        setup.region = region.unwrap_or(setup.region);
        setup.tag_header = tag_header.map(|Header(name)| name).or(setup.tag_header);
        setup.variants = variants.unwrap_or(setup.variants);
        setup
    }
}

impl HttpCacheBuilder {
    /// Takes what a configuration says; what it does not say stays.
    pub fn settings(mut self, settings: &HttpSettings) -> Self {
        self.setup = settings.over(self.setup);
        self
    }
}

/// The name of a header.
#[derive(Debug, Clone, PartialEq)]
struct Header(HeaderName);

struct HeaderVisitor;

impl Visitor<'_> for HeaderVisitor {
    type Value = Header;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of a header, such as `Cache-Tag`")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Header, E> {
        let wrong = |_| E::invalid_value(Unexpected::Other(&format!("`{text}`")), &self);
        text.parse().map(Header).map_err(wrong)
    }
}

impl<'de> Deserialize<'de> for Header {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_str(HeaderVisitor)
    }
}
