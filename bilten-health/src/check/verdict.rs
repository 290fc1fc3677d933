//! What one run of a check found.

use crate::redact::bounded;
use crate::report::Reason;
use crate::said::{Facts, Said, Window};
use crate::status::Status;
use serde_json::Value;
use std::error::Error;
use std::fmt::Write;
use std::iter::successors;
use std::sync::Arc;

/// Nobody wraps an error more often on purpose.
const MAX_CAUSES: usize = 32;

/// What all details of a verdict may take together, roughly as JSON.
const MAX_DETAIL_BYTES: usize = 32 << 10;

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
    pub(crate) error: Option<Said>,
    pub(crate) details: Facts,
    /// How many bytes of details still fit.
    pub(crate) room: usize,
}

impl Verdict {
    /// All is well.
    #[must_use]
    pub fn up() -> Self {
        Self {
            status: Status::Up,
            reason: None,
            error: None,
            details: Facts::default(),
            room: MAX_DETAIL_BYTES,
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
        let mut text = Window::of(error);
        // Bounded: an error may name itself as its cause.
        for inner in successors(error.source(), |&inner| inner.source()).take(MAX_CAUSES) {
            let cause = Window::of(inner);
            // Many drivers repeat the cause in their own message.
            if !text.as_str().contains(cause.as_str())
                && write!(text, ": {}", cause.as_str()).is_err()
            {
                break;
            }
        }
        Self::down(text.as_str())
    }

    /// Sets a more exact reason than `Failed`.
    #[must_use]
    pub const fn reason(mut self, reason: Reason) -> Self {
        self.reason = Some(reason);
        self
    }

    /// Adds a fact for the operator; shown only to those who may see details. Credentials in it are masked,
    /// at any depth, and so is the whole of what is called `password`, `token` and the like.
    ///
    /// All details of a verdict have 32 KiB together and each text in them 1 KiB; what is beyond is left out, and a `…` says so.
    #[must_use]
    pub fn detail(mut self, key: impl Into<String>, value: impl Into<Value>) -> Self {
        if self.room == 0 {
            return self;
        }
        if let Some((key, value)) = bounded(&key.into(), value.into(), &mut self.room) {
            self.details.add(key, value);
        }
        if self.room == 0 {
            self.details
                .add("…".to_owned(), "the rest is left out".into());
        }
        self
    }

    fn because(status: Status, why: &str) -> Self {
        Self::said(status, Said::new(why))
    }

    /// With a text of our own, in which there is nothing to mask: thousands of checks may time out at the same moment.
    pub(crate) fn told(status: Status, why: impl Into<Arc<str>>) -> Self {
        Self::said(status, Said::told(why))
    }

    fn said(status: Status, why: Said) -> Self {
        Self {
            status,
            reason: Some(Reason::Failed),
            error: Some(why),
            ..Self::up()
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
    use super::{IntoVerdict, Said, Verdict};
    use crate::status::Status;
    use std::sync::Arc;

    fn error(verdict: &Verdict) -> Option<Arc<str>> {
        verdict.error.as_ref().map(Said::shown)
    }

    #[derive(Debug, thiserror::Error)]
    #[error("query failed")]
    struct Outer(#[source] std::io::Error);

    #[test]
    fn an_error_is_told_with_its_causes_and_without_its_password() {
        let verdict = Err::<(), _>(Outer(std::io::Error::other("no route to db://u:hunter2@h")))
            .into_verdict();
        assert_eq!(verdict.status, Status::Down);
        assert_eq!(
            error(&verdict).as_deref(),
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
        assert_eq!(error(&verdict).as_deref(), Some("it bites its tail"));
    }

    #[test]
    fn details_have_an_end_however_many_and_however_long() {
        let names = |verdict: &Verdict| verdict.details.shown().len();
        let size = |verdict: &Verdict| {
            serde_json::to_string(&verdict.details.shown())
                .unwrap()
                .len()
        };
        let many = (0..50_000).fold(Verdict::up(), |verdict, i| {
            verdict.detail(format!("key-{i:05}"), i)
        });
        assert!(
            names(&many) > 1000 && size(&many) < 33_000,
            "{}",
            size(&many)
        );
        assert_eq!(many.details.shown()["key-00000"], 0);
        assert_eq!(many.details.shown()["…"], "the rest is left out");

        let long = Verdict::up().detail("text", "x".repeat(1 << 20));
        assert!(size(&long) < 1100);
        let items = Verdict::up().detail("list", vec!["x".repeat(600); 50_000]);
        assert!(size(&items) < 40_000, "{}", size(&items));
        let list = items.details.shown()["list"].clone();
        let list = list.as_array().unwrap();
        assert!(list.len() > 20 && list.last().unwrap() == "…");
        let fields: serde_json::Map<_, _> = (0..50_000)
            .map(|i| (format!("f{i:05}"), i.into()))
            .collect();
        let nested = Verdict::up().detail("fields", fields);
        assert!(size(&nested) < 40_000 && nested.details.shown()["fields"]["…"] == "…");
        let after = nested.detail("later", 1);
        assert!(!after.details.shown().contains_key("later"));
    }

    #[test]
    fn details_are_masked_too() {
        let verdict = Verdict::up().detail("url", "db://u:hunter2@h");
        assert_eq!(verdict.details.shown()["url"], "db://***@h");
        let nested = serde_json::json!([{ "url": "db://u:hunter2@h" }]);
        let verdict = Verdict::up().detail("nodes", nested);
        assert_eq!(verdict.details.shown()["nodes"][0]["url"], "db://***@h");
    }
}
