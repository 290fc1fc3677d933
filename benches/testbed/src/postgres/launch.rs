use std::fs;
use std::path::{Path, PathBuf};

use super::builder::{PostgresBuilder, replica_name};
use super::template::{self, HBA};
use crate::docker::{self, ContainerSpec};
use crate::machine::directory::{RunDirectory, copy_tree};
use crate::machine::instance::Instance;
use crate::machine::program;
use crate::machine::server::{Launch, Server};
use crate::machine::user::ServerUser;
use crate::sources::{self, Origin, Service};
use crate::{Error, install};

/// Whom a replica follows: the place as the replica sees it, and which replica it is.
#[derive(Debug, Clone)]
pub(super) struct Upstream {
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) number: usize,
}

/// What the nodes of one cluster are made from.
#[derive(Debug)]
pub(super) enum Material {
    /// The programs and a stopped data directory to copy.
    Local {
        programs: PathBuf,
        template: PathBuf,
        /// Holds the template of a stranger, which is of use for one cluster only.
        _own: Option<RunDirectory>,
    },
    /// An image.
    Docker { image: String },
}

impl Material {
    pub(super) fn find() -> Result<Self, Error> {
        if sources::private(Service::Postgres) == Origin::Docker {
            let image = ContainerSpec::image("BILTEN_TEST_PG_IMAGE", "postgres:17-alpine");
            return Ok(Self::Docker { image });
        }
        let programs = program::postgres_directory()
            .ok_or_else(|| Error::missing("postgresql", install::remedy()))?;
        let template = template::ready(&programs)?;
        Ok(Self::Local {
            programs,
            template,
            _own: None,
        })
    }

    /// As [`find`](Self::find), with a system identifier that no other cluster has. Every container has one anyway.
    pub(super) fn stranger() -> Result<Self, Error> {
        let Self::Local { programs, .. } = Self::find()? else {
            return Self::find();
        };
        let directory = RunDirectory::make("stranger")?;
        let template = directory.path().join("data");
        template::make(&programs, &template)?;
        Ok(Self::Local {
            programs,
            template,
            _own: Some(directory),
        })
    }

    /// The port a node itself knows: in a container always the usual one.
    pub(super) fn inner_port(&self, port: u16) -> u16 {
        match self {
            Self::Local { .. } => port,
            Self::Docker { .. } => 5432,
        }
    }

    /// Starts a node without waiting for it.
    pub(super) fn launch(
        &self,
        options: &PostgresBuilder,
        port: u16,
        upstream: Option<&Upstream>,
    ) -> Result<Box<dyn Instance>, Error> {
        let config = options.config(self.inner_port(port), upstream);
        match self {
            Self::Local {
                programs, template, ..
            } => {
                let kind = upstream.map_or_else(
                    || "primary".to_owned(),
                    |upstream| replica_name(upstream.number),
                );
                let directory =
                    RunDirectory::make(&format!("postgres-{}", kind.replace('_', "-")))?;
                let data = directory.path().join("data");
                copy_tree(template, &data)?;
                append(&data.join("postgresql.conf"), &config)?;
                if upstream.is_some() {
                    append(&data.join("standby.signal"), "")?;
                }
                let program = programs.join("postgres").to_string_lossy().into_owned();
                let command = vec![
                    program,
                    "-D".to_owned(),
                    data.to_string_lossy().into_owned(),
                ];
                Ok(Box::new(Server::start(
                    directory,
                    Launch {
                        command,
                        work: data,
                        polite: "QUIT",
                    },
                )?))
            }
            Self::Docker { image } => {
                let host = upstream.map_or_else(String::new, |upstream| upstream.host.clone());
                docker::start(&ContainerSpec {
                    image: image.clone(),
                    inner_port: 5432,
                    port,
                    user: Some("postgres"),
                    script: include_str!("container.sh"),
                    // Inside, every interface; outside only loopback is bound.
                    arguments: vec![
                        config + "listen_addresses = '*'\n",
                        HBA.to_owned() + "host all all all trust\nhost replication all all trust\n",
                        host,
                    ],
                })
            }
        }
    }
}

fn append(file: &Path, text: &str) -> Result<(), Error> {
    let before = fs::read_to_string(file).unwrap_or_default();
    fs::write(file, format!("{before}\n{text}"))
        .map_err(|e| Error::io(format!("write {}", file.display()), e))?;
    ServerUser::current()?.own(file)
}
