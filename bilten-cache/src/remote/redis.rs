use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::address::{Address, Login, Servers, masked};
use super::tls::{Identity, Tls};
use super::{Remote, RemoteError};
use crate::error::Error;

/// The library that talks to Redis.
///
/// ```
/// use bilten_cache::{Redis, RedisClient};
///
/// let redis = Redis::url("redis://127.0.0.1").client(RedisClient::default());
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum RedisClient {
    /// fred. The default where it is compiled in. On a cluster it stops all shards while one primary is lost, and a
    /// slot that is moving costs it its connection for a moment.
    #[cfg(feature = "fred")]
    #[default]
    Fred,
    /// redis-rs. The default where fred is not compiled in, and the one to take on a cluster.
    #[cfg(feature = "redis")]
    #[cfg_attr(not(feature = "fred"), default)]
    RedisRs,
}

/// Where Redis or Valkey is.
///
/// `redis://user:password@host:6379/0` for one server, `redis-cluster://host:6379?node=host2:6379`,
/// `redis-sentinel://host:26379?sentinelServiceName=main`, `redis+unix:///run/redis.sock`. Special characters of a
/// password must be percent-encoded in a URL; [`password`](Self::password) takes it as it is.
///
/// With `rediss` in place of `redis` the connection is secured by TLS (features `fred-tls` and `redis-tls`), see
/// [`authority`](Self::authority) and [`identity`](Self::identity).
///
/// A text is a URL, so `builder.redis("redis://127.0.0.1")` will do. The password never appears in `Debug`, errors or logs.
///
/// ```
/// use bilten_cache::Redis;
///
/// let redis = Redis::url("redis://:s3cr3t@127.0.0.1:6379").username("app").password("p@ss:w/rd#1");
/// assert!(format!("{redis:?}").starts_with(r#"Redis { url: "redis://***@127.0.0.1:6379", "#));
/// ```
#[derive(Clone)]
pub struct Redis {
    url: String,
    username: Option<String>,
    password: Option<String>,
    connect_timeout: Duration,
    client: RedisClient,
    tls: Tls,
    sentinel: Login,
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
            client: RedisClient::default(),
            tls: Tls::default(),
            sentinel: Login::default(),
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

    /// The certificate authorities to trust for `rediss://`, in PEM, instead of the system's.
    ///
    /// ```no_run
    /// # use bilten_cache::Redis;
    /// let redis = Redis::url("rediss://cache.internal:6380").authority(std::fs::read("ca.pem")?);
    /// # drop(redis);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[must_use]
    pub fn authority(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.tls.authority = Some(pem.into());
        self
    }

    /// The certificate that this process shows for `rediss://`, and its private key, both in PEM. Redis asks for one unless its
    /// `tls-auth-clients` is `no`.
    #[must_use]
    pub fn identity(mut self, certificates: impl Into<Vec<u8>>, key: impl Into<Vec<u8>>) -> Self {
        self.tls.identity = Some(Identity {
            certificates: certificates.into(),
            key: key.into(),
        });
        self
    }

    /// The user at the sentinels, which have users of their own. Defaults to `sentinelUsername` in the URL.
    #[must_use]
    pub fn sentinel_username(mut self, username: impl Into<String>) -> Self {
        self.sentinel.username = Some(username.into());
        self
    }

    /// The password of the sentinels. Defaults to `sentinelPassword` in the URL, and to none: that of the server is not sent to
    /// them.
    #[must_use]
    pub fn sentinel_password(mut self, password: impl Into<String>) -> Self {
        self.sentinel.password = Some(password.into());
        self
    }

    /// How long connecting may take, also the first time in `build()`. Defaults to 1 s.
    #[must_use]
    pub fn connect_timeout(mut self, limit: Duration) -> Self {
        self.connect_timeout = limit;
        self
    }

    /// The library that talks to the server. Defaults to fred where the feature `fred` is on, to redis-rs otherwise.
    #[must_use]
    pub fn client(mut self, client: RedisClient) -> Self {
        self.client = client;
        self
    }

    /// Connects, for a test that works on the second level itself: see [`conformance`](crate::remote::conformance). Changes keep to the budget by
    /// themselves. Reads and leases of one server over fred are left to the time limit of whoever calls them: a frozen one is given up when its connection is
    /// replaced, after a few seconds.
    ///
    /// # Errors
    ///
    /// When a setting has no meaning, or the server does not accept the credentials. A server that is not there is no error.
    ///
    /// # Cancellation
    ///
    /// May be dropped: nothing is left behind.
    #[cfg(feature = "test-util")]
    pub async fn into_remote(
        self,
        cache: &str,
        budget: Duration,
    ) -> Result<Arc<dyn Remote>, Error> {
        self.connect(cache, budget).await
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
        let address = self.address()?;
        self.check_tls(&address)?;
        // The client gives up before the gate does: a command it gave up is not sent later, one that was merely dropped may be.
        let budget = budget.mul_f64(0.9);
        let connected = match self.client {
            #[cfg(feature = "fred")]
            RedisClient::Fred => {
                super::fred::connect(&address, cache, self.connect_timeout, budget).await
            }
            #[cfg(feature = "redis")]
            RedisClient::RedisRs => {
                super::redis_rs::connect(&address, cache, self.connect_timeout, budget).await
            }
        };
        connected.map_err(|error| self.refused(&error))
    }

    fn address(&self) -> Result<Address, Error> {
        let mut address = Address::parse(&self.url)?;
        address.username = self.username.clone().or(address.username);
        address.password = self.password.clone().or(address.password);
        if address.tls.is_some() {
            address.tls = Some(self.tls.clone());
        }
        if let Servers::Sentinel { login, .. } = &mut address.servers {
            login.username = self.sentinel.username.clone().or(login.username.take());
            login.password = self.sentinel.password.clone().or(login.password.take());
        }
        Ok(address)
    }

    fn check_tls(&self, address: &Address) -> Result<(), Error> {
        let Some(_tls) = &address.tls else {
            return Ok(());
        };
        let (has_tls, remedy) = match self.client {
            #[cfg(feature = "fred")]
            RedisClient::Fred => (
                cfg!(feature = "fred-tls"),
                "turn on the feature `fred-tls` of bilten-cache",
            ),
            #[cfg(feature = "redis")]
            RedisClient::RedisRs => (
                cfg!(feature = "redis-tls"),
                "turn on the feature `redis-tls` of bilten-cache",
            ),
        };
        if !has_tls {
            let problem = format!(
                "{} asks for TLS, which this build does not have",
                masked(&self.url)
            );
            return Err(Error::config("redis.url", problem, remedy));
        }
        #[cfg(any(feature = "fred-tls", feature = "redis-tls"))]
        _tls.client_config()?;
        Ok(())
    }

    fn refused(&self, error: &RemoteError) -> Error {
        let shown = masked(&self.url);
        match error {
            RemoteError::Authentication(words) => Error::config(
                "redis.password",
                format!("{shown} does not accept the user name and password ({words})"),
                "check both; `Redis::password` takes it without percent-encoding",
            ),
            other => Error::config(
                "redis.url",
                format!("the client does not take {shown}: {other}"),
                "check host, port and database",
            ),
        }
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
            .field("client", &self.client)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_beside_the_url_win_and_are_taken_as_they_are() {
        let redis = Redis::url("redis://other:pass@h").username("app");
        let address = redis.password("p@ss:w/rd#1").address().unwrap();
        assert_eq!(address.username.as_deref(), Some("app"));
        assert_eq!(address.password.as_deref(), Some("p@ss:w/rd#1"));
    }

    #[test]
    fn debug_shows_no_secret() {
        let redis = Redis::url("redis://u:secret@h?x=secret").password("secret");
        assert!(!format!("{redis:?}").contains("secret"));
    }
}
