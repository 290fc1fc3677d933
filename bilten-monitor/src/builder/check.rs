//! What cannot work, told by the name of its setter.

use std::time::Duration;

use super::MonitorBuilder;
use crate::error::Error;
use crate::limits::Limits;

/// Queues are allocated at once.
const MAX_QUEUE: usize = 1_000_000;
/// A recorder of somebody else's takes a value so many times over, one by one.
const MOST_SAMPLED: usize = 10_000;
/// A time series database suffers long before this.
const MAX_LABEL_VALUES: usize = 100_000;

impl MonitorBuilder {
    pub(super) fn validate(&self) -> Result<(), Error> {
        const OFF: &str = "give a positive duration, or None to turn this alert off";
        const POSITIVE: &str = "give a positive value, or leave the setter out for the default";
        let Limits {
            query,
            request,
            queries,
            routes,
            n_plus_one,
            sampled,
        } = &self.limits;
        let zero = |limit: &Duration| limit.is_zero();
        let numbers: [(&str, bool, &str); 13] = [
            ("slow_query", query.as_ref().is_some_and(zero), OFF),
            ("slow_request", request.as_ref().is_some_and(zero), OFF),
            ("slow_query_for", queries.values().any(zero), POSITIVE),
            ("slow_request_for", routes.values().any(zero), POSITIVE),
            ("sample_query", sampled.values().any(|n| *n == 0), POSITIVE),
            ("alert_window", self.alert_window.is_zero(), POSITIVE),
            ("refresh_handles", self.refresh_handles.is_zero(), POSITIVE),
            ("alert_burst", self.alert_burst == 0, POSITIVE),
            ("alert_queue", self.alert_queue == 0, POSITIVE),
            ("metric_queue", self.metric_queue == 0, POSITIVE),
            ("max_label_values", self.max_label_values == 0, POSITIVE),
            ("watchdog", self.watchdog.as_ref().is_some_and(zero), OFF),
            (
                "n_plus_one",
                n_plus_one.is_some_and(|rule| rule.count == 0),
                POSITIVE,
            ),
        ];
        if let Some(&(field, _, remedy)) = numbers.iter().find(|(_, is_zero, _)| *is_zero) {
            return Err(Error::Zero { field, remedy });
        }
        let rarest = sampled.values().max().map_or(0, |n| *n as usize);
        let sizes = [
            ("sample_query", rarest, MOST_SAMPLED),
            ("alert_queue", self.alert_queue, MAX_QUEUE),
            ("metric_queue", self.metric_queue, MAX_QUEUE),
            ("max_label_values", self.max_label_values, MAX_LABEL_VALUES),
        ];
        if let Some(&(field, _, most)) = sizes.iter().find(|(_, size, most)| size > most) {
            return Err(Error::TooLarge { field, most });
        }
        let empty = [
            ("slow_query_for", queries.contains_key("")),
            ("slow_request_for", routes.contains_key("")),
            ("sample_query", sampled.contains_key("")),
        ];
        if let Some(&(field, _)) = empty.iter().find(|(_, is_empty)| *is_empty) {
            return Err(Error::EmptyName { field });
        }
        if let Some(success) = self.objective
            && !(success > 0.0 && success < 1.0)
        {
            return Err(Error::Objective { success });
        }
        self.duplicate.map_or(Ok(()), |(field, name)| {
            Err(Error::Duplicate { field, name })
        })
    }
}
