use std::path::PathBuf;

use super::builder::MariaDbBuilder;
use super::template;
use crate::machine::directory::{RunDirectory, copy_tree};
use crate::machine::program;
use crate::machine::server::{Launch, Server};
use crate::{Error, install};

/// What the nodes of one cluster are made from: the program and a stopped data directory to copy.
#[derive(Debug)]
pub(super) struct Material {
    server: PathBuf,
    template: PathBuf,
}

impl Material {
    pub(super) fn find() -> Result<Self, Error> {
        let missing = || Error::missing("mariadb-server", install::remedy());
        let server = program::mariadb_server().ok_or_else(missing)?;
        let install = program::find("mariadb-install-db").ok_or_else(missing)?;
        let template = template::ready(&server, &install)?;
        Ok(Self { server, template })
    }

    /// Starts a node without waiting for it.
    pub(super) fn launch(
        &self,
        options: &MariaDbBuilder,
        port: u16,
        server_id: usize,
    ) -> Result<Server, Error> {
        let directory = RunDirectory::make(&format!("mariadb-{server_id}"))?;
        let data = directory.path().join("data");
        copy_tree(&self.template, &data)?;
        let mut command = vec![self.server.to_string_lossy().into_owned()];
        command.extend(options.arguments(directory.path(), port, server_id));
        let launch = Launch {
            command,
            work: data,
            polite: "TERM",
        };
        Server::start(directory, launch)
    }
}
