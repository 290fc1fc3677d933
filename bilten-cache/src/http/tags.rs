use std::sync::Arc;

use http::{HeaderMap, HeaderName, response};

/// Tags of a response, by which [`Cache::invalidate_tag`](crate::Cache::invalidate_tag) takes it out. A handler puts them into the
/// response's extensions.
///
/// A response with more than 64 tags, or one of more than 256 bytes, is not stored.
///
/// ```
/// use bilten_cache::http::CacheTags;
/// use http::{Response, header::CACHE_CONTROL};
///
/// let response = Response::builder()
///     .header(CACHE_CONTROL, "max-age=60")
///     .extension(CacheTags::new(["event:7", "city:berlin"]))
///     .body("Gala")?;
/// # let _ = response;
/// # Ok::<(), http::Error>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CacheTags(Vec<Arc<str>>);

impl CacheTags {
    /// These tags.
    #[must_use]
    pub fn new<T: Into<Arc<str>>>(tags: impl IntoIterator<Item = T>) -> Self {
        Self(tags.into_iter().map(Into::into).collect())
    }
}

/// The tags of a response, from its extensions and, separated by commas or spaces, from the header.
pub(super) fn of(response: &response::Parts, header: Option<&HeaderName>) -> Vec<Arc<str>> {
    let mut tags = response
        .extensions
        .get::<CacheTags>()
        .cloned()
        .unwrap_or_default()
        .0;
    if let Some(header) = header {
        tags.extend(in_header(&response.headers, header));
    }
    tags
}

fn in_header(headers: &HeaderMap, header: &HeaderName) -> Vec<Arc<str>> {
    let lines = headers.get_all(header).into_iter();
    let words = lines.flat_map(|line| {
        line.as_bytes()
            .split(|byte| matches!(byte, b',' | b' ' | b'\t'))
    });
    words
        .filter(|word| !word.is_empty())
        .map(|word| String::from_utf8_lossy(word).into())
        .collect()
}

#[cfg(test)]
mod tests {
    use http::Response;

    use super::*;

    #[test]
    fn tags_come_from_both_places() {
        let name = HeaderName::from_static("cache-tag");
        let response = Response::builder()
            .header(&name, "a, b c,,")
            .header(&name, "d")
            .extension(CacheTags::new(["e"]))
            .body(())
            .unwrap();
        let parts = response.into_parts().0;
        let all: Vec<Arc<str>> = ["e", "a", "b", "c", "d"]
            .into_iter()
            .map(Into::into)
            .collect();
        assert_eq!(of(&parts, Some(&name)), all);
        assert_eq!(of(&parts, None), all[..1]);
    }
}
