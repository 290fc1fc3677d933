//! A client that has an answer already is told so, until it changes.

use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::api::Api;

#[tokio::test]
async fn an_unchanged_answer_is_304_until_a_change() {
    let api = Api::without_servers().await;
    let detail = api.event("Evergreen", 10).await;
    let summary = format!("{detail}/summary");
    for path in [&detail, &summary, "/api/v1/events?q=evergreen"] {
        let first = api.get(path).await;
        let tag = first.header("etag").to_owned();
        assert!(tag.starts_with('"') && tag.len() > 10, "{path}: {tag}");
        let again = api.get_with(path, ("if-none-match", &tag)).await;
        assert_eq!(
            (again.status, &again.json, again.header("etag")),
            (StatusCode::NOT_MODIFIED, &Value::Null, tag.as_str()),
            "{path}"
        );
        assert_eq!(again.header("cache-control"), first.header("cache-control"));
        let other = api.get_with(path, ("if-none-match", "\"another\"")).await;
        assert_eq!((other.status, &other.json), (StatusCode::OK, &first.json));

        let title = json!({ "title": format!("Evergreen {}", path.len()) });
        let changed = api.send(Method::PATCH, &detail, Some(&title)).await;
        assert_eq!(changed.status, StatusCode::OK, "{changed:?}");
        let after = api.get_with(path, ("if-none-match", &tag)).await;
        assert_eq!(after.status, StatusCode::OK, "{path}: {after:?}");
        assert_ne!(after.header("etag"), tag, "{path}");
    }
}

#[tokio::test]
async fn one_of_several_tags_and_a_star_are_enough() {
    let api = Api::without_servers().await;
    let path = "/api/v1/events/42";
    let tag = api.get(path).await.header("etag").to_owned();
    for list in [format!("\"other\", W/{tag}"), "*".into()] {
        let again = api.get_with(path, ("if-none-match", &list)).await;
        assert_eq!(again.status, StatusCode::NOT_MODIFIED, "{list}");
    }
}

#[tokio::test]
async fn two_processes_give_the_same_tag() {
    let (first, second) = (Api::without_servers().await, Api::without_servers().await);
    let path = "/api/v1/events?page=3&limit=7";
    let tag = first.get(path).await.header("etag").to_owned();
    assert_eq!(second.get(path).await.header("etag"), tag);
}
