//! Tickets are never oversold.

use http::StatusCode;
use serde_json::json;

use crate::api::{Api, on_servers};

#[tokio::test(flavor = "multi_thread")]
async fn a_rush_never_oversells_on_sqlite() {
    a_rush_never_oversells(&Api::without_servers().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rush_never_oversells_on_postgres() {
    let redis = bilten_testbed::Redis::start().unwrap();
    a_rush_never_oversells(&Api::start(&on_servers(redis.url())).await).await;
}

async fn a_rush_never_oversells(api: &Api) {
    let path = api.event("Rush", 25).await;
    let buyers = (1..=40).map(|user| {
        let (api, tickets) = (api.clone(), format!("{path}/tickets"));
        tokio::spawn(async move { api.post(&tickets, &json!({ "userId": user })).await })
    });
    let mut sold = 0;
    for buyer in buyers.collect::<Vec<_>>() {
        let reply = buyer.await.unwrap();
        match reply.status {
            StatusCode::CREATED => sold += 1,
            StatusCode::CONFLICT => assert!(
                reply.json["detail"]
                    .as_str()
                    .unwrap()
                    .contains("0 tickets are left"),
                "{reply:?}"
            ),
            _ => panic!("{reply:?}"),
        }
    }
    assert_eq!(sold, 25);
    assert_eq!(api.get(&path).await.json["ticketsSold"], 25);
    assert_eq!(
        api.get(&format!("{path}/summary")).await.json["_count"]["tickets"],
        25
    );
}

#[tokio::test]
async fn one_user_holds_at_most_ten_tickets_of_an_event() {
    let api = Api::without_servers().await;
    let tickets = format!("{}/tickets", api.event("Greed", 100).await);
    let eight = api
        .post(&tickets, &json!({ "userId": 5, "quantity": 8 }))
        .await;
    assert_eq!(
        (eight.status, &eight.json["held"]),
        (StatusCode::CREATED, &json!(8))
    );
    let three = api
        .post(&tickets, &json!({ "userId": 5, "quantity": 3 }))
        .await;
    assert_eq!(three.status, StatusCode::CONFLICT);
    let two = api
        .post(&tickets, &json!({ "userId": 5, "quantity": 2 }))
        .await;
    assert_eq!(
        (two.status, &two.json["held"]),
        (StatusCode::CREATED, &json!(10)),
        "the refused three took no seats"
    );
}

#[tokio::test]
async fn tickets_need_an_event_on_sale_and_a_known_user() {
    let api = Api::without_servers().await;
    // Number 7 of the planted events is a draft.
    for (path, user, expected) in [
        ("/api/v1/events/7/tickets", 1, StatusCode::CONFLICT),
        ("/api/v1/events/999999/tickets", 1, StatusCode::NOT_FOUND),
        ("/api/v1/events/8/tickets", 999_999, StatusCode::NOT_FOUND),
    ] {
        let reply = api.post(path, &json!({ "userId": user })).await;
        assert_eq!(reply.status, expected, "{path}: {reply:?}");
    }
}
