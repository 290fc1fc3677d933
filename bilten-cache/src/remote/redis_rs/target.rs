use std::time::Duration;
use std::{fmt, io};

use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::cluster::ClusterClient;
use redis::cluster_async::ClusterConnection;
use redis::sentinel::{SentinelClientBuilder, SentinelServerType};
use redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionAddr, ErrorKind, Pipeline, RedisConnectionInfo,
    RedisError, RedisResult, Value, io::tcp::TcpSettings,
};

use super::reason::{is_authentication, needs_no_password};
use super::secured::Secured;
use crate::remote::address::{Address, Host, Login, Servers};

/// How often a command is sent again in a cluster: to follow a moved slot, or past a connection that just broke.
const CLUSTER_RETRIES: u32 = 3;

/// What a connection is for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Purpose {
    pub(super) connect_timeout: Duration,
    pub(super) command_timeout: Duration,
    /// Whether commands block in the server, so that a heartbeat behind one proves nothing: the answers to the commands have to.
    pub(super) blocking: bool,
}

/// One way to the servers that works until it breaks.
#[derive(Clone)]
pub(super) enum Line {
    One(MultiplexedConnection),
    Cluster(ClusterConnection),
}

impl Line {
    pub(super) async fn run(&mut self, cmd: &Cmd) -> RedisResult<Value> {
        let answer = match self {
            Self::One(line) => line.req_packed_command(cmd).await,
            Self::Cluster(line) => line.req_packed_command(cmd).await,
        };
        // A refusal is a value to redis-rs until somebody asks.
        answer?.extract_error()
    }

    /// Sends commands at once, to be answered one by one, also with a refusal. On a cluster nobody says in which order they are done.
    pub(super) async fn run_in_turn(
        &mut self,
        commands: &Pipeline,
        count: usize,
    ) -> RedisResult<Vec<Value>> {
        match self {
            Self::One(line) => line.req_packed_commands(commands, 0, count).await,
            Self::Cluster(_) => Err(io::Error::from(io::ErrorKind::Unsupported).into()),
        }
    }
}

/// Where lines lead, and how to lay a new one.
pub(super) struct Target {
    servers: Lines,
    secured: Secured,
    tls: bool,
    login: Option<Cmd>,
    database: Option<Cmd>,
    config: AsyncConnectionConfig,
    connect_timeout: Duration,
    /// Asks whether the server is there that matters: on a cluster the one that has the log.
    pub(super) probe: Cmd,
}

enum Lines {
    One(Client),
    Cluster(Box<ClusterClient>),
    Sentinel {
        hosts: Vec<Host>,
        service: String,
        settings: RedisConnectionInfo,
        login: Login,
    },
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Target").finish_non_exhaustive()
    }
}

impl Target {
    pub(super) fn new(address: &Address, purpose: Purpose, meta: &str) -> RedisResult<Self> {
        let mut probe = redis::cmd("PING");
        let secured = Secured::of(address);
        let tls = address.tls.is_some();
        let one = |place| Ok::<_, RedisError>(Lines::One(secured.client(place)?));
        let servers = match &address.servers {
            Servers::One(host) => one(place(host, tls))?,
            Servers::Unix(path) => one(ConnectionAddr::Unix(path.clone()))?,
            Servers::Cluster(hosts) => {
                // A PING would ask every primary, and fail while one of them is away.
                probe = redis::cmd("EXISTS");
                probe.arg(meta);
                Lines::Cluster(Box::new(cluster(hosts, address, &secured, purpose)?))
            }
            Servers::Sentinel {
                hosts,
                service,
                login,
            } => Lines::Sentinel {
                hosts: hosts.clone(),
                service: service.clone(),
                settings: settings(address),
                login: login.clone(),
            },
        };
        Ok(Self {
            login: auth(address),
            secured,
            tls,
            database: address.database.map(|number| {
                let mut cmd = redis::cmd("SELECT");
                cmd.arg(number);
                cmd
            }),
            servers,
            // The time limit of each command is ours: see `Connection::call`.
            config: AsyncConnectionConfig::new()
                .set_connection_timeout(Some(purpose.connect_timeout))
                .set_response_timeout(None),
            connect_timeout: purpose.connect_timeout,
            probe,
        })
    }

    pub(super) fn is_clustered(&self) -> bool {
        matches!(self.servers, Lines::Cluster(_))
    }

    /// The longest time that laying a line may take.
    pub(super) fn limit(&self) -> Duration {
        let hops = match &self.servers {
            Lines::One(_) | Lines::Cluster(_) => 1,
            Lines::Sentinel { hosts, .. } => hosts.len() + 1,
        };
        self.connect_timeout * u32::try_from(hops).unwrap_or(1)
    }

    /// Lays a new line. `attempt` chooses the sentinel that is asked first: one of them may be frozen.
    pub(super) async fn lay(&self, attempt: usize) -> RedisResult<Line> {
        let mut line = match &self.servers {
            Lines::One(client) => Line::One(self.single(client).await?),
            Lines::Cluster(client) => Line::Cluster(client.get_async_connection().await?),
            Lines::Sentinel {
                hosts,
                service,
                settings,
                login,
            } => {
                let places = hosts.iter().map(|host| place(host, self.tls));
                let mut places: Vec<_> = places.collect();
                let first = attempt % places.len().max(1);
                places.rotate_left(first);
                let builder =
                    SentinelClientBuilder::new(places, service, SentinelServerType::Master)?;
                let builder = self.secured.sentinels(logged_in(builder, login));
                let client = primary(builder, settings).await?;
                Line::One(self.single(&client).await?)
            }
        };
        if !self.is_clustered() {
            self.log_in(&mut line).await?;
        }
        // Missing credentials are only found out by asking something. Other refusals are for those who ask for more.
        match line.run(&self.probe).await {
            Err(error) if is_authentication(&error) => Err(error),
            Err(error) if error.is_io_error() || error.kind() == ErrorKind::Parse => Err(error),
            _ => Ok(line),
        }
    }

    /// Ours instead of the library's, which drops the server's words.
    async fn log_in(&self, line: &mut Line) -> RedisResult<()> {
        if let Some(login) = &self.login {
            match line.run(login).await {
                Err(error) if !needs_no_password(&error) => return Err(error),
                _ => {}
            }
        }
        if let Some(database) = &self.database {
            line.run(database).await?;
        }
        Ok(())
    }

    async fn single(&self, client: &Client) -> RedisResult<MultiplexedConnection> {
        prompt(client)?
            .get_multiplexed_async_connection_with_config(&self.config)
            .await
    }
}

/// A client whose commands do not wait until the server has acknowledged the ones before them.
fn prompt(client: &Client) -> RedisResult<Client> {
    let info = client.get_connection_info().clone();
    Client::open(info.set_tcp_settings(at_once()))
}

fn at_once() -> TcpSettings {
    TcpSettings::default().set_nodelay(true)
}

/// Where the sentinels say the primary is; redis-rs asks it itself whether it is one.
async fn primary(
    builder: SentinelClientBuilder,
    settings: &RedisConnectionInfo,
) -> RedisResult<Client> {
    let mut builder = builder.set_client_to_redis_db(settings.db());
    if let Some(username) = settings.username() {
        builder = builder.set_client_to_redis_username(username);
    }
    if let Some(password) = settings.password() {
        builder = builder.set_client_to_redis_password(password);
    }
    builder.build()?.async_get_client().await
}

/// The sentinels have users of their own.
fn logged_in(mut builder: SentinelClientBuilder, login: &Login) -> SentinelClientBuilder {
    if let Some(username) = &login.username {
        builder = builder.set_client_to_sentinel_username(username);
    }
    if let Some(password) = &login.password {
        builder = builder.set_client_to_sentinel_password(password);
    }
    builder
}

fn cluster(
    hosts: &[Host],
    address: &Address,
    secured: &Secured,
    purpose: Purpose,
) -> RedisResult<ClusterClient> {
    let places = hosts.iter().map(|host| place(host, address.tls.is_some()));
    let mut builder = secured
        .cluster(ClusterClient::builder(places))
        .connection_timeout(purpose.connect_timeout)
        .tcp_settings(at_once())
        .response_timeout(purpose.command_timeout)
        .retries(CLUSTER_RETRIES)
        .min_retry_wait(5)
        .max_retry_wait(50);
    if let Some(username) = &address.username {
        builder = builder.username(username);
    }
    if let Some(password) = &address.password {
        builder = builder.password(password);
    }
    builder.build()
}

fn settings(address: &Address) -> RedisConnectionInfo {
    let mut settings =
        RedisConnectionInfo::default().set_db(address.database.unwrap_or_default().into());
    if let Some(username) = &address.username {
        settings = settings.set_username(username);
    }
    if let Some(password) = &address.password {
        settings = settings.set_password(password);
    }
    settings
}

/// `AUTH`, where the URL or the settings have a password.
fn auth(address: &Address) -> Option<Cmd> {
    let password = address.password.as_ref()?;
    let mut cmd = redis::cmd("AUTH");
    if let Some(username) = &address.username {
        cmd.arg(username);
    }
    cmd.arg(password);
    Some(cmd)
}

fn place((host, port): &Host, tls: bool) -> ConnectionAddr {
    let (host, port) = (host.clone(), *port);
    if !tls {
        return ConnectionAddr::Tcp(host, port);
    }
    ConnectionAddr::TcpTls {
        host,
        port,
        insecure: false,
        tls_params: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_does_not_wait_for_the_acknowledgement_of_the_one_before_it() {
        let client = Client::open("redis://127.0.0.1:1/2").unwrap();
        assert!(!client.get_connection_info().tcp_settings().nodelay());
        let prompt = prompt(&client).unwrap();
        let info = prompt.get_connection_info();
        assert!(info.tcp_settings().nodelay());
        assert_eq!(info.addr(), client.get_connection_info().addr());
        assert_eq!(info.redis_settings().db(), 2);
    }
}
