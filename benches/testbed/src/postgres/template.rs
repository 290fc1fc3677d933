use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::Error;
use crate::machine::directory::{Lock, RunDirectory, base};
use crate::machine::program;
use crate::machine::user::ServerUser;

/// Raised when the recipe below changes, so that an old template is not used.
const RECIPE: u32 = 4;

/// A stopped, empty data directory of this PostgreSQL version, made once per machine and copied for each node.
///
/// Copies of one template share their system identifier, which is what lets a copy follow another as a replica.
pub(super) fn ready(programs: &Path) -> Result<PathBuf, Error> {
    let base = base()?;
    let version = program::version(&programs.join("postgres")).unwrap_or_default();
    let name: String = version
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || c == '.' {
                c
            } else {
                '-'
            }
        })
        .collect();
    let template = base.join(format!("template-{RECIPE}-{}", name.trim_matches('-')));
    // Other test processes wait here while the first one makes it.
    let _making = Lock::wait(&base.join("template.lock"))?;
    if !template.exists() {
        // Made elsewhere and moved: a process that dies on the way leaves no half template.
        let directory = RunDirectory::make("template")?;
        let data = directory.path().join("data");
        make(programs, &data)?;
        fs::rename(&data, &template).map_err(|e| Error::io("move the template", e))?;
    }
    Ok(template)
}

pub(super) fn make(programs: &Path, data: &Path) -> Result<(), Error> {
    let user = ServerUser::current()?;
    let mut initdb = command(&programs.join("initdb"), user);
    initdb
        .arg("-D")
        .arg(data)
        .args(["-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-locale"]);
    initdb.args(["--no-sync", "--no-instructions", "--wal-segsize=1"]);
    finish(&mut initdb, "initdb", "")?;
    fs::write(data.join("pg_hba.conf"), HBA).map_err(|e| Error::io("write pg_hba.conf", e))?;
    let mut single = command(&programs.join("postgres"), user);
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

fn command(program: &Path, user: ServerUser) -> Command {
    let mut command = Command::new(program);
    command
        .env("LC_ALL", "C")
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    user.apply(&mut command);
    command
}

fn finish(command: &mut Command, name: &str, input: &str) -> Result<(), Error> {
    let fail = |e| Error::io(format!("run {name}"), e);
    let mut child = command.spawn().map_err(fail)?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(input.as_bytes()).map_err(fail)?;
    }
    let output = child.wait_with_output().map_err(fail)?;
    if output.status.success() {
        return Ok(());
    }
    let words = [output.stdout, output.stderr].concat();
    Err(Error::refused(name, String::from_utf8_lossy(&words).trim()))
}
