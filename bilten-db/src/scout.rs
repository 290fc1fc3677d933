//! Asks a discovery again and again, and makes the cluster follow.

use std::sync::Weak;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::sleep;

use crate::crew::Crew;
use crate::discovery::{Discovery, Known};
use crate::router::Router;
use crate::{Cluster, Replica};

/// The state between two questions.
pub(crate) struct Scout {
    discovery: Discovery,
    known: Known,
    /// The last question failed, which was told already.
    failing: bool,
}

impl Scout {
    pub(crate) fn new(discovery: Discovery) -> Self {
        Self {
            discovery,
            known: Known::default(),
            failing: false,
        }
    }

    /// Asks once and makes the cluster follow.
    pub(crate) async fn look(&mut self, cluster: &Cluster) {
        let told = match self.discovery.ask().await {
            Ok(told) if !told.is_empty() => told,
            Ok(_) => return self.missed(&"the answer names no replica"),
            Err(error) => return self.missed(&error),
        };
        self.failing = false;
        self.follow(cluster, told).await;
    }

    fn missed(&mut self, problem: &dyn std::fmt::Display) {
        if std::mem::replace(&mut self.failing, true) {
            tracing::debug!(%problem, "discovery failed again");
        } else {
            tracing::warn!(%problem, "discovery failed; the replicas known so far stay");
        }
    }

    async fn follow(&mut self, cluster: &Cluster, told: Vec<(String, Replica)>) {
        let ids = told.iter().map(|(id, _)| id.as_str());
        let Some(changes) = self.known.compare(ids, self.discovery.grace) else {
            return;
        };
        let new = told.into_iter().filter(|(id, _)| changes.new.contains(id));
        let adding = new.map(|(id, replica)| async move {
            let added = cluster.add_replica(&*id, replica).await;
            (id, added)
        });
        for (id, added) in join_all(adding).await {
            match added {
                Ok(()) => self.known.added(&id),
                // Named twice, no place left, or a setting without meaning: tried again with the next answer.
                Err(error) => {
                    tracing::debug!(node = id, %error, "a discovered replica was not added")
                }
            }
        }
        let drain = self.discovery.drain;
        let removing = changes.gone.iter().map(|id| async move {
            let removed = cluster.remove_replica(id, drain).await;
            (id, removed)
        });
        for (id, removed) in join_all(removing).await {
            match removed {
                Err(_) if cluster.status().primary().id == *id => {
                    tracing::warn!(node = id, "the primary is no longer discovered; it stays");
                }
                // An error means that somebody took it out by hand.
                Ok(_) | Err(_) => self.known.removed(id),
            }
        }
    }

    fn pause(&self) -> Duration {
        self.discovery.pause(fastrand::f64())
    }
}

/// Goes on until the cluster is gone.
pub(crate) async fn scouting(mut scout: Scout, router: Weak<Router>, crew: Weak<Crew>) {
    loop {
        // Before the sleep the cluster is let go, so that a dropped one goes away at once.
        sleep(scout.pause()).await;
        let (Some(router), Some(crew)) = (router.upgrade(), crew.upgrade()) else {
            return;
        };
        scout.look(&Cluster::of(router, crew)).await;
    }
}
