//! What can be wrong with a configuration.

/// Why a monitor, an exporter or a metric was refused. Nothing has started when one of these comes back.
///
/// ```
/// use std::time::Duration;
/// use bilten_monitor::{Error, Monitor};
///
/// let refused = Monitor::builder().slow_query(Duration::ZERO).build();
/// assert!(matches!(refused, Err(Error::Zero { field: "slow_query", .. })));
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A duration or a number that must be positive is zero.
    #[error("{field} is zero: {remedy}")]
    Zero {
        /// The setter.
        field: &'static str,
        /// What to write instead.
        remedy: &'static str,
    },
    /// A number is larger than what this crate would keep.
    #[error("{field} is above {most}: give a smaller number")]
    TooLarge {
        /// The setter.
        field: &'static str,
        /// The largest number allowed.
        most: usize,
    },
    /// A duration is longer than anything it could be compared with.
    #[error("{field} is longer than {most:?}: give a shorter time, or leave the setter out")]
    TooLong {
        /// The setter.
        field: &'static str,
        /// The longest time allowed.
        most: std::time::Duration,
    },
    /// A name is empty.
    #[error("{field} has an empty name: give the query, route or metric a short constant name")]
    EmptyName {
        /// The setter.
        field: &'static str,
    },
    /// The same name was set twice.
    #[error("{field} was given twice for {name:?}: keep one of the two")]
    Duplicate {
        /// The setter.
        field: &'static str,
        /// The name that came twice.
        name: &'static str,
    },
    /// A metric name or label has a character that a time series database would change.
    #[error("{name:?} is no metric name: use a letter first, then letters, digits, '_' and '.'")]
    MetricName {
        /// The name as it was given.
        name: &'static str,
    },
    /// A label that a time series database keeps for itself: its server would refuse everything that the program exports.
    #[error("{name:?} is a label that Prometheus keeps for itself: give it another name")]
    LabelName {
        /// The label as it was given.
        name: &'static str,
    },
    /// A name is longer than anybody would read.
    #[error("{field} is longer than {most} bytes: give it a short constant name")]
    LongName {
        /// What has the name.
        field: &'static str,
        /// The longest name in bytes.
        most: usize,
    },
    /// The program has more metrics of its own than this crate keeps.
    #[error(
        "metric {name:?} is one more than the {most} that are kept: tell its values apart by labels, not by names"
    )]
    TooManyMetrics {
        /// The name that found no room.
        name: &'static str,
        /// The largest number of names.
        most: usize,
    },
    /// Another metric has one of the names that this one would be exported under.
    ///
    /// Dots become underscores, a counter is written with `_total`, and a histogram also as `_bucket`, `_sum` and
    /// `_count`.
    #[error(
        "metric {name:?} collides with {taken:?}: both would be exported as {exported:?}; rename one of the two"
    )]
    NameCollision {
        /// The new name.
        name: &'static str,
        /// The name that was there first.
        taken: &'static str,
        /// The name that both would have.
        exported: String,
    },
    /// Two labels of a metric are written the same way once dots become underscores, or one comes twice.
    #[error(
        "metric {name:?} has the labels {taken:?} and {label:?}, which are exported under one name: leave out or rename one"
    )]
    LabelCollision {
        /// The metric.
        name: &'static str,
        /// The new label.
        label: &'static str,
        /// The label that was there first.
        taken: &'static str,
    },
    /// One name cannot be two kinds of metric.
    #[error("metric {name:?} is a {taken} already and cannot also be a {wanted}: use another name")]
    KindMismatch {
        /// The name.
        name: &'static str,
        /// What it is.
        taken: &'static str,
        /// What it was now used as.
        wanted: &'static str,
    },
    /// More labels than a metric can have.
    #[error("metric {name:?} has more than {most} labels: leave some out")]
    TooManyLabels {
        /// The metric.
        name: &'static str,
        /// The largest number of labels.
        most: usize,
    },
    /// A value that would spoil a sum for ever.
    #[error(
        "metric {name:?} was given {value}: only finite values are kept, and durations are not negative"
    )]
    Value {
        /// The metric.
        name: &'static str,
        /// The value, as text.
        value: f64,
    },
    /// Bucket bounds that are not rising finite numbers.
    #[error(
        "buckets of {metric:?} are refused: {reason}; the default buckets stay in place when none are given"
    )]
    Buckets {
        /// The metric.
        metric: &'static str,
        /// What is wrong with them.
        reason: &'static str,
    },
    /// A webhook that cannot be called. The URL is not shown: it often holds a token.
    #[error("the webhook is refused: {reason}; alerts still go to the other sinks")]
    Webhook {
        /// What is wrong with it.
        reason: &'static str,
    },
    /// An objective that is no share of successes.
    #[error("the objective {success} is no share: give a number between 0 and 1, such as 0.999")]
    Objective {
        /// The share that was given.
        success: f64,
    },
    /// The program already has a metrics recorder.
    #[error(
        "a metrics recorder is already installed: install one only, or use Exporter::local beside it"
    )]
    RecorderInstalled(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The operating system gave no thread.
    #[error("could not start the thread {name}: raise the process's thread limit")]
    Thread {
        /// The thread's name.
        name: &'static str,
        /// What the operating system said.
        #[source]
        source: std::io::Error,
    },
}
