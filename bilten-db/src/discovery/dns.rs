use std::fmt;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};

use super::{Discover, Failure};
use crate::{Error, Replica, address};

/// The addresses of one name, each a replica.
///
/// The URL names the host as usual; each address that it has now becomes a replica with that address in the place of the
/// name, and the same user, database and parameters. The id of a replica is its address and port.
///
/// The system resolves the name, so `/etc/hosts`, search domains and a local cache count as they do everywhere. It does
/// not tell for how long an answer may be kept: choose the interval by that. With TLS, a certificate that is checked for
/// its host must hold the addresses.
///
/// ```
/// use bilten_db::Cluster;
/// use bilten_db::discovery::Dns;
///
/// let builder = Cluster::builder()
///     .primary("postgres://app@primary.db.internal/shop")
///     .discovery(Dns::new("postgres://app@replicas.db.internal/shop"));
/// # drop(builder);
/// ```
pub struct Dns<R = SystemResolver> {
    url: String,
    resolver: R,
}

impl Dns {
    /// The addresses of the host in `url`.
    #[must_use]
    pub fn new(url: impl Into<String>) -> Self {
        Self::with_resolver(url, SystemResolver)
    }
}

impl<R: Resolve> Dns<R> {
    /// As [`new`](Dns::new), with a resolver of your own.
    #[must_use]
    pub fn with_resolver(url: impl Into<String>, resolver: R) -> Self {
        let url = url.into();
        Self { url, resolver }
    }
}

impl<R> fmt::Debug for Dns<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The URL holds a password.
        f.debug_struct("Dns").finish_non_exhaustive()
    }
}

/// Turns a name into addresses.
///
/// ```
/// use std::io;
/// use std::net::{Ipv4Addr, SocketAddr};
/// use bilten_db::discovery::{Dns, Resolve};
///
/// struct Fixed;
///
/// impl Resolve for Fixed {
///     async fn resolve(&self, _host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
///         Ok(vec![(Ipv4Addr::LOCALHOST, port).into()])
///     }
/// }
/// let dns = Dns::with_resolver("postgres://app@replicas.db.internal/shop", Fixed);
/// # drop(dns);
/// ```
pub trait Resolve: Send + Sync + 'static {
    /// The addresses of `host`, each with the port to use there.
    ///
    /// # Errors
    ///
    /// When the name is unknown or nobody answers.
    ///
    /// # Cancellation
    ///
    /// Dropped when it takes too long.
    fn resolve(
        &self,
        host: &str,
        port: u16,
    ) -> impl Future<Output = io::Result<Vec<SocketAddr>>> + Send;
}

/// The resolver of the operating system.
///
/// ```
/// let dns = bilten_db::discovery::Dns::with_resolver(
///     "postgres://app@replicas.db.internal/shop",
///     bilten_db::discovery::SystemResolver::default(),
/// );
/// # drop(dns);
/// ```
#[derive(Debug, Clone, Copy, Default)]
#[non_exhaustive]
pub struct SystemResolver;

impl Resolve for SystemResolver {
    async fn resolve(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        Ok(tokio::net::lookup_host((host, port)).await?.collect())
    }
}

impl<R: Resolve> Discover for Dns<R> {
    async fn discover(&self) -> Result<Vec<(String, Replica)>, Failure> {
        let named = Named::parse(&self.url)?;
        let host = named.host.trim_start_matches('[').trim_end_matches(']');
        let found = self.resolver.resolve(host, named.port).await?;
        let replica =
            |address: &SocketAddr| (address.to_string(), Replica::new(named.at(*address)));
        Ok(found.iter().map(replica).collect())
    }

    fn check(&self) -> Result<(), Error> {
        address::check("discovery", &self.url)?;
        Named::parse(&self.url).map(drop)
    }
}

/// A URL taken apart at the host.
#[derive(Debug, PartialEq, Eq)]
struct Named<'a> {
    before: &'a str,
    host: &'a str,
    port: u16,
    behind: &'a str,
}

impl<'a> Named<'a> {
    fn parse(url: &'a str) -> Result<Self, Error> {
        // The URL is kept out of the error: it may hold a password.
        Self::split(url).ok_or_else(|| {
            Error::invalid(
                "discovery",
                "has no URL with a host",
                "write it as postgres://user:password@name:5432/database or mysql://..",
            )
        })
    }

    fn split(url: &'a str) -> Option<Self> {
        let (scheme, rest) = url.split_once("://")?;
        let port = match scheme {
            "postgres" | "postgresql" => 5432,
            "mysql" | "mariadb" => 3306,
            _ => return None,
        };
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let start = rest[..end].rfind('@').map_or(0, |at| at + 1);
        let place = &rest[start..end];
        let (host, port) = match place.rsplit_once(':') {
            Some((host, given)) if !given.ends_with(']') => (host, given.parse().ok()?),
            _ => (place, port),
        };
        let offset = scheme.len() + "://".len();
        (!host.is_empty()).then_some(Self {
            before: &url[..offset + start],
            host,
            port,
            behind: &rest[end..],
        })
    }

    fn at(&self, address: SocketAddr) -> String {
        let Self { before, behind, .. } = self;
        let port = address.port();
        match address.ip() {
            IpAddr::V4(ip) => format!("{before}{ip}:{port}{behind}"),
            IpAddr::V6(ip) => format!("{before}[{ip}]:{port}{behind}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_takes_the_place_of_the_name() {
        let four: SocketAddr = "10.0.0.7:5433".parse().unwrap();
        let six: SocketAddr = "[fe80::7]:5432".parse().unwrap();
        let table = [
            (
                "postgres://app@db/shop",
                four,
                "postgres://app@10.0.0.7:5433/shop",
            ),
            (
                "postgres://app:s%40t@db.internal:5433/shop?sslmode=require",
                four,
                "postgres://app:s%40t@10.0.0.7:5433/shop?sslmode=require",
            ),
            ("mysql://db", four, "mysql://10.0.0.7:5433"),
            (
                "postgres://app@[::1]:5432/a",
                six,
                "postgres://app@[fe80::7]:5432/a",
            ),
        ];
        for (url, address, expected) in table {
            assert_eq!(Named::parse(url).unwrap().at(address), expected);
        }
        assert_eq!(Named::parse("mysql://db/shop").unwrap().port, 3306);
        assert_eq!(Named::parse("postgres://db/shop").unwrap().port, 5432);
    }

    #[test]
    fn a_url_without_a_host_is_refused_and_not_shown() {
        for url in [
            "",
            "s3cret",
            "postgres://",
            "postgres://app:s3cret@/shop",
            "sqlite://s3cret",
            "postgres://h:s3cret/a",
        ] {
            let error = Named::parse(url).unwrap_err();
            let text = format!("{error} {error:?}");
            assert!(text.contains("host") && !text.contains("s3cret"), "{text}");
        }
    }

    #[tokio::test]
    async fn the_system_knows_localhost() {
        let dns = Dns::new("postgres://app@localhost:5999/shop");
        let found = dns.discover().await.unwrap();
        assert!(
            found.iter().any(|(id, _)| id == "127.0.0.1:5999"),
            "{found:?}"
        );
    }
}
