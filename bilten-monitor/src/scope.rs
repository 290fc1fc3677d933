//! A unit of work whose queries are counted: a request, a job, a message.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;

use crate::alert::{AlertKind, Incident};
use crate::context::{Frame, RequestContext};
use crate::hub::Hub;
use crate::monitor::Monitor;
use crate::nanos::nanos;
use crate::outcome::Outcome;
use crate::repeats::Repeated;

impl Monitor {
    /// Runs a future as one unit of work, as the HTTP layer does with each request.
    ///
    /// Queries in it are looked at together ([`n_plus_one`](crate::MonitorBuilder::n_plus_one)), and
    /// [`RequestContext::current`] finds it. Within a request its alerts tell the request's facts and trace too; facts that
    /// are set in it stay its own. It does not cross `tokio::spawn` by itself: hand the context over
    /// with [`RequestContext::enter`].
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
    /// use std::time::Duration;
    /// use bilten_monitor::Monitor;
    ///
    /// let monitor = Monitor::builder().n_plus_one(5, Duration::from_millis(50)).build()?;
    /// let sent = monitor.scope("send_reminders", async { 3 }).await;
    /// assert_eq!(sent, 3);
    /// # Ok::<(), bilten_monitor::Error>(()) }).unwrap();
    /// ```
    pub fn scope<F: Future>(&self, name: &'static str, future: F) -> Scoped<F> {
        let owner = Owner {
            monitor: self.clone(),
            name,
        };
        Scoped {
            future: Some(future),
            scope: Scope {
                frame: Frame::default(),
                owner: Some(owner),
            },
        }
    }
}

impl RequestContext {
    /// Runs a future in this context, for work that was spawned as a task of its own.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
    /// use bilten_monitor::RequestContext;
    ///
    /// let work = async { 42 };
    /// let answer = match RequestContext::current() {
    ///     Some(context) => tokio::spawn(context.enter(work)).await,
    ///     None => tokio::spawn(work).await,
    /// };
    /// assert_eq!(answer.ok(), Some(42));
    /// # });
    /// ```
    pub fn enter<F: Future>(self, future: F) -> Scoped<F> {
        Scoped {
            future: Some(future),
            scope: Scope {
                frame: Frame::of(self),
                owner: None,
            },
        }
    }
}

pin_project! {
    /// A future that runs as one unit of work. Made by [`Monitor::scope`] and [`RequestContext::enter`].
    #[must_use = "futures do nothing unless they are awaited"]
    pub struct Scoped<F> {
        // Taken out only to be dropped.
        #[pin]
        future: Option<F>,
        scope: Scope,
    }

    impl<F> PinnedDrop for Scoped<F> {
        fn drop(this: Pin<&mut Self>) {
            let mut this = this.project();
            this.scope.frame.within(|| this.future.set(None));
        }
    }
}

/// Tells of repeated queries when it ends, however it ends.
struct Scope {
    frame: Frame,
    /// None when the context belongs to somebody else.
    owner: Option<Owner>,
}

struct Owner {
    monitor: Monitor,
    name: &'static str,
}

impl<F: Future> Future for Scoped<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        if this.scope.owner.is_some() {
            this.scope.frame.take_over();
        }
        let _entered = this.scope.frame.enter();
        let future = this.future.as_pin_mut();
        future.map_or(Poll::Pending, |future| future.poll(cx))
    }
}

impl Drop for Scope {
    fn drop(&mut self) {
        if let Some(owner) = &self.owner {
            report(&owner.monitor.inner().hub, &self.frame, owner.name);
        }
    }
}

/// Raises an alert for each query that the unit of work repeated too often.
pub(crate) fn report(hub: &Hub, frame: &Frame, unit: &str) {
    let Some(rule) = hub.limits.n_plus_one else {
        return;
    };
    let now = hub.time.now();
    for Repeated {
        query,
        count,
        total_nanos,
        ..
    } in frame.repeated(rule)
    {
        let incident = Incident {
            kind: AlertKind::NPlusOne,
            subject: &query.name,
            duration_nanos: total_nanos,
            threshold_nanos: nanos(rule.total),
            outcome: Outcome::Success,
            trace: frame.trace(),
        };
        let facts = || {
            let mut facts = vec![("in", unit.to_owned()), ("count", count.to_string())];
            facts.extend(frame.facts());
            facts
        };
        hub.desk.raise(&query.gate, now, &incident, facts);
    }
}

impl<F> fmt::Debug for Scoped<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scoped").finish_non_exhaustive()
    }
}
