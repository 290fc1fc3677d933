mod connection;
mod reason;
mod secured;
mod target;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use redis::{Cmd, ErrorKind, RedisError, ServerErrorKind, Value};

use self::connection::Connection;
use self::reason::translate;
use self::target::{Purpose, Target};
use super::address::Address;
use super::scripted::{Answer, Arg, Link, Scripted};
use super::{Keyspace, Remote, RemoteError};

/// Longest time for a read of the log, its wait in the server included.
const LOG_LIMIT: Duration = Duration::from_secs(2);

/// redis-rs, as far as the second level uses it.
#[derive(Debug)]
struct RedisRsLink {
    commands: Connection,
    /// Of its own, because `XREAD BLOCK` holds up everything behind it.
    log: Connection,
    clustered: bool,
}

/// A script and the hash by which a server knows it.
#[derive(Debug)]
struct Script {
    text: String,
    hash: String,
}

/// # Errors
///
/// When the server does not accept the credentials, or redis-rs does not accept the settings. A server that is not there is no error.
pub(crate) async fn connect(
    address: &Address,
    cache: &str,
    connect_timeout: Duration,
    budget: Duration,
) -> Result<Arc<dyn Remote>, RemoteError> {
    let names = Keyspace::new(cache);
    let purpose = |command_timeout, blocking| Purpose {
        connect_timeout,
        command_timeout,
        blocking,
    };
    let open = |purpose: Purpose| {
        let target = Target::new(address, purpose, names.meta())?;
        Ok::<_, RedisError>(Connection::open(target, purpose))
    };
    let (commands, log) = tokio::join!(
        open(purpose(budget, false)).map_err(|error| translate(&error))?,
        open(purpose(LOG_LIMIT, true)).map_err(|error| translate(&error))?
    );
    let commands = commands?;
    let link = RedisRsLink {
        clustered: commands.is_clustered(),
        commands,
        log: log?,
    };
    Ok(Arc::new(Scripted::new(
        cache,
        address.place(),
        link,
        budget,
    )))
}

impl RedisRsLink {
    async fn run(
        &self,
        script: &Script,
        keys: &[String],
        args: &[Arg],
    ) -> Result<Answer, RemoteError> {
        let known = self
            .commands
            .call(&evaluation("EVALSHA", &script.hash, keys, args))
            .await;
        let value = match known {
            Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript) => {
                self.commands
                    .call(&evaluation("EVAL", &script.text, keys, args))
                    .await
            }
            known => known,
        };
        value
            .map(answer)
            .map_err(|error| self.commands.explain(&error))
    }
}

impl Link for RedisRsLink {
    type Script = Script;

    fn script(text: String) -> Script {
        let hash = redis::Script::new(&text).get_hash().to_owned();
        Script { text, hash }
    }

    fn is_clustered(&self) -> bool {
        self.clustered
    }

    async fn get(&self, key: String) -> Result<Option<Bytes>, RemoteError> {
        let mut cmd = redis::cmd("GET");
        cmd.arg(key);
        match self.commands.call(&cmd).await {
            Ok(Value::BulkString(bytes)) => Ok(Some(bytes.into())),
            Ok(_) => Ok(None),
            Err(error) => Err(self.commands.explain(&error)),
        }
    }

    async fn get_many(&self, keys: Vec<String>) -> Result<Vec<Option<Bytes>>, RemoteError> {
        let mut cmd = redis::cmd("MGET");
        cmd.arg(keys);
        let bytes = |value| match value {
            Value::BulkString(bytes) => Some(bytes.into()),
            _ => None,
        };
        match self.commands.call(&cmd).await {
            Ok(Value::Array(values)) => Ok(values.into_iter().map(bytes).collect()),
            Ok(_) => Ok(Vec::new()),
            Err(error) => Err(self.commands.explain(&error)),
        }
    }

    async fn take(
        &self,
        lease: String,
        token: String,
        hold_millis: i64,
        then: [String; 2],
    ) -> Result<Vec<Answer>, RemoteError> {
        let mut commands = redis::pipe();
        let set = commands.cmd("SET").arg(lease).arg(token);
        set.arg("NX").arg("PX").arg(hold_millis);
        for key in &then {
            commands.cmd("GET").arg(key);
        }
        let answers = self.commands.call_in_turn(&commands, 1 + then.len()).await;
        let answers = answers.map_err(|error| self.commands.explain(&error))?;
        Ok(answers.into_iter().map(answer).collect())
    }

    async fn eval<const K: usize, const A: usize>(
        &self,
        script: &Script,
        what: impl Fn() -> ([String; K], [Arg; A]) + Send + Sync,
    ) -> Result<Answer, RemoteError> {
        let (keys, args) = what();
        self.run(script, &keys, &args).await
    }

    async fn eval_many(
        &self,
        script: &Script,
        what: impl Fn() -> (Vec<String>, Vec<Arg>) + Send + Sync,
    ) -> Result<Answer, RemoteError> {
        let (keys, args) = what();
        self.run(script, &keys, &args).await
    }

    async fn xread(
        &self,
        log: &str,
        after: String,
        block_millis: Option<u64>,
        most: u16,
    ) -> Result<Answer, RemoteError> {
        let mut cmd = redis::cmd("XREAD");
        cmd.arg("COUNT").arg(most);
        if let Some(millis) = block_millis {
            cmd.arg("BLOCK").arg(millis);
        }
        cmd.arg("STREAMS").arg(log).arg(after);
        let connection = if block_millis.is_some() {
            &self.log
        } else {
            &self.commands
        };
        let value = connection.call(&cmd).await;
        value
            .map(answer)
            .map_err(|error| connection.explain(&error))
    }

    async fn close(&self) {
        tokio::join!(self.commands.close(), self.log.close());
    }
}

fn evaluation(how: &str, script: &str, keys: &[String], args: &[Arg]) -> Cmd {
    let mut cmd = redis::cmd(how);
    cmd.arg(script).arg(keys.len()).arg(keys);
    for arg in args {
        match arg {
            Arg::Bytes(bytes) => cmd.arg(&**bytes),
            Arg::Text(text) => cmd.arg(text),
            Arg::Int(number) => cmd.arg(*number),
        };
    }
    cmd
}

fn answer(value: Value) -> Answer {
    match value {
        Value::Nil => Answer::Nothing,
        Value::Int(number) => Answer::Int(number),
        Value::Okay => Answer::Bytes(Bytes::from_static(b"OK")),
        Value::BulkString(bytes) => Answer::Bytes(bytes.into()),
        Value::SimpleString(text) => Answer::Bytes(text.into()),
        Value::Array(parts) => Answer::Array(parts.into_iter().map(answer).collect()),
        Value::Map(pairs) => {
            let flat = pairs.into_iter();
            let flat = flat.flat_map(|(key, value)| [answer(key), answer(value)]);
            Answer::Array(flat.collect())
        }
        _ => Answer::Other,
    }
}
