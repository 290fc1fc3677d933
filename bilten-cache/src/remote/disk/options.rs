use std::path::{Path, PathBuf};

/// With less there is no room for the store's own pages beside a few values.
pub(crate) const LEAST_BYTES: u64 = 1 << 20;

/// Where and how large a second level on disk is; a path alone is one with the defaults.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use bilten_cache::Cache;
/// use bilten_cache::remote::DiskOptions;
///
/// # let folder = tempfile::tempdir()?;
/// # let folder = folder.path();
/// let disk = DiskOptions::folder(folder).bytes(512 << 20);
/// let cache = Cache::builder("shop").disk(disk).build().await?;
/// # cache.shutdown(std::time::Duration::from_secs(5)).await;
/// # Ok(()) }
/// ```
#[derive(Debug, Clone)]
#[must_use = "options do nothing until a cache is built with them"]
pub struct DiskOptions {
    pub(super) folder: PathBuf,
    pub(super) bytes: u64,
    pub(super) sync: bool,
}

impl DiskOptions {
    /// In this folder, which is made if need be. It should be on a disk of this machine, and of one process only: the files in it
    /// carry the name of the cache, and a second cache of the same name gets an error.
    pub fn folder(path: impl Into<PathBuf>) -> Self {
        Self {
            folder: path.into(),
            bytes: 256 << 20,
            sync: false,
        }
    }

    /// How much of the disk values may take, in bytes, with the source tokens that their loads must reflect. Defaults to 256 MiB; at least
    /// 1 MiB. Beyond it, those values go first that have the least time to live left. A value that would take more than a quarter of it is not stored.
    pub fn bytes(mut self, bytes: u64) -> Self {
        self.bytes = bytes;
        self
    }

    /// Whether values shall survive a power cut and a crash of the system too. Off by default.
    ///
    /// Without it nothing waits for the disk, and a process that ends in whatever way, even by `kill -9`, loses nothing. Only
    /// when the machine itself went down in the meantime, the store starts empty: what had reached the disk cannot be told from what
    /// had not, and a value that was removed must not come back. With it every change waits for the disk, in groups: some
    /// milliseconds.
    pub fn sync(mut self, sync: bool) -> Self {
        self.sync = sync;
        self
    }
}

impl From<PathBuf> for DiskOptions {
    fn from(path: PathBuf) -> Self {
        Self::folder(path)
    }
}

impl From<&Path> for DiskOptions {
    fn from(path: &Path) -> Self {
        Self::folder(path)
    }
}

impl From<&str> for DiskOptions {
    fn from(path: &str) -> Self {
        Self::folder(path)
    }
}

impl From<String> for DiskOptions {
    fn from(path: String) -> Self {
        Self::folder(path)
    }
}
