//! The method as a label: a fixed set, and one value for all others.

use http::Method;

/// The methods that OpenTelemetry knows; the last one stands for every other.
pub(super) const LABELS: [&str; 10] = [
    "GET", "POST", "PUT", "DELETE", "HEAD", "PATCH", "OPTIONS", "CONNECT", "TRACE", "_OTHER",
];

/// A place in [`LABELS`].
pub(super) fn index(method: &Method) -> u8 {
    let known = LABELS
        .iter()
        .take(LABELS.len() - 1)
        .zip(0..)
        .find(|(label, _)| **label == method.as_str());
    known.map_or(9, |(_, index)| index)
}

pub(super) fn label(index: u8) -> &'static str {
    LABELS.get(usize::from(index)).copied().unwrap_or("_OTHER")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_a_standard_method_is_other() {
        assert_eq!(label(index(&Method::GET)), "GET");
        assert_eq!(label(index(&Method::TRACE)), "TRACE");
        for hostile in ["BREW", "X1", "get", "_OTHER"] {
            let method = Method::from_bytes(hostile.as_bytes()).expect("a token");
            assert_eq!(label(index(&method)), "_OTHER", "{hostile}");
        }
    }
}
