use std::fmt;
use std::io;
use std::time::Duration;

/// What went wrong while starting or steering a server.
///
/// Written by hand instead of with `thiserror`, because the default build of this crate is std only.
///
/// ```
/// let error = bilten_testbed::Error::missing("redis-server", "apt-get install -y redis-server");
/// assert!(error.to_string().contains("apt-get install -y redis-server"));
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// No source has the server; the remedy is the line to type.
    Missing {
        /// The program that was looked for.
        program: String,
        /// What to do about it.
        remedy: String,
    },
    /// A server was started and did not become ready; its last log lines say why.
    NotReady {
        /// The server and where it was to listen.
        server: String,
        /// How long it was waited for, or what it did instead.
        reason: String,
        /// The end of its log.
        log: String,
    },
    /// A command (SQL, RESP or a program) was answered with an error.
    Refused {
        /// The command, shortened.
        command: String,
        /// The server's or the program's words.
        answer: String,
    },
    /// Something did not happen in time.
    TimedOut {
        /// What was waited for.
        waiting_for: String,
        /// For how long.
        limit: Duration,
    },
    /// An environment variable or URL has a value that cannot be used.
    Setting {
        /// Its name.
        name: String,
        /// What is wrong and what would be right.
        problem: String,
    },
    /// The chosen source cannot do this, for example pause a server that is only known by URL.
    Unsupported {
        /// What was asked for.
        what: String,
        /// Where it would work.
        remedy: String,
    },
    /// The operating system refused.
    Io {
        /// What was being done.
        doing: String,
        /// The refusal.
        source: io::Error,
    },
}

impl Error {
    /// A server that is nowhere to be found, with the line that brings it.
    pub fn missing(program: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::Missing {
            program: program.into(),
            remedy: remedy.into(),
        }
    }

    pub(crate) fn io(doing: impl Into<String>, source: io::Error) -> Self {
        Self::Io {
            doing: doing.into(),
            source,
        }
    }

    pub(crate) fn refused(command: &str, answer: impl Into<String>) -> Self {
        let command = command.split_whitespace().collect::<Vec<_>>().join(" ");
        let short: String = command.chars().take(200).collect();
        Self::Refused {
            command: short,
            answer: answer.into(),
        }
    }

    pub(crate) fn setting(name: impl Into<String>, problem: impl Into<String>) -> Self {
        Self::Setting {
            name: name.into(),
            problem: problem.into(),
        }
    }

    pub(crate) fn unsupported(what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::Unsupported {
            what: what.into(),
            remedy: remedy.into(),
        }
    }

    pub(crate) fn is_port_taken(&self) -> bool {
        let Self::NotReady { log, .. } = self else {
            return false;
        };
        ["ddress already in use", "port is already allocated"]
            .iter()
            .any(|words| log.contains(words))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing { program, remedy } => {
                write!(f, "{program} is not on this machine; {remedy}")
            }
            Self::NotReady {
                server,
                reason,
                log,
            } if log.is_empty() => write!(f, "{server} did not become ready: {reason}"),
            Self::NotReady {
                server,
                reason,
                log,
            } => {
                write!(
                    f,
                    "{server} did not become ready: {reason}; the end of its log:\n{log}"
                )
            }
            Self::Refused { command, answer } => write!(f, "`{command}` was refused: {answer}"),
            Self::TimedOut { waiting_for, limit } => {
                write!(f, "waited {limit:?} in vain for {waiting_for}")
            }
            Self::Setting { name, problem } => write!(f, "{name}: {problem}"),
            Self::Unsupported { what, remedy } => {
                write!(f, "{what} is not possible here; {remedy}")
            }
            Self::Io { doing, .. } => write!(f, "could not {doing}"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io { source, .. } => Some(source),
            _ => None,
        }
    }
}
