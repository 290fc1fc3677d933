//! A purchase sent twice buys once, and its buyer sees it at once.

use bilten_events::config::Config;
use bilten_testbed::Postgres;
use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::api::{Api, Reply, on_servers};

async fn buy(api: &Api, event: &str, key: &str, body: &Value) -> Reply {
    let path = format!("{event}/tickets");
    let key = ("idempotency-key", key);
    api.send_with(Method::POST, &path, &[key], Some(body)).await
}

#[tokio::test]
async fn the_same_key_buys_once_in_memory() {
    the_same_key_buys_once(&Api::without_servers().await).await;
}

#[tokio::test]
async fn the_same_key_buys_once_on_servers() {
    let redis = bilten_testbed::Redis::start().unwrap();
    the_same_key_buys_once(&Api::start(&on_servers(redis.url())).await).await;
}

async fn the_same_key_buys_once(api: &Api) {
    // The last two seats: whoever asks again must get the receipt, not "sold out".
    let event = api.event("Once", 2).await;
    let body = json!({ "userId": 5, "quantity": 2 });
    let first = buy(api, &event, "k-1", &body).await;
    assert_eq!(
        (first.status, first.header("idempotency-replayed")),
        (StatusCode::CREATED, ""),
        "{first:?}"
    );
    let again = buy(api, &event, "k-1", &body).await;
    assert_eq!(
        (
            again.status,
            again.header("idempotency-replayed"),
            &again.json
        ),
        (StatusCode::CREATED, "true", &first.json),
        "{again:?}"
    );
    assert_eq!(api.get(&event).await.json["ticketsSold"], 2);

    let other = buy(api, &event, "k-1", &json!({ "userId": 5, "quantity": 1 })).await;
    assert_eq!(other.status, StatusCode::UNPROCESSABLE_ENTITY, "{other:?}");
    let somebody = buy(api, &event, "k-1", &json!({ "userId": 6, "quantity": 2 })).await;
    assert_eq!(
        somebody.status,
        StatusCode::CONFLICT,
        "another's key: {somebody:?}"
    );
    let wrong = buy(api, &event, "two words", &body).await;
    assert_eq!(
        (wrong.status, &wrong.json["field"]),
        (StatusCode::BAD_REQUEST, &json!("Idempotency-Key"))
    );
}

#[tokio::test]
async fn a_refused_purchase_does_not_use_up_its_key() {
    let api = Api::without_servers().await;
    let event = api.event("Second Chance", 1).await;
    let body = json!({ "userId": 5, "quantity": 2 });
    assert_eq!(
        buy(&api, &event, "k-2", &body).await.status,
        StatusCode::CONFLICT
    );
    let more = json!({ "capacity": 2 });
    api.send(Method::PATCH, &event, Some(&more)).await;
    assert_eq!(
        buy(&api, &event, "k-2", &body).await.status,
        StatusCode::CREATED
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_key_sent_by_many_at_once_buys_once_on_sqlite() {
    many_at_once_buy_once(&Api::without_servers().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_key_sent_by_many_at_once_buys_once_on_postgres() {
    let redis = bilten_testbed::Redis::start().unwrap();
    many_at_once_buy_once(&Api::start(&on_servers(redis.url())).await).await;
}

async fn many_at_once_buy_once(api: &Api) {
    let event = api.event("Double Click", 3).await;
    let clicks = (0..16).map(|_| {
        let (api, event) = (api.clone(), event.clone());
        tokio::spawn(async move {
            let body = json!({ "userId": 5, "quantity": 3 });
            buy(&api, &event, "click", &body).await
        })
    });
    let mut sold = 0;
    for click in clicks.collect::<Vec<_>>() {
        let reply = click.await.unwrap();
        assert_eq!(
            (reply.status, &reply.json["held"]),
            (StatusCode::CREATED, &json!(3)),
            "{reply:?}"
        );
        sold += usize::from(reply.header("idempotency-replayed").is_empty());
    }
    assert_eq!(sold, 1);
    assert_eq!(api.get(&event).await.json["ticketsSold"], 3);
}

#[tokio::test]
async fn a_buyer_sees_the_tickets_in_another_process_while_the_replicas_lag() {
    let postgres = Postgres::builder().replicas(2).start().unwrap();
    let database = postgres.create_database("events").unwrap();
    let config = Config {
        database: Some(postgres.primary().url_for(&database)),
        replica: postgres
            .replicas()
            .iter()
            .map(|node| node.url_for(&database))
            .collect(),
        pool_max: 8,
        ..Config::default()
    };
    let (first, second) = (Api::start(&config).await, Api::start(&config).await);
    for replica in postgres.replicas() {
        replica.pause_replay().unwrap();
    }
    let bought = first
        .post("/api/v1/events/8/tickets", &json!({ "userId": 77 }))
        .await;
    assert_eq!(bought.status, StatusCode::CREATED, "{bought:?}");
    let mine =
        "SELECT count(*) FROM tickets WHERE event_id = 8 AND user_id = 77 AND status = 'sold'";
    let on_replica = postgres.replica(0).psql_in(&database, mine).unwrap();
    let on_primary = postgres.primary().psql_in(&database, mine).unwrap();
    assert_ne!(
        on_replica.trim(),
        on_primary.trim(),
        "the replicas were to lag"
    );

    let path = "/api/v1/events/8/tickets?userId=77";
    let seen = second
        .get_with(path, ("read-after", bought.header("read-after")))
        .await;
    assert_eq!(seen.status, StatusCode::OK, "{seen:?}");
    let tickets = seen.json["tickets"].as_array().unwrap().len();
    assert_eq!(tickets.to_string(), on_primary.trim());
    assert_eq!(seen.header("cache-control"), "no-store");
}

#[tokio::test]
async fn whose_tickets_must_be_said() {
    let api = Api::without_servers().await;
    for query in ["", "?userId=me", "?user=7", "?userId=7&x=1"] {
        let reply = api.get(&format!("/api/v1/events/8/tickets{query}")).await;
        assert_eq!(
            (reply.status, &reply.json["field"]),
            (StatusCode::BAD_REQUEST, &json!("userId")),
            "{query}: {reply:?}"
        );
    }
}
