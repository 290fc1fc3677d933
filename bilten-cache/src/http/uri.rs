//! Under which key a response is kept. Pure.

use std::sync::Arc;

use http::Uri;
use http::header::HOST;
use http::request::Parts;
use http::uri::PathAndQuery;

/// What of a request's query tells pages apart.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) enum Query {
    /// All of it, byte by byte.
    #[default]
    Exact,
    /// All of it, in whatever order.
    Sorted,
    /// These parameters, in whatever order. A handler does not see others.
    Only(Arc<[String]>),
}

impl Query {
    /// The query in its one form; `None` when there is nothing left of it.
    fn normal(&self, query: &str) -> Option<String> {
        let listed = |pair: &&str| match self {
            Self::Only(names) => names
                .iter()
                .any(|name| name == pair.split('=').next().unwrap_or_default()),
            Self::Exact | Self::Sorted => true,
        };
        let query = match self {
            Self::Exact => query.to_owned(),
            Self::Sorted | Self::Only(_) => {
                let mut pairs: Vec<&str> = query
                    .split('&')
                    .filter(|pair| !pair.is_empty())
                    .filter(listed)
                    .collect();
                // Stable in the name only: a list such as `tag=b&tag=a` may mean its order.
                pairs.sort_by_key(|pair| pair.split('=').next());
                pairs.join("&")
            }
        };
        (!query.is_empty()).then_some(query)
    }

    /// The URI whose answer may stand for all that have the same key.
    pub(super) fn rewrite(&self, uri: &Uri) -> Option<Uri> {
        if *self == Self::Exact {
            return None;
        }
        let normal = path_and_query(uri, self);
        if uri
            .path_and_query()
            .is_some_and(|there| there.as_str() == normal)
        {
            return None;
        }
        let mut parts = uri.clone().into_parts();
        parts.path_and_query = Some(PathAndQuery::try_from(normal).ok()?);
        Uri::from_parts(parts).ok()
    }
}

/// `//host/path?query`, or `/path?query` when the host plays no part. `None` for a `Host` that goes on as a path does: `a/b` with the path
/// `/c` would read like `a` with `/b/c`, and a stranger could put one page in the place of another.
pub(super) fn key(request: &Parts, by_host: bool, query: &Query) -> Option<String> {
    let host = host(request);
    let tells_apart = !by_host || !reads_on(host.as_deref());
    tells_apart.then(|| key_of(&request.uri, host.as_deref(), by_host, query))
}

/// Whether the host goes on as a path does.
fn reads_on(host: Option<&str>) -> bool {
    host.is_some_and(|host| host.contains('/'))
}

fn key_of(uri: &Uri, host: Option<&str>, by_host: bool, query: &Query) -> String {
    let path = path_and_query(uri, query);
    match by_host {
        true => format!("//{}{path}", host.unwrap_or_default().to_ascii_lowercase()),
        false => path,
    }
}

/// The key of another resource that the answer to this request names, if it is one of the same host.
pub(super) fn related(
    request: &Parts,
    by_host: bool,
    query: &Query,
    named: &str,
) -> Option<String> {
    let own = host(request);
    let uri: Uri = named.parse().ok()?;
    let same_host = uri.authority().is_none_or(|there| {
        own.as_deref()
            .is_some_and(|own| own.eq_ignore_ascii_case(there.as_str()))
    });
    // `//host/path` names another host. A path that is relative to the request's would have to be resolved first.
    let tells_apart = !by_host || !reads_on(own.as_deref());
    (same_host && tells_apart && !named.starts_with("//") && uri.path().starts_with('/'))
        .then(|| key_of(&uri, own.as_deref(), by_host, query))
}

/// The host that was asked for: from the URI in HTTP/2, from `Host` in HTTP/1.
fn host(request: &Parts) -> Option<String> {
    let told = || {
        String::from_utf8_lossy(request.headers.get(HOST)?.as_bytes())
            .into_owned()
            .into()
    };
    request
        .uri
        .authority()
        .map(ToString::to_string)
        .or_else(told)
}

fn path_and_query(uri: &Uri, query: &Query) -> String {
    match uri.query().and_then(|text| query.normal(text)) {
        Some(query) => format!("{}?{query}", uri.path()),
        None => uri.path().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn parts(uri: &str, host: Option<&str>) -> Parts {
        let mut request = Request::get(uri);
        if let Some(host) = host {
            request = request.header(HOST, host);
        }
        request.body(()).unwrap().into_parts().0
    }

    fn only(names: &[&str]) -> Query {
        Query::Only(names.iter().map(|name| (*name).to_owned()).collect())
    }

    #[test]
    fn a_key_is_the_url_in_one_form() {
        for (uri, host, by_host, query, expected) in [
            (
                "/a?b=1",
                Some("Shop.example:80"),
                true,
                Query::Exact,
                "//shop.example:80/a?b=1",
            ),
            (
                "http://two.example/a",
                Some("one"),
                true,
                Query::Exact,
                "//two.example/a",
            ),
            ("/a", None, true, Query::Exact, "///a"),
            ("/a?", Some("x"), false, Query::Exact, "/a"),
            (
                "/a?z=1&b=2&&b=1",
                Some("x"),
                false,
                Query::Exact,
                "/a?z=1&b=2&&b=1",
            ),
            (
                "/a?z=1&b=2&&b=1",
                Some("x"),
                false,
                Query::Sorted,
                "/a?b=2&b=1&z=1",
            ),
            (
                "/a?z=1&b=2&utm=3&b",
                None,
                false,
                only(&["b", "z"]),
                "/a?b=2&b&z=1",
            ),
            ("/a?utm=3", None, false, only(&["b"]), "/a"),
            ("/a?%62=3", None, false, only(&["b"]), "/a"),
            ("/a?b=1", None, false, only(&[]), "/a"),
        ] {
            let key = key(&parts(uri, host), by_host, &query);
            assert_eq!(key.as_deref(), Some(expected), "{uri}");
        }
    }

    #[test]
    fn a_host_that_goes_on_as_a_path_has_no_key() {
        let of = |host, by_host| key(&parts("/c", Some(host)), by_host, &Query::Exact);
        for host in ["a/b", "/", "a/"] {
            assert_eq!(of(host, true), None, "{host}");
            assert_eq!(of(host, false).as_deref(), Some("/c"), "it plays no part");
        }
    }

    /// Otherwise whoever comes first decides with a parameter of his own what all others see.
    #[test]
    fn a_handler_sees_only_what_the_key_has() {
        let uri: Uri = "/a?x=evil&b=1".parse().unwrap();
        assert_eq!(only(&["b"]).rewrite(&uri).unwrap(), "/a?b=1");
        assert_eq!(Query::Sorted.rewrite(&uri).unwrap(), "/a?b=1&x=evil");
        assert_eq!(Query::Exact.rewrite(&uri), None);
        assert_eq!(only(&["b"]).rewrite(&"/a?b=1".parse().unwrap()), None);
        let absolute: Uri = "http://h/a?x=1".parse().unwrap();
        assert_eq!(only(&[]).rewrite(&absolute).unwrap(), "http://h/a");
        assert_eq!(only(&[]).rewrite(&"*".parse().unwrap()), None);
    }

    #[test]
    fn only_resources_of_the_same_host_are_related() {
        let request = parts("/events", Some("shop.example"));
        let related = |named| related(&request, true, &Query::Exact, named);
        assert_eq!(related("/events/7").unwrap(), "//shop.example/events/7");
        assert_eq!(
            related("https://SHOP.example/events/7").unwrap(),
            "//shop.example/events/7"
        );
        for other in [
            "https://other.example/events/7",
            "7",
            "",
            "not a uri",
            "//other.example/events/7",
            "//[/",
        ] {
            assert_eq!(related(other), None, "{other}");
        }
    }

    #[test]
    fn a_host_that_goes_on_as_a_path_is_related_to_nothing() {
        let request = parts("/c", Some("shop.example/b"));
        assert_eq!(related(&request, true, &Query::Exact, "/7"), None);
        let anywhere = related(&request, false, &Query::Exact, "/7");
        assert_eq!(anywhere.as_deref(), Some("/7"), "hosts play no part");
    }
}
