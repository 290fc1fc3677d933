//! What is kept in the folder of the service, beside the rows.

use bilten_events::config::Config;
use serde_json::json;

use crate::api::Api;
use http::Method;

#[tokio::test]
async fn what_was_cached_outlives_the_service_and_what_was_changed_does_not() {
    let folder = tempfile::tempdir().unwrap();
    let config = Config {
        data_dir: Some(folder.path().to_owned()),
        ..Config::default()
    };
    let (kept, changed) = ("/api/v1/events/42", "/api/v1/events/43");
    let first = Api::start(&config).await;
    let before = first.get(kept).await;
    assert_eq!(before.x_cache, "miss");
    assert_eq!(first.get(changed).await.x_cache, "miss");
    let title = json!({ "title": "Changed" });
    first.send(Method::PATCH, changed, Some(&title)).await;
    first.close().await;
    drop(first);

    let second = Api::start(&config).await;
    let after = second.get(kept).await;
    assert_eq!((after.x_cache.as_str(), &after.json), ("l2", &before.json));
    assert_eq!(second.get(changed).await.json["title"], "Changed");
    second.close().await;
}
