use serde::Deserialize;

use super::human::{Size, Span};
use crate::error::Error;
use crate::key::Key;
use crate::options::{LONGEST, Options};
use crate::region::RegionBuilder;
use crate::staleness::RefreshAhead;

/// What a configuration says about a region; the settings have the names of the setters of [`RegionBuilder`]; `max_value_bytes`
/// and `compress_above` are sizes.
///
/// ```
/// use bilten_cache::config::RegionSettings;
///
/// let text = r#"{ "time_to_live": "30m", "jitter": "1m", "stale_while_revalidate": "30s" }"#;
/// let settings: RegionSettings = serde_json::from_str(text)?;
/// # let _ = settings;
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(try_from = "Said")]
pub struct RegionSettings {
    said: Said,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Said {
    time_to_live: Option<Span>,
    memory_time_to_live: Option<Span>,
    time_to_idle: Option<Span>,
    negative_time_to_live: Option<Span>,
    jitter: Option<Span>,
    stale_while_revalidate: Option<Span>,
    stale_if_error: Option<Span>,
    revalidate_within: Option<Span>,
    retry_after: Option<Span>,
    soft_timeout: Option<Span>,
    load_timeout: Option<Span>,
    late_results: Option<Span>,
    lease: Option<Span>,
    refresh_ahead: Option<f64>,
    refresh_early: Option<f64>,
    schema_version: Option<u32>,
    max_value_bytes: Option<Size>,
    compress_above: Option<Size>,
    max_concurrent_loads: Option<usize>,
    read_only: Option<bool>,
}

impl TryFrom<Said> for RegionSettings {
    type Error = Error;

    fn try_from(said: Said) -> Result<Self, Error> {
        if said.refresh_ahead.is_some() && said.refresh_early.is_some() {
            return Err(Error::config(
                "refresh_early",
                "it and `refresh_ahead` both say when a value is loaded anew",
                "leave one of them out",
            ));
        }
        let settings = Self { said };
        settings.over(settings.of_any_program()).checked()?;
        Ok(settings)
    }
}

impl RegionSettings {
    /// What a program may have that agrees with these: whether its own settings do, shows when it builds the region.
    fn of_any_program(&self) -> Options {
        let mut options = Options {
            load_timeout: LONGEST,
            max_value_bytes: usize::MAX,
            ..Options::default()
        };
        options.windows.if_error = LONGEST;
        options
    }

    fn over(&self, mut options: Options) -> Options {
        // All of them, or the compiler says which one was forgotten.
        let Said {
            time_to_live,
            memory_time_to_live,
            time_to_idle,
            negative_time_to_live,
            jitter,
            stale_while_revalidate,
            stale_if_error,
            revalidate_within,
            retry_after,
            soft_timeout,
            load_timeout,
            late_results,
            lease,
            refresh_ahead,
            refresh_early,
            schema_version,
            max_value_bytes,
            compress_above,
            max_concurrent_loads,
            read_only,
        } = self.said;
        let windows = &mut options.windows;
        for (said, setting) in [
            (time_to_live, &mut options.time_to_live),
            (jitter, &mut options.jitter),
            (stale_while_revalidate, &mut windows.while_revalidate),
            (stale_if_error, &mut windows.if_error),
            (revalidate_within, &mut windows.for_loader),
            (retry_after, &mut options.retry_after),
            (load_timeout, &mut options.load_timeout),
            (late_results, &mut options.late_results),
            (lease, &mut options.lease),
        ] {
            *setting = said.map_or(*setting, |Span(span)| span);
        }
        for (said, setting) in [
            (memory_time_to_live, &mut options.memory_time_to_live),
            (time_to_idle, &mut options.time_to_idle),
            (negative_time_to_live, &mut options.negative_time_to_live),
            (soft_timeout, &mut options.soft_timeout),
        ] {
            *setting = said.map(|Span(span)| span).or(*setting);
        }
        if let Some(fraction) = refresh_ahead {
            options.ahead = RefreshAhead::Fraction(fraction);
        }
        if let Some(beta) = refresh_early {
            options.ahead = RefreshAhead::Early { beta };
        }
        options.schema_version = schema_version.unwrap_or(options.schema_version);
        if let Some(Size(bytes)) = max_value_bytes {
            options.max_value_bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
        }
        if let Some(Size(bytes)) = compress_above {
            options.compress_above = Some(usize::try_from(bytes).unwrap_or(usize::MAX));
        }
        options.max_concurrent_loads = max_concurrent_loads.or(options.max_concurrent_loads);
        options.read_only = read_only.unwrap_or(options.read_only);
        options
    }
}

impl<K: Key + ?Sized, V: Send + Sync + 'static> RegionBuilder<K, V> {
    /// Takes what a configuration says; what it does not say stays. A `negative_time_to_live` needs the one of the program as well, which says
    /// that values of the region can be absent.
    pub fn settings(mut self, settings: &RegionSettings) -> Self {
        self.options = settings.over(self.options);
        self
    }
}
