//! One step of a command: it announces itself, runs with its output visible, and says how long it took.

use std::ffi::OsStr;
use std::fmt;
use std::io::{self, Read, Write};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use crate::failure::Failure;
use crate::machine;

/// Runs `work` between a line that says what it does and how long it usually takes, and a line with the time it took.
pub(crate) fn step<T>(
    what: &str,
    usual: &str,
    work: impl FnOnce() -> Result<T, Failure>,
) -> Result<T, Failure> {
    println!("\n==> {what} (usually {usual})");
    let start = Instant::now();
    let result = work();
    let verdict = if result.is_ok() { "done" } else { "FAILED" };
    println!("    {verdict}: {what}, {}", Took(start.elapsed()));
    result
}

/// Runs a program with this terminal as its own, after printing the line that repeats it by hand.
pub(crate) fn run(command: &mut Command) -> Result<(), Failure> {
    let line = line_of(command);
    println!("    $ {line}");
    let status = with_lifeline(command)
        .status()
        .map_err(|error| not_started(&line, &error))?;
    match status.code() {
        Some(0) => Ok(()),
        // What a launcher answers for a program that is not there.
        Some(127) => {
            Err(Failure::missing(format!("`{line}` did not start")).remedy("cargo xtask doctor"))
        }
        _ => Err(Failure::new(format!("`{line}` ended with {status}"))),
    }
}

/// Runs a program and returns what it wrote to its standard output and error, whatever its exit status.
pub(crate) fn capture(command: &mut Command) -> Result<(bool, String), Failure> {
    let line = line_of(command);
    let output = command
        .stdin(Stdio::null())
        .output()
        .map_err(|error| not_started(&line, &error))?;
    let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.push_str(&String::from_utf8_lossy(&output.stderr));
    Ok((output.status.success(), text))
}

/// Runs a program, shows what it writes as it comes, and returns that too with whether it succeeded.
pub(crate) fn tee(command: &Command) -> Result<(bool, String), Failure> {
    let line = line_of(command);
    println!("    $ {line}");
    let failed = |error| not_started(&line, &error);
    let mut command = with_lifeline(command);
    let (reader, writer) = io::pipe().map_err(failed)?;
    // One pipe for both keeps their lines in order.
    command
        .stdin(Stdio::null())
        .stdout(writer.try_clone().map_err(failed)?)
        .stderr(writer);
    let mut child = command.spawn().map_err(failed)?;
    // It holds the pipe's other end: reading would never end.
    drop(command);
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || forward(reader, &sender));
    let mut output = Vec::new();
    loop {
        match receiver.recv_timeout(Duration::from_millis(300)) {
            Ok(chunk) => output.extend_from_slice(&chunk),
            // A process that it left behind may keep the pipe open for ever.
            Err(RecvTimeoutError::Timeout) if child.try_wait().map_err(failed)?.is_some() => break,
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    let status = child.wait().map_err(failed)?;
    Ok((
        status.success(),
        String::from_utf8_lossy(&output).into_owned(),
    ))
}

/// The same command as a child that the kernel ends when this process is killed, where util-linux is at hand.
///
/// Otherwise a killed `cargo xtask` would leave a service or a test run behind.
fn with_lifeline(command: &Command) -> Command {
    static THERE: OnceLock<bool> = OnceLock::new();
    let there = *THERE
        .get_or_init(|| machine::first_line(Command::new("setpriv").arg("--version")).is_some());
    let mut lasting = Command::new(if there {
        OsStr::new("setpriv")
    } else {
        command.get_program()
    });
    if there {
        lasting
            .args(["--pdeathsig", "TERM", "--"])
            .arg(command.get_program());
    }
    lasting.args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => lasting.env(name, value),
            None => lasting.env_remove(name),
        };
    }
    if let Some(folder) = command.get_current_dir() {
        lasting.current_dir(folder);
    }
    lasting
}

/// Copies to the standard output and to `sender` until the other end is closed.
fn forward(mut reader: impl Read, sender: &mpsc::Sender<Vec<u8>>) {
    let mut buffer = [0; 8192];
    while let Ok(length) = reader.read(&mut buffer) {
        let mut out = io::stdout().lock();
        // A closed terminal does not stop the run.
        let _ = out.write_all(&buffer[..length]).and_then(|()| out.flush());
        if length == 0 || sender.send(buffer[..length].to_vec()).is_err() {
            return;
        }
    }
}

/// The command as a person would type it, without its environment.
pub(crate) fn line_of(command: &Command) -> String {
    let program = command.get_program().to_string_lossy();
    let name = program.rsplit('/').next().unwrap_or(&program).to_owned();
    command.get_args().fold(name, |line, argument| {
        let argument = argument.to_string_lossy();
        if argument.contains(' ') {
            format!("{line} '{argument}'")
        } else {
            format!("{line} {argument}")
        }
    })
}

pub(crate) fn not_started(line: &str, error: &io::Error) -> Failure {
    Failure::missing(format!("`{line}` did not start: {error}")).remedy("cargo xtask doctor")
}

/// A duration for people: `0.4 s`, `12 s`, `3 min 05 s`.
pub(crate) struct Took(pub(crate) Duration);

impl fmt::Display for Took {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs();
        match seconds {
            0..10 => write!(f, "{:.1} s", self.0.as_secs_f64()),
            10..60 => write!(f, "{seconds} s"),
            _ => write!(f, "{} min {:02} s", seconds / 60, seconds % 60),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_like_speech() {
        let shown = |millis| Took(Duration::from_millis(millis)).to_string();
        assert_eq!(shown(430), "0.4 s");
        assert_eq!(shown(12_900), "12 s");
        assert_eq!(shown(185_000), "3 min 05 s");
    }

    #[test]
    fn what_a_program_writes_is_returned_in_its_order() {
        let mut command = Command::new("sh");
        command.args(["-c", "echo one; echo two >&2; echo three; exit 3"]);
        let (succeeded, output) = tee(&command).expect("a shell is there");
        assert_eq!((succeeded, output.as_str()), (false, "one\ntwo\nthree\n"));
    }

    #[test]
    fn a_lifeline_changes_neither_folder_nor_environment_nor_exit_status() {
        let mut command = Command::new("sh");
        command
            .args(["-c", "echo $BILTEN_STEP; pwd; exit 4"])
            .env("BILTEN_STEP", "set")
            .current_dir("/");
        assert_eq!(
            tee(&command).expect("a shell is there"),
            (false, "set\n/\n".to_owned())
        );
        let status = with_lifeline(&command)
            .stdout(Stdio::null())
            .status()
            .expect("a shell is there");
        assert_eq!(status.code(), Some(4));
    }

    #[test]
    fn a_process_left_behind_does_not_hold_the_run() {
        let mut command = Command::new("sh");
        command.args(["-c", "echo out; sleep 20 & exit 0"]);
        let start = Instant::now();
        assert_eq!(
            tee(&command).expect("a shell is there"),
            (true, "out\n".to_owned())
        );
        assert!(start.elapsed() < Duration::from_secs(15));
    }

    #[test]
    fn a_line_can_be_typed_again() {
        let mut command = Command::new("/somewhere/bin/cargo");
        command.args(["nextest", "run", "-E", "test(a) and test(b)"]);
        assert_eq!(
            line_of(&command),
            "cargo nextest run -E 'test(a) and test(b)'"
        );
    }

    #[test]
    fn a_program_that_is_not_there_is_a_missing_thing() {
        let failure =
            run(&mut Command::new("bilten-no-such-program")).expect_err("it cannot start");
        assert_eq!(failure.code(), 3);
    }
}
