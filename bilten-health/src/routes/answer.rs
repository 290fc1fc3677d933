//! One request, one answer.

use super::accept::{Format, negotiate};
use super::authorise::Authorise;
use super::page::{POLICY, page};
use crate::group::{Group, Question};
use crate::health::Health;
use crate::hop::HOP_HEADER;
use crate::report::Report;
use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::response::Response;
use std::sync::Arc;
use tokio::time::Instant;

/// Answers for `group`; axum itself takes the body away for HEAD and leaves the headers as they are.
pub(super) async fn answer(
    health: Health,
    authorise: Authorise,
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
    let deadline = Instant::now() + health.runner.deadline();
    let accept = parts.headers.get_all(header::ACCEPT).iter();
    let format = negotiate(accept.filter_map(|line| line.to_str().ok()));
    let from_a_check = parts.headers.contains_key(HOP_HEADER);
    let permission = authorise.ask(parts);
    // Asked by another service's health check: asking services now could go round in a circle.
    let own = from_a_check;
    let question = Question { group, own };
    let found = health.runner.answer(question).await;
    let details = tokio::select! {
        biased;
        details = permission.granted(deadline) => details,
        // The load balancer is to hear of it now; who may see details matters less.
        () = health.runner.life.shutdown_begun(), if group.ends_with_shutdown() => false,
    };
    // What the checks said is masked only for somebody who may see it.
    let report = match details {
        true => found.report(deadline).await,
        false => Arc::new(found.public.clone()),
    };
    let found = health.runner.unless_shut_down(question, &report);
    let report = match (found, details) {
        (None, _) => report,
        (Some(found), true) => found.report_at_once(deadline),
        (Some(found), false) => Arc::new(found.public.clone()),
    };
    let status = if report.healthy {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    respond(status, format, render(&report, format, details))
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
