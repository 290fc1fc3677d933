//! What an error of fred means, in no client's types.

use fred::prelude::{Error, ErrorKind};

use crate::remote::RemoteError;
use crate::remote::error::plain;

pub(super) fn translate(error: &Error) -> RemoteError {
    let details = error.details();
    match error.kind() {
        ErrorKind::Timeout => RemoteError::Timeout,
        ErrorKind::Auth => RemoteError::Authentication(plain(details)),
        ErrorKind::Protocol | ErrorKind::Parse => RemoteError::Foreign(plain(details)),
        #[cfg(feature = "fred-tls")]
        ErrorKind::Tls => RemoteError::Tls(plain(details)),
        ErrorKind::IO | ErrorKind::Routing | ErrorKind::Canceled => broken(error),
        ErrorKind::Cluster | ErrorKind::Sentinel => {
            RemoteError::Unavailable(error.kind().to_str().to_owned())
        }
        _ if is_passing(details) || !is_answer(error) => RemoteError::Unavailable(plain(details)),
        // The server's own words; they name keys at most.
        _ => RemoteError::Refused(plain(details)),
    }
}

/// Whether the server said it, and not fred about itself: what a server says begins with a code in capitals.
pub(super) fn is_answer(error: &Error) -> bool {
    let code = error.details().split(' ').next().unwrap_or_default();
    code.len() > 1
        && code
            .bytes()
            .all(|b| b.is_ascii_uppercase() || b.is_ascii_digit())
}

/// Whether the server says that it cannot do anything now.
fn is_passing(details: &str) -> bool {
    let codes = ["LOADING", "CLUSTERDOWN", "MASTERDOWN", "TRYAGAIN"];
    codes.iter().any(|code| details.starts_with(code))
}

/// fred keeps an I/O error as its `Debug` text only.
fn broken(error: &Error) -> RemoteError {
    let details = error.details();
    if details.contains("kind: ConnectionRefused") {
        return RemoteError::ConnectionRefused;
    }
    if let Some((_, reason)) = details.split_once("InvalidCertificate(") {
        let reason = reason.trim_end_matches([' ', '}', ')']);
        return RemoteError::Tls(plain(&format!("invalid peer certificate: {reason}")));
    }
    // rustls's other errors come as data that is not valid.
    if details.contains("kind: InvalidData") {
        return RemoteError::Tls(message(details));
    }
    if details.contains("failed to lookup address") {
        return RemoteError::UnknownHost(message(details));
    }
    RemoteError::Unavailable(message(details))
}

/// The part of an I/O error's `Debug` text that is for people.
fn message(details: &str) -> String {
    let quoted = ["message: \"", "error: \""].iter().find_map(|start| {
        let (_, rest) = details.split_once(start)?;
        rest.split_once('"').map(|(message, _)| message)
    });
    plain(quoted.unwrap_or(details))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_io_error_that_is_only_text_is_read() {
        for (details, told) in [
            (
                r#"Os { code: 111, kind: ConnectionRefused, message: "Connection refused" }"#,
                "the connection is refused",
            ),
            (
                r#"Custom { kind: Uncategorized, error: "failed to lookup address information: Name or service not known" }"#,
                "its host name does not resolve: failed to lookup address information: Name or service not known",
            ),
            (
                r#"Os { code: 104, kind: ConnectionReset, message: "Connection reset by peer" }"#,
                "not connected: Connection reset by peer",
            ),
            ("Connection closed.", "not connected: Connection closed."),
        ] {
            let error = Error::new(ErrorKind::IO, details);
            assert_eq!(translate(&error).to_string(), told);
        }
    }

    #[test]
    fn what_fred_says_about_itself_is_no_answer_and_no_refusal() {
        for details in [
            "",
            "channel closed",
            "send failed because receiver is gone",
            "Failed to route command.",
            "Client is not initialized.",
            "Too many failed write attempts.",
        ] {
            let error = Error::new(ErrorKind::Unknown, details);
            assert!(!is_answer(&error), "{details}");
            assert!(
                matches!(translate(&error), RemoteError::Unavailable(_)),
                "{details}"
            );
        }
        for (kind, details) in [
            (ErrorKind::Timeout, "Request timed out."),
            (ErrorKind::Canceled, "Connection closed unexpectedly."),
        ] {
            assert!(!is_answer(&Error::new(kind, details)), "{details}");
        }
    }

    #[test]
    fn what_the_server_says_is_an_answer_whatever_it_is() {
        for (details, refused) in [
            ("ERR unknown command 'XREAD'", true),
            ("NOPERM User app has no permissions", true),
            ("OOM command not allowed", true),
            ("LOADING Redis is loading the dataset in memory", false),
        ] {
            let error = Error::new(ErrorKind::Unknown, details);
            assert!(is_answer(&error), "{details}");
            let told = translate(&error);
            assert_eq!(matches!(told, RemoteError::Refused(_)), refused, "{told}");
        }
        let error = Error::new(ErrorKind::Auth, "NOAUTH Authentication required.");
        assert!(is_answer(&error));
    }
}
