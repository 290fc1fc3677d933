//! Room on a disk.

use super::blocking;
use crate::check::{CheckBuilder, Verdict};
use std::path::{Path, PathBuf};

/// The file system that holds `path` has to have at least `min_free_bytes` left for this process.
///
/// It is local and so fit for liveness, but a restart seldom frees a disk. A network file system that hangs holds up one thread,
/// no matter how often it is asked for. An empty path is refused at build.
///
/// ```
/// use bilten_health::{Health, checks};
///
/// # async fn run() -> Result<(), bilten_health::BuildError> {
/// let health = Health::builder().check(checks::disk("data", "/", 1 << 20)).build()?;
/// println!("{}", health.check().await.to_json()); // … "details":{"free_bytes":…}
/// # Ok(())
/// # }
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(run()).unwrap();
/// ```
pub fn disk(name: impl Into<String>, path: impl AsRef<Path>, min_free_bytes: u64) -> CheckBuilder {
    let path: PathBuf = path.as_ref().to_owned();
    let (problem, shown) = (problem(&path), path.to_string_lossy().into_owned());
    blocking(name, move || match rustix::fs::statvfs(&path) {
        Ok(stat) => judge(stat.f_bavail.saturating_mul(stat.f_frsize), min_free_bytes),
        Err(error) => Verdict::failed(&std::io::Error::from(error)),
    })
    .local()
    .refuse(&shown, problem, "the path of a directory, such as /var/lib")
}

fn problem(path: &Path) -> Option<&'static str> {
    match path.as_os_str().as_encoded_bytes() {
        [] => Some("is empty"),
        bytes if bytes.contains(&0) => Some("has a NUL in it"),
        _ => None,
    }
}

fn judge(free: u64, min: u64) -> Verdict {
    let verdict = if free < min {
        Verdict::down(format!("{free} bytes are left, less than {min}"))
    } else {
        Verdict::up()
    };
    verdict.detail("free_bytes", free)
}
