//! A headless Chromium that scripts steer through Playwright.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::error::Error;
use crate::install;
use crate::machine::program;
use crate::machine::user::ServerUser;

/// Where the scripts' own packages and [`HELPER`] are.
const DIRECTORY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/browser");
/// Launches, listens for complaints, looks for what keeps people out.
const HELPER: &str = "browser.mjs";

/// A Chromium, and the Node.js that runs scripts against it.
///
/// A script is an ES module; `process.env.BILTEN_BROWSER` is the module with the helpers. It ends by itself after 90
/// seconds at the latest.
///
/// ```no_run
/// use bilten_testbed::Browser;
///
/// let browser = Browser::find()?;
/// let said = browser.run("tests/pages/front.mjs".as_ref(), &["http://127.0.0.1:3000/"])?;
/// assert!(said.contains("fine"));
/// # Ok::<(), bilten_testbed::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Browser {
    node: PathBuf,
    chromium: PathBuf,
}

impl Browser {
    /// The browser of this machine.
    ///
    /// # Errors
    /// When it or a part of it is not there; the message is what brings it.
    pub fn find() -> Result<Self, Error> {
        let missing = missing();
        if let (true, Some(node), Some(chromium)) = (has_packages(), node(), chromium()) {
            return Ok(Self { node, chromium });
        }
        let what = if missing.is_empty() {
            "the package playwright-core".to_owned()
        } else {
            missing.join(" and ")
        };
        Err(Error::missing(
            what,
            "type: cargo xtask test (it installs it, or says how)",
        ))
    }

    /// Brings what is missing: programs by the system's package manager as root on Debian or Ubuntu, packages by npm.
    ///
    /// # Errors
    /// When a person must do it (the message is the line to type) or a package manager fails.
    pub fn make_ready() -> Result<(), Error> {
        install::bring(missing)?;
        if has_packages() {
            return Ok(());
        }
        install::run_line(&format!(
            "cd '{DIRECTORY}' && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error"
        ))
    }

    /// Whether nothing is missing.
    #[must_use]
    pub fn is_ready() -> bool {
        Self::find().is_ok()
    }

    /// Runs a script; what it wrote to its standard output.
    ///
    /// # Errors
    /// The script's own words when it fails.
    pub fn run(&self, script: &Path, arguments: &[&str]) -> Result<String, Error> {
        let output = Command::new(&self.node)
            .arg(script)
            .args(arguments)
            .env("BILTEN_BROWSER", Path::new(DIRECTORY).join(HELPER))
            .env("BILTEN_CHROMIUM", &self.chromium)
            // Chromium refuses its sandbox to root.
            .env(
                "BILTEN_CHROMIUM_SANDBOX",
                if ServerUser::is_root() { "no" } else { "yes" },
            )
            .stdin(Stdio::null())
            .output()
            .map_err(|error| Error::io(format!("run {}", self.node.display()), error))?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        if output.status.success() {
            return Ok(text(&output.stdout));
        }
        let words = format!("{}{}", text(&output.stdout), text(&output.stderr));
        Err(Error::refused(&script.display().to_string(), words))
    }
}

fn node() -> Option<PathBuf> {
    program::find("node")
}

fn chromium() -> Option<PathBuf> {
    ["chromium", "google-chrome", "chromium-browser"]
        .into_iter()
        .find_map(program::find)
}

fn missing() -> Vec<&'static str> {
    let programs = [
        ("chromium", chromium()),
        ("nodejs", node()),
        ("npm", program::find("npm")),
    ];
    let absent = programs.into_iter().filter(|(_, found)| found.is_none());
    absent.map(|(name, _)| name).collect()
}

/// Whether exactly the packages of the lock file are installed: npm notes what it put there.
fn has_packages() -> bool {
    let read = |name| fs::read_to_string(Path::new(DIRECTORY).join(name));
    match (
        read("package-lock.json"),
        read("node_modules/.package-lock.json"),
    ) {
        (Ok(wanted), Ok(there)) => same_packages(&wanted, &there),
        _ => false,
    }
}

fn same_packages(wanted: &str, there: &str) -> bool {
    let mut hashes = wanted.lines().filter(|line| line.contains("\"integrity\""));
    hashes.all(|line| there.contains(line.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_version_of_a_package_is_not_the_same() {
        let lock = |hash: &str| format!("{{\n  \"integrity\": \"{hash}\",\n}}");
        assert!(same_packages(&lock("sha512-a"), &lock("sha512-a")));
        assert!(!same_packages(&lock("sha512-a"), &lock("sha512-b")));
    }

    #[test]
    fn a_script_is_heard_and_its_failure_is_told() {
        let browser = Browser {
            node: PathBuf::from("/bin/sh"),
            chromium: PathBuf::from("chromium"),
        };
        let folder = crate::machine::directory::RunDirectory::make("browser").expect("a directory");
        let script = folder.path().join("script");
        fs::write(&script, "echo $1 $BILTEN_CHROMIUM; exit $2").expect("written");
        assert_eq!(
            browser.run(&script, &["fine", "0"]).expect("fine"),
            "fine chromium\n"
        );
        let told = browser
            .run(&script, &["wrong", "1"])
            .expect_err("wrong")
            .to_string();
        assert!(told.contains("wrong chromium"), "{told}");
    }
}
