use std::fmt::Write as _;
use std::path::Path;

use super::server::Redis;
use super::tls::TlsFiles;
use crate::Error;

/// Options of a private Redis server; the defaults are an empty server without a password.
///
/// ```no_run
/// let redis = bilten_testbed::Redis::builder()
///     .password("p@ss word")
///     .max_memory_bytes(4 << 20)
///     .argument("maxmemory-policy", "noeviction")
///     .start()?;
/// assert!(redis.url().starts_with("redis://:p%40ss%20word@127.0.0.1:"));
/// # Ok::<(), bilten_testbed::Error>(())
/// ```
#[derive(Clone, Default)]
#[must_use]
pub struct RedisBuilder {
    pub(super) password: Option<String>,
    pub(super) user: Option<AclUser>,
    pub(super) unix_socket: bool,
    pub(super) tls: bool,
    /// Made for another server, to be used here too.
    pub(super) certificates: Option<TlsFiles>,
    arguments: Vec<(String, String)>,
    lines: Vec<String>,
    // For Cluster nodes and Sentinels: files in the data directory, and lines instead of a server's own.
    files: Vec<(&'static str, String)>,
    sentinel: Option<String>,
}

#[derive(Clone)]
pub(super) struct AclUser {
    pub(super) name: String,
    pub(super) password: String,
    rules: String,
}

/// Where a server listens. With TLS the plain port is for our own commands.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ports {
    pub(super) plain: u16,
    pub(super) tls: Option<u16>,
}

/// The user of our own commands when the default user is off.
pub(super) const ADMIN: (&str, &str) = ("testbed", "testbed-admin");

impl RedisBuilder {
    /// The password of the default user.
    pub fn password(mut self, password: impl Into<String>) -> Self {
        self.password = Some(password.into());
        self
    }

    /// A user with ACL rules such as `~cache:* &* +@all -@dangerous`; the default user is switched off then.
    pub fn user(
        mut self,
        name: impl Into<String>,
        password: impl Into<String>,
        rules: impl Into<String>,
    ) -> Self {
        self.user = Some(AclUser {
            name: name.into(),
            password: password.into(),
            rules: rules.into(),
        });
        self
    }

    /// Listens on a unix socket as well, see [`Redis::unix_url`].
    pub fn unix_socket(mut self) -> Self {
        self.unix_socket = true;
        self
    }

    /// Listens with TLS only, with a certificate for `localhost` and `127.0.0.1` of an authority of its own; see
    /// [`Redis::tls_files`]. Needs the program `openssl`.
    pub fn tls(mut self) -> Self {
        self.tls = true;
        self
    }

    /// TLS with the certificates of a server that runs longer than this one. Servers that talk to each other need one authority.
    pub(super) fn certificates(mut self, files: TlsFiles) -> Self {
        self.certificates = Some(files);
        self.tls()
    }

    /// The certificates of the server that has this directory.
    pub(super) fn tls_files(&self, directory: &Path) -> TlsFiles {
        let shared = self.certificates.clone();
        shared.unwrap_or_else(|| TlsFiles::of(directory))
    }

    /// The most memory for data, in bytes; at the limit writes answer `OOM` unless a policy evicts.
    pub fn max_memory_bytes(self, bytes: u64) -> Self {
        self.argument("maxmemory", bytes.to_string())
    }

    /// Any other line of `redis.conf`; the value is quoted, so it is one argument whatever it holds.
    pub fn argument(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.arguments.push((name.into(), value.into()));
        self
    }

    /// Starts the server and waits until it answers.
    ///
    /// # Errors
    /// When `redis-server` is missing, an option is refused (the log's end is in the error), or it is not ready in 10 s.
    pub fn start(self) -> Result<Redis, Error> {
        Redis::start_with(&self)
    }

    /// A line whose value is several arguments.
    pub(super) fn line(mut self, name: &str, value: &str) -> Self {
        self.lines.push(format!("{name} {value}"));
        self
    }

    pub(super) fn with_file(mut self, name: &'static str, text: String) -> Self {
        self.files.push((name, text));
        self
    }

    pub(super) fn into_sentinel(mut self, lines: String) -> Self {
        self.sentinel = Some(lines);
        self
    }

    pub(super) fn is_sentinel(&self) -> bool {
        self.sentinel.is_some()
    }

    pub(super) fn files(&self) -> &[(&'static str, String)] {
        &self.files
    }

    /// What of this only works with files of this machine.
    pub(super) fn needs_files(&self) -> Option<&'static str> {
        match self {
            Self {
                unix_socket: true, ..
            } => Some("a unix socket"),
            Self { tls: true, .. } => Some("TLS"),
            Self {
                sentinel: Some(_), ..
            } => Some("Sentinel"),
            Self { files, .. } if !files.is_empty() => Some("a Cluster"),
            _ => None,
        }
    }

    pub(super) fn config(&self, ports: Ports, directory: &Path, knows_debug: bool) -> String {
        let data = directory.join("data");
        let mut lines = format!(
            "bind 127.0.0.1\nport {}\ndir {}\n",
            ports.plain,
            quoted(&data.to_string_lossy())
        );
        for (name, value) in ports
            .tls
            .iter()
            .flat_map(|port| self.tls_files(directory).options(*port))
        {
            lines.push_str(&format!("{name} {}\n", quoted(&value)));
        }
        if let Some(sentinel) = &self.sentinel {
            return lines + sentinel;
        }
        lines.push_str("save \"\"\nappendonly no\n");
        let mut line = |name: &str, value: String| {
            // Writing to a string cannot fail.
            let _ = writeln!(lines, "{name} {value}");
        };
        if knows_debug {
            line("enable-debug-command", "yes".to_owned());
        }
        if self.unix_socket {
            line(
                "unixsocket",
                quoted(&directory.join("redis.sock").to_string_lossy()),
            );
        }
        if let Some(password) = &self.password {
            line("requirepass", quoted(password));
        }
        if let Some(user) = &self.user {
            line("user", "default off".to_owned());
            line(
                "user",
                format!(
                    "{} on {} ~* &* +@all",
                    ADMIN.0,
                    quoted(&format!(">{}", ADMIN.1))
                ),
            );
            line(
                "user",
                format!(
                    "{} on {} {}",
                    quoted(&user.name),
                    quoted(&format!(">{}", user.password)),
                    user.rules
                ),
            );
        }
        for (name, value) in &self.arguments {
            line(name, quoted(value));
        }
        for line in &self.lines {
            lines.push_str(&format!("{line}\n"));
        }
        lines
    }
}

impl std::fmt::Debug for RedisBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names: Vec<&str> = self
            .arguments
            .iter()
            .map(|(name, _)| name.as_str())
            .collect();
        f.debug_struct("RedisBuilder")
            .field("has_password", &self.password.is_some())
            .field("user", &self.user.as_ref().map(|user| &user.name))
            .field("unix_socket", &self.unix_socket)
            .field("tls", &self.tls)
            .field("arguments", &names)
            .finish_non_exhaustive()
    }
}

/// One argument of a configuration line, with the escapes Redis reads inside double quotes.
fn quoted(value: &str) -> String {
    let mut text = String::from("\"");
    for byte in value.bytes() {
        match byte {
            b'"' => text.push_str("\\\""),
            b'\\' => text.push_str("\\\\"),
            0x20..=0x7e => text.push(char::from(byte)),
            _ => {
                let _ = write!(text, "\\x{byte:02x}");
            }
        }
    }
    text.push('"');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_one_argument_whatever_they_hold() {
        assert_eq!(quoted("a b"), r#""a b""#);
        assert_eq!(quoted("a\"b\\c\nd"), r#""a\"b\\c\x0ad""#);
    }

    #[test]
    fn the_configuration_has_a_line_for_each_option() {
        let config = Redis::builder()
            .password("x y")
            .max_memory_bytes(5)
            .unix_socket()
            .config(
                Ports {
                    plain: 7,
                    tls: None,
                },
                Path::new("/d"),
                true,
            );
        for line in [
            "port 7",
            "requirepass \"x y\"",
            "maxmemory \"5\"",
            "unixsocket \"/d/redis.sock\"",
            "enable-debug-command yes",
        ] {
            assert!(
                config.lines().any(|l| l == line),
                "{line} is not in\n{config}"
            );
        }
    }

    #[test]
    fn no_password_shows_in_debug() {
        let shown = format!(
            "{:?}",
            Redis::builder()
                .password("hush")
                .user("me", "hush", "+@all")
                .argument("masterauth", "hush")
        );
        assert!(!shown.contains("hush"), "{shown}");
    }
}
