use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::directory::{Lock, RunDirectory, base};
use super::program;
use super::user::ServerUser;
use crate::Error;

/// A stopped, empty data directory of a kind of server, made once per machine and version and copied for each node.
///
/// `recipe` changes whenever `make` does, so that an old template is not used.
pub(crate) fn ready(
    recipe: &str,
    server: &Path,
    make: impl FnOnce(&Path) -> Result<(), Error>,
) -> Result<PathBuf, Error> {
    let base = base()?;
    let version = program::version(server).unwrap_or_default();
    let name = plain(&version);
    let template = base.join(format!("template-{recipe}-{}", name.trim_matches('-')));
    // Other test processes wait here while the first one makes it.
    let _making = Lock::wait(&base.join("template.lock"))?;
    if !template.exists() {
        // Made elsewhere and moved: a process that dies on the way leaves no half template.
        let directory = RunDirectory::make("template")?;
        let data = directory.path().join("data");
        make(&data)?;
        fs::rename(&data, &template).map_err(|e| Error::io("move the template", e))?;
    }
    Ok(template)
}

/// A name that every file system takes.
fn plain(version: &str) -> String {
    let keep = |c: char| c.is_ascii_alphanumeric() || c == '.';
    version
        .chars()
        .map(|c| if keep(c) { c } else { '-' })
        .collect()
}

/// A program that prepares a data directory, as the servers' user.
pub(crate) fn command(program: &Path) -> Result<Command, Error> {
    let mut command = Command::new(program);
    command
        .env("LC_ALL", "C")
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    ServerUser::current()?.apply(&mut command);
    Ok(command)
}

/// Runs it with this input to its end; what it said is in the error.
pub(crate) fn finish(command: &mut Command, name: &str, input: &str) -> Result<(), Error> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_becomes_the_name_of_a_file() {
        let version = "mariadbd  Ver 10.11.19-MariaDB for debian-linux-gnu on x86_64 (Debian 12)";
        assert!(plain(version).starts_with("mariadbd--Ver-10.11.19-MariaDB"));
        assert!(!plain("a/../b").contains('/'));
    }

    #[test]
    fn a_program_that_fails_says_why() {
        let mut shell = command(Path::new("/bin/sh")).unwrap();
        shell.args(["-c", "read line; echo \"no: $line\" >&2; exit 3"]);
        let error = finish(&mut shell, "the shell", "reason\n").unwrap_err();
        assert!(error.to_string().contains("no: reason"), "{error}");
    }
}
