use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::OnceLock;
use std::time::Duration;

use super::builder::{Ports, RedisBuilder};
use super::resp::Resp;
use super::tls::TlsFiles;
use crate::docker::{self, ContainerSpec};
use crate::machine::directory::{RunDirectory, set_mode};
use crate::machine::instance::Instance;
use crate::machine::program;
use crate::machine::server::{Launch, Server};
use crate::machine::user::ServerUser;
use crate::sources::{self, Origin, Service};
use crate::wait::until;
use crate::{Error, install};

const READY_LIMIT: Duration = Duration::from_secs(10);

/// Starts a server, from programs or an image, without waiting for it.
pub(super) fn launch(options: &RedisBuilder, ports: Ports) -> Result<Box<dyn Instance>, Error> {
    match sources::private(Service::Redis) {
        Origin::Docker => container(options, ports.plain),
        _ => Ok(Box::new(local(options, ports)?)),
    }
}

fn local(options: &RedisBuilder, ports: Ports) -> Result<Server, Error> {
    let program =
        program::redis_server().ok_or_else(|| Error::missing("redis-server", install::remedy()))?;
    let directory = RunDirectory::make(if options.is_sentinel() {
        "sentinel"
    } else {
        "redis"
    })?;
    let user = ServerUser::current()?;
    let work = directory.path().join("data");
    fs::create_dir(&work).map_err(|e| Error::io(format!("make {}", work.display()), e))?;
    user.own(&work)?;
    if options.tls && options.certificates.is_none() {
        TlsFiles::of(directory.path()).make()?;
    }
    let file = directory.path().join("redis.conf");
    write(
        &file,
        &options.config(ports, directory.path(), is_version_7()),
    )?;
    for (name, text) in options.files() {
        write(&work.join(name), text)?;
    }
    let mut command = vec![
        program.to_string_lossy().into_owned(),
        file.to_string_lossy().into_owned(),
    ];
    if options.is_sentinel() {
        command.push("--sentinel".to_owned());
    }
    Server::start(
        directory,
        Launch {
            command,
            work,
            polite: "KILL",
        },
    )
}

/// Only the server's user may read it: it holds passwords.
fn write(file: &Path, text: &str) -> Result<(), Error> {
    fs::write(file, text).map_err(|e| Error::io(format!("write {}", file.display()), e))?;
    set_mode(file, 0o600)?;
    ServerUser::current()?.own(file)
}

fn container(options: &RedisBuilder, port: u16) -> Result<Box<dyn Instance>, Error> {
    if let Some(what) = options.needs_files() {
        return Err(Error::unsupported(
            format!("{what} in a container"),
            install::remedy(),
        ));
    }
    docker::start(&ContainerSpec {
        image: ContainerSpec::image("BILTEN_TEST_REDIS_IMAGE", "redis:7-alpine"),
        inner_port: 6379,
        port,
        user: None,
        script: "mkdir -p /tmp/redis/data && printf %s \"$1\" >/tmp/redis/redis.conf && exec redis-server /tmp/redis/redis.conf",
        // Inside, every interface; outside only loopback is bound.
        arguments: vec![
            options.config(
                Ports {
                    plain: 6379,
                    tls: None,
                },
                Path::new("/tmp/redis"),
                true,
            ) + "bind 0.0.0.0\nprotected-mode no\n",
        ],
    })
}

/// Waits for the first answer, whatever it is: one that asks for a password is one too.
pub(super) fn wait_ready(server: &dyn Instance, address: SocketAddr) -> Result<(), Error> {
    let not_ready = |reason: String| Error::NotReady {
        server: format!("redis-server on {address}"),
        reason,
        log: server.log_tail(),
    };
    let answer = until("an answer to PING", READY_LIMIT, || {
        if !server.is_running() {
            return Ok(Err("it ended".to_owned()));
        }
        let connected = Resp::connect(address, Duration::from_secs(1));
        match connected.and_then(|mut connection| connection.text(&["PING"])) {
            Ok(_) => Ok(Ok(())),
            Err(Error::Refused { answer, .. }) if answer.starts_with("NOAUTH") => Ok(Ok(())),
            Err(error) => Err(error.to_string()),
        }
    });
    answer
        .map_err(|late| not_ready(late.to_string()))?
        .map_err(not_ready)
}

/// Since Redis 7.0 `DEBUG` must be allowed and the port of the cluster bus can be chosen.
pub(super) fn is_version_7() -> bool {
    static KNOWS: OnceLock<bool> = OnceLock::new();
    *KNOWS.get_or_init(|| {
        program::redis_server()
            .and_then(|path| program::version(&path))
            .is_some_and(|line| major_version(&line) >= 7)
    })
}

fn major_version(line: &str) -> u32 {
    let version = line.split_once("v=").map_or("", |(_, rest)| rest);
    version
        .split('.')
        .next()
        .and_then(|major| major.parse().ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_major_version_is_read_from_the_version_line() {
        assert_eq!(
            major_version("Redis server v=7.0.15 sha=00000000:0 malloc=jemalloc-5.3.0 bits=64"),
            7
        );
        assert_eq!(major_version("Valkey server v=8.1.0 sha=0"), 8);
        assert_eq!(major_version("unknown"), 0);
    }
}
