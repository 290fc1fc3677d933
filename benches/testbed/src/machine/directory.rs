use std::fs::{self, File, TryLockError};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use super::process;
use super::user::ServerUser;
use crate::Error;

/// Three PostgreSQL nodes take about 120 MB; below this /dev/shm is left alone (containers give it 64 MB).
const SHM_ROOM_KIB: u64 = 1024 * 1024;

/// Where servers live: `BILTEN_TEST_DIR`, else memory, else the temporary directory.
pub(crate) fn base() -> Result<&'static Path, Error> {
    static BASE: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let made = BASE.get_or_init(|| {
        make_base().map_err(|e| {
            std::error::Error::source(&e).map_or(e.to_string(), |s| format!("{e}: {s}"))
        })
    });
    match made {
        Ok(path) => Ok(path),
        Err(problem) => Err(Error::setting("BILTEN_TEST_DIR", problem.clone())),
    }
}

fn make_base() -> Result<PathBuf, Error> {
    let user = ServerUser::current()?;
    let parent = match std::env::var_os("BILTEN_TEST_DIR") {
        Some(chosen) => PathBuf::from(chosen),
        None if shm_has_room() => PathBuf::from("/dev/shm"),
        None => std::env::temp_dir(),
    };
    let parent = parent
        .canonicalize()
        .map_err(|e| Error::io(format!("find the directory {}", parent.display()), e))?;
    let own = if ServerUser::is_root() { 0 } else { user.uid() };
    let path = parent.join(format!("bilten-testbed-{own}"));
    if let Err(e) = fs::create_dir(&path)
        && e.kind() != std::io::ErrorKind::AlreadyExists
    {
        return Err(Error::io(format!("make {}", path.display()), e));
    }
    // Somebody else may have put a link or a directory of theirs there.
    let meta = fs::symlink_metadata(&path)
        .map_err(|e| Error::io(format!("look at {}", path.display()), e))?;
    if !meta.is_dir() || ![own, user.uid()].contains(&meta.uid()) {
        return Err(Error::setting(
            "BILTEN_TEST_DIR",
            format!("{} is not ours; set another directory", path.display()),
        ));
    }
    user.own(&path)?;
    set_mode(&path, 0o755)?;
    Ok(path)
}

fn shm_has_room() -> bool {
    let Ok(output) = Command::new("df").args(["-Pk", "/dev/shm"]).output() else {
        return false;
    };
    output.status.success()
        && free_kib(&String::from_utf8_lossy(&output.stdout))
            .is_some_and(|free| free >= SHM_ROOM_KIB)
}

fn free_kib(df: &str) -> Option<u64> {
    df.lines().nth(1)?.split_whitespace().nth(3)?.parse().ok()
}

pub(crate) fn set_mode(path: &Path, mode: u32) -> Result<(), Error> {
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
        .map_err(|e| Error::io(format!("set the mode of {}", path.display()), e))
}

/// A file lock that ends with the process that holds it, however that ends.
#[derive(Debug)]
pub(crate) struct Lock(#[expect(dead_code, reason = "held for its lock")] File);

impl Lock {
    pub(crate) fn wait(path: &Path) -> Result<Self, Error> {
        let file = open(path)?;
        file.lock()
            .map_err(|e| Error::io(format!("lock {}", path.display()), e))?;
        Ok(Self(file))
    }

    /// `None` when somebody else holds it.
    pub(crate) fn attempt(path: &Path) -> Result<Option<Self>, Error> {
        let file = open(path)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Self(file))),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(e)) => Err(Error::io(format!("lock {}", path.display()), e)),
        }
    }
}

fn open(path: &Path) -> Result<File, Error> {
    File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path)
        .map_err(|e| Error::io(format!("open {}", path.display()), e))
}

/// A directory of one server. It goes when the guardian ends, or here when no guardian was started.
#[derive(Debug)]
pub(crate) struct RunDirectory {
    path: PathBuf,
    _owner: Lock,
}

impl RunDirectory {
    pub(crate) fn make(kind: &str) -> Result<Self, Error> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        static SWEPT: OnceLock<()> = OnceLock::new();
        let base = base()?;
        // Held while a directory exists whose owner lock is not taken yet, so that no sweep sees one.
        let _making = Lock::wait(&base.join("lock"))?;
        SWEPT.get_or_init(|| sweep(base));
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = base.join(format!("run-{}-{number}-{kind}", std::process::id()));
        // A process with our number may have left one behind.
        let _ = fs::remove_dir_all(&path);
        fs::create_dir(&path).map_err(|e| Error::io(format!("make {}", path.display()), e))?;
        let owner = Lock::wait(&path.join("owner"))?;
        ServerUser::current()?.own(&path)?;
        set_mode(&path, 0o700)?;
        Ok(Self {
            path,
            _owner: owner,
        })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for RunDirectory {
    fn drop(&mut self) {
        if std::env::var_os("BILTEN_TEST_KEEP").is_none() {
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}

/// Removes what processes left whose guardian was killed too: servers still running there, then the directory.
fn sweep(base: &Path) {
    let Ok(entries) = fs::read_dir(base) else {
        return;
    };
    for path in entries.filter_map(|entry| Some(entry.ok()?.path())) {
        if path
            .file_name()
            .and_then(|name| name.to_str())
            .is_some_and(|name| name.starts_with("run-"))
        {
            sweep_one(&path);
        }
    }
}

fn sweep_one(path: &Path) {
    if !matches!(Lock::attempt(&path.join("owner")), Ok(Some(_))) {
        return;
    }
    let guardian = fs::read_to_string(path.join("guardian"))
        .ok()
        .and_then(|text| text.trim().parse().ok());
    if guardian.is_some_and(process::is_running) {
        return;
    }
    for work in [path.to_path_buf(), path.join("data")] {
        let left: Vec<u32> = process::working_in(&work, None).into_iter().collect();
        let _ = process::signal("KILL", &left);
        let _ = crate::wait::until(
            "the end of a left-over server",
            std::time::Duration::from_secs(5),
            || {
                if process::working_in(&work, None).is_empty() {
                    Ok(())
                } else {
                    Err(String::new())
                }
            },
        );
    }
    process::forget_postmaster(&path.join("data"));
    let _ = fs::remove_dir_all(path);
}

/// Copies a tree as the server's user will need it: same modes, its owner.
pub(crate) fn copy_tree(from: &Path, to: &Path) -> Result<(), Error> {
    let fail = |e| Error::io(format!("copy {} to {}", from.display(), to.display()), e);
    let user = ServerUser::current()?;
    fs::create_dir(to).map_err(fail)?;
    for entry in fs::read_dir(from).map_err(fail)? {
        let entry = entry.map_err(fail)?;
        let target = to.join(entry.file_name());
        if entry.file_type().map_err(fail)?.is_dir() {
            copy_tree(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), &target).map_err(fail)?;
            user.own(&target)?;
        }
    }
    set_mode(to, 0o700)?;
    user.own(to)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn free_room_is_the_fourth_column_of_df() {
        let df = "Filesystem 1024-blocks Used Available Capacity Mounted on\ntmpfs 25165824 4096 25161728 1% /dev/shm\n";
        assert_eq!(free_kib(df), Some(25_161_728));
        assert_eq!(free_kib("df: /dev/shm: No such file"), None);
    }

    #[test]
    fn a_directory_whose_owner_lives_is_not_swept() {
        let directory = RunDirectory::make("unit").unwrap();
        sweep(base().unwrap());
        assert!(directory.path().exists());
    }

    #[test]
    fn a_directory_whose_owner_is_gone_is_swept_with_what_runs_in_it() {
        let directory = RunDirectory::make("unit").unwrap();
        let left = directory
            .path()
            .with_file_name(format!("run-{}-left", std::process::id()));
        fs::create_dir(&left).unwrap();
        let mut child = Command::new("sleep")
            .arg("60")
            .current_dir(&left)
            .spawn()
            .unwrap();
        sweep_one(&left);
        assert!(!left.exists());
        assert!(
            !child.wait().unwrap().success(),
            "killed, not run to its end"
        );
    }
}
