//! What one run of a check found.

use crate::redact::{redact, redact_value};
use crate::report::Reason;
use crate::status::Status;
use serde_json::{Map, Value};
use std::error::Error;
use std::iter::successors;
use std::sync::Arc;

/// Nobody wraps an error more often on purpose.
const MAX_CAUSES: usize = 32;

/// What one run of a check found.
///
/// ```
/// use bilten_health::Verdict;
///
/// let verdict = Verdict::degraded("replica is behind").detail("lag_ms", 1200);
/// # let _ = verdict;
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    pub(crate) status: Status,
    pub(crate) reason: Option<Reason>,
    pub(crate) error: Option<Arc<str>>,
    pub(crate) details: Map<String, Value>,
}

impl Verdict {
    /// All is well.
    #[must_use]
    pub fn up() -> Self {
        Self {
            status: Status::Up,
            reason: None,
            error: None,
            details: Map::new(),
        }
    }

    /// It works, but not as it should; still healthy.
    #[must_use]
    pub fn degraded(why: impl AsRef<str>) -> Self {
        Self::because(Status::Degraded, why.as_ref())
    }

    /// It cannot be told; counts as not healthy.
    #[must_use]
    pub fn unknown(why: impl AsRef<str>) -> Self {
        Self::because(Status::Unknown, why.as_ref())
    }

    /// It does not work.
    #[must_use]
    pub fn down(why: impl AsRef<str>) -> Self {
        Self::because(Status::Down, why.as_ref())
    }

    /// It does not work, with the error and all its causes as the text.
    #[must_use]
    pub fn failed(error: &(dyn Error + 'static)) -> Self {
        let mut text = error.to_string();
        // Bounded: an error may name itself as its cause.
        for inner in successors(error.source(), |&inner| inner.source()).take(MAX_CAUSES) {
            let inner_text = inner.to_string();
            // Many drivers repeat the cause in their own message.
            if !text.contains(&inner_text) {
                text = format!("{text}: {inner_text}");
            }
        }
        Self::down(text)
    }

    /// Sets a more exact reason than `Failed`.
    #[must_use]
    pub const fn reason(mut self, reason: Reason) -> Self {
        self.reason = Some(reason);
        self
    }

    /// Adds a fact for the operator; shown only to those who may see details. Credentials in it are masked,
    /// at any depth, and so is the whole of what is called `password`, `token` and the like.
    #[must_use]
    pub fn detail(mut self, key: impl Into<String>, value: impl Into<Value>) -> Self {
        let key = key.into();
        let value = redact_value(&key, value.into());
        self.details.insert(redact(&key), value);
        self
    }

    fn because(status: Status, why: &str) -> Self {
        Self {
            status,
            reason: Some(Reason::Failed),
            error: Some(redact(why).into()),
            details: Map::new(),
        }
    }
}

/// What a check's closure may return: `()`, a [`Verdict`], or a `Result` of one of them with any error.
///
/// ```
/// use bilten_health::{Verdict, check};
///
/// let plain = check("a", || async {});
/// let fallible = check("b", || async { "12".parse::<u32>().map(|_| ()) });
/// let exact = check("c", || async { Ok::<_, std::io::Error>(Verdict::up().detail("queue", 3)) });
/// # let _ = (plain, fallible, exact);
/// ```
#[diagnostic::on_unimplemented(
    message = "a check cannot end in `{Self}`",
    label = "return `()`, a `Verdict`, or a `Result` of one of them whose error fits into a `Box<dyn Error + Send + Sync>`"
)]
pub trait IntoVerdict {
    /// The verdict.
    fn into_verdict(self) -> Verdict;
}

impl IntoVerdict for () {
    fn into_verdict(self) -> Verdict {
        Verdict::up()
    }
}

impl IntoVerdict for Verdict {
    fn into_verdict(self) -> Verdict {
        self
    }
}

impl<T: IntoVerdict, E: Into<Box<dyn Error + Send + Sync>>> IntoVerdict for Result<T, E> {
    fn into_verdict(self) -> Verdict {
        match self {
            Ok(value) => value.into_verdict(),
            Err(error) => Verdict::failed(&*error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{IntoVerdict, Verdict};
    use crate::status::Status;

    #[derive(Debug, thiserror::Error)]
    #[error("query failed")]
    struct Outer(#[source] std::io::Error);

    #[test]
    fn an_error_is_told_with_its_causes_and_without_its_password() {
        let verdict = Err::<(), _>(Outer(std::io::Error::other("no route to db://u:hunter2@h")))
            .into_verdict();
        assert_eq!(verdict.status, Status::Down);
        assert_eq!(
            verdict.error.as_deref(),
            Some("query failed: no route to db://***@h")
        );
    }

    #[derive(Debug)]
    struct OwnCause;

    impl std::fmt::Display for OwnCause {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("it bites its tail")
        }
    }

    impl std::error::Error for OwnCause {
        fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
            Some(self)
        }
    }

    #[test]
    fn an_error_that_is_its_own_cause_comes_to_an_end() {
        let verdict = Verdict::failed(&OwnCause);
        assert_eq!(verdict.error.as_deref(), Some("it bites its tail"));
    }

    #[test]
    fn details_are_masked_too() {
        let verdict = Verdict::up().detail("url", "db://u:hunter2@h");
        assert_eq!(verdict.details["url"], "db://***@h");
        let nested = serde_json::json!([{ "url": "db://u:hunter2@h" }]);
        let verdict = Verdict::up().detail("nodes", nested);
        assert_eq!(verdict.details["nodes"][0]["url"], "db://***@h");
    }
}
