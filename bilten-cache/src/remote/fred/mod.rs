mod connection;
mod reason;
mod running;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fred::prelude::{
    Config, Expiration, KeysInterface, LuaInterface, ServerConfig, SetOptions, StreamsInterface,
};
use fred::types::config::Server;
#[cfg(feature = "fred-tls")]
use fred::types::config::TlsConnector;
use fred::types::scripts::Script;
use fred::types::{Key, MultipleKeys, Value};
use futures_util::future::join3;

use self::connection::Connection;
use self::reason::is_answer;
use self::running::Purpose;
use super::address::{Address, Servers};
use super::scripted::{Answer, Arg, Link, Scripted};
use super::{Remote, RemoteError};

/// Longest time for a read of the log, its wait in the server included.
const LOG_LIMIT: Duration = Duration::from_secs(2);

/// fred, as far as the second level uses it.
#[derive(Debug)]
struct FredLink {
    commands: Connection,
    /// Of its own, because `XREAD BLOCK` holds up everything behind it.
    log: Connection,
    clustered: bool,
}

/// # Errors
///
/// When the server does not accept the credentials, or fred does not accept the settings. A server that is not there is no error.
pub(crate) async fn connect(
    address: &Address,
    cache: &str,
    connect_timeout: Duration,
    budget: Duration,
) -> Result<Arc<dyn Remote>, RemoteError> {
    let config = config(address)?;
    let purpose = |command_timeout, blocking| Purpose {
        connect_timeout,
        command_timeout,
        blocking,
    };
    let (commands, log) = tokio::join!(
        Connection::open(&config, purpose(budget, false)),
        Connection::open(&config, purpose(LOG_LIMIT, true))
    );
    let commands = commands?;
    let link = FredLink {
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

fn config(address: &Address) -> Result<Config, RemoteError> {
    let server = match &address.servers {
        Servers::One((host, port)) => ServerConfig::new_centralized(host, *port),
        Servers::Unix(path) => ServerConfig::Unix { path: path.clone() },
        Servers::Cluster(hosts) => ServerConfig::new_clustered(hosts.clone()),
        Servers::Sentinel {
            hosts,
            service,
            login,
        } => ServerConfig::Sentinel {
            hosts: hosts
                .iter()
                .map(|(host, port)| Server::new(host, *port))
                .collect(),
            service_name: service.clone(),
            username: login.username.clone(),
            password: login.password.clone(),
        },
    };
    #[cfg(feature = "fred-tls")]
    let tls = address.tls.as_ref().map(|tls| tls.client_config());
    Ok(Config {
        server,
        username: address.username.clone(),
        password: address.password.clone(),
        database: address.database,
        // The server may be away when we start: keep trying.
        fail_fast: false,
        #[cfg(feature = "fred-tls")]
        tls: tls
            .transpose()
            .map_err(|error| RemoteError::Tls(error.to_string()))?
            .map(|config| TlsConnector::from(config).into()),
        ..Config::default()
    })
}

impl FredLink {
    async fn run(
        &self,
        script: &Script,
        what: impl Fn() -> (MultipleKeys, Vec<Value>),
    ) -> Result<Answer, RemoteError> {
        let client = self.commands.client()?;
        let (keys, args) = what();
        let known = client
            .evalsha::<Value, _, _, _>(script.sha1().clone(), keys, args)
            .await;
        let value = match known {
            Err(error) if error.details().starts_with("NOSCRIPT") => {
                let text = script.lua().cloned().unwrap_or_default();
                let (keys, args) = what();
                client.eval(text, keys, args).await
            }
            known => known,
        };
        value
            .map(answer)
            .map_err(|error| self.commands.explain(&error))
    }
}

impl Link for FredLink {
    type Script = Script;

    fn script(text: String) -> Script {
        Script::from_lua(text)
    }

    fn is_clustered(&self) -> bool {
        self.clustered
    }

    async fn get(&self, key: String) -> Result<Option<Bytes>, RemoteError> {
        let value = self.commands.reader()?.get(key).await;
        value.map_err(|error| self.commands.explain(&error))
    }

    async fn get_many(&self, keys: Vec<String>) -> Result<Vec<Option<Bytes>>, RemoteError> {
        let values = self.commands.reader()?.mget(keys).await;
        values.map_err(|error| self.commands.explain(&error))
    }

    async fn take(
        &self,
        lease: String,
        token: String,
        hold_millis: i64,
        then: [String; 2],
    ) -> Result<Vec<Answer>, RemoteError> {
        let client = self.commands.reader()?;
        let (limit, only_new) = (Some(Expiration::PX(hold_millis)), Some(SetOptions::NX));
        // Boxed one by one: together they are twenty kilobytes.
        let set = Box::pin(client.set::<Value, _, _>(lease, token, limit, only_new, false));
        let [first, second] = then.map(|key| Box::pin(client.get::<Value, _>(key)));
        // Each is put into fred's line when it is polled first, and they are polled in this order. A pipeline of fred would be three
        // packets: what is in the line at the same time is one.
        let told = join3(set, first, second).await;
        let answers = <[_; 3]>::from(told).into_iter().map(|answer| match answer {
            Err(error) if is_answer(&error) => Ok(Answer::Other),
            answer => answer
                .map(self::answer)
                .map_err(|error| self.commands.explain(&error)),
        });
        answers.collect()
    }

    async fn eval<const K: usize, const A: usize>(
        &self,
        script: &Script,
        what: impl Fn() -> ([String; K], [Arg; A]) + Send + Sync,
    ) -> Result<Answer, RemoteError> {
        self.run(script, || parameters(what())).await
    }

    async fn eval_many(
        &self,
        script: &Script,
        what: impl Fn() -> (Vec<String>, Vec<Arg>) + Send + Sync,
    ) -> Result<Answer, RemoteError> {
        self.run(script, || parameters(what())).await
    }

    async fn xread(
        &self,
        log: &str,
        after: String,
        block_millis: Option<u64>,
        most: u16,
    ) -> Result<Answer, RemoteError> {
        let connection = if block_millis.is_some() {
            &self.log
        } else {
            &self.commands
        };
        connection.asked();
        let value = connection
            .client()?
            .xread::<Value, _, _>(Some(u64::from(most)), block_millis, log, after)
            .await;
        connection.ended(value.as_ref().err());
        value
            .map(answer)
            .map_err(|error| connection.explain(&error))
    }

    async fn close(&self) {
        tokio::join!(self.commands.close(), self.log.close());
    }
}

fn parameters(
    (keys, args): (
        impl IntoIterator<Item = String>,
        impl IntoIterator<Item = Arg>,
    ),
) -> (MultipleKeys, Vec<Value>) {
    let keys: Vec<Key> = keys.into_iter().map(Key::from).collect();
    (keys.into(), args.into_iter().map(value).collect())
}

fn value(arg: Arg) -> Value {
    match arg {
        Arg::Bytes(bytes) => Value::Bytes(bytes),
        Arg::Text(text) => Value::from(text),
        Arg::Int(number) => Value::Integer(number),
    }
}

fn answer(value: Value) -> Answer {
    match value {
        Value::Null => Answer::Nothing,
        Value::Integer(number) => Answer::Int(number),
        Value::Bytes(bytes) => Answer::Bytes(bytes),
        Value::String(text) => Answer::Bytes(text.into_inner()),
        Value::Array(parts) => Answer::Array(parts.into_iter().map(answer).collect()),
        Value::Map(map) => {
            let pairs = map.inner().into_iter();
            let flat = pairs.flat_map(|(key, value)| [answer(key.into()), answer(value)]);
            Answer::Array(flat.collect())
        }
        _ => Answer::Other,
    }
}
