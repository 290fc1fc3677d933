use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use super::server::Launch;
use super::user::ServerUser;
use crate::Error;

/// The shell that starts a server and outlives us.
///
/// It runs in a process group of its own and reads a pipe that only we hold. However we end, the kernel closes
/// the pipe, and the guardian kills the server and removes its directory. It depends neither on the thread that
/// started it nor on the group that a test runner kills.
#[derive(Debug)]
pub(super) struct Guardian {
    shell: Child,
    pub(super) server: u32,
}

impl Guardian {
    pub(super) fn start(directory: &Path, launch: &Launch) -> Result<Self, Error> {
        let program = launch.command.first().map_or("", String::as_str);
        let keep = if std::env::var_os("BILTEN_TEST_KEEP").is_some() {
            "1"
        } else {
            "0"
        };
        // A file, so that the list of processes stays readable; a guardian that still runs is reading it.
        let script = directory.join("guardian.sh");
        if !script.exists() {
            fs::write(&script, include_str!("guardian.sh"))
                .map_err(|e| Error::io(format!("write {}", script.display()), e))?;
            ServerUser::current()?.own(&script)?;
        }
        let mut shell = Command::new("/bin/sh");
        shell.arg(&script);
        shell
            .arg(directory)
            .arg(&launch.work)
            .args([launch.polite, keep])
            .args(&launch.command);
        // Nothing of ours may stay open in the servers: a test runner waits for the ends of its pipes.
        shell
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        shell.process_group(0).env("LC_ALL", "C").current_dir("/");
        ServerUser::current()?.apply(&mut shell);
        let mut shell = shell
            .spawn()
            .map_err(|e| Error::io(format!("start a shell for {program}"), e))?;
        let mut line = String::new();
        if let Some(stdout) = shell.stdout.take() {
            BufReader::new(stdout)
                .read_line(&mut line)
                .map_err(|e| Error::io(format!("start {program}"), e))?;
        }
        let Ok(server) = line.trim().parse() else {
            return Err(Error::NotReady {
                server: program.to_owned(),
                reason: "its guardian ended".to_owned(),
                log: String::new(),
            });
        };
        Ok(Self { shell, server })
    }

    /// Ends the guardian without touching the server or its directory.
    pub(super) fn leave(mut self) {
        if let Some(pipe) = &mut self.shell.stdin {
            // When it is dead already there is nobody to tell.
            let _ = pipe.write_all(b"leave\n");
        }
    }

    /// Lets it end the server and remove the directory, and waits; it bounds its own work to some seconds.
    pub(super) fn end(&mut self) {
        drop(self.shell.stdin.take());
        let _ = self.shell.wait();
    }
}

impl Drop for Guardian {
    fn drop(&mut self) {
        self.end();
    }
}
