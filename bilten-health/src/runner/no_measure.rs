//! Without the feature `metrics`: nothing.

use std::time::Duration;

pub(super) const fn measure(_check: &str, _healthy: bool, _duration: Duration, _changed: bool) {}
