//! What every URL must answer, one function per claim.

use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::client::{Complaint, Fetcher, equals, holds};

/// Liveness, readiness, start-up: 200 for machines.
pub(super) async fn probe(fetch: &Fetcher, path: &str) -> Result<String, Complaint> {
    let answer = fetch.get(path).await?;
    answer.status(StatusCode::OK)?;
    Ok(format!("200 {:.60}", answer.text().replace('\n', " ")))
}

/// The whole report: healthy, a timestamp, and every check by name.
pub(super) async fn health(fetch: &Fetcher, checks: &[&str]) -> Result<String, Complaint> {
    let answer = fetch.get("/healthz").await?;
    let report = answer.status(StatusCode::OK)?.json()?;
    equals(&report, "/healthy", true)?;
    holds(
        report["timestamp"]
            .as_str()
            .is_some_and(|t| t.contains('T')),
        || "there is no timestamp".into(),
    )?;
    for check in checks {
        let found = report["checks"]
            .as_array()
            .and_then(|all| all.iter().find(|one| one["name"] == *check));
        let found = found.ok_or_else(|| format!("there is no check {check}"))?;
        equals(found, "/status", "up")
            .map_err(|complaint| format!("check {check}: {complaint}"))?;
    }
    Ok(format!("200 healthy: {}", checks.join(", ")))
}

/// The same list twice: the second comes from the cache and is the same.
pub(super) async fn list_twice(fetch: &Fetcher) -> Result<String, Complaint> {
    let path = "/api/v1/events?page=2&limit=10";
    let first = fetch.get(path).await?;
    first.status(StatusCode::OK)?.has(
        "cache-control",
        "public, max-age=300, stale-while-revalidate=60",
    )?;
    let list = first.json()?;
    equals(&list, "/pagination/page", 2)?;
    equals(&list, "/pagination/limit", 10)?;
    holds(
        first
            .header("link")?
            .contains("?page=3&limit=10>; rel=\"next\""),
        || "the next page is not linked".into(),
    )?;
    let (total, pages) = (
        whole(&list, "/pagination/total")?,
        whole(&list, "/pagination/totalPages")?,
    );
    holds(total > 5_000 && pages == total.div_ceil(10), || {
        format!("{total} events on {pages} pages")
    })?;
    holds(
        list["events"]
            .as_array()
            .is_some_and(|events| events.len() == 10),
        || "not ten events".into(),
    )?;
    for field in [
        "/events/0/title",
        "/events/0/organizer/name",
        "/events/0/venue/city",
        "/events/0/startDate",
    ] {
        holds(list.pointer(field).is_some_and(Value::is_string), || {
            format!("{field} is missing")
        })?;
    }
    let second = fetch.get(path).await?;
    second.status(StatusCode::OK)?.has("x-cache", "l1")?;
    holds(second.json()? == list, || {
        "the second answer is another one".into()
    })?;
    Ok(format!(
        "200 {total} events, X-Cache {} then l1",
        first.header("x-cache")?
    ))
}

/// Title and town narrow the list down.
pub(super) async fn search(fetch: &Fetcher) -> Result<String, Complaint> {
    let list = fetch
        .get("/api/v1/events?q=JAZZ&city=celje&limit=5")
        .await?
        .status(StatusCode::OK)?
        .json()?;
    let events = list["events"]
        .as_array()
        .filter(|events| !events.is_empty())
        .ok_or("nothing was found")?;
    for event in events {
        let title = event["title"].as_str().unwrap_or_default();
        holds(title.contains("Jazz"), || format!("{title:?} is no jazz"))?;
        equals(event, "/venue/city", "Celje")?;
    }
    Ok(format!(
        "200 {} jazz nights in Celje",
        list["pagination"]["total"]
    ))
}

/// One event, twice: the second comes from the cache.
pub(super) async fn detail(fetch: &Fetcher, path: &str) -> Result<String, Complaint> {
    let first = fetch.get(path).await?;
    let event = first.status(StatusCode::OK)?.json()?;
    equals(&event, "/id", 42)?;
    holds(event["venue"]["city"].is_string(), || {
        "the venue is missing".into()
    })?;
    fetch
        .get(path)
        .await?
        .status(StatusCode::OK)?
        .has("x-cache", "l1")?;
    Ok(format!(
        "200 {}, X-Cache {} then l1",
        event["title"],
        first.header("x-cache")?
    ))
}

/// The projection has the counted tickets and not the description.
pub(super) async fn summary(fetch: &Fetcher) -> Result<String, Complaint> {
    let summary = fetch
        .get("/api/v1/events/42/summary")
        .await?
        .status(StatusCode::OK)?
        .json()?;
    equals(&summary, "/id", 42)?;
    equals(&summary, "/_count/tickets", 20)?;
    holds(summary.get("description").is_none(), || {
        "a summary has no description".into()
    })?;
    holds(summary["organizer"]["name"].is_string(), || {
        "the organizer is missing".into()
    })?;
    Ok(format!("200 {} tickets", summary["_count"]["tickets"]))
}

/// Create an event, find it in a list that was cached before, change it, and see the change everywhere.
pub(super) async fn create_and_change(fetch: &Fetcher) -> Result<String, Complaint> {
    let search = "/api/v1/events?q=smoke%20signal";
    let before = fetch.get(search).await?.status(StatusCode::OK)?.json()?;
    let found = whole(&before, "/pagination/total")?;
    let body = json!({
        "title": "Smoke Signal", "description": "Made by the smoke test",
        "startDate": "2027-06-01T19:00:00Z", "endDate": "2027-06-01T21:00:00Z", "capacity": 3,
    });
    let created = fetch
        .send(Method::POST, "/api/v1/events", Some(&body.to_string()))
        .await?;
    created
        .status(StatusCode::CREATED)?
        .has("cache-control", "no-store")?;
    let path = created.header("location")?.to_owned();
    let event = fetch
        .get(&path)
        .await?
        .status(StatusCode::OK)?
        .has("x-cache", "l1")?
        .json()?;
    equals(&event, "/title", "Smoke Signal")?;
    equals(&event, "/startDate", "2027-06-01T19:00:00Z")?;
    let after = fetch.get(search).await?.status(StatusCode::OK)?.json()?;
    equals(&after, "/pagination/total", found + 1)?;

    let change = fetch
        .send(Method::PATCH, &path, Some(r#"{"title":"Smoke Signal II"}"#))
        .await?;
    equals(
        &change.status(StatusCode::OK)?.json()?,
        "/title",
        "Smoke Signal II",
    )?;
    equals(
        &fetch.get(&path).await?.status(StatusCode::OK)?.json()?,
        "/title",
        "Smoke Signal II",
    )?;
    sell_out(fetch, &path).await?;
    Ok(format!("201 {path}, then listed, changed and sold out"))
}

/// Three seats: two and two do not fit, two and one do.
async fn sell_out(fetch: &Fetcher, event: &str) -> Result<(), Complaint> {
    let tickets = format!("{event}/tickets");
    for (user, quantity, expected) in [
        (1, 2, StatusCode::CREATED),
        (2, 2, StatusCode::CONFLICT),
        (2, 1, StatusCode::CREATED),
        (3, 1, StatusCode::CONFLICT),
    ] {
        let body = json!({ "userId": user, "quantity": quantity }).to_string();
        let answer = fetch.send(Method::POST, &tickets, Some(&body)).await?;
        answer
            .status(expected)
            .map_err(|complaint| format!("user {user} buys {quantity}: {complaint}"))?;
    }
    equals(&fetch.get(event).await?.json()?, "/ticketsSold", 3)
}

/// A request that must be refused, with the field that is to blame.
pub(super) async fn refused(fetch: &Fetcher, case: &Refusal) -> Result<String, Complaint> {
    let answer = fetch
        .send(case.method.clone(), case.path, case.body)
        .await?;
    answer
        .status(case.status)?
        .has("content-type", "application/problem+json")?;
    let problem = answer.json()?;
    if let Some(field) = case.field {
        equals(&problem, "/field", field)?;
    }
    Ok(format!(
        "{} {}",
        case.status.as_u16(),
        problem["detail"].as_str().unwrap_or_default()
    ))
}

/// A wrong request and what must come back.
pub(super) struct Refusal {
    pub(super) method: Method,
    pub(super) path: &'static str,
    pub(super) body: Option<&'static str>,
    pub(super) status: StatusCode,
    pub(super) field: Option<&'static str>,
}

/// Every kind of wrong request.
pub(super) fn refusals() -> Vec<Refusal> {
    let get = |path, status, field| Refusal {
        method: Method::GET,
        path,
        body: None,
        status,
        field,
    };
    let post = |body, status, field| Refusal {
        method: Method::POST,
        path: "/api/v1/events",
        body,
        status,
        field,
    };
    let bad = StatusCode::BAD_REQUEST;
    vec![
        get("/api/v1/events?page=0", bad, Some("page")),
        get("/api/v1/events?limit=0", bad, Some("limit")),
        get("/api/v1/events?limit=many", bad, Some("limit")),
        get("/api/v1/events?pages=2", bad, Some("pages")),
        get("/api/v1/events/first", bad, Some("id")),
        get("/api/v1/events/999999999", StatusCode::NOT_FOUND, None),
        get("/api/v1/event", StatusCode::NOT_FOUND, None),
        post(Some("{"), bad, None),
        post(Some("{}"), bad, Some("title")),
        post(Some(r#"{"title":7}"#), bad, Some("title")),
        post(Some(r#"{"titel":"x"}"#), bad, Some("titel")),
        post(None, StatusCode::UNSUPPORTED_MEDIA_TYPE, None),
        Refusal {
            method: Method::DELETE,
            path: "/api/v1/events",
            body: None,
            status: StatusCode::METHOD_NOT_ALLOWED,
            field: None,
        },
    ]
}

/// Every series that the dashboards and rules stand on.
pub(super) async fn metrics(fetch: &Fetcher) -> Result<String, Complaint> {
    let answer = fetch.get("/metrics").await?;
    let text = answer.status(StatusCode::OK)?.text();
    holds(
        answer.header("content-type")?.starts_with("text/plain"),
        || "not Prometheus text".into(),
    )?;
    for (name, labels) in SERIES {
        // The order of labels means nothing.
        let is_there = text.lines().any(|line| {
            let rest = line.strip_prefix(name);
            rest.is_some_and(|rest| rest.starts_with('{'))
                && labels.iter().all(|label| line.contains(label))
        });
        holds(is_there, || {
            format!("there is no series {name} with {}", labels.join(" and "))
        })?;
    }
    Ok(format!(
        "200 {} series",
        text.lines()
            .filter(|line| !line.starts_with('#') && !line.is_empty())
            .count()
    ))
}

fn whole(json: &Value, pointer: &str) -> Result<u64, Complaint> {
    json.pointer(pointer)
        .and_then(Value::as_u64)
        .ok_or_else(|| format!("{pointer} is not a whole number"))
}

/// What must have been recorded by the checks before.
const SERIES: [(&str, &[&str]); 7] = [
    (
        "http_server_request_duration_seconds_bucket",
        &[r#"http_route="/api/v1/events/{id}""#],
    ),
    ("http_server_active_requests", &[]),
    (
        "db_client_operation_duration_seconds_bucket",
        &[r#"db_query_summary="SELECT events"#],
    ),
    (
        "bilten_cache_hits_total",
        &[r#"region="events:list""#, r#"level="memory""#],
    ),
    ("bilten_cache_misses_total", &[r#"region="event""#]),
    ("bilten_cache_invalidations_total", &[r#"cache="events""#]),
    (
        "bilten_db_statements_total",
        &[
            r#"node="primary""#,
            r#"reason="transaction""#,
            r#"outcome="ok""#,
        ],
    ),
];
