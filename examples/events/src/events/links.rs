//! The `Link` header of a list (RFC 8288): where the pages around it are.

use std::fmt::Write;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use super::request::{ListRequest, Place};
use super::view::Pagination;

/// The header's value; `None` when there is nothing around this page.
#[must_use]
pub fn links(request: &ListRequest, pagination: &Pagination) -> Option<String> {
    let mut links = String::new();
    let mut link = |relation: &str, place: &str| {
        let comma = if links.is_empty() { "" } else { ", " };
        let rest = narrowed(request);
        // Writing to a string cannot fail.
        let _ = write!(
            links,
            "{comma}</api/v1/events?{place}&limit={}{rest}>; rel=\"{relation}\"",
            request.limit
        );
    };
    match (request.place, pagination.total_pages) {
        (Place::Page(page), Some(last)) => {
            if page > 1 {
                link("first", "page=1");
                link("prev", &format!("page={}", (page - 1).min(last.max(1))));
            }
            if page < last {
                link("next", &format!("page={}", page + 1));
                link("last", &format!("page={last}"));
            }
        }
        _ => {
            link("first", "page=1");
            if let Some(cursor) = &pagination.next {
                link("next", &format!("after={cursor}"));
            }
        }
    }
    (!links.is_empty()).then_some(links)
}

/// The search that every page of it has.
fn narrowed(request: &ListRequest) -> String {
    let asked = [("q", &request.q), ("city", &request.city)];
    let asked = asked.into_iter().filter_map(|(name, text)| {
        let text = utf8_percent_encode(text.as_deref()?, NON_ALPHANUMERIC);
        Some(format!("&{name}={text}"))
    });
    asked.collect()
}

#[cfg(test)]
mod tests {
    use super::super::request::{Cursor, ListRequest, Place};
    use super::super::view::Pagination;
    use super::links;

    fn shown(
        place: Place,
        total_pages: Option<u64>,
        next: Option<&str>,
        q: Option<&str>,
    ) -> String {
        let request = ListRequest {
            place,
            limit: 5,
            q: q.map(Into::into),
            city: None,
        };
        let pagination = Pagination {
            page: None,
            limit: 5,
            total: None,
            total_pages,
            next: next.map(Into::into),
        };
        let links = links(&request, &pagination).unwrap_or_default();
        links.replace("/api/v1/events", "")
    }

    #[test]
    fn the_pages_around_a_page_are_linked() {
        let after = Place::After(Cursor::parse("1806000000-42").unwrap());
        for (links, expected) in [
            (shown(Place::Page(1), Some(1), None, None), ""),
            (shown(Place::Page(1), Some(0), None, None), ""),
            (
                shown(Place::Page(1), Some(3), None, Some("a b&c")),
                "<?page=2&limit=5&q=a%20b%26c>; rel=\"next\", <?page=3&limit=5&q=a%20b%26c>; rel=\"last\"",
            ),
            (
                shown(Place::Page(3), Some(3), None, None),
                "<?page=1&limit=5>; rel=\"first\", <?page=2&limit=5>; rel=\"prev\"",
            ),
            // Past the end: back to where something is.
            (
                shown(Place::Page(9), Some(3), None, None),
                "<?page=1&limit=5>; rel=\"first\", <?page=3&limit=5>; rel=\"prev\"",
            ),
            (
                shown(after, None, Some("1806000060-7"), None),
                "<?page=1&limit=5>; rel=\"first\", <?after=1806000060-7&limit=5>; rel=\"next\"",
            ),
            (
                shown(after, None, None, None),
                "<?page=1&limit=5>; rel=\"first\"",
            ),
        ] {
            assert_eq!(links, expected);
        }
    }
}
