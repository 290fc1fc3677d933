use std::path::PathBuf;

use serde::Deserialize;

use super::human::Size;
use crate::error::Error;
use crate::remote::{DiskOptions, LEAST_DISK_BYTES};

/// What a configuration says about a second level on disk; the settings have the names of the setters of [`DiskOptions`]; `bytes` is a size, and the
/// `folder` has to be there.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use bilten_cache::Cache;
/// use bilten_cache::config::DiskSettings;
///
/// # let folder = tempfile::tempdir()?;
/// # let folder = folder.path().display();
/// let text = format!(r#"{{ "folder": "{folder}", "bytes": "2GiB", "sync": true }}"#);
/// let settings: DiskSettings = serde_json::from_str(&text)?;
///
/// let cache = Cache::builder("shop").disk(&settings).build().await?;
/// # cache.shutdown(std::time::Duration::from_secs(5)).await;
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(try_from = "Said")]
pub struct DiskSettings {
    folder: PathBuf,
    bytes: Option<Size>,
    sync: Option<bool>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Said {
    folder: Option<PathBuf>,
    bytes: Option<Size>,
    sync: Option<bool>,
}

impl TryFrom<Said> for DiskSettings {
    type Error = Error;

    fn try_from(said: Said) -> Result<Self, Error> {
        // All of them, or the compiler says which one was forgotten.
        let Said {
            folder,
            bytes,
            sync,
        } = said;
        let wrong = |problem| Error::config("folder", problem, "name a folder of this machine");
        let folder = folder.ok_or_else(|| wrong("it is missing"))?;
        if folder.as_os_str().is_empty() {
            return Err(wrong("it is empty"));
        }
        if let Some(Size(bytes)) = bytes
            && bytes < LEAST_DISK_BYTES
        {
            let problem = format!("it is {bytes}, which is below 1 MiB");
            return Err(Error::config("bytes", problem, "use at least `1MiB`"));
        }
        Ok(Self {
            folder,
            bytes,
            sync,
        })
    }
}

impl From<&DiskSettings> for DiskOptions {
    fn from(settings: &DiskSettings) -> Self {
        let DiskSettings {
            folder,
            bytes,
            sync,
        } = settings;
        let mut options = Self::folder(folder);
        if let Some(Size(bytes)) = *bytes {
            options = options.bytes(bytes);
        }
        if let Some(sync) = *sync {
            options = options.sync(sync);
        }
        options
    }
}
