use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::directory::RunDirectory;
use super::process;
use super::user::ServerUser;
use crate::Error;
use crate::wait::until;

/// Longest wait for signals to show: a stop, an end.
const SIGNAL_LIMIT: Duration = Duration::from_secs(10);

/// What to run and where.
#[derive(Debug, Clone)]
pub(crate) struct Launch {
    /// The program and its arguments.
    pub(crate) command: Vec<String>,
    /// The data directory: the server works there, and every process that does is taken for it.
    pub(crate) work: PathBuf,
    /// The signal that ends the server quickly and cleanly.
    pub(crate) polite: &'static str,
}

/// A server process together with the shell that outlives us and cleans up after it.
///
/// The guardian runs in a process group of its own and reads a pipe that only we hold. However we end, the
/// kernel closes the pipe, and the guardian kills the server and removes its directory. It depends neither on
/// the thread that started it nor on the group that a test runner kills.
#[derive(Debug)]
pub(crate) struct Server {
    guardian: Guardian,
    launch: Launch,
    directory: RunDirectory,
}

impl Server {
    pub(crate) fn start(directory: RunDirectory, launch: Launch) -> Result<Self, Error> {
        let guardian = Guardian::start(directory.path(), &launch)?;
        Ok(Self {
            guardian,
            launch,
            directory,
        })
    }

    /// Starts it again after [`Self::kill`] or [`Self::stop`].
    pub(crate) fn start_again(&mut self) -> Result<(), Error> {
        // The new guardian first: at no moment is the directory without one.
        let new = Guardian::start(self.directory.path(), &self.launch)?;
        std::mem::replace(&mut self.guardian, new).leave();
        Ok(())
    }

    pub(crate) fn pid(&self) -> u32 {
        self.guardian.server
    }

    pub(crate) fn is_running(&self) -> bool {
        process::is_running(self.pid())
    }

    /// The server and its children.
    pub(crate) fn processes(&self) -> BTreeSet<u32> {
        process::working_in(&self.launch.work, Some(self.pid()))
    }

    /// SIGKILL for every process of it, until none is left.
    pub(crate) fn kill(&self) -> Result<(), Error> {
        self.until_gone("KILL")
    }

    /// Asks the main process to end and waits until none is left.
    pub(crate) fn stop(&self, signal: &str) -> Result<(), Error> {
        self.resume()?;
        process::signal(signal, &[self.pid()])?;
        self.wait_gone(|| {})
    }

    fn until_gone(&self, signal: &'static str) -> Result<(), Error> {
        self.wait_gone(|| {
            let left: Vec<u32> = self.processes().into_iter().collect();
            let _ = process::signal(signal, &left);
        })
    }

    fn wait_gone(&self, mut push: impl FnMut()) -> Result<(), Error> {
        until(
            &format!("the end of process {}", self.pid()),
            SIGNAL_LIMIT,
            || {
                push();
                let left = self.processes();
                if left.is_empty() && !self.is_running() {
                    Ok(())
                } else {
                    Err(format!("{left:?} run"))
                }
            },
        )
    }

    /// SIGSTOP for every process of it; returns when all have stopped, with those forked meanwhile.
    pub(crate) fn pause(&self) -> Result<(), Error> {
        process::signal("STOP", &[self.pid()])?;
        until(
            &format!("process {} to stop", self.pid()),
            SIGNAL_LIMIT,
            || {
                let moving: Vec<u32> = self
                    .processes()
                    .into_iter()
                    .filter(|pid| !process::is_stopped(*pid))
                    .collect();
                if moving.is_empty() && process::is_stopped(self.pid()) {
                    return Ok(());
                }
                let _ = process::signal("STOP", &moving);
                Err(format!("{moving:?} run"))
            },
        )
    }

    pub(crate) fn resume(&self) -> Result<(), Error> {
        let all: Vec<u32> = self.processes().into_iter().collect();
        process::signal("CONT", &all)
    }

    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn work(&self) -> &Path {
        &self.launch.work
    }

    /// The last 40 lines of what the server wrote.
    pub(crate) fn log_tail(&self) -> String {
        let bytes = fs::read(self.directory.path().join("log")).unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes);
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(40)..].join("\n")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.guardian.end();
        // Nothing is left unless somebody killed the guardian.
        if self.is_running() || !self.processes().is_empty() {
            let _ = self.kill();
        }
    }
}

#[derive(Debug)]
struct Guardian {
    shell: Child,
    server: u32,
}

impl Guardian {
    fn start(directory: &Path, launch: &Launch) -> Result<Self, Error> {
        let program = launch.command.first().map_or("", String::as_str);
        let keep = if std::env::var_os("BILTEN_TEST_KEEP").is_some() {
            "1"
        } else {
            "0"
        };
        let mut shell = Command::new("/bin/sh");
        shell.args(["-c", include_str!("guardian.sh"), "bilten-testbed-guardian"]);
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
        Ok(Self {
            shell,
            server,
        })
    }

    /// Ends the guardian without touching the server or its directory.
    fn leave(mut self) {
        if let Some(pipe) = &mut self.shell.stdin {
            // When it is dead already there is nobody to tell.
            let _ = pipe.write_all(b"leave\n");
        }
    }

    /// Lets it end the server and remove the directory, and waits; it bounds its own work to some seconds.
    fn end(&mut self) {
        drop(self.shell.stdin.take());
        let _ = self.shell.wait();
    }
}

impl Drop for Guardian {
    fn drop(&mut self) {
        self.end();
    }
}
