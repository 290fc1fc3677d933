mod check;
mod masked;

use std::fmt;
use std::path::PathBuf;

use percent_encoding::percent_decode_str;
use url::Url;

use self::check::EXAMPLE;
pub(super) use self::masked::masked;
use super::tls::Tls;
use crate::error::Error;

const PORT: u16 = 6_379;
const SENTINEL_PORT: u16 = 26_379;

/// Name or IP address, and port.
pub(super) type Host = (String, u16);

/// Which servers a URL means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Servers {
    One(Host),
    Unix(PathBuf),
    Cluster(Vec<Host>),
    Sentinel {
        hosts: Vec<Host>,
        service: String,
        login: Login,
    },
}

/// A user name and a password.
#[derive(Clone, Default, PartialEq, Eq)]
pub(super) struct Login {
    pub(super) username: Option<String>,
    pub(super) password: Option<String>,
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Login")
    }
}

/// A URL that was understood, in no client's types.
#[derive(Clone)]
pub(super) struct Address {
    pub(super) servers: Servers,
    pub(super) database: Option<u8>,
    pub(super) username: Option<String>,
    pub(super) password: Option<String>,
    /// `None` without TLS.
    pub(super) tls: Option<Tls>,
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Address")
            .field("servers", &self.servers)
            .finish_non_exhaustive()
    }
}

impl Address {
    /// Where the servers are, for messages. No user, no password.
    pub(super) fn place(&self) -> String {
        let list = |hosts: &[Host]| {
            let hosts = hosts.iter().map(shown);
            hosts.collect::<Vec<_>>().join(", ")
        };
        let place = match &self.servers {
            Servers::One(host) => shown(host),
            Servers::Unix(path) => path.display().to_string(),
            Servers::Cluster(hosts) => format!("cluster at {}", list(hosts)),
            Servers::Sentinel { hosts, service, .. } => {
                format!("primary of `{service}` by the sentinels at {}", list(hosts))
            }
        };
        match self.database {
            Some(database) => format!("{place}, database {database}"),
            None => place,
        }
    }

    /// Reads a URL. No message of it quotes user name, password or query.
    pub(super) fn parse(text: &str) -> Result<Self, Error> {
        let shown = masked(text);
        let (scheme, tls) = check::scheme(text, &shown)?;
        check::escapes(text, &shown)?;
        let unreadable = |why: &str| {
            let problem = format!("`{shown}` cannot be read ({why})");
            Error::config("redis.url", problem, EXAMPLE)
        };
        let url = Url::parse(text).map_err(|error| unreadable(&error.to_string()))?;
        check::parameters(&url, &scheme, &shown)?;
        let nodes = |port| hosts(&url, port).map_err(unreadable);
        let servers = match &*scheme {
            "redis+unix" if url.path().len() > 1 => Servers::Unix(decoded(url.path()).into()),
            "redis+unix" => return Err(unreadable("no path of a socket")),
            "redis-cluster" => Servers::Cluster(nodes(PORT)?),
            "redis-sentinel" => Servers::Sentinel {
                hosts: nodes(SENTINEL_PORT)?,
                service: query(&url, "sentinelServiceName")
                    .next()
                    .ok_or_else(|| unreadable("no sentinelServiceName"))?,
                login: Login {
                    username: query(&url, "sentinelUsername").next(),
                    password: query(&url, "sentinelPassword").next(),
                },
            },
            _ => Servers::One(nodes(PORT)?.swap_remove(0)),
        };
        let database = match (&servers, url.path().trim_matches('/')) {
            (Servers::Unix(_), _) | (_, "") => None,
            (Servers::Cluster(_), _) => return Err(unreadable("a cluster has one database only")),
            (_, number) => Some(
                number
                    .parse()
                    .map_err(|_| unreadable("the database is not a number up to 255"))?,
            ),
        };
        Ok(Self {
            servers,
            database,
            username: Some(decoded(url.username())).filter(|name| !name.is_empty()),
            password: url.password().map(decoded),
            tls: tls.then(Tls::default),
        })
    }
}

/// The host of the URL and those of its `node` parameters.
fn hosts(url: &Url, port: u16) -> Result<Vec<Host>, &'static str> {
    let first = url.host_str().filter(|host| !host.is_empty());
    let first = first.ok_or("no host")?;
    let mut hosts = vec![(bare(first), url.port().unwrap_or(port))];
    for node in query(url, "node") {
        let (host, port) = node.rsplit_once(':').ok_or("a node without a port")?;
        hosts.push((bare(host), port.parse().map_err(|_| "a node's port")?));
    }
    if hosts.iter().any(|(_, port)| *port == 0) {
        return Err("at port 0 nothing can listen");
    }
    Ok(hosts)
}

fn shown((host, port): &Host) -> String {
    if host.contains(':') {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    }
}

/// The host without percent signs, and without the brackets of an IPv6 address.
fn bare(host: &str) -> String {
    decoded(host.trim_start_matches('[').trim_end_matches(']'))
}

fn query<'a>(url: &'a Url, name: &'a str) -> impl Iterator<Item = String> + 'a {
    url.query_pairs()
        .filter(move |(key, _)| key == name)
        .map(|(_, value)| value.into_owned())
}

fn decoded(text: &str) -> String {
    percent_decode_str(text).decode_utf8_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(name: &str, port: u16) -> Host {
        (name.to_owned(), port)
    }

    #[test]
    fn every_deployment_has_its_url() {
        let sentinel = Servers::Sentinel {
            hosts: vec![host("a", 26_379), host("b", 1)],
            service: "main".into(),
            login: Login::default(),
        };
        for (url, servers, database) in [
            ("redis://h", Servers::One(host("h", 6_379)), None),
            ("valkey://h:1/3", Servers::One(host("h", 1)), Some(3)),
            ("redis://[::1]:7/", Servers::One(host("::1", 7)), None),
            (
                "redis+unix:///run/a%20b.sock",
                Servers::Unix("/run/a b.sock".into()),
                None,
            ),
            (
                "redis-cluster://a:1?node=b:2&node=[::1]:3",
                Servers::Cluster(vec![host("a", 1), host("b", 2), host("::1", 3)]),
                None,
            ),
            (
                "redis-sentinel://a/2?sentinelServiceName=main&node=b:1",
                sentinel,
                Some(2),
            ),
        ] {
            let address = Address::parse(url).unwrap();
            assert_eq!(
                (address.servers, address.database),
                (servers, database),
                "{url}"
            );
        }
    }

    #[test]
    fn a_wrong_url_names_the_field_the_problem_and_the_remedy() {
        for (url, says) in [
            ("127.0.0.1:6379", "has no `scheme://`"),
            ("http://127.0.0.1", "scheme `http`"),
            ("rediss+unix:///run/a.sock", "scheme `rediss+unix`"),
            ("redis://127.0.0.1:99999", "invalid port number"),
            ("redis://", "no host"),
            ("redis://h/x", "database"),
            ("redis+unix://", "socket"),
            ("redis-cluster://h/1", "one database"),
            ("redis-cluster://h?node=b", "a node without a port"),
            ("redis-cluster://h?node=b:x", "a node's port"),
            ("redis://127.0.0.1:0", "at port 0 nothing can listen"),
            ("redis-cluster://h?node=b:0", "at port 0 nothing can listen"),
            ("redis-sentinel://h:0?sentinelServiceName=m", "at port 0"),
            ("redis-sentinel://127.0.0.1", "sentinelServiceName"),
            ("redis://app:p#ss@h", "%23"),
        ] {
            let message = Address::parse(url).unwrap_err().to_string();
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
            "redis:u:secret",
            "redis:u:secret@h",
            "redis://u:secret",
            "redis://h:1/secret",
            "redis://h:x?a=secret",
            "redis://h:x#secret",
        ] {
            let message = Address::parse(url).unwrap_err().to_string();
            assert!(
                !message.contains("secret") && !message.contains("ret@"),
                "{message}"
            );
        }
        assert_eq!(masked("redis://u:s@[::1]:7/3?x=y"), "redis://***@[::1]:7/3");
        for (url, shown) in [
            (
                "redis-sentinel://u:s@h:1?sentinelServiceName=main&sentinelPassword=se@cret",
                "redis-sentinel://***",
            ),
            ("redis://h?sentinelPassword=se@cret", "redis://***"),
            ("redis://:se?cret@h:1", "redis://***"),
            ("redis://:secret127.0.0.1:1", "redis://***:1"),
            ("redis://u:secret127.0.0.1:1/2", "redis://***:1/2"),
            ("redis://app:20241130", "redis://app:***"),
            ("redis://u:s@h:20241130", "redis://***@h:20241130"),
            ("redis://h:1/20241130", "redis://h:1/***"),
        ] {
            assert_eq!(masked(url), shown);
        }
        assert_eq!(masked("redis://[::1]"), "redis://[::1]");
        assert_eq!(
            masked("redis+unix:///run/a.sock"),
            "redis+unix:///run/a.sock"
        );
        let address = Address::parse("redis://user:secret@h").unwrap();
        assert!(!format!("{address:?}").contains("secret"));
    }

    #[test]
    fn tls_and_the_sentinels_own_password_are_read_from_the_url() {
        for (url, secure) in [
            ("rediss://h", true),
            ("valkeys://h", true),
            ("rediss-cluster://h", true),
            ("redis://h", false),
        ] {
            assert_eq!(Address::parse(url).unwrap().tls.is_some(), secure, "{url}");
        }
        let url = "rediss-sentinel://:a@h?sentinelServiceName=main&sentinelPassword=s%23";
        let address = Address::parse(url).unwrap();
        let Servers::Sentinel { login, .. } = address.servers else {
            panic!("no sentinels");
        };
        assert_eq!(login.password.as_deref(), Some("s#"));
        assert_eq!(address.password.as_deref(), Some("a"));
    }

    #[test]
    fn a_place_names_hosts_ports_and_database() {
        for (url, place) in [
            ("redis://u:secret@h", "h:6379"),
            ("redis://[::1]:7/16", "[::1]:7, database 16"),
            ("redis+unix:///run/a.sock", "/run/a.sock"),
            (
                "redis-cluster://:secret@a?node=b:2",
                "cluster at a:6379, b:2",
            ),
            (
                "redis-sentinel://a?sentinelServiceName=main",
                "primary of `main` by the sentinels at a:26379",
            ),
        ] {
            assert_eq!(Address::parse(url).unwrap().place(), place);
        }
    }

    #[test]
    fn percent_encoded_credentials_are_decoded() {
        let address = Address::parse("redis://app:p%40ss%3Aw%2Frd%231@h").unwrap();
        assert_eq!(address.username.as_deref(), Some("app"));
        assert_eq!(address.password.as_deref(), Some("p@ss:w/rd#1"));
        let address = Address::parse("redis://:x@h").unwrap();
        assert_eq!(
            (address.username, address.password),
            (None, Some("x".into()))
        );
    }
}
