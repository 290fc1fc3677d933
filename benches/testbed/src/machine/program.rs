use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Finds a program: PATH first, then where packages hide server programs.
pub(crate) fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_else(|| OsString::from("/usr/bin:/bin"));
    std::env::split_paths(&path)
        .map(Some)
        .chain(
            [
                "/usr/sbin",
                "/usr/local/sbin",
                "/usr/local/bin",
                "/opt/homebrew/bin",
            ]
            .map(|directory| Some(directory.into())),
        )
        .chain([pg_config_bindir()])
        .chain(packaged_directories().into_iter().map(Some))
        .flatten()
        .map(|directory| directory.join(name))
        .find(|path| is_program(path))
}

/// `redis-server`, or Valkey's, which is the same to us.
pub(crate) fn redis_server() -> Option<PathBuf> {
    ["redis-server", "valkey-server"].into_iter().find_map(find)
}

/// The server of MariaDB; MySQL's own has another way to make a data directory and to replicate.
pub(crate) fn mariadb_server() -> Option<PathBuf> {
    find("mariadbd")
}

/// The directory with `initdb` and `postgres` of one and the same version, the newest first.
pub(crate) fn postgres_directory() -> Option<PathBuf> {
    let complete = |directory: &PathBuf| {
        ["initdb", "postgres"]
            .iter()
            .all(|name| is_program(&directory.join(name)))
    };
    packaged_directories()
        .into_iter()
        .chain(pg_config_bindir())
        .chain(find("initdb").and_then(|initdb| Some(initdb.parent()?.to_path_buf())))
        .find(complete)
}

/// Debian keeps one directory per major version, Homebrew one per formula.
fn packaged_directories() -> Vec<PathBuf> {
    let mut found = Vec::new();
    for (root, prefix) in [
        ("/usr/lib/postgresql", ""),
        ("/opt/homebrew/opt", "postgresql@"),
        ("/usr/local/opt", "postgresql@"),
        ("/usr", "pgsql-"),
    ] {
        let Ok(entries) = fs::read_dir(root) else {
            continue;
        };
        for entry in entries.flatten() {
            let name = entry.file_name();
            let Some(version) = name
                .to_str()
                .and_then(|name| name.strip_prefix(prefix)?.parse::<u32>().ok())
            else {
                continue;
            };
            found.push((version, entry.path().join("bin")));
        }
    }
    found.sort_by_key(|(version, _)| std::cmp::Reverse(*version));
    found.into_iter().map(|(_, directory)| directory).collect()
}

fn pg_config_bindir() -> Option<PathBuf> {
    let output = Command::new("pg_config").arg("--bindir").output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| PathBuf::from(text.trim()))
}

fn is_program(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

/// The first line of `program --version`.
pub(crate) fn version(program: &Path) -> Option<String> {
    let output = Command::new(program).arg("--version").output().ok()?;
    Some(
        String::from_utf8_lossy(&output.stdout)
            .lines()
            .next()?
            .trim()
            .to_owned(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_on_the_path_is_found_and_an_unknown_one_is_not() {
        assert!(find("sh").is_some());
        assert!(find("no-such-program-here").is_none());
    }
}
