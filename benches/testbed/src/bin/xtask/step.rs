//! One step of a command: it announces itself, runs with its output visible, and says how long it took.

use std::fmt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::failure::Failure;

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
    let status = command
        .status()
        .map_err(|error| not_started(&line, &error))?;
    if status.success() {
        Ok(())
    } else {
        Err(Failure::new(format!("`{line}` ended with {status}")))
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

pub(crate) fn not_started(line: &str, error: &std::io::Error) -> Failure {
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
