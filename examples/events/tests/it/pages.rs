//! Pages by number and pages after an event show the same events.

use http::StatusCode;
use serde_json::Value;

use crate::api::{Api, on_servers};

const JAZZ: &str = "q=jazz&city=celje&limit=7";

#[tokio::test]
async fn both_ways_through_a_list_show_each_event_once_in_memory() {
    both_ways_show_each_event_once(&Api::without_servers().await).await;
}

#[tokio::test]
async fn both_ways_through_a_list_show_each_event_once_on_servers() {
    let redis = bilten_testbed::Redis::start().unwrap();
    both_ways_show_each_event_once(&Api::start(&on_servers(redis.url())).await).await;
}

async fn both_ways_show_each_event_once(api: &Api) {
    let first = api.get(&format!("/api/v1/events?{JAZZ}")).await;
    assert_eq!(first.status, StatusCode::OK, "{first:?}");
    let total = first.json["pagination"]["total"].as_u64().unwrap();
    assert!(total > 14, "{total} make less than three pages");

    let mut by_number = Vec::new();
    let mut path = format!("/api/v1/events?page=1&{JAZZ}");
    loop {
        let page = api.get(&path).await;
        by_number.extend(ids(&page.json));
        match linked(page.header("link"), "next") {
            Some(next) => path = next,
            None => break,
        }
    }
    let mut by_cursor = ids(&first.json);
    let mut next = first.json["pagination"]["next"].clone();
    while let Some(cursor) = next.as_str() {
        let page = api
            .get(&format!("/api/v1/events?after={cursor}&{JAZZ}"))
            .await;
        assert_eq!(page.status, StatusCode::OK, "{page:?}");
        assert_eq!(
            page.json["pagination"].get("total"),
            None,
            "nothing is counted"
        );
        by_cursor.extend(ids(&page.json));
        let linked = linked(page.header("link"), "next");
        next = page.json["pagination"]["next"].clone();
        assert_eq!(linked.is_some(), next.is_string(), "{page:?}");
    }
    assert_eq!(by_cursor, by_number);
    let mut once = by_number.clone();
    once.sort_unstable();
    once.dedup();
    assert_eq!(once.len() as u64, total);
}

#[tokio::test]
async fn events_that_begin_together_are_neither_lost_nor_shown_twice() {
    let api = Api::without_servers().await;
    for _ in 0..5 {
        api.event("Together", 10).await;
    }
    let mut seen = Vec::new();
    let mut path = "/api/v1/events?q=together&limit=2".to_owned();
    loop {
        let page = api.get(&path).await.json;
        seen.extend(ids(&page));
        let Some(cursor) = page["pagination"]["next"].as_str() else {
            break;
        };
        path = format!("/api/v1/events?q=together&limit=2&after={cursor}");
    }
    let mut once = seen.clone();
    once.sort_unstable();
    once.dedup();
    assert_eq!((seen.len(), once.len()), (5, 5), "{seen:?}");
}

#[tokio::test]
async fn a_parameter_that_is_not_there_is_refused() {
    let api = Api::without_servers().await;
    for (query, field) in [
        ("pages=2", "pages"),
        ("page=1&after=1806000000-42", "after"),
        ("after=yesterday", "after"),
        ("city=a&city=b", "city"),
    ] {
        let reply = api.get(&format!("/api/v1/events?{query}")).await;
        assert_eq!(
            (reply.status, &reply.json["field"]),
            (StatusCode::BAD_REQUEST, &field.into()),
            "{query}: {reply:?}"
        );
    }
}

fn ids(list: &Value) -> Vec<i64> {
    let events = list["events"].as_array().unwrap().iter();
    events.map(|event| event["id"].as_i64().unwrap()).collect()
}

/// Where a `Link` header leads.
fn linked(header: &str, relation: &str) -> Option<String> {
    let wanted = format!("rel=\"{relation}\"");
    let link = header.split(", ").find(|link| link.ends_with(&wanted))?;
    Some(link.split(['<', '>']).nth(1)?.to_owned())
}
