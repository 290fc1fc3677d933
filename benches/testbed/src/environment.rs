//! The environment variables that choose the servers.

/// The environment variable with the URL of a Redis to use instead of an own one.
pub const REDIS_URL: &str = "BILTEN_TEST_REDIS_URL";
/// The environment variable with the URL of a PostgreSQL primary to use instead of an own one.
pub const PG_URL: &str = "BILTEN_TEST_PG_URL";
/// The environment variable with the URLs of its replicas, separated by commas.
pub const PG_REPLICA_URLS: &str = "BILTEN_TEST_PG_REPLICA_URLS";

/// The environment variable that chooses where private servers come from: `local` or `docker`.
pub const SOURCE: &str = "BILTEN_TEST_SOURCE";

/// A variable that is set and not empty.
pub(crate) fn variable(name: &str) -> Option<String> {
    std::env::var(name)
        .ok()
        .map(|value| value.trim().to_owned())
        .filter(|value| !value.is_empty())
}
