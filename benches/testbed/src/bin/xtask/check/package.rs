//! The four crates as archives, the way they would be published.

use crate::failure::Failure;
use crate::step::{capture, run};
use crate::workspace::{PUBLISHED, Workspace};

/// What every archive holds besides its sources.
const EXPECTED: [&str; 4] = ["Cargo.toml", "README.md", "LICENSE-MIT", "LICENSE-APACHE"];

/// Fails when an archive cannot be made or lacks a file. Compiling them is left out: `lints` compiles the same sources.
pub(super) fn check(workspace: &Workspace) -> Result<String, Failure> {
    for name in PUBLISHED {
        let (listed, files) =
            capture(
                workspace
                    .cargo()
                    .args(["package", "--list", "--allow-dirty", "-p", name]),
            )?;
        if !listed {
            return Err(Failure::new(format!(
                "cargo cannot list the files of {name}:\n{files}"
            )));
        }
        if let Some(missing) = EXPECTED
            .iter()
            .find(|file| !files.lines().any(|line| line == **file))
        {
            let failure = Failure::new(format!("the package {name} has no {missing}"));
            return Err(failure.remedy("put the file beside its Cargo.toml and into `include`"));
        }
    }
    // All in one call: cargo then takes the versions they need of each other from the checkout.
    let mut package = workspace.cargo();
    package.args(["package", "--quiet", "--no-verify", "--allow-dirty"]);
    run(package.args(PUBLISHED.iter().flat_map(|name| ["-p", name])))?;
    Ok(PUBLISHED.join(", "))
}
