//! Brings missing servers onto this machine, or says how.

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::process::{Command, Stdio};

use crate::Error;
use crate::machine::program;
use crate::machine::user::ServerUser;

/// What installing would do here.
///
/// ```
/// use bilten_testbed::install::{Plan, plan};
///
/// match plan() {
///     Plan::Nothing => {}
///     Plan::Run(commands) => assert!(commands.concat().contains("install")),
///     Plan::Ask(line) => assert!(!line.is_empty()),
///     _ => {}
/// }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Plan {
    /// Redis, PostgreSQL, MariaDB, Prometheus and PgBouncer are there.
    Nothing,
    /// [`run`] may do it: root on Debian or Ubuntu. These are the command lines.
    Run(Vec<String>),
    /// A person must do it: the line to type.
    Ask(String),
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => f.write_str("nothing to install"),
            Self::Run(commands) => f.write_str(&commands.join(" && ")),
            Self::Ask(line) => f.write_str(line),
        }
    }
}

/// Looks at the machine and changes nothing.
#[must_use]
pub fn plan() -> Plan {
    plan_for(&missing())
}

fn plan_for(missing: &[&str]) -> Plan {
    let system = System {
        root: ServerUser::is_root(),
        ..System::look()
    };
    system.plan(missing)
}

/// Installs what is missing when the plan allows it; the package manager's output stays visible.
///
/// The packages' own services are kept from starting: the tests start their own servers.
///
/// # Errors
/// When a person must do it (the message is the line to type) or the package manager fails.
pub fn run() -> Result<(), Error> {
    bring(missing)
}

/// Installs what `missing` names, by its name on Debian, and asks again.
pub(crate) fn bring(missing: impl Fn() -> Vec<&'static str>) -> Result<(), Error> {
    match plan_for(&missing()) {
        Plan::Nothing => Ok(()),
        Plan::Ask(line) => Err(Error::missing(
            missing().join(" and "),
            format!("type: {line}"),
        )),
        Plan::Run(commands) => {
            let _quiet = NoServices::begin()?;
            commands.iter().try_for_each(|line| run_line(line))?;
            let left = missing();
            if left.is_empty() {
                Ok(())
            } else {
                Err(Error::missing(
                    left.join(" and "),
                    "installing did not bring it",
                ))
            }
        }
    }
}

/// How to get what is missing, as the second half of a sentence.
pub(crate) fn remedy() -> String {
    match plan() {
        Plan::Run(commands) => format!(
            "type: cargo xtask test (it runs: {})",
            commands.join(" && ")
        ),
        Plan::Ask(line) => format!("type: {line}"),
        Plan::Nothing => format!(
            "the programs are here: unset {}",
            crate::environment::SOURCE
        ),
    }
}

fn missing() -> Vec<&'static str> {
    let mut missing = Vec::new();
    if program::redis_server().is_none() {
        missing.push("redis-server");
    }
    if program::postgres_directory().is_none() {
        missing.push("postgresql");
    }
    if program::mariadb_server().is_none() || program::find("mariadb-install-db").is_none() {
        missing.push("mariadb-server");
    }
    if program::find("prometheus").is_none() || program::find("promtool").is_none() {
        missing.push("prometheus");
    }
    if program::find("pgbouncer").is_none() {
        missing.push("pgbouncer");
    }
    missing
}

pub(crate) fn run_line(line: &str) -> Result<(), Error> {
    let status = Command::new("/bin/sh")
        .args(["-c", line])
        .env("DEBIAN_FRONTEND", "noninteractive")
        .stdin(Stdio::null())
        .status()
        .map_err(|e| Error::io(format!("run `{line}`"), e))?;
    if status.success() {
        Ok(())
    } else {
        Err(Error::refused(
            line,
            format!("{status}; its words are above"),
        ))
    }
}

/// Debian starts a service when its package is installed unless this file forbids it, or one is there already.
struct NoServices {
    ours: bool,
}

const POLICY: &str = "/usr/sbin/policy-rc.d";

impl NoServices {
    fn begin() -> Result<Self, Error> {
        if fs::exists(POLICY).unwrap_or(false) {
            return Ok(Self { ours: false });
        }
        let fail = |e| Error::io(format!("write {POLICY}"), e);
        fs::write(POLICY, "#!/bin/sh\nexit 101\n").map_err(fail)?;
        crate::machine::directory::set_mode(std::path::Path::new(POLICY), 0o755)?;
        Ok(Self { ours: true })
    }
}

impl Drop for NoServices {
    fn drop(&mut self) {
        if self.ours {
            let _ = fs::remove_file(POLICY);
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Packager {
    Apt,
    Dnf,
    Brew,
    Unknown,
}

#[derive(Debug, Clone, Copy)]
struct System {
    packager: Packager,
    root: bool,
}

impl System {
    fn look() -> Self {
        let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
        let packager = if is_debian(&release) && program::find("apt-get").is_some() {
            Packager::Apt
        } else if program::find("dnf").is_some() {
            Packager::Dnf
        } else if program::find("brew").is_some() {
            Packager::Brew
        } else {
            Packager::Unknown
        };
        Self {
            packager,
            root: false,
        }
    }

    fn plan(self, missing: &[&str]) -> Plan {
        if missing.is_empty() {
            return Plan::Nothing;
        }
        let names = missing.join(" ");
        let sudo = if self.root { "" } else { "sudo " };
        match self.packager {
            Packager::Apt => {
                let commands = [
                    format!("{sudo}apt-get update"),
                    format!("{sudo}apt-get install -y --no-install-recommends {names}"),
                ];
                if self.root {
                    Plan::Run(commands.into())
                } else {
                    Plan::Ask(commands.join(" && "))
                }
            }
            Packager::Dnf => Plan::Ask(format!(
                "{sudo}dnf install -y {}",
                renamed(missing, ["redis", "postgresql-server", "mariadb-server"])
            )),
            Packager::Brew => Plan::Ask(format!(
                "brew install {}",
                renamed(missing, ["redis", "postgresql@17", "mariadb"])
            )),
            Packager::Unknown => Plan::Ask(format!(
                "install {} with your package manager so that they are on PATH, or set BILTEN_TEST_REDIS_URL and BILTEN_TEST_PG_URL",
                missing.join(" and ")
            )),
        }
    }
}

fn renamed(missing: &[&str], [redis, postgres, mariadb]: [&str; 3]) -> String {
    let names: Vec<&str> = missing
        .iter()
        .map(|name| match *name {
            "redis-server" => redis,
            "postgresql" => postgres,
            "mariadb-server" => mariadb,
            other => other,
        })
        .collect();
    names.join(" ")
}

fn is_debian(release: &str) -> bool {
    let words: BTreeSet<&str> = release
        .lines()
        .filter_map(|line| {
            line.strip_prefix("ID=")
                .or_else(|| line.strip_prefix("ID_LIKE="))
        })
        .flat_map(|value| value.trim_matches('"').split_whitespace())
        .collect();
    words.contains("debian") || words.contains("ubuntu")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_root_on_debian_installs_and_the_others_get_a_line() {
        let both = ["redis-server", "postgresql"];
        let plan = |packager, root| System { packager, root }.plan(&both).to_string();
        let apt =
            "apt-get update && apt-get install -y --no-install-recommends redis-server postgresql";
        assert_eq!(plan(Packager::Apt, true), apt);
        assert!(matches!(
            System {
                packager: Packager::Apt,
                root: true
            }
            .plan(&both),
            Plan::Run(_)
        ));
        assert_eq!(
            System {
                packager: Packager::Apt,
                root: false
            }
            .plan(&both),
            Plan::Ask(apt.replace("apt-get", "sudo apt-get"))
        );
        assert_eq!(
            plan(Packager::Dnf, false),
            "sudo dnf install -y redis postgresql-server"
        );
        assert_eq!(
            plan(Packager::Dnf, true),
            "dnf install -y redis postgresql-server"
        );
        assert_eq!(
            plan(Packager::Brew, false),
            "brew install redis postgresql@17"
        );
        assert!(plan(Packager::Unknown, false).contains("BILTEN_TEST_REDIS_URL"));
    }

    #[test]
    fn mariadb_is_named_as_each_packager_names_it() {
        for (packager, name) in [
            (Packager::Apt, " mariadb-server"),
            (Packager::Dnf, " mariadb-server"),
            (Packager::Brew, " mariadb"),
        ] {
            let system = System {
                packager,
                root: true,
            };
            let line = system.plan(&["mariadb-server"]).to_string();
            assert!(line.ends_with(name), "{line}");
        }
    }

    #[test]
    fn prometheus_has_one_name_everywhere() {
        for packager in [Packager::Apt, Packager::Dnf, Packager::Brew] {
            let system = System {
                packager,
                root: false,
            };
            let line = system.plan(&["prometheus"]).to_string();
            assert!(line.ends_with(" prometheus"), "{line}");
        }
    }

    #[test]
    fn only_what_is_missing_is_installed() {
        let system = System {
            packager: Packager::Apt,
            root: true,
        };
        assert_eq!(system.plan(&[]), Plan::Nothing);
        assert!(
            system
                .plan(&["postgresql"])
                .to_string()
                .ends_with("--no-install-recommends postgresql")
        );
    }

    #[test]
    fn ubuntu_and_its_kin_are_debian() {
        assert!(is_debian("NAME=x\nID=debian\n"));
        assert!(is_debian("ID=linuxmint\nID_LIKE=\"ubuntu debian\"\n"));
        assert!(!is_debian(
            "ID=\"fedora\"\nID_LIKE=\"rhel\"\nNAME=debianish\n"
        ));
    }
}
