//! What an operator chooses of a layer, and whether it has a meaning. Pure.

use std::time::Duration;

use http::HeaderName;

use super::policy::Rules;
use super::status::Report;
use super::uri::Query;
use crate::error::Error;
use crate::region::check_name;

/// All of it but what only code can say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Setup {
    pub(crate) region: String,
    pub(crate) rules: Rules,
    pub(crate) query: Query,
    pub(crate) by_host: bool,
    pub(crate) obey: bool,
    pub(crate) tag_header: Option<HeaderName>,
    pub(crate) max_body_bytes: usize,
    pub(crate) variants: u32,
    pub(crate) pass_for: Duration,
    pub(crate) retry_after: Duration,
    pub(crate) load_timeout: Duration,
    pub(crate) report: Report,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            region: "http".to_owned(),
            rules: Rules {
                time_to_live: None,
                stale_while_revalidate: Duration::ZERO,
                stale_if_error: Duration::ZERO,
                revalidate_within: Duration::from_secs(3600),
                longest: Duration::from_secs(24 * 3600),
                authorized: false,
            },
            query: Query::Exact,
            by_host: true,
            obey: true,
            tag_header: None,
            max_body_bytes: 1 << 20,
            variants: 64,
            pass_for: Duration::from_secs(10),
            retry_after: Duration::from_secs(5),
            load_timeout: Duration::from_secs(30),
            report: Report {
                cache_status: true,
                x_cache: false,
            },
        }
    }
}

impl Setup {
    /// # Errors
    ///
    /// [`Error::Config`] names the setting that has no meaning.
    pub(crate) fn checked(self) -> Result<Self, Error> {
        let zero = |field, remedy| Err(Error::config(field, "it is zero", remedy));
        check_name("region", &self.region)?;
        let shortest = Duration::from_secs(1);
        if self.rules.time_to_live.is_some_and(|time| time < shortest) {
            return Err(Error::config(
                "time_to_live",
                "it is below one second",
                "use a second or more, or leave it out to store only what says how long it is good",
            ));
        }
        if self.rules.longest.is_zero() {
            return zero("longest_life", "use a positive duration");
        }
        if self.rules.time_to_live > Some(self.rules.longest) {
            return Err(Error::config(
                "time_to_live",
                format!("it is above `longest_life`, {:?}", self.rules.longest),
                "use less, or a longer `longest_life`",
            ));
        }
        if self.load_timeout.is_zero() {
            return zero("load_timeout", "use a positive duration");
        }
        if self.max_body_bytes == 0 {
            return zero(
                "max_body_bytes",
                "use 1 or more; without the layer nothing is stored",
            );
        }
        if self.variants == 0 {
            return zero(
                "variants",
                "use 1 or more; a response with `Vary: *` is never stored",
            );
        }
        if self.max_body_bytes > 1 << 30 {
            let problem = format!("it is {}", self.max_body_bytes);
            return Err(Error::config(
                "max_body_bytes",
                problem,
                "use at most 1 GiB",
            ));
        }
        Ok(self)
    }
}
