use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use super::http::{encoded, get};
use crate::machine::directory::RunDirectory;
use crate::machine::instance::Instance;
use crate::machine::port::Port;
use crate::machine::program;
use crate::machine::server::{Launch, Server};
use crate::machine::user::ServerUser;
use crate::wait::until;
use crate::{Error, install};

const READY_LIMIT: Duration = Duration::from_secs(30);

/// A Prometheus of the test's own, on loopback, with its data in memory.
///
/// ```no_run
/// use bilten_testbed::Prometheus;
///
/// let prometheus = Prometheus::scraping("127.0.0.1:9100", None)?;
/// let answer = prometheus.query("up")?; // JSON, as its API gives it
/// # Ok::<(), bilten_testbed::Error>(())
/// ```
#[derive(Debug)]
pub struct Prometheus {
    server: Server,
    port: Port,
}

impl Prometheus {
    /// Starts one that asks `target` for `/metrics` every half second, and evaluates a file's rules as often.
    ///
    /// # Errors
    /// When the program is not here (the message is the line to type), or it does not get ready.
    pub fn scraping(target: &str, rules: Option<&str>) -> Result<Self, Error> {
        let program = program::find("prometheus")
            .ok_or_else(|| Error::missing("prometheus", install::remedy()))?;
        let directory = RunDirectory::make("prometheus")?;
        let user = ServerUser::current()?;
        let work = directory.path().join("data");
        fs::create_dir(&work).map_err(|e| Error::io(format!("make {}", work.display()), e))?;
        user.own(&work)?;
        let write = |name: &str, text: &str| {
            let file = directory.path().join(name);
            fs::write(&file, text)
                .map_err(|e| Error::io(format!("write {}", file.display()), e))?;
            user.own(&file)
        };
        write("rules.yml", rules.unwrap_or("groups: []\n"))?;
        write("prometheus.yml", &config(target))?;
        let port = Port::reserve()?;
        let command = [
            program.to_string_lossy().into_owned(),
            format!(
                "--config.file={}",
                directory.path().join("prometheus.yml").display()
            ),
            format!("--storage.tsdb.path={}", work.display()),
            format!("--web.listen-address=127.0.0.1:{}", port.number()),
        ];
        let launch = Launch {
            command: command.into(),
            work,
            polite: "KILL",
        };
        let server = Server::start(directory, launch)?;
        let prometheus = Self { server, port };
        prometheus.wait_ready()?;
        Ok(prometheus)
    }

    /// The answer of its API to an instant query: JSON.
    ///
    /// # Errors
    /// When it does not answer, or answers that the query is wrong.
    pub fn query(&self, expression: &str) -> Result<String, Error> {
        self.api(&format!("query?query={}", encoded(expression)))
    }

    /// The answer of its API to a path below `/api/v1/`, such as `targets` or `rules`: JSON.
    ///
    /// # Errors
    /// When it does not answer, or answers with another status than 200.
    pub fn api(&self, path: &str) -> Result<String, Error> {
        match get(self.address(), &format!("/api/v1/{path}")) {
            Ok((200, body)) => Ok(body),
            Ok((status, body)) => Err(Error::refused(path, format!("{status}: {body}"))),
            Err(why) => Err(Error::refused(path, why)),
        }
    }

    fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port.number()).into()
    }

    fn wait_ready(&self) -> Result<(), Error> {
        let ready = until("an answer to /-/ready", READY_LIMIT, || {
            match get(self.address(), "/-/ready") {
                Ok((200, _)) => Ok(()),
                Ok((status, body)) => Err(format!("{status}: {body}")),
                Err(why) => Err(why),
            }
        });
        ready.map_err(|late| Error::NotReady {
            server: "prometheus".to_owned(),
            reason: late.to_string(),
            log: self.server.log_tail(),
        })
    }
}

fn config(target: &str) -> String {
    format!(
        "global: {{scrape_interval: 500ms, scrape_timeout: 500ms, evaluation_interval: 500ms}}\n\
         rule_files: [rules.yml]\n\
         scrape_configs:\n  - job_name: test\n    static_configs:\n      - targets: [\"{target}\"]\n"
    )
}
