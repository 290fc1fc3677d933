use std::fs;
use std::path::{Path, PathBuf};

use crate::Error;
use crate::machine::template::{self, command, finish};

/// Raised when the recipe below changes.
const RECIPE: &str = "4";

/// Copies of one template share their system identifier, which is what lets a copy follow another as a replica.
pub(super) fn ready(programs: &Path) -> Result<PathBuf, Error> {
    template::ready(RECIPE, &programs.join("postgres"), |data| {
        make(programs, data)
    })
}

pub(super) fn make(programs: &Path, data: &Path) -> Result<(), Error> {
    let mut initdb = command(&programs.join("initdb"))?;
    initdb
        .arg("-D")
        .arg(data)
        .args(["-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-locale"]);
    initdb.args(["--no-sync", "--no-instructions", "--wal-segsize=1"]);
    finish(&mut initdb, "initdb", "")?;
    fs::write(data.join("pg_hba.conf"), HBA).map_err(|e| Error::io("write pg_hba.conf", e))?;
    let mut single = command(&programs.join("postgres"))?;
    single.args(["--single", "-F"]);
    // The data directory remembers the most connections it was run with, and a replica must not allow fewer.
    single.args([
        "-c",
        "max_connections=1",
        "-c",
        "superuser_reserved_connections=0",
    ]);
    single.arg("-D").arg(data).arg("postgres");
    finish(
        &mut single,
        "postgres --single",
        "create role needs_password nologin;\n",
    )
}

/// Everybody is trusted on loopback, except members of `needs_password`: that is how a wrong password is tested.
pub(super) const HBA: &str = "\
host all +needs_password all scram-sha-256
local all all trust
host all all 127.0.0.1/32 trust
host all all ::1/128 trust
host replication all 127.0.0.1/32 trust
";
