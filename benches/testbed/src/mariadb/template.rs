use std::path::{Path, PathBuf};

use crate::Error;
use crate::machine::template::{self, command, finish};

/// Raised when the recipe below changes.
const RECIPE: &str = "mariadb-1";

/// Small files: a node is made by copying them. The server wants the same words each time it starts.
pub(super) const FILES: [&str; 3] = [
    "--innodb-data-file-path=ibdata1:4M:autoextend",
    "--innodb-autoextend-increment=1",
    "--innodb-log-file-size=4M",
];

/// `root` is the tests' own; `app` is what a service has: it cannot write where `read_only` is set.
const USERS: &str = "\
flush privileges;
create user app@'127.0.0.1';
grant select, insert, update, delete, create, drop, alter, index, references, create view, show view, create routine, \
alter routine, execute, trigger, create temporary tables, lock tables, process on *.* to app@'127.0.0.1';
create user needs_password@'127.0.0.1' identified by 'right';
grant all privileges on *.* to needs_password@'127.0.0.1';
";

pub(super) fn ready(server: &Path, install: &Path) -> Result<PathBuf, Error> {
    template::ready(RECIPE, server, |data| make(server, install, data))
}

fn make(server: &Path, install: &Path, data: &Path) -> Result<(), Error> {
    let at = format!("--datadir={}", data.display());
    let mut tables = command(install)?;
    tables.args(["--no-defaults", &at]);
    tables.args([
        "--auth-root-authentication-method=normal",
        "--skip-test-db",
        "--skip-name-resolve",
    ]);
    finish(tables.args(FILES), "mariadb-install-db", "")?;
    let mut users = command(server)?;
    users.args(["--no-defaults", &at, "--bootstrap"]);
    finish(users.args(FILES), "mariadbd --bootstrap", USERS)
}
