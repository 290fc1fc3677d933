//! The files of a store: its lock, its database, and what is known about how the last process left it.

use std::fs::{self, File, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::failure::unusable;
use crate::error::Error;

/// How long a process that is just ending may hold a folder.
const PATIENCE: Duration = Duration::from_secs(1);

/// The first line of the state file, and of what form the files are.
const FORM: &str = "bilten-cache disk 1";
const CLEAN: &str = "closed";
const SYNCED: &str = "open, synced";

/// A folder that belongs to this store alone, for as long as this lives.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    name: String,
    _lock: File,
}

impl Folder {
    /// Takes the folder, which is made if need be.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] names the folder: it is in use, or cannot be written to.
    pub(super) fn take(path: &Path, name: &str) -> Result<Self, Error> {
        fs::create_dir_all(path).map_err(|e| unusable(path, "nothing can be made", &e))?;
        let lock = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(path.join(format!("{name}.lock")))
            .map_err(|e| unusable(path, "nothing can be written", &e))?;
        let deadline = Instant::now() + PATIENCE;
        loop {
            match lock.try_lock() {
                Ok(()) => break,
                Err(TryLockError::WouldBlock) if Instant::now() < deadline => {
                    std::thread::sleep(PATIENCE / 40);
                }
                Err(TryLockError::WouldBlock) => return Err(in_use(path, name)),
                Err(TryLockError::Error(e)) => {
                    return Err(unusable(path, "the lock cannot be taken", &e));
                }
            }
        }
        Ok(Self {
            path: path.to_owned(),
            name: name.to_owned(),
            _lock: lock,
        })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn database(&self) -> PathBuf {
        self.file("redb")
    }

    /// Whether everything that was written by whoever had the folder before is there.
    pub(super) fn is_whole(&self) -> bool {
        let state = fs::read_to_string(self.file("state")).unwrap_or_default();
        let Some(state) = state.strip_prefix(FORM) else {
            return false;
        };
        match state.trim() {
            CLEAN | SYNCED => true,
            // A process may end as it likes: the system has all that it wrote, as long as the system is the same.
            since => boot().is_some_and(|boot| since == open_since(&boot)),
        }
    }

    /// Notes that the files change from now on, before they do.
    pub(super) fn opened(&self, sync: bool) -> io::Result<()> {
        if sync {
            return self.note(SYNCED);
        }
        self.note(&open_since(&boot().unwrap_or_default()))
    }

    /// Notes that everything is on the disk and nothing changes any more.
    pub(super) fn closed(&self) -> io::Result<()> {
        // Not every system brings a file to the disk that was opened for reading.
        let file = File::options().write(true).open(self.database())?;
        file.sync_all()?;
        self.note(CLEAN)
    }

    /// Throws the database away.
    pub(super) fn discard(&self) -> io::Result<()> {
        match fs::remove_file(self.database()) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Replaces the state file as a whole, and waits until that is on the disk.
    fn note(&self, state: &str) -> io::Result<()> {
        let (new, old) = (self.file("state-new"), self.file("state"));
        let mut file = File::create(&new)?;
        writeln!(file, "{FORM}\n{state}")?;
        file.sync_all()?;
        drop(file);
        fs::rename(new, old)?;
        sync_folder(&self.path)
    }

    fn file(&self, kind: &str) -> PathBuf {
        self.path.join(format!("{}.{kind}", self.name))
    }
}

fn in_use(path: &Path, name: &str) -> Error {
    Error::config(
        "disk",
        format!(
            "the folder `{}` is in use by another process, or another cache `{name}` of this one",
            path.display()
        ),
        "give each process a folder of its own, or share a Redis instead",
    )
}

fn open_since(boot: &str) -> String {
    format!("open, boot {boot}")
}

/// What tells this run of the operating system from all others, where the system has such a thing.
fn boot() -> Option<String> {
    let id = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    Some(id.trim().to_owned()).filter(|id| !id.is_empty())
}

#[cfg(unix)]
fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// Elsewhere a folder cannot be opened as a file, and a rename needs no more.
#[cfg(not(unix))]
fn sync_folder(_: &Path) -> io::Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder() -> (tempfile::TempDir, Folder) {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::take(&dir.path().join("a/b"), "shop").unwrap();
        fs::write(folder.database(), "something").unwrap();
        (dir, folder)
    }

    fn state(folder: &Folder, text: &str) -> bool {
        fs::write(folder.file("state"), text).unwrap();
        folder.is_whole()
    }

    #[test]
    fn what_is_there_counts_only_if_nothing_of_it_can_be_lost() {
        let (_dir, folder) = folder();
        assert!(!folder.is_whole(), "nobody says so");
        folder.opened(true).unwrap();
        assert!(folder.is_whole(), "every change was waited for");
        folder.closed().unwrap();
        assert!(folder.is_whole());
        assert!(!state(
            &folder,
            &format!("{FORM}\nopen, boot of another day\n")
        ));
        assert!(!state(&folder, "bilten-cache disk 2\nclosed\n"));
        assert!(!state(&folder, ""));
        // Cut short in the middle of being written, which a rename rules out.
        assert!(!state(&folder, &format!("{FORM}\nclo")));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_process_that_was_killed_lost_nothing_while_the_system_lives() {
        let (_dir, folder) = folder();
        folder.opened(false).unwrap();
        assert!(folder.is_whole());
        let text = fs::read_to_string(folder.file("state")).unwrap();
        let other = text.replace(&boot().unwrap(), "f3d0f3c0-0000-4000-8000-000000000000");
        assert!(!state(&folder, &other), "the machine went down since");
    }

    #[test]
    fn a_folder_is_taken_once() {
        let (_dir, folder) = folder();
        let again = Folder::take(folder.path(), "shop").unwrap_err().to_string();
        assert!(
            again.contains("is in use") && again.contains("a/b"),
            "{again}"
        );
        let other = Folder::take(folder.path(), "other");
        assert!(other.is_ok(), "another cache has files of its own");
        let path = folder.path().to_owned();
        drop(folder);
        assert!(Folder::take(&path, "shop").is_ok());
    }

    #[test]
    fn a_path_that_cannot_be_a_folder_is_named() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let error = Folder::take(file.path(), "shop").unwrap_err().to_string();
        let path = file.path().display().to_string();
        assert!(
            error.starts_with("disk: ") && error.contains(&path),
            "{error}"
        );
        assert!(error.contains("a folder or nothing"), "{error}");
    }
}
