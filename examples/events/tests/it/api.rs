//! The service in this process, asked through its router.

use axum::Router;
use axum::body::Body;
use bilten_events::app::App;
use bilten_events::config::Config;
use bilten_testbed::shared;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tower::ServiceExt;

/// A running service and the way to ask it.
#[derive(Clone)]
pub(crate) struct Api {
    app: App,
    router: Router,
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) x_cache: String,
    pub(crate) headers: HeaderMap,
    pub(crate) json: Value,
}

impl Reply {
    /// The header of this name; empty when it is not there.
    pub(crate) fn header(&self, name: &str) -> &str {
        let value = self.headers.get(name);
        value.map_or("", |value| value.to_str().unwrap())
    }
}

impl Api {
    /// SQLite and memory.
    pub(crate) async fn without_servers() -> Self {
        Self::start(&Config::default()).await
    }

    pub(crate) async fn start(config: &Config) -> Self {
        let app = App::start(config, None).await.unwrap();
        Self {
            router: app.router(),
            app,
        }
    }

    pub(crate) async fn get(&self, path: &str) -> Reply {
        self.send(Method::GET, path, None).await
    }

    pub(crate) async fn post(&self, path: &str, json: &Value) -> Reply {
        self.send(Method::POST, path, Some(json)).await
    }

    pub(crate) async fn send(&self, method: Method, path: &str, json: Option<&Value>) -> Reply {
        self.send_with(method, path, &[], json).await
    }

    pub(crate) async fn get_with(&self, path: &str, header: (&str, &str)) -> Reply {
        self.send_with(Method::GET, path, &[header], None).await
    }

    pub(crate) async fn send_with(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        json: Option<&Value>,
    ) -> Reply {
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header("content-type", "application/json");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request
            .body(json.map_or(Body::empty(), |json| Body::from(json.to_string())))
            .unwrap();
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (head, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        let x_cache = head
            .headers
            .get("x-cache")
            .map(|value| value.to_str().unwrap().to_owned());
        Reply {
            status: head.status,
            x_cache: x_cache.unwrap_or_default(),
            headers: head.headers,
            json: serde_json::from_slice(&body).unwrap_or_default(),
        }
    }

    /// A new event with this many seats; its path.
    pub(crate) async fn event(&self, title: &str, capacity: i32) -> String {
        let body = json!({
            "title": title, "capacity": capacity,
            "startDate": "2027-06-01T19:00:00Z", "endDate": "2027-06-01T21:00:00Z",
        });
        let reply = self.post("/api/v1/events", &body).await;
        assert_eq!(reply.status, StatusCode::CREATED, "{reply:?}");
        format!("/api/v1/events/{}", reply.json["id"])
    }

    /// For a socket.
    pub(crate) fn router(&self) -> Router {
        self.router.clone()
    }

    /// Ends the service in order.
    pub(crate) async fn close(&self) {
        self.app.close().await;
    }

    /// How often the database was asked for an event, a list or a summary.
    pub(crate) fn loads(&self) -> u64 {
        self.app.loads()
    }
}

/// The shared PostgreSQL with its replicas in a database of our own, and the Redis at `redis`.
pub(crate) fn on_servers(redis: String) -> Config {
    let database = shared::postgres().unwrap().database("events").unwrap();
    Config {
        redis: Some(redis),
        database: Some(database.primary_url()),
        replica: database.replica_urls(),
        pool_max: 8,
        ..Config::default()
    }
}
