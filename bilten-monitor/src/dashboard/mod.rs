//! The live page: requests, queries, the cache, the database, health and alerts, as they happen.

mod service;

mod page;
mod stream;

mod live;
mod sampler;

mod frame;
mod parts;

mod history;
mod number;
mod ring;

mod tap;

mod board;

use std::fmt;
use std::sync::Arc;

use http::request::Parts;

pub use tap::Tap;

use crate::monitor::Monitor;
use live::Live;

type Authorise = Arc<dyn Fn(&Parts) -> bool + Send + Sync>;

impl Monitor {
    /// The live page of this monitor, for any server on `http` 1. Its history begins here.
    ///
    /// A thread looks once a second. Keep one dashboard and clone it: a second call begins a second history.
    pub fn dashboard(&self) -> Dashboard {
        Dashboard {
            live: Live::start(Arc::clone(&self.inner().hub)),
            title: Arc::from("bilten"),
            listeners: 32,
            authorise: None,
        }
    }
}

/// A service that answers with the live page. Cheap to clone; every clone is the same page.
///
/// ```
/// use axum::{Router, routing::get};
/// use bilten_monitor::Monitor;
///
/// let monitor = Monitor::builder().build()?;
/// let dashboard = monitor.dashboard().title("ticket shop");
/// let app: Router = Router::new()
///     .route("/events", get(|| async { "events" }))
///     .route_service("/bilten", dashboard.clone())
///     .layer(monitor.http());
/// // When the service is told to stop: a server that waits for its responses would wait for open pages.
/// dashboard.close();
/// # let _ = app;
/// # Ok::<(), bilten_monitor::Error>(())
/// ```
///
/// The page needs no network beyond its own address, and its own requests are in no metric. It shows names of routes,
/// queries, caches, nodes and checks, which are constants of the program, with counts and times: put it where only
/// those who run the service get to, or behind a layer that asks who they are. What an alert knows about a user is
/// shown only to whom [`details_for`](Self::details_for) lets in.
///
/// It shows `bilten-cache`, `bilten-db` and `bilten-health` as soon as they record something, with
/// [`prometheus::install`](crate::prometheus::install) or a [`Tap`] in place before they are built.
#[derive(Clone)]
#[must_use = "mount it in a router"]
pub struct Dashboard {
    live: Arc<Live>,
    title: Arc<str>,
    listeners: usize,
    authorise: Option<Authorise>,
}

impl Dashboard {
    /// The page's heading: the service's name. Defaults to `bilten`.
    pub fn title(mut self, title: impl AsRef<str>) -> Self {
        self.title = Arc::from(title.as_ref());
        self
    }

    /// Pages that may be open at a time, over all clones; further ones get 503. Defaults to 32.
    pub const fn listeners(mut self, most: usize) -> Self {
        self.listeners = most;
        self
    }

    /// Who may see the facts of alerts, such as `userId`. By default nobody. A panic counts as no.
    ///
    /// Asked when a page opens, and again every twenty seconds.
    pub fn details_for(
        mut self,
        authorise: impl Fn(&Parts) -> bool + Send + Sync + 'static,
    ) -> Self {
        self.authorise = Some(Arc::new(authorise));
        self
    }

    /// Ends the stream of every open page, now and for ever, and the thread within a second.
    ///
    /// For the moment in which a service is told to stop. Without it an open page ends by itself within twenty
    /// seconds, and a server that waits for its responses waits for that.
    pub fn close(&self) {
        self.live.close();
    }
}

impl fmt::Debug for Dashboard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dashboard")
            .field("title", &self.title)
            .field("listeners", &self.listeners)
            .field("details_for", &self.authorise.is_some())
            .finish_non_exhaustive()
    }
}
