//! Changes of many keys: one script, and so one round trip, where all keys live on one server. On a cluster each has its own, and the
//! clients send those of a server together.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;

use super::reply::{self, hex};
use super::{Arg, Link, Scripted, millis, record};
use crate::remote::{Author, Each, Parcel, Position, Remote, RemoteError, Scope};

impl<L: Link> Scripted<L> {
    pub(super) async fn claim_each(
        &self,
        keys: &[(Arc<str>, u64)],
        hold: Duration,
        author: Author,
    ) -> Result<Each<Position>, RemoteError> {
        if self.link.is_clustered() {
            let claims = keys
                .iter()
                .map(|(key, token)| self.claim(key, *token, hold, author));
            return Ok(join_all(claims).await);
        }
        let what = || {
            let mut names = Vec::from(self.log_names());
            let mut args = vec![millis(hold)];
            args.extend(writer(author));
            for (key, token) in keys {
                names.extend(self.pair(key));
                names.push(self.names.writes(key));
                args.push(hex(*token));
                args.extend(of_key(key, author));
            }
            (names, args)
        };
        let answer = self.link.eval_many(&self.scripts.claim_many, what).await?;
        reply::each(&answer, keys.len(), reply::position)
    }

    pub(super) async fn remove_each(
        &self,
        keys: &[Arc<str>],
        author: Author,
    ) -> Result<Each<Position>, RemoteError> {
        if self.link.is_clustered() {
            let removals = keys.iter().map(|key| async move {
                let scope = Scope::Key(Arc::clone(key));
                self.invalidate(&scope, author).await
            });
            return Ok(join_all(removals).await);
        }
        let what = || {
            let mut names = Vec::from(self.log_names());
            let mut args = Vec::from(writer(author));
            for key in keys {
                names.extend(self.pair(key));
                names.push(self.names.writes(key));
                args.extend(of_key(key, author));
            }
            (names, args)
        };
        let answer = self.link.eval_many(&self.scripts.remove_many, what).await?;
        reply::each(&answer, keys.len(), reply::position)
    }

    pub(super) async fn store_each(&self, values: &[Parcel]) -> Result<Each<bool>, RemoteError> {
        if self.link.is_clustered() {
            let stores = values.iter().map(|value| {
                let envelope = value.envelope.clone();
                self.store(&value.key, value.token, envelope, value.keep)
            });
            return Ok(join_all(stores).await);
        }
        let what = || {
            let names = values.iter().flat_map(|value| self.pair(&value.key));
            let args = values.iter().flat_map(|value| {
                let envelope = Arg::Bytes(value.envelope.clone());
                [hex(value.token), envelope, millis(value.keep)]
            });
            (names.collect(), args.collect())
        };
        let answer = self.link.eval_many(&self.scripts.store_many, what).await?;
        reply::each(&answer, values.len(), |one| Ok(reply::yes(one)))
    }
}

/// What all records of one author have in common.
fn writer(author: Author) -> [Arg; 3] {
    let [node, known, seen, ..] = record("", author);
    [node, known, seen]
}

/// The stamp and the scope of one.
fn of_key(key: &str, author: Author) -> [Arg; 2] {
    let [.., stamp, scope] = record(&["k:", key].concat(), author);
    [stamp, scope]
}
