//! Every implementation of `Remote` under the same rules, and the rules under planted flaws.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bilten_cache::remote::{
    Author, Each, Lease, Page, Parcel, Position, Pruned, Pulse, Record, Remote, Reply, Scope,
    Snapshot, Wanted, conformance,
};
use bilten_cache::test_util::FaultyRemote;
use bilten_cache::{Redis, RedisClient};
use bilten_testbed::{Redis as Server, RedisSentinel};
use bytes::Bytes;

use crate::harness::unique;

/// Generous: the rules are about answers, not about speed.
const BUDGET: Duration = Duration::from_secs(5);

pub(crate) async fn conforms(redis: Redis) {
    let name = unique();
    let open = || redis.clone().into_remote(&name, BUDGET);
    let (one, two) = (open().await.unwrap(), open().await.unwrap());
    conformance::check(&*one, &*two).await.unwrap();
}

async fn each_client_conforms(url: &str) {
    for client in [RedisClient::Fred, RedisClient::RedisRs] {
        conforms(Redis::url(url).client(client)).await;
    }
}

#[tokio::test]
async fn the_store_in_memory_conforms() {
    let store = FaultyRemote::new();
    let other = store.another_node();
    conformance::check(&store, &other).await.unwrap();
}

#[tokio::test]
async fn each_client_conforms_on_one_server() {
    each_client_conforms(&bilten_testbed::shared::redis().unwrap()).await;
}

#[tokio::test]
async fn each_client_conforms_over_a_unix_socket_as_an_acl_user() {
    let server = Server::builder().unix_socket().start().unwrap();
    let rule = ["ACL", "SETUSER", "app", "on", ">p@ss:w/rd#1", "~*test-*"];
    let rights = ["+@all", "-@dangerous", "+info"];
    server.cli(&[&rule[..], &rights].concat()).unwrap();
    for client in [RedisClient::Fred, RedisClient::RedisRs] {
        let redis = Redis::url(server.unix_url().unwrap()).client(client);
        conforms(redis.username("app").password("p@ss:w/rd#1")).await;
    }
}

/// The commands that the table of the docs gives a user.
fn rights() -> Vec<String> {
    let docs = include_str!("../../../docs/cache-from-fred.md");
    let table = docs.split_once("| for | commands |").unwrap().1;
    let lines = table
        .lines()
        .skip(1)
        .take_while(|line| line.starts_with('|'));
    let names = lines.flat_map(|line| line.split('`').skip(1).step_by(2));
    let commands = names.filter(|name| name.chars().all(|c| c.is_ascii_uppercase()));
    commands
        .map(|name| format!("+{}", name.to_lowercase()))
        .collect()
}

#[tokio::test]
async fn a_user_with_the_rights_that_the_docs_name_and_no_others_conforms() {
    let server = Server::start().unwrap();
    let rule = [
        "ACL", "SETUSER", "app", "on", ">secret", "~test-*", "~{test-*", "-@all",
    ];
    let rights = rights();
    assert!(rights.len() > 20, "{rights:?}");
    let rights = rights.iter().map(String::as_str);
    let rule: Vec<&str> = rule.into_iter().chain(rights).collect();
    server.cli(&rule).unwrap();
    for client in [RedisClient::Fred, RedisClient::RedisRs] {
        let redis = Redis::url(server.url()).client(client);
        conforms(redis.username("app").password("secret")).await;
    }
}

#[tokio::test]
async fn each_client_conforms_behind_sentinels() {
    let sentinel = RedisSentinel::start().unwrap();
    each_client_conforms(&sentinel.url()).await;
}

#[tokio::test]
async fn each_planted_flaw_breaks_its_rule() {
    let mut checks = tokio::task::JoinSet::new();
    for (flaw, rule) in [
        (Flaw::StoresWithoutLease, "a lease runs out by itself"),
        (Flaw::RenewsForAnybody, "only its holder lengthens a lease"),
        (
            Flaw::ReleasesForAnybody,
            "only its holder gives a lease back",
        ),
        (
            Flaw::ClaimsWithoutRecord,
            "positions are dense over all nodes",
        ),
        (Flaw::ClaimsOnlyWhatIsFree, "a claim takes value and lease"),
        (
            Flaw::SkipsRecords,
            "the log tells who changed what, in order",
        ),
        (
            Flaw::ForgetsDemands,
            "a lease tells what a load must reflect",
        ),
        (
            Flaw::ComparesDemands,
            "a lease tells what a load must reflect",
        ),
        (
            Flaw::ForgetsWrites,
            "writes that overlap know of each other",
        ),
        (Flaw::NeverWaits, "a dropped tail disturbs nobody"),
        (
            Flaw::PagesOfTen,
            "a long log comes in the pages that are asked for",
        ),
        (
            Flaw::PagesOfAnySize,
            "a long log comes in the pages that are asked for",
        ),
        (
            Flaw::PrunesSilently,
            "markers that were forgotten leave one on everything",
        ),
        (
            Flaw::PrunesEarly,
            "no marker is forgotten before the longest life of an entry",
        ),
        (
            Flaw::LeasesOverAnyValue,
            "a lease over a value is over the one that was seen",
        ),
        (Flaw::LeasesAnewToAnybody, "a lease goes to one load"),
        (
            Flaw::ForgetsDemandsAnew,
            "a lease tells what a load must reflect",
        ),
        (Flaw::LosesKeys, "a walk that knows keys finds every one"),
        (Flaw::LosesHeads, "the head of a value is how it begins"),
        (Flaw::DiscardsAnything, "only what begins so is discarded"),
        (
            Flaw::ForgetsMarkers,
            "wide scopes leave markers, keys do not",
        ),
        (
            Flaw::ForgetsStamps,
            "the pulse tells position, time and stamp",
        ),
        (
            Flaw::IgnoresAuthors,
            "who has seen more begins a new incarnation",
        ),
        (Flaw::StoresAnyOfMany, "of many values each needs its claim"),
        (Flaw::RemovesOneOfMany, "many removals are as many records"),
    ] {
        checks.spawn(async move {
            let store = FaultyRemote::new();
            let pruned = Arc::default();
            let [one, two] = [store.another_node(), store].map(|store| Flawed {
                store,
                flaw,
                pruned: Arc::clone(&pruned),
            });
            let violation = conformance::check(&one, &two).await.unwrap_err();
            assert_eq!(violation.rule, rule, "{flaw:?}: {violation}");
        });
    }
    checks.join_all().await;
}

#[tokio::test(start_paused = true)]
async fn a_store_that_hangs_once_it_is_closed_breaks_a_rule() {
    let store = FaultyRemote::new();
    let flaw = Flaw::HangsWhenClosed;
    let [one, two] = [store.another_node(), store].map(|store| Flawed {
        store,
        flaw,
        pruned: Arc::default(),
    });
    let violation = conformance::check(&one, &two).await.unwrap_err();
    assert_eq!(violation.rule, "what is asked after a close ends");
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Flaw {
    StoresWithoutLease,
    RenewsForAnybody,
    ReleasesForAnybody,
    ClaimsWithoutRecord,
    ClaimsOnlyWhatIsFree,
    SkipsRecords,
    ForgetsDemands,
    ComparesDemands,
    ForgetsWrites,
    NeverWaits,
    PagesOfTen,
    PagesOfAnySize,
    PrunesSilently,
    PrunesEarly,
    LeasesOverAnyValue,
    LeasesAnewToAnybody,
    ForgetsDemandsAnew,
    LosesKeys,
    LosesHeads,
    DiscardsAnything,
    ForgetsMarkers,
    ForgetsStamps,
    IgnoresAuthors,
    StoresAnyOfMany,
    RemovesOneOfMany,
    HangsWhenClosed,
}

/// The store in memory with one thing wrong.
#[derive(Debug)]
struct Flawed {
    store: FaultyRemote,
    flaw: Flaw,
    /// Up to where markers were forgotten.
    pruned: Arc<AtomicU64>,
}

impl Flawed {
    fn author(&self, author: Author) -> Author {
        if self.flaw == Flaw::IgnoresAuthors {
            return Author::new(author.node, 0, 0);
        }
        author
    }
}

impl Remote for Flawed {
    fn read<'a>(&'a self, key: &'a str) -> Reply<'a, Option<Bytes>> {
        if self.pruned.load(Ordering::SeqCst) == u64::MAX {
            return Box::pin(std::future::pending());
        }
        self.store.read(key)
    }

    fn lease<'a>(
        &'a self,
        key: &'a str,
        token: u64,
        hold: Duration,
        over: Option<&'a [u8]>,
    ) -> Reply<'a, Lease> {
        Box::pin(async move {
            let any = self.flaw == Flaw::LeasesOverAnyValue;
            let over = over.map(|head| if any { &[] } else { head });
            let lease = self.store.lease(key, token, hold, over).await?;
            match lease {
                Lease::OwnedAfter(_) if self.flaw == Flaw::ForgetsDemands => Ok(Lease::Owned),
                lease => Ok(lease),
            }
        })
    }

    fn lease_again<'a>(
        &'a self,
        key: &'a str,
        token: u64,
        hold: Duration,
        over: Option<&'a [u8]>,
    ) -> Reply<'a, Lease> {
        Box::pin(async move {
            let lease = self.lease(key, token, hold, over).await?;
            Ok(match (lease, self.flaw) {
                (Lease::Busy, Flaw::LeasesAnewToAnybody)
                | (Lease::OwnedAfter(_), Flaw::ForgetsDemandsAnew) => Lease::Owned,
                (lease, _) => lease,
            })
        })
    }

    fn demand<'a>(&'a self, wanted: &'a Wanted, author: Author) -> Reply<'a, Option<Position>> {
        Box::pin(async move {
            let mut wanted = wanted.clone();
            if self.flaw == Flaw::ComparesDemands {
                // As if the author knew everything that others had demanded.
                wanted.known = u64::MAX;
            }
            self.store.demand(&wanted, author).await
        })
    }

    fn begin_write<'a>(&'a self, key: &'a str, token: u64, hold: Duration) -> Reply<'a, bool> {
        self.store.begin_write(key, token, hold)
    }

    fn end_write<'a>(&'a self, key: &'a str, token: u64) -> Reply<'a, bool> {
        Box::pin(async move {
            let alone = self.store.end_write(key, token).await?;
            Ok(alone || self.flaw == Flaw::ForgetsWrites)
        })
    }

    fn store<'a>(
        &'a self,
        key: &'a str,
        token: u64,
        envelope: Bytes,
        keep: Duration,
    ) -> Reply<'a, bool> {
        Box::pin(async move {
            if self.flaw == Flaw::StoresWithoutLease {
                self.store.put_bytes(key, envelope);
                return Ok(true);
            }
            self.store.store(key, token, envelope, keep).await
        })
    }

    fn renew<'a>(&'a self, key: &'a str, token: u64, hold: Duration) -> Reply<'a, bool> {
        if self.flaw == Flaw::RenewsForAnybody {
            return Box::pin(async { Ok(true) });
        }
        self.store.renew(key, token, hold)
    }

    fn release<'a>(&'a self, key: &'a str, token: u64) -> Reply<'a, ()> {
        let anybody = self.flaw == Flaw::ReleasesForAnybody;
        self.store.release(key, if anybody { 1 } else { token })
    }

    fn claim<'a>(
        &'a self,
        key: &'a str,
        token: u64,
        hold: Duration,
        author: Author,
    ) -> Reply<'a, Position> {
        let author = self.author(author);
        match self.flaw {
            Flaw::ClaimsWithoutRecord => Box::pin(async move {
                let at = self.store.claim(key, token, hold, author).await?;
                self.store.step_back(1);
                Ok(at)
            }),
            Flaw::ClaimsOnlyWhatIsFree => Box::pin(async move {
                let scope = Scope::Key(key.into());
                let over = Some(&[][..]);
                let busy = self.store.lease(key, 0, hold, over).await? == Lease::Busy;
                let at = self.store.invalidate(&scope, author).await?;
                let holder = if busy { 1 } else { token };
                self.store.lease(key, holder, hold, over).await?;
                Ok(at)
            }),
            _ => self.store.claim(key, token, hold, author),
        }
    }

    fn invalidate<'a>(&'a self, scope: &'a Scope, author: Author) -> Reply<'a, Position> {
        self.store.invalidate(scope, self.author(author))
    }

    fn store_many<'a>(&'a self, values: &'a [Parcel]) -> Reply<'a, Each<bool>> {
        Box::pin(async move {
            let mut stored = self.store.store_many(values).await?;
            if self.flaw == Flaw::StoresAnyOfMany {
                stored.fill(Ok(true));
            }
            Ok(stored)
        })
    }

    fn remove_many<'a>(
        &'a self,
        keys: &'a [Arc<str>],
        author: Author,
    ) -> Reply<'a, Each<Position>> {
        let one = self.flaw == Flaw::RemovesOneOfMany;
        let author = self.author(author);
        Box::pin(async move {
            let some = if one { &keys[..1] } else { keys };
            let removed = self.store.remove_many(some, author).await?;
            Ok(removed.into_iter().cycle().take(keys.len()).collect())
        })
    }

    fn snapshot(&self) -> Reply<'_, Snapshot> {
        Box::pin(async move {
            let mut snapshot = self.store.snapshot().await?;
            if self.flaw == Flaw::ForgetsMarkers {
                snapshot.markers.clear();
            }
            let until = self.pruned.load(Ordering::SeqCst);
            let markers = snapshot.markers.len();
            snapshot.markers.retain(|(_, at)| *at > until);
            if self.flaw != Flaw::PrunesSilently && snapshot.markers.len() < markers {
                snapshot.markers.push((Scope::All, until));
            }
            Ok(snapshot)
        })
    }

    fn pulse(&self, number: u64) -> Reply<'_, Pulse> {
        Box::pin(async move {
            let pulse = self.store.pulse(number).await?;
            let forgets = self.flaw == Flaw::ForgetsStamps;
            Ok(if forgets { pulse.stamped(None) } else { pulse })
        })
    }

    fn tail(&self, position: u64, wait: Duration, most: u16) -> Reply<'_, Vec<Record>> {
        Box::pin(async move {
            let never = self.flaw == Flaw::NeverWaits;
            let wait = if never && wait < Duration::from_millis(500) {
                Duration::ZERO
            } else {
                wait
            };
            let most = match self.flaw {
                Flaw::PagesOfAnySize => 1_000,
                _ => most,
            };
            let mut records = self.store.tail(position, wait, most).await?;
            if self.flaw == Flaw::SkipsRecords && records.len() > 2 {
                records.remove(1);
            }
            if self.flaw == Flaw::PagesOfTen {
                records.truncate(10);
            }
            Ok(records)
        })
    }

    fn prune(&self, position: u64, life: Duration, _: u64) -> Reply<'_, Pruned> {
        if matches!(self.flaw, Flaw::PrunesSilently | Flaw::PrunesEarly) {
            self.pruned.fetch_max(position, Ordering::SeqCst);
        }
        Box::pin(async move { Ok(Pruned::new(0, life)) })
    }

    fn scan<'a>(&'a self, after: &'a str) -> Reply<'a, Page> {
        Box::pin(async move {
            let mut page = self.store.scan(after).await?;
            if self.flaw == Flaw::LosesKeys {
                page.keys.retain(|key| key != "walked:c");
            }
            Ok(page)
        })
    }

    fn head<'a>(&'a self, key: &'a str, bytes: usize) -> Reply<'a, Bytes> {
        Box::pin(async move {
            let head = self.store.head(key, bytes).await?;
            let loses = self.flaw == Flaw::LosesHeads;
            Ok(if loses {
                head.slice(head.len() / 2..)
            } else {
                head
            })
        })
    }

    fn discard<'a>(&'a self, key: &'a str, head: Bytes) -> Reply<'a, bool> {
        let any = self.flaw == Flaw::DiscardsAnything;
        self.store
            .discard(key, if any { Bytes::new() } else { head })
    }

    fn close(&self) -> Reply<'_, ()> {
        if self.flaw == Flaw::HangsWhenClosed {
            self.pruned.store(u64::MAX, Ordering::SeqCst);
        }
        Box::pin(async { Ok(()) })
    }
}

#[test]
fn a_remote_can_be_used_as_an_object() {
    let remote: Arc<dyn Remote> = Arc::new(FaultyRemote::new());
    assert!(format!("{remote:?}").contains("FaultyRemote"));
}
