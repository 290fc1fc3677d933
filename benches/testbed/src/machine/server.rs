use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::directory::RunDirectory;
use super::guardian::Guardian;
use super::instance::{Instance, tail};
use super::process;
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

/// A server that is a process of this machine, with its guardian and its directory.
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

    pub(crate) fn pid(&self) -> u32 {
        self.guardian.server
    }

    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// The server and its children.
    fn processes(&self) -> BTreeSet<u32> {
        process::working_in(&self.launch.work, Some(self.pid()))
    }

    fn until_gone(&self, mut push: impl FnMut()) -> Result<(), Error> {
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
}

impl Instance for Server {
    fn is_running(&self) -> bool {
        process::is_running(self.pid())
    }

    fn kill(&self) -> Result<(), Error> {
        self.until_gone(|| {
            let left: Vec<u32> = self.processes().into_iter().collect();
            let _ = process::signal("KILL", &left);
        })
    }

    fn stop(&self, signal: &str) -> Result<(), Error> {
        self.resume()?;
        process::signal(signal, &[self.pid()])?;
        self.until_gone(|| {})
    }

    fn start_again(&mut self) -> Result<(), Error> {
        process::forget_postmaster(&self.launch.work);
        // The new guardian first: at no moment is the directory without one.
        let new = Guardian::start(self.directory.path(), &self.launch)?;
        std::mem::replace(&mut self.guardian, new).leave();
        Ok(())
    }

    fn pause(&self) -> Result<(), Error> {
        process::signal("STOP", &[self.pid()])?;
        // Again and again, for those that were forked meanwhile.
        until(
            &format!("process {} to stop", self.pid()),
            SIGNAL_LIMIT,
            || {
                let all = self.processes();
                let moving: Vec<u32> = all
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

    fn resume(&self) -> Result<(), Error> {
        let all: Vec<u32> = self.processes().into_iter().collect();
        process::signal("CONT", &all)
    }

    fn inner_host(&self) -> Result<String, Error> {
        Ok("127.0.0.1".to_owned())
    }

    fn log_tail(&self) -> String {
        tail(&fs::read(self.directory.path().join("log")).unwrap_or_default())
    }

    fn process(&self) -> Option<&Self> {
        Some(self)
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
