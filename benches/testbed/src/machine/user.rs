use std::fs;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;

use crate::Error;

/// The user servers run as. PostgreSQL refuses root, so root steps down to `postgres`, else `nobody`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ServerUser {
    uid: u32,
    gid: u32,
    steps_down: bool,
}

impl ServerUser {
    /// The user for this process.
    ///
    /// # Errors
    /// When this process is root and `/etc/passwd` knows neither `postgres` nor `nobody`.
    pub(crate) fn current() -> Result<Self, Error> {
        static CURRENT: OnceLock<Option<ServerUser>> = OnceLock::new();
        CURRENT
            .get_or_init(|| {
                let (uid, gid) = own_ids()?;
                if uid != 0 {
                    return Some(Self {
                        uid,
                        gid,
                        steps_down: false,
                    });
                }
                let passwd = fs::read_to_string("/etc/passwd").ok()?;
                let (uid, gid) =
                    ids_of(&passwd, "postgres").or_else(|| ids_of(&passwd, "nobody"))?;
                Some(Self {
                    uid,
                    gid,
                    steps_down: true,
                })
            })
            .ok_or_else(|| {
                Error::unsupported(
                    "starting servers as root without a user `postgres` or `nobody`",
                    "add one of them",
                )
            })
    }

    pub(crate) fn is_root() -> bool {
        own_ids().is_some_and(|(uid, _)| uid == 0)
    }

    pub(crate) fn uid(self) -> u32 {
        self.uid
    }

    pub(crate) fn apply(self, command: &mut Command) {
        if self.steps_down {
            command.uid(self.uid).gid(self.gid);
        }
    }

    pub(crate) fn own(self, path: &Path) -> Result<(), Error> {
        if self.steps_down {
            std::os::unix::fs::lchown(path, Some(self.uid), Some(self.gid)).map_err(|e| {
                Error::io(format!("give {} to the server's user", path.display()), e)
            })?;
        }
        Ok(())
    }
}

/// Linux shows our ids as the owner of /proc/self; elsewhere a new file does.
fn own_ids() -> Option<(u32, u32)> {
    static IDS: OnceLock<Option<(u32, u32)>> = OnceLock::new();
    *IDS.get_or_init(|| {
        if let Ok(meta) = fs::metadata("/proc/self") {
            return Some((meta.uid(), meta.gid()));
        }
        let id = |flag| {
            let output = Command::new("id").arg(flag).output().ok()?;
            String::from_utf8(output.stdout).ok()?.trim().parse().ok()
        };
        Some((id("-u")?, id("-g")?))
    })
}

fn ids_of(passwd: &str, user: &str) -> Option<(u32, u32)> {
    let line = passwd
        .lines()
        .find(|line| line.split(':').next() == Some(user))?;
    let mut fields = line.split(':').skip(2);
    Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_read_from_passwd_by_whole_name() {
        let passwd = "root:x:0:0:root:/root:/bin/sh\npostgresql:x:7:7::/:\npostgres:x:101:104:PG,,,:/var:/bin/sh\n";
        assert_eq!(ids_of(passwd, "postgres"), Some((101, 104)));
        assert_eq!(ids_of(passwd, "nobody"), None);
    }
}
