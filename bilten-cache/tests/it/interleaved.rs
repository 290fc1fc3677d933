//! The lease is taken by three commands, and others come to their turn between them: whatever they do, one load stores, and it knows all that it has to.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bilten_cache::remote::{Author, Demand, Lease, Remote, Scope, Wanted};
use bilten_cache::{Redis, RedisClient};
use bilten_testbed::Redis as Server;
use bytes::Bytes;

use crate::harness::{DEADLINE, with_each_client};
use crate::interposed::{Interposed, Then};

with_each_client! {
    of_two_loads_that_come_at_once_one_has_the_lease,
    a_write_between_the_commands_is_the_answer_or_the_one_to_store,
    what_is_loaded_across_a_removal_is_stored_nowhere,
    a_load_across_a_demand_is_told_or_stores_nothing,
    a_lease_that_a_client_asks_for_twice_is_the_load_s,
    a_value_that_has_come_does_not_wait_until_its_lease_is_given_back,
    a_lease_whose_caller_has_left_ends_by_itself,
    a_lease_whose_connection_was_cut_ends_by_itself,
}

const LONG: Duration = Duration::from_secs(60);
const SHORT: Duration = Duration::from_millis(300);
/// `SET` of the lease, `GET` of the value, `GET` of the demand.
const COMMANDS: usize = 3;
const LATER: Bytes = Bytes::from_static(b"what was written later");
const LOADED: Bytes = Bytes::from_static(b"what was loaded");

/// Two processes, one of which has something between it and the server.
struct Place {
    server: Server,
    way: Interposed,
    far: Arc<dyn Remote>,
    near: Arc<dyn Remote>,
}

impl Place {
    async fn with(client: RedisClient) -> Self {
        Self::within(client, 3 * DEADLINE).await
    }

    async fn within(client: RedisClient, budget: Duration) -> Self {
        let server = Server::start().unwrap();
        let way = Interposed::before(server.addr()).await;
        let open = |url| {
            let redis = Redis::url(url).client(client);
            redis.into_remote("shop", budget)
        };
        let (far, near) = (open(way.url()).await, open(server.url()).await);
        Self {
            far: far.unwrap(),
            near: near.unwrap(),
            server,
            way,
        }
    }

    /// Asks for the lease of load 1, and does something behind so many of its commands.
    async fn lease(
        &mut self,
        key: &str,
        behind: usize,
        act: impl AsyncFnOnce(&dyn Remote),
    ) -> Lease {
        self.way.stop_behind(behind, &format!("{{{key}}}"));
        let (far, own) = (Arc::clone(&self.far), key.to_owned());
        let lease = tokio::spawn(async move { far.lease(&own, 1, LONG, None).await });
        let stopped = self.way.stopped().await;
        act(&*self.near).await;
        stopped.send(Then::GoesOn).unwrap();
        lease.await.unwrap().unwrap()
    }

    async fn stores(&self, key: &str) -> bool {
        self.far.store(key, 1, LOADED, LONG).await.unwrap()
    }

    fn has_lease(&self, key: &str) -> bool {
        let name = format!("shop:l:{{{key}}}");
        self.server.cli(&["EXISTS", &name]).unwrap().trim() == "1"
    }
}

fn author() -> Author {
    Author::new(2, 0, 0)
}

fn is_owned(lease: &Lease) -> bool {
    matches!(lease, Lease::Owned | Lease::OwnedAfter(_))
}

async fn of_two_loads_that_come_at_once_one_has_the_lease(client: RedisClient) {
    let mut place = Place::with(client).await;
    for behind in 1..=COMMANDS {
        let (key, mut other) = (format!("key-{behind}"), false);
        let lease = place
            .lease(&key, behind, async |near| {
                let lease = near.lease(&key, 2, LONG, None).await.unwrap();
                other = is_owned(&lease);
                let stored = near.store(&key, 2, LATER, LONG).await.unwrap();
                assert_eq!(stored, other);
            })
            .await;
        assert_ne!(is_owned(&lease), other, "behind {behind}: {lease:?}");
        assert_eq!(place.stores(&key).await, !other, "behind {behind}");
    }
}

/// Whether it has ended by then, or only begun.
async fn a_write_between_the_commands_is_the_answer_or_the_one_to_store(client: RedisClient) {
    let mut place = Place::with(client).await;
    for (ends, behind) in [true, false]
        .into_iter()
        .flat_map(|ends| (1..=COMMANDS).map(move |behind| (ends, behind)))
    {
        let key = format!("key-{ends}-{behind}");
        let lease = place
            .lease(&key, behind, async |near| {
                near.claim(&key, 2, LONG, author()).await.unwrap();
                if ends {
                    assert!(near.store(&key, 2, LATER, LONG).await.unwrap());
                }
            })
            .await;
        if ends && behind == 1 {
            assert_eq!(lease, Lease::Value(LATER));
        }
        assert!(!place.stores(&key).await, "{key}: {lease:?}");
        if !ends {
            let stored = place.near.store(&key, 2, LATER, LONG).await.unwrap();
            assert!(stored, "{key}: its lease is not touched");
        }
        let there = place.near.read(&key).await.unwrap();
        assert_eq!(there, Some(LATER), "{key}");
        assert!(!place.has_lease(&key), "{key}");
    }
    // And before all of them, where the lease is taken for nothing.
    let lease = place.far.lease("key-true-1", 1, LONG, None).await.unwrap();
    assert_eq!(lease, Lease::Value(LATER));
    assert!(!place.has_lease("key-true-1"), "it is given back");
}

async fn what_is_loaded_across_a_removal_is_stored_nowhere(client: RedisClient) {
    let mut place = Place::with(client).await;
    for (n, scope) in [Scope::Key, Scope::Expired].into_iter().enumerate() {
        for behind in 1..=COMMANDS {
            let key = format!("key-{n}-{behind}");
            let lease = place
                .lease(&key, behind, async |near| {
                    let scope = scope(key.as_str().into());
                    near.invalidate(&scope, author()).await.unwrap();
                })
                .await;
            assert!(!place.stores(&key).await, "{key}: {lease:?}");
            assert_eq!(place.near.read(&key).await.unwrap(), None, "{key}");
        }
    }
}

async fn a_load_across_a_demand_is_told_or_stores_nothing(client: RedisClient) {
    let mut place = Place::with(client).await;
    for behind in 1..=COMMANDS {
        let key = format!("key-{behind}");
        let lease = place
            .lease(&key, behind, async |near| {
                let (scope, token) = (Scope::Key(key.as_str().into()), Demand::of("7"));
                let wanted = Wanted::new(scope.clone(), token.clone(), token);
                near.demand(&wanted, author()).await.unwrap();
                near.invalidate(&scope, author()).await.unwrap();
            })
            .await;
        let is_told = lease == Lease::OwnedAfter(vec![Demand::of("7")]);
        assert!(is_told || !place.stores(&key).await, "{behind}: {lease:?}");
        // The next load is told in any case.
        let next = place.far.lease(&key, 3, LONG, None).await.unwrap();
        let told = Lease::OwnedAfter(vec![Demand::of("7")]);
        assert_eq!(next, told, "behind {behind}");
    }
}

/// As one does that has lost its connection before the answer came.
async fn a_lease_that_a_client_asks_for_twice_is_the_load_s(client: RedisClient) {
    let place = Place::with(client).await;
    for _ in 0..2 {
        let lease = place.far.lease("tea", 1, LONG, None).await.unwrap();
        assert_eq!(lease, Lease::Owned);
        let other = place.near.lease("tea", 2, LONG, None).await.unwrap();
        assert_eq!(other, Lease::Busy);
    }
    assert!(place.stores("tea").await);
    assert!(!place.has_lease("tea"));
}

async fn a_value_that_has_come_does_not_wait_until_its_lease_is_given_back(client: RedisClient) {
    let budget = DEADLINE / 5;
    let mut place = Place::within(client, budget).await;
    place.near.claim("tea", 2, LONG, author()).await.unwrap();
    assert!(place.near.store("tea", 2, LATER, LONG).await.unwrap());
    place.way.stop_behind(COMMANDS, "{tea}");
    let far = Arc::clone(&place.far);
    let begun = Instant::now();
    let lease = tokio::spawn(async move { far.lease("tea", 1, LONG, None).await });
    // From here on nothing gets through.
    let _stopped = place.way.stopped().await;
    let lease = lease.await.unwrap().unwrap();
    assert_eq!(lease, Lease::Value(LATER));
    let took = begun.elapsed();
    assert!(took < budget / 2, "{took:?} of {budget:?}");
}

async fn freed(place: &Place, key: &str) {
    let first = place.near.lease(key, 2, LONG, None).await.unwrap();
    let mut lease = first;
    while lease == Lease::Busy {
        tokio::time::sleep(SHORT / 20).await;
        lease = place.near.lease_again(key, 2, LONG, None).await.unwrap();
    }
    assert_eq!(lease, Lease::Owned);
    assert!(place.near.store(key, 2, LATER, LONG).await.unwrap());
}

async fn a_lease_whose_caller_has_left_ends_by_itself(client: RedisClient) {
    let mut place = Place::with(client).await;
    for behind in 1..COMMANDS {
        let key = format!("key-{behind}");
        place.way.stop_behind(behind, &format!("{{{key}}}"));
        let (far, own) = (Arc::clone(&place.far), key.clone());
        let lease = tokio::spawn(async move { far.lease(&own, 1, SHORT, None).await });
        let stopped = place.way.stopped().await;
        lease.abort();
        assert!(lease.await.unwrap_err().is_cancelled());
        stopped.send(Then::GoesOn).unwrap();
        tokio::time::timeout(DEADLINE, freed(&place, &key))
            .await
            .unwrap();
        assert!(!place.stores(&key).await);
    }
}

async fn a_lease_whose_connection_was_cut_ends_by_itself(client: RedisClient) {
    let mut place = Place::with(client).await;
    place.way.stop_behind(1, "{tea}");
    let far = Arc::clone(&place.far);
    let lease = tokio::spawn(async move { far.lease("tea", 1, SHORT, None).await });
    place.way.stopped().await.send(Then::IsCut).unwrap();
    let lease = lease.await.unwrap();
    assert!(lease.is_err(), "nobody has said that it is ours: {lease:?}");
    tokio::time::timeout(DEADLINE, freed(&place, "tea"))
        .await
        .unwrap();
}
