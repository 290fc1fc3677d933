use std::io::Read;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::Duration;

use crate::machine::program;
use crate::wait::until;
use crate::{Error, install};

/// Runs SQL as `root` by the server's own client; fields come with tabs between them, rows with line ends.
pub(super) fn run(
    port: u16,
    database: Option<&str>,
    sql: &str,
    limit: Duration,
) -> Result<String, Error> {
    let client = program::find("mariadb")
        .or_else(|| program::find("mysql"))
        .ok_or_else(|| Error::missing("mariadb", install::remedy()))?;
    let mut command = Command::new(client);
    command.args(["--no-defaults", "--protocol=tcp", "--host=127.0.0.1"]);
    command.args(["--user=root", "--batch", "--skip-column-names", "--raw"]);
    command.arg(format!("--port={port}"));
    command.arg(format!("--connect-timeout={}", limit.as_secs().max(1)));
    command.args(["--execute", sql]);
    command.args(database);
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|e| Error::io("run the client of MariaDB", e))?;
    let said = read(child.stdout.take());
    let complained = read(child.stderr.take());
    let status = end(&mut child, limit)?;
    let text = |words: thread::JoinHandle<String>| words.join().unwrap_or_default();
    if status.success() {
        return Ok(text(said).trim_end().to_owned());
    }
    Err(Error::refused(sql, text(complained).trim()))
}

/// A frozen server never answers, and then the client does not end.
fn end(child: &mut Child, limit: Duration) -> Result<ExitStatus, Error> {
    let ended = until("the answer of MariaDB", limit, || match child.try_wait() {
        Ok(Some(status)) => Ok(status),
        Ok(None) => Err("it runs".to_owned()),
        Err(error) => Err(error.to_string()),
    });
    ended.inspect_err(|_| {
        let _ = child.kill();
        let _ = child.wait();
    })
}

/// On a thread of its own, so that a long answer does not block the client.
fn read(pipe: Option<impl Read + Send + 'static>) -> thread::JoinHandle<String> {
    thread::spawn(move || {
        let mut text = Vec::new();
        if let Some(mut pipe) = pipe {
            let _ = pipe.read_to_end(&mut text);
        }
        String::from_utf8_lossy(&text).into_owned()
    })
}
