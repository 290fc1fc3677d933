//! A small HTTP client that tells exactly what was not as it should be.

use std::time::Duration;

use axum::body::Bytes;
use http::{HeaderMap, Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use hyper_util::rt::TokioExecutor;
use serde_json::Value;

/// What was expected and what came instead, for people.
pub type Complaint = String;

/// Fetches from one service.
#[derive(Debug)]
pub struct Fetcher {
    client: Client<HttpConnector, Full<Bytes>>,
    base: String,
}

impl Fetcher {
    /// For the service under `base`, such as `http://127.0.0.1:8080`.
    #[must_use]
    pub fn new(base: String) -> Self {
        Self {
            client: Client::builder(TokioExecutor::new()).build_http(),
            base,
        }
    }

    /// GET `path`.
    ///
    /// # Errors
    /// A complaint when no whole answer came within ten seconds.
    pub async fn get(&self, path: &str) -> Result<Answer, Complaint> {
        self.send(Method::GET, path, None).await
    }

    /// Any method, with a JSON body.
    ///
    /// # Errors
    /// A complaint when no whole answer came within ten seconds.
    pub async fn send(
        &self,
        method: Method,
        path: &str,
        json: Option<&str>,
    ) -> Result<Answer, Complaint> {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.base));
        if json.is_some() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        let body = Full::from(json.unwrap_or_default().to_owned());
        let request = request
            .body(body)
            .map_err(|error| format!("{path} is no URL: {error}"))?;
        let exchange = async {
            let response = self
                .client
                .request(request)
                .await
                .map_err(|error| format!("no answer: {error}"))?;
            let (head, body) = response.into_parts();
            let body = body
                .collect()
                .await
                .map_err(|error| format!("the answer broke off: {error}"))?
                .to_bytes();
            Ok(Answer {
                status: head.status,
                headers: head.headers,
                body,
            })
        };
        tokio::time::timeout(PATIENCE, exchange)
            .await
            .map_err(|_| format!("no answer within {PATIENCE:?}"))?
    }
}

/// A whole response.
#[derive(Debug)]
pub struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

impl Answer {
    /// Complains unless the status is this one.
    ///
    /// # Errors
    /// Both statuses and the beginning of the body.
    pub fn status(&self, expected: StatusCode) -> Result<&Self, Complaint> {
        if self.status == expected {
            return Ok(self);
        }
        let body: String = self.text().chars().take(300).collect();
        Err(format!(
            "status {} instead of {expected}: {body}",
            self.status
        ))
    }

    /// The header of this name.
    ///
    /// # Errors
    /// When it is not there or not text.
    pub fn header(&self, name: &str) -> Result<&str, Complaint> {
        let value = self
            .headers
            .get(name)
            .ok_or_else(|| format!("there is no {name} header"))?;
        value
            .to_str()
            .map_err(|_| format!("the {name} header is not text"))
    }

    /// Complains unless the header has this value.
    ///
    /// # Errors
    /// Both values.
    pub fn has(&self, name: &str, expected: &str) -> Result<&Self, Complaint> {
        let value = self.header(name)?;
        if value == expected {
            Ok(self)
        } else {
            Err(format!("{name} is {value:?} instead of {expected:?}"))
        }
    }

    /// The body as JSON.
    ///
    /// # Errors
    /// When it is something else.
    pub fn json(&self) -> Result<Value, Complaint> {
        serde_json::from_slice(&self.body)
            .map_err(|error| format!("the body is not JSON ({error}): {:.200}", self.text()))
    }

    /// The body as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// Complains unless the value under a JSON pointer is this one.
///
/// # Errors
/// Both values.
pub fn equals(json: &Value, pointer: &str, expected: impl Into<Value>) -> Result<(), Complaint> {
    let (expected, found) = (
        expected.into(),
        json.pointer(pointer).unwrap_or(&Value::Null),
    );
    if *found == expected {
        Ok(())
    } else {
        Err(format!("{pointer} is {found} instead of {expected}"))
    }
}

/// Complains unless the claim holds.
///
/// # Errors
/// The claim.
pub fn holds(claim: bool, otherwise: impl FnOnce() -> String) -> Result<(), Complaint> {
    if claim { Ok(()) } else { Err(otherwise()) }
}

const PATIENCE: Duration = Duration::from_secs(10);
