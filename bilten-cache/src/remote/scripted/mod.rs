//! The second level by Lua scripts: what every client of Redis and Valkey has in common. A client adds a [`Link`],
//! which sends commands and says what came back.

mod many;
mod paging;
mod reply;
mod scripts;
mod taking;
mod walk;

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

pub(super) use self::reply::Answer;
use self::reply::hex;
use self::scripts::Scripts;
use self::walk::Place;
use super::{
    Author, Each, Keyspace, Lease, Page, Parcel, Portion, Position, Pruned, Pulse, Record, Remote,
    RemoteError, Reply, Scope, Snapshot, Wanted,
};

/// The longest time that a server keeps anything: what runs out beyond its calendar is refused.
const LONGEST: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);

/// Markers that one answer of the server brings, about and at most: more would take longer than a call may.
const MARKERS: u16 = 2_000;

/// Keys that one step of a walk looks for, about.
const STEP: i64 = 200;

/// An argument of a script.
#[derive(Debug, Clone)]
pub(super) enum Arg {
    Bytes(Bytes),
    Text(String),
    Int(i64),
}

/// What a client must be able to do. Each call gives up by itself within the client's time limit, but for [`get`](Self::get),
/// [`get_many`](Self::get_many) and [`take`](Self::take), which may leave that to the caller.
pub(super) trait Link: fmt::Debug + Send + Sync + 'static {
    /// A script with its hash.
    type Script: fmt::Debug + Send + Sync;

    fn script(text: String) -> Self::Script;

    /// Whether keys live on several servers, so that a script must keep to one slot.
    fn is_clustered(&self) -> bool;

    fn get(&self, key: String) -> impl Future<Output = Result<Option<Bytes>, RemoteError>> + Send;

    /// `MGET` of keys that live on one server.
    fn get_many(
        &self,
        keys: Vec<String>,
    ) -> impl Future<Output = Result<Vec<Option<Bytes>>, RemoteError>> + Send;

    /// `SET NX PX` of a lease with this token and time, then `GET` of each of two other keys: sent at once on one connection, so that the server takes them
    /// in this order. What it refused is [`Answer::Other`]. Only where keys live on one server.
    fn take(
        &self,
        lease: String,
        token: String,
        hold_millis: i64,
        then: [String; 2],
    ) -> impl Future<Output = Result<Vec<Answer>, RemoteError>> + Send;

    /// Runs a script by its hash, which is short; with its text where the server does not know it yet, for which `what` makes keys and
    /// arguments a second time.
    fn eval<const K: usize, const A: usize>(
        &self,
        script: &Self::Script,
        what: impl Fn() -> ([String; K], [Arg; A]) + Send + Sync,
    ) -> impl Future<Output = Result<Answer, RemoteError>> + Send;

    /// The same with as many keys and arguments as there are.
    fn eval_many(
        &self,
        script: &Self::Script,
        what: impl Fn() -> (Vec<String>, Vec<Arg>) + Send + Sync,
    ) -> impl Future<Output = Result<Answer, RemoteError>> + Send;

    /// `XREAD COUNT` of one stream, on a connection of its own if it blocks: that holds up everything behind it.
    fn xread(
        &self,
        log: &str,
        after: String,
        block_millis: Option<u64>,
        most: u16,
    ) -> impl Future<Output = Result<Answer, RemoteError>> + Send;

    /// Ends connections and tasks.
    fn close(&self) -> impl Future<Output = ()> + Send;
}

/// The second level on Redis or Valkey through a client.
#[derive(Debug)]
pub(super) struct Scripted<L: Link> {
    names: Keyspace,
    place: String,
    scripts: Scripts<L::Script>,
    link: L,
    /// What the link gives a call.
    limit: Duration,
    markers: Portion,
}

impl<L: Link> Scripted<L> {
    /// `limit` is the time that the link gives a call.
    pub(super) fn new(cache: &str, place: String, link: L, limit: Duration) -> Self {
        Self {
            names: Keyspace::new(cache),
            place,
            scripts: Scripts::new(L::script),
            link,
            limit,
            markers: Portion::of(MARKERS),
        }
    }

    fn pair(&self, key: &str) -> [String; 2] {
        [self.names.value(key), self.names.lease(key)]
    }

    fn log_names(&self) -> [String; 2] {
        [self.names.meta().to_owned(), self.names.log().to_owned()]
    }

    /// What stands in the slot of a key and goes with a change of it.
    fn own_names(&self, key: &str) -> [String; 3] {
        let [value, lease] = self.pair(key);
        [value, lease, self.names.writes(key)]
    }

    fn all_names(&self, key: &str) -> [String; 5] {
        let ([value, lease, writes], [meta, log]) = (self.own_names(key), self.log_names());
        [value, lease, meta, log, writes]
    }

    /// One step of a walk on the server that a key of the place leads to.
    async fn step(&self, place: &Place) -> Result<Page, RemoteError> {
        let clustered = self.link.is_clustered();
        let way = match clustered {
            true => walk::key_of(place.slot),
            false => self.names.meta().to_owned(),
        };
        let scan = || {
            let pattern = Arg::Text(self.names.value("*"));
            let args = [Arg::Text(place.cursor.clone()), pattern, Arg::Int(STEP)];
            ([way.clone()], args)
        };
        let answer = self.link.eval(&self.scripts.scan, scan);
        let (cursor, names) = reply::scan(&answer.await?)?;
        let keys = names
            .iter()
            .filter_map(|name| self.names.key_of_value(name));
        let keys = keys.map(str::to_owned).collect();
        if cursor != "0" {
            let next = Place::at(place.slot, &cursor);
            return Ok(Page::new(keys, Some(next.encode())));
        }
        if !clustered {
            return Ok(Page::new(keys, None));
        }
        let slots = self.link.eval(&self.scripts.slots, || ([way.clone()], []));
        let mut servers = walk::first_slots(&slots.await?).into_iter();
        let next = servers.find(|first| *first > place.slot);
        let next = next.map(|slot| Place::at(slot, "0").encode());
        Ok(Page::new(keys, next))
    }

    async fn append(&self, scope: &str, author: Author) -> Result<Position, RemoteError> {
        let what = || (self.log_names(), record(scope, author));
        let answer = self.link.eval(&self.scripts.append, what).await?;
        reply::position(&answer)
    }
}

impl<L: Link> Remote for Scripted<L> {
    fn address(&self) -> &str {
        &self.place
    }

    fn reads_together(&self) -> bool {
        !self.link.is_clustered()
    }

    fn read<'a>(&'a self, key: &'a str) -> Reply<'a, Option<Bytes>> {
        Box::pin(self.link.get(self.names.value(key)))
    }

    fn read_many<'a>(&'a self, keys: &'a [Arc<str>]) -> Reply<'a, Vec<Option<Bytes>>> {
        if self.link.is_clustered() {
            // The clients make one pipeline for each server of what is asked at the same time.
            let reads = keys.iter().map(|key| self.read(key));
            let reads = futures_util::future::join_all(reads);
            return Box::pin(async move { answers(reads.await) });
        }
        let names = keys.iter().map(|key| self.names.value(key)).collect();
        Box::pin(self.link.get_many(names))
    }

    fn lease<'a>(
        &'a self,
        key: &'a str,
        token: u64,
        hold: Duration,
        over: Option<&'a [u8]>,
    ) -> Reply<'a, Lease> {
        Box::pin(self.take(key, token, hold, over))
    }

    fn lease_again<'a>(
        &'a self,
        key: &'a str,
        token: u64,
        hold: Duration,
        over: Option<&'a [u8]>,
    ) -> Reply<'a, Lease> {
        Box::pin(self.take_by_script(key, token, hold, over))
    }

    fn store<'a>(
        &'a self,
        key: &'a str,
        token: u64,
        envelope: Bytes,
        keep: Duration,
    ) -> Reply<'a, bool> {
        Box::pin(async move {
            let what = || {
                let envelope = Arg::Bytes(envelope.clone());
                (self.pair(key), [hex(token), envelope, millis(keep)])
            };
            let answer = self.link.eval(&self.scripts.store, what).await?;
            Ok(reply::yes(&answer))
        })
    }

    fn renew<'a>(&'a self, key: &'a str, token: u64, hold: Duration) -> Reply<'a, bool> {
        Box::pin(async move {
            let what = || ([self.names.lease(key)], [hex(token), millis(hold)]);
            let answer = self.link.eval(&self.scripts.renew, what).await?;
            Ok(reply::yes(&answer))
        })
    }

    fn release<'a>(&'a self, key: &'a str, token: u64) -> Reply<'a, ()> {
        Box::pin(async move {
            let what = || ([self.names.lease(key)], [hex(token)]);
            self.link.eval(&self.scripts.release, what).await?;
            Ok(())
        })
    }

    fn claim<'a>(
        &'a self,
        key: &'a str,
        token: u64,
        hold: Duration,
        author: Author,
    ) -> Reply<'a, Position> {
        Box::pin(async move {
            let scope = ["k:", key].concat();
            if self.link.is_clustered() {
                let what = || (self.own_names(key), [hex(token), millis(hold)]);
                self.link.eval(&self.scripts.seize, what).await?;
                return self.append(&scope, author).await;
            }
            let what = || {
                let [a, b, c, d, e] = record(&scope, author);
                let args = [hex(token), millis(hold), a, b, c, d, e];
                (self.all_names(key), args)
            };
            let answer = self.link.eval(&self.scripts.claim, what).await?;
            reply::position(&answer)
        })
    }

    fn takes_many(&self) -> bool {
        !self.link.is_clustered()
    }

    fn claim_many<'a>(
        &'a self,
        keys: &'a [(Arc<str>, u64)],
        hold: Duration,
        author: Author,
    ) -> Reply<'a, Each<Position>> {
        Box::pin(self.claim_each(keys, hold, author))
    }

    fn store_many<'a>(&'a self, values: &'a [Parcel]) -> Reply<'a, Each<bool>> {
        Box::pin(self.store_each(values))
    }

    fn begin_write<'a>(&'a self, key: &'a str, token: u64, hold: Duration) -> Reply<'a, bool> {
        Box::pin(async move {
            let what = || ([self.names.writes(key)], [hex(token), millis(hold)]);
            let answer = self.link.eval(&self.scripts.begin_write, what).await?;
            Ok(reply::yes(&answer))
        })
    }

    fn end_write<'a>(&'a self, key: &'a str, token: u64) -> Reply<'a, bool> {
        Box::pin(async move {
            let what = || ([self.names.writes(key)], [hex(token)]);
            let answer = self.link.eval(&self.scripts.end_write, what).await?;
            Ok(reply::yes(&answer))
        })
    }

    fn invalidate<'a>(&'a self, scope: &'a Scope, author: Author) -> Reply<'a, Position> {
        Box::pin(async move {
            let text = scope.encode();
            let Some(key) = scope.key() else {
                return self.append(&text, author).await;
            };
            let (here, whole) = match scope {
                Scope::Expired(_) => (&self.scripts.mark_expired, &self.scripts.expire),
                _ => (&self.scripts.unlink, &self.scripts.remove),
            };
            if self.link.is_clustered() {
                let what = || (self.own_names(key), []);
                self.link.eval(here, what).await?;
                return self.append(&text, author).await;
            }
            let what = || (self.all_names(key), record(&text, author));
            let answer = self.link.eval(whole, what).await?;
            reply::position(&answer)
        })
    }

    fn remove_many<'a>(
        &'a self,
        keys: &'a [Arc<str>],
        author: Author,
    ) -> Reply<'a, Each<Position>> {
        Box::pin(self.remove_each(keys, author))
    }

    fn demand<'a>(&'a self, wanted: &'a Wanted, author: Author) -> Reply<'a, Option<Position>> {
        Box::pin(async move {
            let keep = || millis(wanted.keep.min(LONGEST));
            let known = || Arg::Text(wanted.known.to_string());
            let what = || {
                let [meta, log] = self.log_names();
                let [a, b, c, d, e] = record(&wanted.encode(), author);
                let everywhere = Arg::Text(wanted.everywhere.encode());
                let names = [meta, log, self.names.demands().to_owned()];
                (names, [a, b, c, d, e, known(), everywhere, keep()])
            };
            let answer = self.link.eval(&self.scripts.demand, what).await?;
            let position = reply::position(&answer)?;
            if let Some(key) = wanted.scope.key() {
                let what = || {
                    let number = Arg::Text(position.number.to_string());
                    let here = Arg::Text(wanted.here.encode());
                    let args = [number, known(), here, keep()];
                    ([self.names.demand(key)], args)
                };
                self.link.eval(&self.scripts.keep_demand, what).await?;
            }
            Ok(Some(position))
        })
    }

    fn snapshot(&self) -> Reply<'_, Snapshot> {
        Box::pin(self.take_snapshot())
    }

    fn pulse(&self, number: u64) -> Reply<'_, Pulse> {
        Box::pin(async move {
            let what = || (self.log_names(), [Arg::Text(format!("{number}-0"))]);
            let answer = self.link.eval(&self.scripts.pulse, what).await?;
            reply::pulse(&answer)
        })
    }

    fn tail(&self, position: u64, wait: Duration, most: u16) -> Reply<'_, Vec<Record>> {
        Box::pin(async move {
            // Behind whatever other programs put between our record of this number and the next.
            let after = format!("{position}-{}", u64::MAX);
            // Zero would mean to wait for ever.
            let block = u64::try_from(wait.as_millis())
                .ok()
                .filter(|wait| *wait > 0);
            let answer = self.link.xread(self.names.log(), after, block, most);
            reply::records(&answer.await?)
        })
    }

    fn prune(&self, position: u64, life: Duration, cursor: u64) -> Reply<'_, Pruned> {
        Box::pin(async move {
            let number = |n: u64| Arg::Text(n.to_string());
            let what = || {
                let args = [number(position), millis(life), number(cursor)];
                ([self.names.meta().to_owned()], args)
            };
            let answer = self.link.eval(&self.scripts.prune, what).await?;
            reply::pruned(&answer)
        })
    }

    fn scan<'a>(&'a self, after: &'a str) -> Reply<'a, Page> {
        Box::pin(async move { self.step(&Place::decode(after)).await })
    }

    fn head<'a>(&'a self, key: &'a str, bytes: usize) -> Reply<'a, Bytes> {
        Box::pin(async move {
            let last = i64::try_from(bytes).unwrap_or(i64::MAX) - 1;
            let what = || ([self.names.value(key)], [Arg::Int(last)]);
            let answer = self.link.eval(&self.scripts.head, what).await?;
            Ok(reply::bytes(&answer).unwrap_or_default())
        })
    }

    fn discard<'a>(&'a self, key: &'a str, head: Bytes) -> Reply<'a, bool> {
        Box::pin(async move {
            let what = || ([self.names.value(key)], [Arg::Bytes(head.clone())]);
            let answer = self.link.eval(&self.scripts.discard, what).await?;
            Ok(reply::yes(&answer))
        })
    }

    fn close(&self) -> Reply<'_, ()> {
        Box::pin(async move {
            self.link.close().await;
            Ok(())
        })
    }
}

/// What a server did not answer is not found, unless none did: one that is lost takes only its own keys with it.
fn answers(
    answers: Vec<Result<Option<Bytes>, RemoteError>>,
) -> Result<Vec<Option<Bytes>>, RemoteError> {
    let mut problem = None;
    let mut none = !answers.is_empty();
    let mut found = Vec::with_capacity(answers.len());
    for answer in answers {
        none &= answer.is_err();
        found.push(answer.unwrap_or_else(|error| {
            problem.get_or_insert(error);
            None
        }));
    }
    match problem.filter(|_| none) {
        Some(error) => Err(error),
        None => Ok(found),
    }
}

fn record(scope: &str, author: Author) -> [Arg; 5] {
    [
        hex(author.node),
        hex(author.incarnation),
        Arg::Text(author.seen.to_string()),
        hex(fastrand::u64(1..)),
        Arg::Text(scope.to_owned()),
    ]
}

fn millis(duration: Duration) -> Arg {
    Arg::Int(whole_millis(duration))
}

fn whole_millis(duration: Duration) -> i64 {
    let millis = i64::try_from(duration.as_millis());
    millis.unwrap_or(i64::MAX).max(1)
}
