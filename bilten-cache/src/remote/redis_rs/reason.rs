//! What an error of redis-rs means, in no client's types.

use std::io;

use redis::{ErrorKind, RedisError, RedisResult, ServerErrorKind};

use crate::remote::RemoteError;
use crate::remote::error::plain;

pub(super) fn translate(error: &RedisError) -> RemoteError {
    if error.is_timeout() {
        return RemoteError::Timeout;
    }
    if is_authentication(error) {
        return RemoteError::Authentication(words(error));
    }
    match error.kind() {
        ErrorKind::Io => broken(error),
        ErrorKind::InvalidClientConfig if error.to_string().starts_with("No address found") => {
            RemoteError::UnknownHost("it has no address".to_owned())
        }
        ErrorKind::Parse | ErrorKind::RESP3NotSupported => RemoteError::Foreign(words(error)),
        ErrorKind::ClusterConnectionNotFound
        | ErrorKind::MasterNameNotFoundBySentinel
        | ErrorKind::NoValidReplicasFoundBySentinel
        | ErrorKind::Server(
            ServerErrorKind::BusyLoading
            | ServerErrorKind::ClusterDown
            | ServerErrorKind::MasterDown
            | ServerErrorKind::TryAgain
            | ServerErrorKind::Moved
            | ServerErrorKind::Ask,
        ) => RemoteError::Unavailable(error.category().to_owned()),
        _ => RemoteError::Refused(words(error)),
    }
}

fn broken(error: &RedisError) -> RemoteError {
    let words = plain(&error.to_string());
    // A socket file that is missing counts as refused for redis-rs; its own words say more.
    if error.is_connection_refusal() && !words.contains("No such file") {
        RemoteError::ConnectionRefused
    } else if words.contains("peer certificate") || words.contains("corrupt message") {
        RemoteError::Tls(words)
    } else if words.contains("failed to lookup address") {
        RemoteError::UnknownHost(words)
    } else {
        RemoteError::Unavailable(words)
    }
}

/// The server's own words, or those of the library; they name keys at most.
fn words(error: &RedisError) -> String {
    let parts = [error.code(), error.detail()].into_iter().flatten();
    let words = parts.collect::<Vec<_>>().join(" ");
    let words = if words.is_empty() {
        error.category().to_owned()
    } else {
        words
    };
    plain(&words)
}

/// Whether the server said it, and not the library about itself.
pub(super) fn is_answer(error: &RedisError) -> bool {
    error.code().is_some()
}

pub(super) fn is_authentication(error: &RedisError) -> bool {
    let code = error.code();
    error.kind() == ErrorKind::AuthenticationFailed
        || matches!(code, Some("WRONGPASS" | "NOAUTH"))
        // A cluster's first connections fail together, as one I/O error with the causes in its words.
        || error.kind() == ErrorKind::Io && error.to_string().contains("AuthenticationFailed")
}

/// Whether the server has no password, so that ours is one too many.
pub(super) fn needs_no_password(error: &RedisError) -> bool {
    let words = error.detail().unwrap_or_default();
    words.contains("without any password configured") || words.contains("no password is set")
}

/// An error in the form of redis-rs for something that only we know.
pub(super) fn failure<T>(kind: io::ErrorKind) -> RedisResult<T> {
    Err(io::Error::from(kind).into())
}
