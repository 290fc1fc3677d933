mod connection;
mod reply;
mod scripts;

use std::time::Duration;

use bytes::Bytes;
use fred::prelude::{Config, Error, ErrorKind, KeysInterface, LuaInterface, StreamsInterface};
use fred::types::scripts::Script;
use fred::types::{MultipleKeys, Value};

use self::connection::{Connection, Purpose};
use self::reply::hex;
use self::scripts::Scripts;
use super::{
    Author, Keyspace, Lease, Position, Pulse, Record, Remote, RemoteError, Reply, Scope, Snapshot,
};

/// Records fetched at once.
const PAGE: u64 = 1_000;

/// The second level on Redis or Valkey, through fred.
#[derive(Debug)]
pub(crate) struct FredRemote {
    names: Keyspace,
    scripts: Scripts,
    commands: Connection,
    /// Of its own, because `XREAD BLOCK` holds up everything behind it.
    log: Connection,
    clustered: bool,
}

impl FredRemote {
    /// # Errors
    ///
    /// When the server does not accept the credentials. One that is not there is no error.
    pub(crate) async fn connect(
        config: Config,
        cache: &str,
        connect_timeout: Duration,
        budget: Duration,
    ) -> Result<Self, Error> {
        let commands = Purpose {
            connect_timeout,
            command_timeout: budget,
            blocking: false,
        };
        let log = Purpose {
            connect_timeout,
            command_timeout: Duration::from_secs(2),
            blocking: true,
        };
        let (commands, log) = tokio::join!(
            Connection::open(&config, commands),
            Connection::open(&config, log)
        );
        let commands = commands?;
        let clustered = commands.is_clustered();
        Ok(Self {
            names: Keyspace::new(cache),
            scripts: Scripts::new(),
            commands,
            log: log?,
            clustered,
        })
    }

    /// By hash, which is short; with the text where the server does not know it yet.
    async fn run(
        &self,
        script: &Script,
        keys: Vec<String>,
        args: Vec<Value>,
    ) -> Result<Value, RemoteError> {
        let client = self.commands.client();
        let keys = MultipleKeys::from(keys);
        match client
            .evalsha::<Value, _, _, _>(script.sha1().clone(), keys.clone(), args.clone())
            .await
        {
            Err(error) if error.details().starts_with("NOSCRIPT") => {
                let text = script.lua().cloned().unwrap_or_default();
                client
                    .eval::<Value, _, _, _>(text, keys, args)
                    .await
                    .map_err(translate)
            }
            answer => answer.map_err(translate),
        }
    }

    fn pair(&self, key: &str) -> Vec<String> {
        vec![self.names.value(key), self.names.lease(key)]
    }

    fn log_names(&self) -> Vec<String> {
        vec![self.names.meta().to_owned(), self.names.log().to_owned()]
    }

    fn all_names(&self, key: &str) -> Vec<String> {
        let mut names = self.pair(key);
        names.extend(self.log_names());
        names
    }

    async fn append(&self, scope: &str, author: Author) -> Result<Position, RemoteError> {
        let answer = self
            .run(
                &self.scripts.append,
                self.log_names(),
                record(scope, author),
            )
            .await?;
        reply::position(&answer)
    }
}

impl Remote for FredRemote {
    fn read<'a>(&'a self, key: &'a str) -> Reply<'a, Option<Bytes>> {
        Box::pin(async move {
            let value: Value = self
                .commands
                .client()
                .get(self.names.value(key))
                .await
                .map_err(translate)?;
            Ok(reply::bytes(&value))
        })
    }

    fn lease<'a>(
        &'a self,
        key: &'a str,
        token: u64,
        hold: Duration,
        over_value: bool,
    ) -> Reply<'a, Lease> {
        Box::pin(async move {
            let args = vec![
                hex(token).into(),
                millis(hold),
                i64::from(over_value).into(),
            ];
            reply::lease(&self.run(&self.scripts.lease, self.pair(key), args).await?)
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
            let args = vec![hex(token).into(), Value::Bytes(envelope), millis(keep)];
            Ok(reply::yes(
                &self.run(&self.scripts.store, self.pair(key), args).await?,
            ))
        })
    }

    fn renew<'a>(&'a self, key: &'a str, token: u64, hold: Duration) -> Reply<'a, bool> {
        Box::pin(async move {
            let args = vec![hex(token).into(), millis(hold)];
            Ok(reply::yes(
                &self
                    .run(&self.scripts.renew, vec![self.names.lease(key)], args)
                    .await?,
            ))
        })
    }

    fn release<'a>(&'a self, key: &'a str, token: u64) -> Reply<'a, ()> {
        Box::pin(async move {
            let args = vec![hex(token).into()];
            self.run(&self.scripts.release, vec![self.names.lease(key)], args)
                .await
                .map(|_| ())
        })
    }

    fn write<'a>(
        &'a self,
        key: &'a str,
        envelope: Bytes,
        keep: Duration,
        author: Author,
    ) -> Reply<'a, Position> {
        Box::pin(async move {
            let scope = ["k:", key].concat();
            let mut args = vec![Value::Bytes(envelope), millis(keep)];
            if self.clustered {
                self.run(&self.scripts.put, self.pair(key), args).await?;
                return self.append(&scope, author).await;
            }
            args.extend(record(&scope, author));
            reply::position(
                &self
                    .run(&self.scripts.write, self.all_names(key), args)
                    .await?,
            )
        })
    }

    fn invalidate<'a>(&'a self, scope: &'a Scope, author: Author) -> Reply<'a, Position> {
        Box::pin(async move {
            let text = scope.encode();
            let Scope::Key(key) = scope else {
                return self.append(&text, author).await;
            };
            if self.clustered {
                self.run(&self.scripts.unlink, self.pair(key), Vec::new())
                    .await?;
                return self.append(&text, author).await;
            }
            let args = record(&text, author);
            reply::position(
                &self
                    .run(&self.scripts.remove, self.all_names(key), args)
                    .await?,
            )
        })
    }

    fn snapshot(&self) -> Reply<'_, Snapshot> {
        Box::pin(async move {
            let args = vec![hex(fastrand::u64(1..)).into()];
            reply::snapshot(
                &self
                    .run(&self.scripts.snapshot, self.log_names(), args)
                    .await?,
            )
        })
    }

    fn pulse(&self, number: u64) -> Reply<'_, Pulse> {
        Box::pin(async move {
            let args = vec![format!("{number}-0").into()];
            reply::pulse(
                &self
                    .run(&self.scripts.pulse, self.log_names(), args)
                    .await?,
            )
        })
    }

    fn tail(&self, position: u64, wait: Duration) -> Reply<'_, Vec<Record>> {
        Box::pin(async move {
            let after = format!("{position}-0");
            // Zero would mean to wait for ever.
            let block = u64::try_from(wait.as_millis())
                .ok()
                .filter(|wait| *wait > 0);
            let client = if block.is_some() {
                self.log.client()
            } else {
                self.commands.client()
            };
            let answer = client
                .xread::<Value, _, _>(Some(PAGE), block, self.names.log(), after)
                .await;
            reply::records(&answer.map_err(translate)?)
        })
    }
}

fn record(scope: &str, author: Author) -> Vec<Value> {
    vec![
        hex(author.node).into(),
        hex(author.incarnation).into(),
        author.seen.to_string().into(),
        hex(fastrand::u64(1..)).into(),
        scope.into(),
    ]
}

fn millis(duration: Duration) -> Value {
    i64::try_from(duration.as_millis())
        .unwrap_or(i64::MAX)
        .max(1)
        .into()
}

#[allow(clippy::needless_pass_by_value)]
fn translate(error: Error) -> RemoteError {
    match error.kind() {
        ErrorKind::Timeout => RemoteError::Timeout,
        ErrorKind::Auth => RemoteError::Authentication,
        ErrorKind::IO
        | ErrorKind::Canceled
        | ErrorKind::Routing
        | ErrorKind::Cluster
        | ErrorKind::Sentinel => RemoteError::Unavailable(error.kind().to_str().to_owned()),
        // The server's own words; they name keys at most.
        _ => RemoteError::Refused(error.details().chars().take(200).collect()),
    }
}
