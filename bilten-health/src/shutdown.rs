//! Ending without losing a request.

pub use crate::requests::Request;

use crate::check::LONGEST;
use crate::health::Health;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep_until, timeout_at};

/// How a drain ended. Example at [`Health::drain`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Drained {
    /// Requests still being worked on when time was up; zero when all had ended.
    pub in_flight: usize,
}

impl Health {
    /// Counts a request as being worked on, for [`Health::drain`]. With axum, [`Health::count_requests`] does it for all of them.
    ///
    /// ```
    /// # let health = bilten_health::Health::builder().build().unwrap();
    /// let request = health.request();
    /// assert_eq!(health.in_flight(), 1);
    /// drop(request);
    /// assert_eq!(health.in_flight(), 0);
    /// ```
    pub fn request(&self) -> Request {
        Request::begin(Arc::clone(&self.requests))
    }

    /// How many requests are being worked on.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.requests.count()
    }

    /// Begins the shutdown and waits until it is safe to stop: at least `min`, so that load balancers see the 503 and send
    /// nothing new, then until no request is being worked on, but at most `max` altogether.
    ///
    /// `min` should be longer than a load balancer takes to notice: the period of its probe times its failure threshold, plus a
    /// second. Kubernetes takes a pod out of its services when the stop begins, so there 5 s are usual; `max` has to be shorter
    /// than `terminationGracePeriodSeconds` (30 s unless set). A `min` above `max` counts as `max`, and a `max`
    /// above 24 h as 24 h.
    ///
    /// ```
    /// use bilten_health::Health;
    /// use std::time::Duration;
    ///
    /// # async fn run() -> Result<(), Box<dyn std::error::Error>> {
    /// let health = Health::builder().build()?;
    /// // In the future that is given to `axum::serve(..).with_graceful_shutdown(..)`, after the signal:
    /// let drained = health.drain(Duration::from_millis(1), Duration::from_secs(20)).await;
    /// assert_eq!(drained.in_flight, 0);
    /// # Ok(())
    /// # }
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(run()).unwrap();
    /// ```
    ///
    /// # Panics
    ///
    /// Outside a Tokio runtime with time enabled.
    ///
    /// # Cancellation
    ///
    /// Dropping it ends the waiting; the shutdown has begun nevertheless.
    pub async fn drain(&self, min: Duration, max: Duration) -> Drained {
        self.begin_shutdown();
        let max = max.min(LONGEST);
        let begun = Instant::now();
        sleep_until(begun + min.min(max)).await;
        // Time is up: what is left is told, not waited for.
        let _ = timeout_at(begun + max, self.requests.finished()).await;
        Drained {
            in_flight: self.in_flight(),
        }
    }
}
