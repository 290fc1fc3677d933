use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use fred::prelude::Config;

use super::Remote;
use super::fred::FredRemote;
use crate::error::Error;

const SCHEMES: &str =
    "redis, redis-cluster, redis-sentinel, redis+unix (or valkey instead of redis)";

/// Where Redis or Valkey is.
///
/// `redis://user:password@host:6379/0` for one server, `redis-cluster://host:6379?node=host2:6379`,
/// `redis-sentinel://host:26379?sentinelServiceName=main`, `redis+unix:///run/redis.sock`. Special characters of a
/// password must be percent-encoded in a URL; [`password`](Self::password) takes it as it is.
///
/// A text is a URL, so `builder.redis("redis://127.0.0.1")` will do. The password never appears in `Debug`, errors or logs.
///
/// ```
/// use bilten_cache::Redis;
///
/// let redis = Redis::url("redis://:s3cr3t@127.0.0.1:6379").username("app").password("p@ss:w/rd#1");
/// assert_eq!(format!("{redis:?}"), r#"Redis { url: "redis://***@127.0.0.1:6379", .. }"#);
/// ```
#[derive(Clone)]
pub struct Redis {
    url: String,
    username: Option<String>,
    password: Option<String>,
    connect_timeout: Duration,
}

impl Redis {
    /// The server, cluster or sentinels at a URL.
    #[must_use]
    pub fn url(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            username: None,
            password: None,
            connect_timeout: Duration::from_secs(1),
        }
    }

    /// The ACL user. Defaults to the one in the URL.
    #[must_use]
    pub fn username(mut self, username: impl Into<String>) -> Self {
        self.username = Some(username.into());
        self
    }

    /// The password as it is, without percent-encoding. Defaults to the one in the URL.
    #[must_use]
    pub fn password(mut self, password: impl Into<String>) -> Self {
        self.password = Some(password.into());
        self
    }

    /// How long connecting may take, also the first time in `build()`. Defaults to 1 s.
    #[must_use]
    pub fn connect_timeout(mut self, limit: Duration) -> Self {
        self.connect_timeout = limit;
        self
    }

    pub(crate) async fn connect(
        self,
        cache: &str,
        budget: Duration,
    ) -> Result<Arc<dyn Remote>, Error> {
        if self.connect_timeout.is_zero() {
            return Err(Error::config(
                "redis.connect_timeout",
                "it is zero",
                "use a positive duration",
            ));
        }
        let config = self.config()?;
        // fred gives up before the gate does: a command it gave up is not sent later, one that was merely dropped is.
        let budget = budget.mul_f64(0.9);
        let remote = FredRemote::connect(config, cache, self.connect_timeout, budget).await;
        remote
            .map(|remote| Arc::new(remote) as Arc<dyn Remote>)
            .map_err(|error| {
                let problem = format!(
                    "{} does not accept the user name and password: {error}",
                    masked(&self.url)
                );
                Error::config(
                    "redis.password",
                    problem,
                    "check both; `Redis::password` takes it without percent-encoding",
                )
            })
    }

    fn config(&self) -> Result<Config, Error> {
        let wrong = |problem: String, remedy| Err(Error::config("redis.url", problem, remedy));
        let shown = masked(&self.url);
        let Some((scheme, rest)) = self.url.split_once("://") else {
            return wrong(
                format!("`{shown}` has no scheme"),
                "write for example `redis://127.0.0.1:6379`",
            );
        };
        let plain = scheme.replacen("valkey", "redis", 1);
        if plain.starts_with("rediss") {
            let remedy = "use `redis://` through a TLS tunnel";
            return wrong(
                format!("`{shown}` asks for TLS, which this build does not have"),
                remedy,
            );
        }
        if !["redis", "redis-cluster", "redis-sentinel", "redis+unix"].contains(&&*plain) {
            let remedy = "write for example `redis://127.0.0.1:6379`";
            return wrong(
                format!("scheme `{scheme}` of `{shown}` is not one of {SCHEMES}"),
                remedy,
            );
        }
        let at = rest.rfind('@').unwrap_or(0);
        if rest[..at].contains(['/', '#', '?']) {
            let remedy = "percent-encode them (`/` is %2F, `#` is %23, `?` is %3F), or use `Redis::password`";
            return wrong(
                format!("the user name or password in `{shown}` has special characters"),
                remedy,
            );
        }
        let mut config = match Config::from_url(&self.url) {
            Ok(config) => config,
            // fred's message may quote the URL, so only its kind is told.
            Err(error) => {
                return wrong(
                    format!("`{shown}` cannot be read ({})", error.kind().to_str()),
                    "write for example `redis://127.0.0.1:6379/0`",
                );
            }
        };
        config.username = self.username.clone().or(config.username);
        config.password = self.password.clone().or(config.password);
        // The server may be away when we start: keep trying.
        config.fail_fast = false;
        Ok(config)
    }
}

impl From<&str> for Redis {
    fn from(url: &str) -> Self {
        Self::url(url)
    }
}

impl From<String> for Redis {
    fn from(url: String) -> Self {
        Self::url(url)
    }
}

impl fmt::Debug for Redis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Redis")
            .field("url", &masked(&self.url))
            .finish_non_exhaustive()
    }
}

/// The URL without what may be a secret: the user information and the query.
fn masked(url: &str) -> String {
    let (scheme, rest) = url
        .split_once("://")
        .map_or(("", url), |(scheme, rest)| (scheme, rest));
    let (secret, host) = rest
        .rsplit_once('@')
        .map_or(("", rest), |(secret, host)| (secret, host));
    let host = host.split_once('?').map_or(host, |(host, _)| host);
    let separator = if scheme.is_empty() { "" } else { "://" };
    let stars = if secret.is_empty() { "" } else { "***@" };
    [scheme, separator, stars, host].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(url: &str) -> String {
        Redis::url(url)
            .config()
            .map(|_| ())
            .unwrap_err()
            .to_string()
    }

    #[test]
    fn a_wrong_url_names_the_field_the_problem_and_the_remedy() {
        for (url, says) in [
            ("127.0.0.1:6379", "has no scheme"),
            ("http://127.0.0.1", "scheme `http`"),
            ("rediss://127.0.0.1", "TLS"),
            ("redis://127.0.0.1:99999", "cannot be read"),
            ("redis://", "cannot be read"),
            ("redis-sentinel://127.0.0.1", "cannot be read"),
        ] {
            let message = problem(url);
            assert!(
                message.starts_with("redis.url: ") && message.contains(says),
                "{message}"
            );
        }
    }

    #[test]
    fn a_password_is_never_shown() {
        for url in [
            "redis://u:secret@h:99999",
            "redis://u:sec/ret@h",
            "secret@h",
            "http://:secret@h",
            "redis://u:a@secret@h:1x",
        ] {
            let message = problem(url);
            assert!(
                !message.contains("secret") && !message.contains("ret@"),
                "{message}"
            );
            assert!(!format!("{:?}", Redis::url(url)).contains("secret"));
        }
    }

    #[test]
    fn special_characters_of_a_password_work_encoded_or_beside_the_url() {
        let config = Redis::url("redis://app:p%40ss%3Aw%2Frd%231@h")
            .config()
            .unwrap();
        assert_eq!(config.password.as_deref(), Some("p@ss:w/rd#1"));
        let config = Redis::url("redis://h")
            .username("app")
            .password("p@ss:w/rd#1")
            .config()
            .unwrap();
        assert_eq!(
            (config.username.as_deref(), config.password.as_deref()),
            (Some("app"), Some("p@ss:w/rd#1"))
        );
        assert!(problem("redis://app:p#ss@h").contains("%23"));
    }
}
