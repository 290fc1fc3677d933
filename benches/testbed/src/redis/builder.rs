use std::fmt::Write as _;
use std::path::Path;

use super::server::Redis;
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
    arguments: Vec<(String, String)>,
}

#[derive(Clone)]
pub(super) struct AclUser {
    pub(super) name: String,
    pub(super) password: String,
    rules: String,
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

    pub(super) fn config(&self, port: u16, directory: &Path, knows_debug: bool) -> String {
        let data = directory.join("data");
        let mut lines = format!(
            "bind 127.0.0.1\nport {port}\nsave \"\"\nappendonly no\ndir {}\n",
            quoted(&data.to_string_lossy())
        );
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
            .field("arguments", &names)
            .finish()
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
            .config(7, Path::new("/d"), true);
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
