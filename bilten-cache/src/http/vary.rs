//! Which request headers a stored response depends on. Pure.

use http::header::{ACCEPT_ENCODING, VARY};
use http::{HeaderMap, HeaderName};

use super::policy::Refusal;

/// More fields, or more text in them, and nearly every request is a variant of its own.
const MOST_FIELDS: usize = 8;
const MOST_BYTES: usize = 4 * 1024;

/// The fields that chose a response, with what the request had in them. Sorted by name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Selecting(pub(super) Vec<(HeaderName, Vec<u8>)>);

impl Selecting {
    /// What chose this response to a request with these headers.
    ///
    /// # Errors
    ///
    /// `Vary: *`, names that are none, too many of them, and a request with too much text in them.
    pub(super) fn of(response: &HeaderMap, request: &HeaderMap) -> Result<Self, Refusal> {
        let mut names = Vec::new();
        for line in response.get_all(VARY) {
            let line = line.to_str().map_err(|_| Refusal::Vary)?;
            for name in line
                .split(',')
                .map(str::trim)
                .filter(|name| !name.is_empty())
            {
                // `*` is a name by the letter: it means that nobody can tell.
                let name = HeaderName::try_from(name).map_err(|_| Refusal::Vary)?;
                if name == "*" || names.len() == MOST_FIELDS && !names.contains(&name) {
                    return Err(Refusal::Vary);
                }
                names.push(name);
                names.sort_unstable_by(|a, b| a.as_str().cmp(b.as_str()));
                names.dedup();
            }
        }
        let selecting = Self::with(names, request);
        match selecting.bytes() > MOST_BYTES {
            true => Err(Refusal::LongFields),
            false => Ok(selecting),
        }
    }

    /// What another request has in the same fields.
    pub(super) fn again(&self, request: &HeaderMap) -> Self {
        Self::with(
            self.0.iter().map(|(name, _)| name.clone()).collect(),
            request,
        )
    }

    /// Whether a response with these belongs to the request.
    pub(super) fn matches(&self, request: &HeaderMap) -> bool {
        self.0
            .iter()
            .all(|(name, value)| *value == normal(name, request))
    }

    /// The two places that it may have among so many, the same in every process.
    pub(super) fn places(&self, of: u32) -> [u32; 2] {
        let mut hasher = crc32fast::Hasher::new();
        for (name, value) in &self.0 {
            hasher.update(name.as_str().as_bytes());
            hasher.update(&[0]);
            hasher.update(value);
            hasher.update(&[0]);
        }
        let (hash, of) = (hasher.finalize(), of.max(1));
        let first = hash % of;
        let second = hash / of % of;
        [
            first,
            if second == first {
                (first + 1) % of
            } else {
                second
            },
        ]
    }

    pub(super) fn bytes(&self) -> usize {
        self.0
            .iter()
            .map(|(name, value)| name.as_str().len() + value.len())
            .sum()
    }

    fn with(names: Vec<HeaderName>, request: &HeaderMap) -> Self {
        let chosen = |name: HeaderName| {
            let value = normal(&name, request);
            (name, value)
        };
        Self(names.into_iter().map(chosen).collect())
    }
}

/// The values of a field as one list without optional spaces, so that two ways to write the same are the same. A field that is
/// missing differs from an empty one.
fn normal(name: &HeaderName, headers: &HeaderMap) -> Vec<u8> {
    if !headers.contains_key(name) {
        return Vec::new();
    }
    let lines = headers.get_all(name).into_iter();
    let mut parts: Vec<Vec<u8>> = lines
        .flat_map(|line| line.as_bytes().split(|byte| *byte == b','))
        .map(|part| part.trim_ascii().to_vec())
        .collect();
    // Its order has no meaning and neither has its case.
    if *name == ACCEPT_ENCODING {
        parts
            .iter_mut()
            .for_each(|part| part.make_ascii_lowercase());
        parts.sort_unstable();
    }
    let mut value = parts.join(&b',');
    value.insert(0, b'=');
    value
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn map(lines: &[(&'static str, &str)]) -> HeaderMap {
        let line = |(name, value): &(&'static str, &str)| {
            (
                HeaderName::from_static(name),
                HeaderValue::from_str(value).unwrap(),
            )
        };
        lines.iter().map(line).collect()
    }

    #[test]
    fn a_response_belongs_to_requests_with_the_same_fields() {
        let response = map(&[
            ("vary", "Accept-Encoding, accept-language"),
            ("vary", "ACCEPT-ENCODING"),
        ]);
        let request = map(&[("accept-encoding", "gzip, br"), ("accept-language", "de")]);
        let selecting = Selecting::of(&response, &request).unwrap();
        assert_eq!(selecting.0.len(), 2);
        for (lines, same) in [
            (
                &[("accept-encoding", "br,GZIP"), ("accept-language", "de")][..],
                true,
            ),
            (
                &[
                    ("accept-encoding", "br"),
                    ("accept-encoding", "gzip"),
                    ("accept-language", "de"),
                    ("x", "y"),
                ],
                true,
            ),
            (
                &[("accept-encoding", "gzip"), ("accept-language", "de")],
                false,
            ),
            (
                &[("accept-encoding", "br,gzip"), ("accept-language", "DE")],
                false,
            ),
            (
                &[("accept-encoding", "br,gzip"), ("accept-language", "")],
                false,
            ),
            (&[("accept-encoding", "br,gzip")], false),
        ] {
            let other = map(lines);
            assert_eq!(selecting.matches(&other), same, "{lines:?}");
            assert_eq!(selecting.again(&other) == selecting, same, "{lines:?}");
        }
    }

    #[test]
    fn missing_and_empty_are_two_variants() {
        let missing = Selecting::of(&map(&[("vary", "x")]), &map(&[])).unwrap();
        assert!(!missing.matches(&map(&[("x", "")])));
        assert!(missing.matches(&map(&[])));
    }

    #[test]
    fn what_cannot_be_told_apart_is_refused() {
        let of = |vary: &str, request: &HeaderMap| Selecting::of(&map(&[("vary", vary)]), request);
        let nothing = map(&[]);
        for vary in ["*", "accept, *", "a b", "a,b,c,d,e,f,g,h,i", "ü"] {
            assert_eq!(of(vary, &nothing), Err(Refusal::Vary), "{vary}");
        }
        assert!(of("a,b,c,d,e,f,g,h,a,B,,", &nothing).is_ok());
        let huge = map(&[("a", &"x".repeat(MOST_BYTES))]);
        assert_eq!(of("a", &huge), Err(Refusal::LongFields));
        let many_names = (0..10_000)
            .map(|n| format!("x-{n}"))
            .collect::<Vec<_>>()
            .join(",");
        assert_eq!(of(&many_names, &nothing), Err(Refusal::Vary));
    }

    #[test]
    fn a_variant_has_two_places_within_the_bound() {
        for n in 0..200 {
            let request = map(&[("accept-language", &n.to_string())]);
            let selecting = Selecting::of(&map(&[("vary", "accept-language")]), &request).unwrap();
            let [first, second] = selecting.places(8);
            assert!(first < 8 && second < 8 && first != second);
            assert_eq!([first, second], selecting.again(&request).places(8));
        }
        assert_eq!(Selecting::default().places(0), [0, 0]);
    }
}
