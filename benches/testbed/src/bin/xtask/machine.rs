//! Questions to this machine.

use std::env::consts::EXE_SUFFIX;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The first line a program prints, when it is there and succeeds.
pub(crate) fn first_line(command: &mut Command) -> Option<String> {
    let output = command
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .ok()?;
    let text = String::from_utf8_lossy(&output.stdout)
        .lines()
        .next()?
        .trim()
        .to_owned();
    (output.status.success() && !text.is_empty()).then_some(text)
}

/// What Rust calls this machine, as in `x86_64-unknown-linux-gnu`.
pub(crate) fn host_triple() -> Option<String> {
    let output = Command::new("rustc")
        .arg("-vV")
        .stderr(Stdio::null())
        .output()
        .ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.lines()
        .find_map(|line| line.strip_prefix("host: "))
        .map(str::to_owned)
}

/// The line that installs packages here; the names are those of apt, dnf and brew.
pub(crate) fn install_line([apt, dnf, brew]: [&str; 3]) -> String {
    let there = |program| first_line(Command::new(program).arg("--version")).is_some();
    let sudo = if is_root() { "" } else { "sudo " };
    if there("apt-get") {
        format!("{sudo}apt-get install -y {apt}")
    } else if there("dnf") {
        format!("{sudo}dnf install -y {dnf}")
    } else if there("brew") {
        format!("brew install {brew}")
    } else {
        format!("install with your package manager: apt {apt}; dnf {dnf}; brew {brew}")
    }
}

pub(crate) fn is_root() -> bool {
    first_line(Command::new("id").arg("-u")).as_deref() == Some("0")
}

/// A program that cargo built into the same folder as this one.
pub(crate) fn built_beside(name: &str) -> Option<PathBuf> {
    let program = std::env::current_exe()
        .ok()?
        .with_file_name(format!("{name}{EXE_SUFFIX}"));
    program.is_file().then_some(program)
}

/// How many files a process may have open at once; more than anyone needs when there is no limit.
pub(crate) fn open_files() -> Option<u64> {
    let limit = first_line(Command::new("sh").args(["-c", "ulimit -n"]))?;
    if limit == "unlimited" {
        Some(u64::MAX)
    } else {
        limit.parse().ok()
    }
}

/// Free space on the disk of `folder`, in GiB.
pub(crate) fn free_gib(folder: &Path) -> Option<u64> {
    let output = Command::new("df")
        .arg("-Pk")
        .arg(folder)
        .stderr(Stdio::null())
        .output()
        .ok()?;
    free_kib(&String::from_utf8_lossy(&output.stdout)).map(|kib| kib / 1024 / 1024)
}

fn free_kib(df: &str) -> Option<u64> {
    df.lines().nth(1)?.split_whitespace().nth(3)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn free_space_is_the_fourth_column() {
        let df = "Filesystem 1024-blocks Used Available Capacity Mounted on\n/dev/vda 263174212 12582912 83886080 14% /\n";
        assert_eq!(free_kib(df), Some(83_886_080));
    }

    #[test]
    fn a_program_that_fails_or_is_not_there_says_nothing() {
        assert_eq!(
            first_line(&mut Command::new("bilten-no-such-program")),
            None
        );
        assert_eq!(first_line(&mut Command::new("false")), None);
        assert_eq!(
            first_line(Command::new("sh").args(["-c", "echo one; echo two"])).as_deref(),
            Some("one")
        );
    }
}
