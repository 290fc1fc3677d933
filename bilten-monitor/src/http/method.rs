//! The method as a label: a fixed set, and one value for all others.

use http::Method;

/// The methods that OpenTelemetry knows; the last one stands for every other.
pub(super) const LABELS: [&str; 10] = [
    "GET", "POST", "PUT", "DELETE", "HEAD", "PATCH", "OPTIONS", "CONNECT", "TRACE", "_OTHER",
];

/// A place in [`LABELS`].
pub(super) const fn index(method: &Method) -> u8 {
    match *method {
        Method::GET => 0,
        Method::POST => 1,
        Method::PUT => 2,
        Method::DELETE => 3,
        Method::HEAD => 4,
        Method::PATCH => 5,
        Method::OPTIONS => 6,
        Method::CONNECT => 7,
        Method::TRACE => 8,
        _ => 9,
    }
}

pub(super) fn label(index: u8) -> &'static str {
    LABELS.get(usize::from(index)).copied().unwrap_or("_OTHER")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_a_standard_method_is_other() {
        for known in &LABELS[..LABELS.len() - 1] {
            let method = Method::from_bytes(known.as_bytes()).expect("a token");
            assert_eq!(label(index(&method)), *known);
        }
        for hostile in ["BREW", "X1", "get", "_OTHER"] {
            let method = Method::from_bytes(hostile.as_bytes()).expect("a token");
            assert_eq!(label(index(&method)), "_OTHER", "{hostile}");
        }
    }
}
