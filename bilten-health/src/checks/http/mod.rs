//! Whether another service answers.

#[cfg(not(feature = "tls"))]
mod connector;
#[cfg(feature = "tls")]
#[path = "tls_connector.rs"]
mod connector;
#[cfg(feature = "tls")]
mod https;
mod lookup;

use super::target::{host_problem, port_problem};
use crate::check::{Check, CheckBuilder, CheckContext, Verdict, check};
use crate::hop::HOP_HEADER;
use crate::report::Reason;
use connector::{Connections, SCHEMES, connections};
use http::{Method, Request, Uri, header};
use http_body_util::Empty;
use hyper::body::Bytes;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use tokio::time::timeout;

#[cfg(feature = "tls")]
pub use https::https;

/// Sends `GET` to `url`; an answer from 200 to 299 is up.
///
/// A redirect is not followed and counts as down, and the body is not read. It sends `x-health-hop: 1`: a service with these
/// checks answers that for itself alone, so that two services that check each other neither go round in a circle nor hold each
/// other down. Whether what the other one needs works, it tells its own probes. `https` needs the feature `tls` and trusts what the system trusts; for a
/// certificate of your own authority see `checks::https`. Other schemes and URLs that are none are refused at build.
///
/// ```
/// use bilten_health::{Health, checks};
///
/// let payments = checks::http("payments", "http://payments.internal/livez").non_critical();
/// assert!(Health::builder().check(payments).build().is_ok());
///
/// let wrong = checks::http("payments", "payments.internal");
/// assert!(Health::builder().check(wrong).build().unwrap_err().to_string().contains("payments"));
/// ```
pub fn http(name: impl Into<String>, url: impl AsRef<str>) -> CheckBuilder {
    asking(name.into(), url.as_ref(), connections(), problem)
}

/// The check itself, over connections of one kind; `problem` tells why it can never ask that URL.
fn asking(
    name: String,
    url: &str,
    connections: Connections,
    problem: impl Fn(&Uri) -> Option<&'static str>,
) -> CheckBuilder {
    let parsed = url.parse::<Uri>();
    let problem = match &parsed {
        Ok(uri) => problem(uri),
        Err(_) => Some("is no URL"),
    };
    let uri = parsed.unwrap_or_default();
    check(name, Http { connections, uri }).peer().refuse(
        url,
        problem,
        "a full URL, such as http://payments.internal/livez, without user and password",
    )
}

fn problem(uri: &Uri) -> Option<&'static str> {
    match (uri.scheme_str(), uri.authority()) {
        (None, _) | (_, None) => Some("has no scheme or no host"),
        (Some("https"), _) if !SCHEMES.contains(&"https") => Some("needs the feature `tls`"),
        (Some(scheme), _) if !SCHEMES.contains(&scheme) => {
            Some("has a scheme that is not http or https")
        }
        (_, Some(authority)) if authority.as_str().contains('@') => Some("has credentials in it"),
        (Some(_), Some(authority)) => {
            // `port_u16` would take a port that is none for the scheme's own.
            let port = &authority.as_str()[authority.host().len()..];
            let wrong_port = port.strip_prefix(':').and_then(port_problem);
            host_problem(authority.host()).or(wrong_port)
        }
    }
}

struct Http {
    connections: Connections,
    uri: Uri,
}

impl Check for Http {
    async fn check(&self, context: &CheckContext) -> Verdict {
        let limit = context.budget();
        let request = Request::builder()
            .method(Method::GET)
            .uri(self.uri.clone())
            .header(
                header::USER_AGENT,
                concat!("bilten-health/", env!("CARGO_PKG_VERSION")),
            )
            .header(HOP_HEADER, "1")
            .body(Empty::new());
        // One for each run: what it looks up is that run's.
        let client = Client::builder(TokioExecutor::new())
            .pool_max_idle_per_host(0)
            .build(self.connections.of(context));
        let request: Request<Empty<Bytes>> = match request {
            Ok(request) => request,
            Err(error) => return Verdict::failed(&error),
        };
        match timeout(limit, client.request(request)).await {
            Ok(Ok(answer)) => judge(answer.status().as_u16()),
            Ok(Err(error)) => Verdict::failed(&error),
            Err(_) => Verdict::down(format!("no answer within {limit:?}")).reason(Reason::Timeout),
        }
    }
}

fn judge(status: u16) -> Verdict {
    let verdict = match status {
        200..=299 => Verdict::up(),
        300..=399 => Verdict::down(format!("answered {status}, and a redirect is not followed")),
        _ => Verdict::down(format!("answered {status}")),
    };
    verdict.detail("http_status", status)
}

#[cfg(test)]
mod tests {
    use super::problem;

    #[test]
    fn urls_that_can_never_work_are_refused() {
        for good in [
            "http://h",
            "http://h:80/x?y=z",
            "http://[::1]:1/",
            "http://[::1]/",
        ] {
            assert_eq!(problem(&good.parse().expect("a URL")), None, "{good}");
        }
        for bad in ["/path", "h", "ftp://h/", "http://u:pw@h/"] {
            assert!(problem(&bad.parse().expect("a URL")).is_some(), "{bad}");
        }
        for bad in [
            "http://127.0.0.1:99999/",
            "http://127.0.0.1:abc/",
            "http://h:0/",
            "http://h:+80/",
            "http://h:/",
            "http://:80/",
            "http://[x]/",
            "http://[::1]:99999/",
        ] {
            // Some are none for the parser either.
            let refused = bad.parse().map_or(true, |uri| problem(&uri).is_some());
            assert!(refused, "{bad}");
        }
    }
}
