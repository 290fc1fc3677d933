//! What a region was told, and whether it makes sense. Pure.

use std::time::Duration;

use crate::error::Error;
use crate::staleness::{RefreshAhead, Windows};

/// The longest time to live; what is longer counts as this. Ten years.
pub(crate) const LONGEST: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);

/// What a region was told when it was built.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Options {
    pub(crate) time_to_live: Duration,
    pub(crate) memory_time_to_live: Option<Duration>,
    pub(crate) jitter: Duration,
    pub(crate) negative_time_to_live: Option<Duration>,
    pub(crate) windows: Windows,
    pub(crate) ahead: RefreshAhead,
    /// How long a load that failed is not tried again while there is another value.
    pub(crate) retry_after: Duration,
    pub(crate) soft_timeout: Option<Duration>,
    pub(crate) load_timeout: Duration,
    /// How much longer than its callers wait a load may run.
    pub(crate) late_results: Duration,
    pub(crate) lease: Duration,
    pub(crate) schema_version: u32,
    pub(crate) read_only: bool,
    pub(crate) max_concurrent_loads: Option<usize>,
    /// How long an entry stays in memory that nobody reads.
    pub(crate) time_to_idle: Option<Duration>,
    /// The longest serialised form that is kept.
    pub(crate) max_value_bytes: usize,
    /// Above which length the second level gets the serialised form compressed.
    pub(crate) compress_above: Option<usize>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            time_to_live: Duration::from_secs(300),
            memory_time_to_live: None,
            jitter: Duration::ZERO,
            negative_time_to_live: None,
            windows: Windows::default(),
            ahead: RefreshAhead::Off,
            retry_after: Duration::from_secs(5),
            soft_timeout: None,
            load_timeout: Duration::from_secs(30),
            late_results: Duration::ZERO,
            lease: Duration::from_secs(2),
            schema_version: 0,
            read_only: false,
            max_concurrent_loads: None,
            time_to_idle: None,
            max_value_bytes: 16 << 20,
            compress_above: None,
        }
    }
}

impl Options {
    /// # Errors
    ///
    /// [`Error::Config`] names the setting.
    pub(crate) fn checked(mut self) -> Result<Self, Error> {
        self.check_zero()?;
        self.check_ahead()?;
        self.check_soft_timeout()?;
        check_loads(self.max_concurrent_loads)?;
        self.check_idle()?;
        self.check_sizes()?;
        for duration in [
            &mut self.time_to_live,
            &mut self.jitter,
            &mut self.windows.while_revalidate,
            &mut self.windows.if_error,
            &mut self.windows.for_loader,
            &mut self.retry_after,
            &mut self.load_timeout,
            &mut self.late_results,
        ] {
            *duration = (*duration).min(LONGEST);
        }
        self.lease = self
            .lease
            .clamp(Duration::from_millis(10), Duration::from_secs(3600));
        Ok(self)
    }

    /// Whether whoever waits for a load waits until its end.
    pub(crate) fn has_patient_callers(&self) -> bool {
        self.soft_timeout.is_none() && self.late_results.is_zero()
    }

    /// How long a load waits for that of another process. Where callers leave after `load_timeout`, half of it is for their own load: none of them is to
    /// fail because of another process.
    pub(crate) fn longest_wait(&self) -> Duration {
        match self.has_patient_callers() {
            true => self.load_timeout,
            false => self.load_timeout / 2,
        }
    }

    fn check_zero(&self) -> Result<(), Error> {
        const UNCACHED: &str = "use a positive duration; to not cache a value, return `Loaded::uncached()` from its loader";
        const POSITIVE: &str = "use a positive duration";
        for (field, duration, remedy) in [
            ("time_to_live", Some(self.time_to_live), UNCACHED),
            ("memory_time_to_live", self.memory_time_to_live, POSITIVE),
            (
                "negative_time_to_live",
                self.negative_time_to_live,
                UNCACHED,
            ),
            ("time_to_idle", self.time_to_idle, POSITIVE),
            ("load_timeout", Some(self.load_timeout), POSITIVE),
            ("lease", Some(self.lease), POSITIVE),
        ] {
            if duration.is_some_and(|d| d.is_zero()) {
                return Err(Error::config(field, "it is zero", remedy));
            }
        }
        Ok(())
    }

    fn check_idle(&self) -> Result<(), Error> {
        let problem = if self.memory_time_to_live.is_some() {
            "it and `memory_time_to_live` both say how long an entry stays in memory"
        } else if self.ahead != RefreshAhead::Off {
            "what is loaded anew before its time is over, by `refresh_ahead` or `refresh_early`, is never idle"
        } else {
            return Ok(());
        };
        match self.time_to_idle {
            None => Ok(()),
            Some(_) => Err(Error::config(
                "time_to_idle",
                problem,
                "leave one of them out",
            )),
        }
    }

    fn check_sizes(&self) -> Result<(), Error> {
        if self.max_value_bytes == 0 {
            return Err(Error::config(
                "max_value_bytes",
                "it is zero, so no value would be kept",
                "use a positive number of bytes, such as `1 << 20`",
            ));
        }
        let Some(above) = self.compress_above else {
            return Ok(());
        };
        if !cfg!(feature = "zstd") {
            return Err(Error::config(
                "compress_above",
                "this program was built without compression",
                "build `bilten-cache` with the feature `zstd`, or leave it out",
            ));
        }
        if above >= self.max_value_bytes {
            return Err(Error::config(
                "compress_above",
                format!(
                    "{above} is not below `max_value_bytes`, which is {}, so no value would be compressed",
                    self.max_value_bytes
                ),
                "lower it, or raise `max_value_bytes`",
            ));
        }
        Ok(())
    }

    fn check_ahead(&self) -> Result<(), Error> {
        let (field, number, good, remedy) = match self.ahead {
            RefreshAhead::Off => return Ok(()),
            RefreshAhead::Fraction(fraction) => (
                "refresh_ahead",
                fraction,
                fraction > 0.0 && fraction < 1.0,
                "use a fraction between 0 and 1, such as 0.8",
            ),
            RefreshAhead::Early { beta } => (
                "refresh_early",
                beta,
                beta > 0.0 && beta <= 1_000.0,
                "use a factor between 0 and 1000; 1.0 is usual, more is earlier",
            ),
        };
        // Not a number is neither above nor below anything.
        if good {
            return Ok(());
        }
        Err(Error::config(field, format!("it is {number}"), remedy))
    }

    fn check_soft_timeout(&self) -> Result<(), Error> {
        let Some(soft) = self.soft_timeout else {
            return Ok(());
        };
        if self.windows.if_error.is_zero() {
            return Err(Error::config(
                "soft_timeout",
                "without `stale_if_error` there is never a value to serve instead",
                "set `stale_if_error` too, or leave `soft_timeout` out",
            ));
        }
        if soft >= self.load_timeout {
            return Err(Error::config(
                "soft_timeout",
                format!(
                    "{soft:?} is not below `load_timeout`, which is {:?}",
                    self.load_timeout
                ),
                "lower it, or raise `load_timeout`",
            ));
        }
        Ok(())
    }
}

/// # Errors
///
/// [`Error::Config`] when no load could ever run.
pub(crate) fn check_loads(limit: Option<usize>) -> Result<(), Error> {
    if limit != Some(0) {
        return Ok(());
    }
    Err(Error::config(
        "max_concurrent_loads",
        "it is zero, so no load could ever run",
        "use a positive number, or leave it out for no limit",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field_of(options: Options) -> Option<String> {
        let error = options.checked().err()?.to_string();
        error.split(':').next().map(str::to_owned)
    }

    #[test]
    fn each_senseless_setting_is_named() {
        let second = Duration::from_secs(1);
        let with = |change: fn(&mut Options)| {
            let mut options = Options::default();
            change(&mut options);
            field_of(options)
        };
        assert_eq!(with(|_| ()), None);
        assert_eq!(
            with(|o| o.time_to_live = Duration::ZERO).as_deref(),
            Some("time_to_live")
        );
        assert_eq!(
            with(|o| o.negative_time_to_live = Some(Duration::ZERO)).as_deref(),
            Some("negative_time_to_live")
        );
        assert_eq!(
            with(|o| o.max_concurrent_loads = Some(0)).as_deref(),
            Some("max_concurrent_loads")
        );
        let both = |o: &mut Options| {
            o.time_to_idle = Some(Duration::from_secs(1));
            o.memory_time_to_live = Some(Duration::from_secs(1));
        };
        assert_eq!(with(both).as_deref(), Some("time_to_idle"));
        assert_eq!(with(|o| o.lease = Duration::ZERO).as_deref(), Some("lease"));
        for fraction in [0.0, 1.0, -0.5, f64::NAN, f64::INFINITY] {
            let ahead = RefreshAhead::Fraction(fraction);
            let found = field_of(Options {
                ahead,
                ..Options::default()
            });
            assert_eq!(found.as_deref(), Some("refresh_ahead"), "{fraction}");
            let ahead = RefreshAhead::Early {
                beta: -fraction.abs(),
            };
            let found = field_of(Options {
                ahead,
                ..Options::default()
            });
            assert_eq!(found.as_deref(), Some("refresh_early"), "{fraction}");
        }
        assert_eq!(
            with(|o| o.soft_timeout = Some(Duration::from_secs(1))).as_deref(),
            Some("soft_timeout")
        );
        let mut late = Options {
            soft_timeout: Some(second),
            load_timeout: second,
            ..Options::default()
        };
        late.windows.if_error = second;
        assert_eq!(field_of(late).as_deref(), Some("soft_timeout"));
    }

    #[cfg(feature = "zstd")]
    #[test]
    fn sizes_that_keep_or_compress_nothing_are_named() {
        let sizes = |max_value_bytes, compress_above| {
            field_of(Options {
                max_value_bytes,
                compress_above,
                ..Options::default()
            })
        };
        assert_eq!(sizes(0, None).as_deref(), Some("max_value_bytes"));
        assert_eq!(sizes(100, Some(100)).as_deref(), Some("compress_above"));
        assert_eq!(sizes(100, Some(99)), None);
        assert_eq!(sizes(usize::MAX, Some(0)), None);
    }

    #[test]
    fn the_longest_durations_there_are_overflow_nothing() {
        let mut longest = Options {
            time_to_live: Duration::MAX,
            jitter: Duration::MAX,
            retry_after: Duration::MAX,
            load_timeout: Duration::MAX,
            late_results: Duration::MAX,
            lease: Duration::MAX,
            ..Options::default()
        };
        longest.windows.if_error = Duration::MAX;
        longest.windows.while_revalidate = Duration::MAX;
        let checked = longest.checked().unwrap();
        assert_eq!(checked.windows.longest(), LONGEST);
        assert_eq!(checked.load_timeout + checked.late_results, LONGEST * 2);
    }
}
