use std::fmt::Write as _;
use std::fs;
use std::net::TcpStream;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use crate::machine::directory::RunDirectory;
use crate::machine::instance::Instance;
use crate::machine::port::Port;
use crate::machine::program;
use crate::machine::server::{Launch, Server};
use crate::machine::user::ServerUser;
use crate::wait::until;
use crate::{Error, PostgresNode, install};

const READY_LIMIT: Duration = Duration::from_secs(30);

/// A PgBouncer of the test's own before one server of PostgreSQL, on loopback.
///
/// ```no_run
/// use bilten_testbed::{PgBouncer, Postgres};
///
/// let postgres = Postgres::start()?;
/// let pooler = PgBouncer::before(postgres.primary(), &[("pool_mode", "session")])?;
/// println!("{}", pooler.url());
/// # Ok::<(), bilten_testbed::Error>(())
/// ```
#[derive(Debug)]
pub struct PgBouncer {
    server: Server,
    port: Port,
}

impl PgBouncer {
    /// Starts one with these settings of its configuration file beside what it needs to run.
    ///
    /// # Errors
    /// When the program is not here (the message is the line to type), or it does not get ready.
    pub fn before(node: &PostgresNode, settings: &[(&str, &str)]) -> Result<Self, Error> {
        Self::at(node.addr(), settings)
    }

    /// As [`Self::before`], of whatever listens at this address, such as a [`FaultProxy`](crate::FaultProxy).
    ///
    /// # Errors
    /// As [`Self::before`].
    pub fn at(server: SocketAddr, settings: &[(&str, &str)]) -> Result<Self, Error> {
        let program = program::find("pgbouncer")
            .ok_or_else(|| Error::missing("pgbouncer", install::remedy()))?;
        let directory = RunDirectory::make("pgbouncer")?;
        let user = ServerUser::current()?;
        let work = directory.path().join("data");
        fs::create_dir(&work).map_err(|e| Error::io(format!("make {}", work.display()), e))?;
        user.own(&work)?;
        let port = Port::reserve()?;
        let write = |name: &str, text: &str| {
            let file = work.join(name);
            fs::write(&file, text)
                .map_err(|e| Error::io(format!("write {}", file.display()), e))?;
            user.own(&file)
        };
        write("users.txt", "\"postgres\" \"\"\n")?;
        write("pgbouncer.ini", &config(server, port.number(), settings))?;
        let launch = Launch {
            command: vec![
                program.to_string_lossy().into_owned(),
                "pgbouncer.ini".to_owned(),
            ],
            work,
            polite: "INT",
        };
        let pooler = Self {
            server: Server::start(directory, launch)?,
            port,
        };
        pooler.wait_ready()?;
        Ok(pooler)
    }

    /// `postgres://postgres@127.0.0.1:PORT/postgres`; no password is asked.
    #[must_use]
    pub fn url(&self) -> String {
        format!("postgres://postgres@{}/postgres", self.addr())
    }

    /// The address it listens on.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port.number()).into()
    }

    fn wait_ready(&self) -> Result<(), Error> {
        let ready = until("pgbouncer to listen", READY_LIMIT, || {
            TcpStream::connect(self.addr())
                .map(drop)
                .map_err(|e| e.to_string())
        });
        ready.map_err(|late| Error::NotReady {
            server: "pgbouncer".to_owned(),
            reason: late.to_string(),
            log: self.server.log_tail(),
        })
    }
}

fn config(server: SocketAddr, port: u16, settings: &[(&str, &str)]) -> String {
    let mut text = format!(
        "[databases]\n* = host={} port={}\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\n\
         unix_socket_dir =\nauth_type = trust\nauth_file = users.txt\n",
        server.ip(),
        server.port()
    );
    for (name, value) in settings {
        let _ = writeln!(text, "{name} = {value}");
    }
    text
}
