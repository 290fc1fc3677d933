use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::machine::program;
use crate::{Error, install};

/// Runs `promtool` with these arguments in a directory, and gives it a text to read.
///
/// ```no_run
/// let told = bilten_testbed::promtool(&["check", "metrics"], std::path::Path::new("."), "up 1\n")?;
/// # Ok::<(), bilten_testbed::Error>(())
/// ```
///
/// # Errors
/// When the program is not here (the message is the line to type), or finds a fault: its words are in the error.
pub fn promtool(arguments: &[&str], directory: &Path, input: &str) -> Result<String, Error> {
    let program =
        program::find("promtool").ok_or_else(|| Error::missing("promtool", install::remedy()))?;
    let line = format!("promtool {}", arguments.join(" "));
    let fault = |e| Error::io(format!("run {line}"), e);
    let mut child = Command::new(program)
        .args(arguments)
        .current_dir(directory)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(fault)?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(input.as_bytes()).map_err(fault)?;
    }
    let output = child.wait_with_output().map_err(fault)?;
    let told = [output.stdout, output.stderr].concat();
    let told = String::from_utf8_lossy(&told).into_owned();
    if output.status.success() {
        Ok(told)
    } else {
        Err(Error::refused(&line, told))
    }
}
