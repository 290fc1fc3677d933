use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::Error;

/// Sends a signal by the shell's own `kill`, so that neither unsafe code nor a crate is needed.
/// Processes that are gone already are no error.
pub(crate) fn signal(name: &str, pids: &[u32]) -> Result<(), Error> {
    if pids.is_empty() {
        return Ok(());
    }
    Command::new("/bin/sh")
        .args([
            "-c",
            r#"s=$1; shift; for p; do kill -s "$s" "$p" 2>/dev/null; done; :"#,
            "sh",
            name,
        ])
        .args(pids.iter().map(u32::to_string))
        .stdin(Stdio::null())
        .status()
        .map_err(|e| Error::io(format!("send SIG{name}"), e))?;
    Ok(())
}

/// Whether the process runs; one that has ended and was not collected does not.
pub(crate) fn is_running(pid: u32) -> bool {
    state(pid).is_some_and(|state| state != 'Z' && state != 'X')
}

pub(crate) fn is_stopped(pid: u32) -> bool {
    state(pid).is_none_or(|state| matches!(state, 'T' | 't' | 'Z' | 'X'))
}

/// The one-letter state: R, S, D, T (stopped), Z (ended).
fn state(pid: u32) -> Option<char> {
    if has_proc() {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The command name may hold blanks and brackets, so count from the last bracket.
        return stat.rsplit_once(')')?.1.trim_start().chars().next();
    }
    let output = Command::new("ps")
        .args(["-o", "stat=", "-p", &pid.to_string()])
        .output()
        .ok()?;
    String::from_utf8(output.stdout).ok()?.trim().chars().next()
}

/// A server is every process that works in its data directory: this finds the children of PostgreSQL (each its
/// own session), orphans of a killed postmaster and forks of Redis alike.
pub(crate) fn working_in(directory: &Path, main: Option<u32>) -> BTreeSet<u32> {
    if !has_proc() {
        return family_by_ps(main);
    }
    let Ok(entries) = fs::read_dir("/proc") else {
        return BTreeSet::new();
    };
    entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok())
        .filter(|pid| fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|cwd| cwd == directory))
        .collect()
}

fn family_by_ps(main: Option<u32>) -> BTreeSet<u32> {
    let Some(main) = main else {
        return BTreeSet::new();
    };
    let Ok(output) = Command::new("ps")
        .args(["-axo", "pid=,ppid=,stat="])
        .output()
    else {
        return BTreeSet::new();
    };
    family(&String::from_utf8_lossy(&output.stdout), main)
}

/// The process and its descendants that have not ended, from `pid ppid state` lines.
fn family(table: &str, main: u32) -> BTreeSet<u32> {
    let rows: Vec<(u32, u32)> = table
        .lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            let (pid, parent) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
            (!words.next()?.starts_with('Z')).then_some((pid, parent))
        })
        .collect();
    let mut found = BTreeSet::new();
    let mut known = BTreeSet::from([main]);
    loop {
        let before = found.len();
        for &(pid, parent) in &rows {
            if pid == main || known.contains(&parent) {
                known.insert(pid);
                found.insert(pid);
            }
        }
        if found.len() == before {
            return found;
        }
    }
}

/// After a kill the lock file of PostgreSQL names a process that its parent has not collected, which it takes for
/// alive; and the System V segment it names would be forgotten.
pub(crate) fn forget_postmaster(work: &Path) {
    let file = work.join("postmaster.pid");
    let Ok(text) = fs::read_to_string(&file) else {
        return;
    };
    if let Some(segment) = text
        .lines()
        .nth(6)
        .and_then(|line| line.split_whitespace().nth(1))
    {
        let _ = Command::new("ipcrm").args(["-m", segment]).output();
    }
    let _ = fs::remove_file(file);
}

fn has_proc() -> bool {
    Path::new("/proc/self/cwd").exists()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn we_run_and_an_impossible_pid_does_not() {
        assert!(is_running(std::process::id()));
        assert!(!is_running(u32::MAX - 1));
    }

    #[test]
    fn an_ended_child_is_not_running_even_before_it_is_collected() {
        let mut child = Command::new("true").spawn().unwrap();
        crate::eventually(std::time::Duration::from_secs(5), || {
            !is_running(child.id())
        });
        child.wait().unwrap();
    }

    #[test]
    fn a_family_is_the_process_and_its_descendants_without_the_ended() {
        let table = "1 0 S\n10 1 S\n12 11 S\n11 10 S\n13 10 Z\n20 1 S\n";
        assert_eq!(family(table, 10), BTreeSet::from([10, 11, 12]));
    }

    #[test]
    fn a_process_is_found_by_its_working_directory() {
        let directory = std::env::temp_dir()
            .canonicalize()
            .unwrap()
            .join(format!("bilten-cwd-{}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        let mut child = Command::new("sleep")
            .arg("60")
            .current_dir(&directory)
            .spawn()
            .unwrap();
        assert_eq!(
            working_in(&directory, Some(child.id())),
            BTreeSet::from([child.id()])
        );
        signal("KILL", &[child.id()]).unwrap();
        child.wait().unwrap();
        assert!(working_in(&directory, Some(child.id())).is_empty());
        fs::remove_dir(&directory).unwrap();
    }
}
