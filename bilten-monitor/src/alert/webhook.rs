use std::fmt;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, UNIX_EPOCH};

use http::{HeaderName, HeaderValue, Uri};
use serde_json::{Map, Value, json};
use ureq::Agent;

use super::{Alert, AlertSink, Refused};
use crate::error::Error;

/// Posts alerts as JSON to a URL, with a time limit and repeated attempts.
///
/// A connection that fails, a 429 and a 5xx are tried again after 1 s, 2 s, 4 s and so on; every other refusal is
/// final. Redirects are not followed: an alert goes to the host that was configured and to no other.
///
/// ```
/// use std::time::Duration;
/// use bilten_monitor::{Monitor, alert::WebhookSink};
///
/// let sink = WebhookSink::builder("https://alerts.example/hook")
///     .header("authorization", "Bearer secret")
///     .timeout(Duration::from_secs(3))
///     .build()?;
/// let monitor = Monitor::builder().alert_sink(sink).build()?;
/// # Ok::<(), bilten_monitor::Error>(())
/// ```
pub struct WebhookSink {
    agent: Agent,
    url: Uri,
    headers: Vec<(HeaderName, HeaderValue)>,
    attempts: u32,
    pause: Duration,
    /// Tells this sink's alerts from those of others, and one alert from the next.
    process: u64,
    sent: AtomicU64,
}

/// Configures a [`WebhookSink`]; see there for an example.
#[must_use = "a builder does nothing until it is built"]
pub struct WebhookSinkBuilder {
    url: String,
    headers: Vec<(String, String)>,
    timeout: Duration,
    attempts: u32,
    pause: Duration,
    proxy: Option<String>,
}

impl WebhookSink {
    /// Starts a configuration for this `http` or `https` URL.
    pub fn builder(url: impl Into<String>) -> WebhookSinkBuilder {
        WebhookSinkBuilder {
            url: url.into(),
            headers: Vec::new(),
            timeout: Duration::from_secs(5),
            proxy: None,
            attempts: 3,
            pause: Duration::from_secs(1),
        }
    }

    /// Of one alert: all attempts to send it have the same one, and nothing else has it.
    fn next_id(&self) -> String {
        let number = self.sent.fetch_add(1, Ordering::Relaxed);
        format!("{:016x}-{number}", self.process)
    }

    /// One attempt: delivered, worth another one, or refused for good.
    fn attempt(&self, body: &str) -> Result<(), Attempt> {
        let mut request = self
            .agent
            .post(&self.url)
            .header("content-type", "application/json");
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        let answer = request
            .send(body)
            .map_err(|error| Attempt::Again(told(&error)))?;
        match answer.status().as_u16() {
            200..300 => Ok(()),
            status @ (429 | 500..) => Err(Attempt::Again(format!("the webhook answered {status}"))),
            status => Err(Attempt::Final(format!("the webhook answered {status}"))),
        }
    }
}

enum Attempt {
    Again(String),
    Final(String),
}

/// What went wrong, without the URL: it often holds a token.
fn told(error: &ureq::Error) -> String {
    match error {
        ureq::Error::Timeout(_) => "the webhook took too long".to_owned(),
        ureq::Error::Io(error) => format!("the webhook could not be reached: {}", error.kind()),
        ureq::Error::HostNotFound => "the webhook's host was not found".to_owned(),
        ureq::Error::ConnectionFailed => "the webhook could not be reached".to_owned(),
        _ => "the request to the webhook failed".to_owned(),
    }
}

impl AlertSink for WebhookSink {
    fn deliver(&self, alert: &Alert) -> Result<(), Refused> {
        let mut body = as_json(alert);
        body["id"] = self.next_id().into();
        let body = body.to_string();
        let mut pause = self.pause;
        for left in (0..self.attempts).rev() {
            match self.attempt(&body) {
                Ok(()) => return Ok(()),
                Err(Attempt::Final(why)) => return Err(why.into()),
                Err(Attempt::Again(why)) if left == 0 => return Err(why.into()),
                Err(Attempt::Again(_)) => std::thread::sleep(pause),
            }
            pause = pause.saturating_mul(2);
        }
        Err("no attempt was allowed".into())
    }
}

fn as_json(alert: &Alert) -> Value {
    let at = alert.at.duration_since(UNIX_EPOCH).unwrap_or_default();
    let facts: Map<String, Value> = alert
        .facts
        .iter()
        .map(|(name, value)| ((*name).to_owned(), Value::from(value.as_str())))
        .collect();
    json!({
        "kind": alert.kind.label(),
        "subject": alert.subject,
        "durationSeconds": alert.duration.as_secs_f64(),
        "thresholdSeconds": alert.threshold.as_secs_f64(),
        "worstSeconds": alert.worst.as_secs_f64(),
        "outcome": alert.outcome.label(),
        "error": alert.outcome.error_type(),
        "suppressed": alert.suppressed,
        "recovered": alert.recovered,
        "traceId": alert.trace_id.map(|trace| trace.to_string()),
        "unixSeconds": at.as_secs_f64(),
        "facts": facts,
    })
}

impl WebhookSinkBuilder {
    /// Adds a header to every request, such as an authorization.
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// The time limit of one attempt. Defaults to 5 s.
    pub fn timeout(mut self, limit: Duration) -> Self {
        self.timeout = limit;
        self
    }

    /// Attempts for one alert. Defaults to 3.
    pub fn attempts(mut self, attempts: u32) -> Self {
        self.attempts = attempts;
        self
    }

    /// The pause before the second attempt; it doubles each time. Defaults to 1 s.
    pub fn pause(mut self, pause: Duration) -> Self {
        self.pause = pause;
        self
    }

    /// The proxy to go through, such as `http://proxy.internal:3128`. None by default: what the environment names
    /// (`HTTP_PROXY` and its like) is not asked.
    pub fn proxy(mut self, url: impl Into<String>) -> Self {
        self.proxy = Some(url.into());
        self
    }

    /// Builds the sink.
    ///
    /// # Errors
    ///
    /// [`Error::Webhook`] when the URL, the proxy's URL or a header cannot be used, [`Error::Zero`] for a zero timeout or no
    /// attempts. A message never shows the URL or a header's value.
    pub fn build(self) -> Result<WebhookSink, Error> {
        const REMEDY: &str = "give a positive value, or leave the setter out for the default";
        if self.timeout.is_zero() {
            return Err(Error::Zero {
                field: "timeout",
                remedy: REMEDY,
            });
        }
        if self.attempts == 0 {
            return Err(Error::Zero {
                field: "attempts",
                remedy: REMEDY,
            });
        }
        let url: Uri = self.url.parse().map_err(|_| Error::Webhook {
            reason: "the URL cannot be read",
        })?;
        if !matches!(url.scheme_str(), Some("http" | "https"))
            || url.host().is_none_or(str::is_empty)
        {
            return Err(Error::Webhook {
                reason: "the URL needs http or https and a host",
            });
        }
        let headers = self.headers.iter().map(|(name, value)| header(name, value));
        let proxy = self.proxy.as_deref().map(ureq::Proxy::new).transpose();
        let proxy = proxy.map_err(|_| Error::Webhook {
            reason: "the proxy's URL cannot be read",
        })?;
        let config = Agent::config_builder()
            .timeout_global(Some(self.timeout))
            // Not the one that the environment names: it would see the headers of an address with http.
            .proxy(proxy)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .http_status_as_error(false);
        Ok(WebhookSink {
            headers: headers.collect::<Result<_, _>>()?,
            agent: config.build().into(),
            url,
            attempts: self.attempts,
            pause: self.pause,
            process: RandomState::new().hash_one(0),
            sent: AtomicU64::new(0),
        })
    }
}

fn header(name: &str, value: &str) -> Result<(HeaderName, HeaderValue), Error> {
    let unfit = || Error::Webhook {
        reason: "a header has an unfit name or value",
    };
    let mut value: HeaderValue = value.parse().map_err(|_| unfit())?;
    value.set_sensitive(true);
    Ok((name.parse().map_err(|_| unfit())?, value))
}

impl fmt::Debug for WebhookSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebhookSink")
            .field("host", &self.url.host())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for WebhookSinkBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebhookSinkBuilder")
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}
