//! What was changed is what is seen next.

use std::task::Poll;
use std::time::Duration;

use bilten_events::config::Config;
use bilten_testbed::Postgres;
use http::{Method, StatusCode};
use serde_json::json;

use crate::api::{Api, on_servers};

#[tokio::test]
async fn creating_an_event_invalidates_the_lists_in_memory() {
    a_new_event_is_listed(&Api::without_servers().await).await;
}

#[tokio::test]
async fn creating_an_event_invalidates_the_lists_on_servers() {
    let redis = bilten_testbed::Redis::start().unwrap();
    a_new_event_is_listed(&Api::start(&on_servers(redis.url())).await).await;
}

async fn a_new_event_is_listed(api: &Api) {
    let list = "/api/v1/events?q=unheard%20of&limit=5";
    assert_eq!(api.get(list).await.json["pagination"]["total"], 0);
    assert_eq!(api.get(list).await.x_cache, "l1");
    let path = api.event("Unheard Of", 10).await;
    let after = api.get(list).await;
    assert_eq!(
        (after.x_cache.as_str(), &after.json["pagination"]["total"]),
        ("miss", &json!(1))
    );
    assert_eq!(after.json["events"][0]["title"], "Unheard Of");
    let detail = api.get(&path).await;
    assert_eq!(
        (detail.x_cache.as_str(), &detail.json["title"]),
        ("l1", &json!("Unheard Of")),
        "written through"
    );
}

#[tokio::test]
async fn a_change_is_seen_in_detail_summary_and_list_in_memory() {
    a_change_is_seen(&Api::without_servers().await).await;
}

#[tokio::test]
async fn a_change_is_seen_in_detail_summary_and_list_on_servers() {
    let redis = bilten_testbed::Redis::start().unwrap();
    a_change_is_seen(&Api::start(&on_servers(redis.url())).await).await;
}

async fn a_change_is_seen(api: &Api) {
    let path = api.event("Before", 10).await;
    let (summary, list) = (format!("{path}/summary"), "/api/v1/events?q=after%20all");
    assert_eq!(api.get(&summary).await.json["title"], "Before");
    assert_eq!(api.get(list).await.json["pagination"]["total"], 0);
    let reply = api
        .send(Method::PATCH, &path, Some(&json!({ "title": "After All" })))
        .await;
    assert_eq!(reply.status, StatusCode::OK, "{reply:?}");
    assert_eq!(api.get(&path).await.json["title"], "After All");
    assert_eq!(api.get(&summary).await.json["title"], "After All");
    assert_eq!(api.get(list).await.json["pagination"]["total"], 1);
}

#[tokio::test]
async fn a_client_that_goes_away_leaves_no_old_list_behind() {
    let api = Api::without_servers().await;
    let list = "/api/v1/events?q=impatience";
    assert_eq!(api.get(list).await.json["pagination"]["total"], 0);
    {
        let mut post = Box::pin(api.event("Impatience", 1));
        // One step: the change has begun. Then the client hangs up.
        std::future::poll_fn(|context| Poll::Ready(post.as_mut().poll(context).is_pending())).await;
    }
    let deadline = tokio::time::Instant::now() + Duration::from_secs(5);
    while api.get(list).await.json["pagination"]["total"] != 1 {
        assert!(
            tokio::time::Instant::now() < deadline,
            "the old list is still there"
        );
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn a_second_process_finds_in_l2_what_the_first_one_loaded() {
    let redis = bilten_testbed::Redis::start().unwrap();
    let config = on_servers(redis.url());
    let (first, second) = (Api::start(&config).await, Api::start(&config).await);
    let mine = first.get("/api/v1/events/42").await;
    assert_eq!(mine.x_cache, "miss");
    // The load is stored in L2 behind the answer.
    let mut theirs = second.get("/api/v1/events/42").await;
    for id in 43..143 {
        if theirs.x_cache == "l2" {
            break;
        }
        let path = format!("/api/v1/events/{id}");
        first.get(&path).await;
        theirs = second.get(&path).await;
    }
    assert_eq!(theirs.x_cache, "l2");
}

#[tokio::test]
async fn a_hot_event_is_loaded_once() {
    let api = Api::without_servers().await;
    let gets = (0..64).map(|_| {
        let api = api.clone();
        tokio::spawn(async move { api.get("/api/v1/events/7").await })
    });
    let mut missed = 0;
    for get in gets.collect::<Vec<_>>() {
        let reply = get.await.unwrap();
        assert_eq!(
            (reply.status, &reply.json["id"]),
            (StatusCode::OK, &json!(7))
        );
        missed += usize::from(reply.x_cache == "miss");
    }
    assert!(missed >= 1);
    assert_eq!(api.loads(), 1);
}

#[tokio::test]
async fn another_process_loads_no_old_event_from_a_replica_that_lags() {
    let redis = bilten_testbed::Redis::start().unwrap();
    let postgres = Postgres::builder().replicas(1).start().unwrap();
    let database = postgres.create_database("events").unwrap();
    let config = Config {
        database: Some(postgres.primary().url_for(&database)),
        replica: vec![postgres.replica(0).url_for(&database)],
        redis: on_servers(redis.url()).redis,
        pool_max: 8,
        ..Config::default()
    };
    let (first, second) = (Api::start(&config).await, Api::start(&config).await);
    let path = first.event("Before", 10).await;
    let list = "/api/v1/events?q=before&limit=5";
    postgres.wait_for_replicas().unwrap();
    assert_eq!(second.get(&path).await.json["title"], "Before");
    assert_eq!(second.get(list).await.json["pagination"]["total"], 1);
    postgres.replica(0).pause_replay().unwrap();
    let change = json!({ "title": "After All" });
    let reply = first.send(Method::PATCH, &path, Some(&change)).await;
    assert_eq!(reply.status, StatusCode::OK, "{reply:?}");
    for api in [&second, &first] {
        assert_eq!(api.get(&path).await.json["title"], "After All");
        let summary = api.get(&format!("{path}/summary")).await;
        assert_eq!(summary.json["title"], "After All");
        assert_eq!(api.get(list).await.json["pagination"]["total"], 0);
    }
    // Once the replica has it, it serves loads again.
    postgres.replica(0).resume_replay().unwrap();
    postgres.wait_for_replicas().unwrap();
    assert_eq!(second.get(&path).await.json["title"], "After All");
}
