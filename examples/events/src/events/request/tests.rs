use super::{Cursor, EventBody, EventChange, ListParams, ListRequest, Place, PurchaseBody};
use crate::error::Error;

fn field<T>(result: Result<T, Error>) -> String {
    match result {
        Err(Error::Invalid { field, .. }) => field,
        Err(other) => panic!("not a field: {other}"),
        Ok(_) => "fine".into(),
    }
}

fn list(page: Option<&str>, limit: Option<&str>, q: Option<&str>) -> Result<ListRequest, Error> {
    ListParams {
        page: page.map(Into::into),
        after: None,
        limit: limit.map(Into::into),
        q: q.map(Into::into),
        city: None,
    }
    .check()
}

fn body(json: &str) -> EventBody {
    serde_json::from_str(json).unwrap()
}

#[test]
fn a_bare_list_is_the_first_twenty() {
    let request = list(None, None, Some("  ")).unwrap();
    assert_eq!(
        request,
        ListRequest {
            place: Place::Page(1),
            limit: 20,
            q: None,
            city: None
        }
    );
}

#[test]
fn list_parameters_out_of_range_are_named() {
    for (page, limit, q, wrong) in [
        (Some("0"), None, None, "page"),
        (Some("-1"), None, None, "page"),
        (Some(""), None, None, "page"),
        (Some("18446744073709551616"), None, None, "page"),
        (None, Some("0"), None, "limit"),
        (None, Some("101"), None, "limit"),
        (None, Some("ten"), None, "limit"),
        (None, None, Some("a\0b"), "q"),
        (Some("3"), Some("100"), Some("jazz"), "fine"),
    ] {
        assert_eq!(
            field(list(page, limit, q)),
            wrong,
            "{page:?} {limit:?} {q:?}"
        );
    }
}

#[test]
fn a_page_begins_at_a_number_or_after_an_event() {
    let place = |pairs: &[(&str, &str)]| {
        let owned = pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        ListParams::of(owned).unwrap().check()
    };
    let request = place(&[("after", "1806000000-42")]).unwrap();
    assert_eq!(
        request.place,
        Place::After(Cursor::parse("1806000000-42").unwrap())
    );
    for wrong in [
        &[("after", "42")][..],
        &[("after", "")],
        &[("after", "1806000000-42"), ("page", "1")],
    ] {
        assert_eq!(field(place(wrong)), "after", "{wrong:?}");
    }
}

#[test]
fn a_parameter_that_the_list_does_not_have_is_named_with_those_it_has() {
    let pairs = |text: &[(&str, &str)]| {
        let owned = text
            .iter()
            .map(|(name, value)| ((*name).into(), (*value).into()));
        owned.collect::<Vec<(String, String)>>()
    };
    for (query, wrong) in [
        (pairs(&[]), "fine"),
        (
            pairs(&[
                ("page", "2"),
                ("limit", "5"),
                ("q", "jazz"),
                ("city", "Celje"),
            ]),
            "fine",
        ),
        (pairs(&[("pages", "2")]), "pages"),
        (pairs(&[("Page", "2")]), "Page"),
        (pairs(&[("", "")]), ""),
        (pairs(&[("page", "1"), ("page", "2")]), "page"),
    ] {
        assert_eq!(field(ListParams::of(query.clone())), wrong, "{query:?}");
    }
    let refused = ListParams::of(pairs(&[("town", "Celje")])).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "town: is no parameter of the list; it takes page, after, limit, q and city"
    );
}

#[test]
fn the_load_test_of_the_seed_creates_an_event() {
    let event = body(
        r#"{"title":"Test Event 1","description":"Load test event",
            "startDate":"2026-12-01T10:00:00.123Z","endDate":"2026-12-02T12:00:00.123+02:00"}"#,
    );
    let event = event.into_new().unwrap();
    assert_eq!(
        event.start_date.to_string(),
        "2026-12-01 10:00:00.0 +00:00:00"
    );
    assert_eq!(
        event.end_date.to_string(),
        "2026-12-02 10:00:00.0 +00:00:00"
    );
}

#[test]
fn new_events_name_the_field_that_is_wrong() {
    let dates = r#""startDate":"2027-01-02T10:00:00Z","endDate":"2027-01-02T11:00:00Z""#;
    for (json, wrong) in [
        ("{}".into(), "title"),
        (format!(r#"{{"title":"   ",{dates}}}"#), "title"),
        (
            format!(r#"{{"title":"{}",{dates}}}"#, "x".repeat(201)),
            "title",
        ),
        (
            format!(r#"{{"title":"x","capacity":0,{dates}}}"#),
            "capacity",
        ),
        (
            format!(
                r#"{{"title":"x","description":"{}",{dates}}}"#,
                "y".repeat(5_001)
            ),
            "description",
        ),
        (
            r#"{"title":"x","startDate":"tomorrow"}"#.into(),
            "startDate",
        ),
        (
            r#"{"title":"x","startDate":"9999-12-31T23:59:59-23:59"}"#.into(),
            "startDate",
        ),
        (
            r#"{"title":"x","startDate":"2027-01-02T10:00:00Z"}"#.into(),
            "endDate",
        ),
        (
            r#"{"title":"x","startDate":"2027-01-02T10:00:00Z","endDate":"2027-01-02T10:00:00Z"}"#
                .into(),
            "endDate",
        ),
        (format!(r#"{{"title":"x",{dates}}}"#), "fine"),
    ] {
        let json: String = json;
        assert_eq!(field(body(&json).into_new()), wrong, "{json:.60}");
    }
}

#[test]
fn a_change_keeps_what_was_not_sent() {
    let change = body(r#"{"title":" New "}"#).into_change().unwrap();
    assert_eq!(
        change,
        EventChange {
            title: Some("New".into()),
            ..EventChange::default()
        }
    );
    assert_eq!(field(body("{}").into_change()), "body");
    assert_eq!(field(body(r#"{"venueId":3}"#).into_change()), "venueId");
}

#[test]
fn purchases_are_limited() {
    for (json, wrong) in [
        (r#"{"quantity":1}"#, "userId"),
        (r#"{"userId":1,"quantity":0}"#, "quantity"),
        (r#"{"userId":1,"quantity":11}"#, "quantity"),
        (r#"{"userId":1}"#, "fine"),
    ] {
        let body: PurchaseBody = serde_json::from_str(json).unwrap();
        assert_eq!(field(body.check()), wrong, "{json}");
    }
}
