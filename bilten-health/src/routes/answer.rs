//! One request, one answer.

use super::accept::{Format, negotiate};
use super::page::{POLICY, page};
use crate::group::Group;
use crate::health::Health;
use crate::hop::HOP_HEADER;
use crate::report::Report;
use axum::body::Body;
use axum::extract::Request;
use axum::http::request::Parts;
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::response::Response;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

pub(super) type Authorise = Arc<dyn Fn(&Parts) -> bool + Send + Sync>;

/// Answers for `group`; axum itself takes the body away for HEAD and leaves the headers as they are.
pub(super) async fn answer(
    health: Health,
    authorise: Option<Authorise>,
    group: Option<Group>,
    request: Request,
) -> Response {
    let (parts, _) = request.into_parts();
    if !matches!(parts.method, Method::GET | Method::HEAD) {
        let mut refusal = respond(
            StatusCode::METHOD_NOT_ALLOWED,
            Format::Plain,
            "only GET and HEAD\n".to_owned(),
        );
        refusal
            .headers_mut()
            .insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
        return refusal;
    }
    let Some(group) = group else {
        return respond(
            StatusCode::NOT_FOUND,
            Format::Plain,
            "no such group\n".to_owned(),
        );
    };
    // Asked by another service's health check: starting checks now could go round in a circle.
    let report = match parts.headers.contains_key(HOP_HEADER) {
        true => health.last(group),
        false => health.check_group(group).await,
    };
    let accept = parts
        .headers
        .get(header::ACCEPT)
        .and_then(|value| value.to_str().ok());
    let format = negotiate(accept.unwrap_or_default());
    let status = if report.healthy {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    let body = render(&report, format, may_see_details(authorise.as_ref(), &parts));
    respond(status, format, body)
}

/// An authoriser that panics has not said yes.
fn may_see_details(authorise: Option<&Authorise>, parts: &Parts) -> bool {
    let Some(authorise) = authorise else {
        return false;
    };
    catch_unwind(AssertUnwindSafe(|| authorise(parts))).unwrap_or_else(|_| {
        tracing::error!("the authoriser of health details panicked; the answer has none");
        false
    })
}

fn render(report: &Report, format: Format, details: bool) -> String {
    match (format, details) {
        (Format::Json, true) => report.to_json(),
        (Format::Json, false) => report.public_json(),
        (Format::HealthJson, true) => report.to_health_json(),
        (Format::HealthJson, false) => report.public_health_json(),
        (Format::Page, details) => page(report, details),
        (Format::Plain, true) => report.to_plain(),
        (Format::Plain, false) => format!("{}\n", report.status),
    }
}

fn respond(status: StatusCode, format: Format, body: String) -> Response {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static(format.content_type()),
    );
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::VARY, HeaderValue::from_static("accept"));
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    if format == Format::Page {
        headers.insert(
            header::CONTENT_SECURITY_POLICY,
            HeaderValue::from_static(POLICY),
        );
    }
    response
}
