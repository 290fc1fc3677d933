use std::fmt::Debug;

use super::server::Server;
use crate::Error;

/// One running server, as a process of this machine or in a container, and what can be done to it.
pub(crate) trait Instance: Debug + Send {
    fn is_running(&self) -> bool;

    /// SIGKILL for all of it; returns when nothing of it runs.
    fn kill(&self) -> Result<(), Error>;

    /// Asks the main process to end and waits for it.
    fn stop(&self, signal: &str) -> Result<(), Error>;

    /// Starts it again with its data after it has ended.
    fn start_again(&mut self) -> Result<(), Error>;

    /// Freezes all of it; returns when nothing of it runs.
    fn pause(&self) -> Result<(), Error>;

    fn resume(&self) -> Result<(), Error>;

    /// The host by which other servers reach it.
    fn inner_host(&self) -> Result<String, Error>;

    /// The last 40 lines of what it wrote.
    fn log_tail(&self) -> String;

    /// The process of this machine, when it is one.
    fn process(&self) -> Option<&Server>;
}

/// The last lines of a log.
pub(crate) fn tail(log: &[u8]) -> String {
    let text = String::from_utf8_lossy(log);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(40)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tail_is_the_last_forty_lines() {
        let log: String = (1..=50).map(|n| format!("{n}\n")).collect();
        assert!(tail(log.as_bytes()).starts_with("11\n12\n"));
        assert_eq!(tail(b"one\n"), "one");
        assert_eq!(tail(b""), "");
    }
}
