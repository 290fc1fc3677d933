use std::fmt;
use std::num::NonZeroU128;

/// Which trace an operation belongs to: 16 bytes, written as 32 hexadecimal digits.
///
/// A request's comes from its `traceparent` header (<https://www.w3.org/TR/trace-context/>); others from
/// [`MonitorBuilder::trace_id`](crate::MonitorBuilder::trace_id).
///
/// ```
/// use bilten_monitor::alert::TraceId;
///
/// let header = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
/// let trace = TraceId::from_traceparent(header).expect("a valid header");
/// assert_eq!(trace.to_string(), "4bf92f3577b34da6a3ce929d0e0e4736");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TraceId(NonZeroU128);

impl TraceId {
    /// A trace by its number, as tracing libraries hold it; zero is no trace.
    #[must_use]
    pub const fn new(number: u128) -> Option<Self> {
        match NonZeroU128::new(number) {
            Some(number) => Some(Self(number)),
            None => None,
        }
    }

    pub(crate) const fn number(self) -> u128 {
        self.0.get()
    }

    /// The trace that a `traceparent` header names; nothing when the header is not valid.
    #[must_use]
    pub fn from_traceparent(header: &str) -> Option<Self> {
        const LENGTH: usize = 55;
        let bytes = header.as_bytes();
        let version = header.get(..2)?;
        // A later version may have more fields behind a dash; the first ones stay.
        let fits = bytes.len() == LENGTH || (version != "00" && bytes.get(LENGTH) == Some(&b'-'));
        let parted = [2, 35, 52].iter().all(|at| bytes.get(*at) == Some(&b'-'));
        let is_hex = |part: &str| part.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        let parent = header.get(36..52)?;
        let known = is_hex(version) && version != "ff" && is_hex(header.get(53..55)?);
        let has_parent = is_hex(parent) && parent.bytes().any(|b| b != b'0');
        let trace = header.get(3..35).filter(|trace| is_hex(trace))?;
        if !(fits && parted && known && has_parent) {
            return None;
        }
        Self::new(u128::from_str_radix(trace, 16).ok()?)
    }
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_valid_header_names_a_trace() {
        let good = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";
        assert!(TraceId::from_traceparent(good).is_some());
        let later = format!("cc{}-more", &good[2..]);
        assert!(TraceId::from_traceparent(&later).is_some());
        let zero = "0".repeat(32);
        for bad in [
            String::new(),
            "é".repeat(40),
            good[..54].to_owned(),
            format!("{good}-more"),
            format!("ff{}", &good[2..]),
            good.to_uppercase(),
            good.replace('-', "_"),
            good.replace("0af7651916cd43dd8448eb211c80319c", &zero),
            good.replace("b7ad6b7169203331", &zero[..16]),
            good.replace("b7ad6b7169203331", "b7ad6b71692033+1"),
        ] {
            assert_eq!(TraceId::from_traceparent(&bad), None, "{bad}");
        }
    }
}
