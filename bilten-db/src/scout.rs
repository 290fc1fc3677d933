//! Asks a discovery again and again, and makes the cluster follow.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Weak;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::sleep;

use crate::address::check_id;
use crate::crew::Crew;
use crate::discovery::{Changes, Discovery, Known, Missed};
use crate::metrics::DiscoveryMetrics;
use crate::router::Router;
use crate::status::DiscoveryStatus;
use crate::{Cluster, Replica};

/// The state between two questions.
pub(crate) struct Scout {
    discovery: Discovery,
    known: Known,
    found: DiscoveryStatus,
    metrics: DiscoveryMetrics,
}

impl Scout {
    pub(crate) fn new(discovery: Discovery) -> Self {
        Self {
            discovery,
            known: Known::default(),
            found: DiscoveryStatus::default(),
            metrics: DiscoveryMetrics::new(),
        }
    }

    /// Asks once, makes the cluster follow, and tells how that went.
    pub(crate) async fn look(&mut self, cluster: &Cluster) {
        match self.discovery.ask().await {
            Ok(told) => {
                let refused = self.follow(cluster, told).await;
                self.answered(refused);
            }
            Err(missed) => self.missed(&missed),
        }
        let router = cluster.shared_router();
        if router.roster().findings.set(&self.found) {
            cluster.crew().publish(router);
        }
    }

    fn missed(&mut self, missed: &Missed) {
        let problem = missed.to_string();
        match self.found.problem.is_some() {
            true => tracing::debug!(problem, "discovery failed again"),
            false => tracing::warn!(problem, "discovery failed; the replicas known so far stay"),
        }
        self.found.problem = Some(problem);
        self.found.failures += 1;
        self.metrics.missed();
    }

    /// A replica that is refused again for the same reason was told already.
    fn answered(&mut self, refused: BTreeMap<String, String>) {
        for (node, problem) in &refused {
            if self.found.refused.get(node) != Some(problem) {
                tracing::warn!(node, problem, "a discovered replica was not added");
            }
        }
        self.metrics.answered(refused.len());
        self.found.problem = None;
        self.found.refused = refused;
    }

    /// Adds and takes out; returns what could not be added, with the reasons. That is tried again with the next answer.
    async fn follow(
        &mut self,
        cluster: &Cluster,
        told: Vec<(String, Replica)>,
    ) -> BTreeMap<String, String> {
        let ids = told.iter().map(|(id, _)| id.as_str());
        let Some(Changes { new, gone }) = self.known.compare(ids, self.discovery.grace) else {
            return BTreeMap::new();
        };
        let adding =
            told.into_iter()
                .filter(|(id, _)| new.contains(id))
                .map(|(id, replica)| async move {
                    let added = cluster.add_replica(&*id, replica).await;
                    (id, added)
                });
        let mut refused = BTreeMap::new();
        for (id, added) in join_all(adding).await {
            match added {
                Ok(()) => self.known.added(&id),
                Err(error) => {
                    refused.insert(shown(id), error.to_string());
                }
            }
        }
        // An answer that names a replica twice adds it once.
        refused.retain(|id, _| !self.known.has(id));
        self.take_out(cluster, &gone).await;
        refused
    }

    async fn take_out(&mut self, cluster: &Cluster, gone: &BTreeSet<String>) {
        let drain = self.discovery.drain;
        let removing = gone.iter().map(|id| cluster.remove_replica(id, drain));
        for (id, removed) in gone.iter().zip(join_all(removing).await) {
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

/// What cannot be a name may hold a password.
fn shown(id: String) -> String {
    match check_id(&id) {
        Ok(()) => id,
        Err(_) => "(no name)".to_owned(),
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
