//! Names that say what a thing is, few of them at a crate's root, and none that belong to one machine.

use std::fs;
use std::path::{Path, PathBuf};

use super::source::{Token, code_only, item_end, tokens, without_tests};
use crate::failure::Failure;
use crate::workspace::{PUBLISHED, Workspace, unreadable};

/// A file with such a name has no subject: everything comes to depend on it.
const SAYS_NOTHING: [&str; 8] = [
    "util", "utils", "common", "helper", "helpers", "misc", "manager", "prelude",
];

const ROOT_NAMES: usize = 14;

/// Registry hosts, in two halves so that this file does not hold them either.
const REGISTRIES: [(&str, &str); 8] = [
    ("crates", ".io"),
    ("registry.npmjs", ".org"),
    ("registry.yarnpkg", ".com"),
    ("pypi", ".org"),
    ("files.pythonhosted", ".org"),
    ("deb.debian", ".org"),
    ("archive.ubuntu", ".com"),
    ("proxy.golang", ".org"),
];

/// Top-level folders that mean the same on every machine.
const ORDINARY: [&str; 12] = [
    "bin", "dev", "etc", "home", "mnt", "opt", "private", "proc", "srv", "tmp", "usr", "var",
];

/// Fails on a file whose name says nothing.
pub(super) fn files(workspace: &Workspace) -> Result<String, Failure> {
    let files = workspace.files()?;
    let is_empty_word = |path: &&PathBuf| {
        let parts = path.strip_prefix(workspace.root()).unwrap_or(path).iter();
        parts
            .map(|part| part.to_string_lossy())
            .any(|part| SAYS_NOTHING.contains(&part.split('.').next().unwrap_or_default()))
    };
    let bad: Vec<_> = files.iter().filter(is_empty_word).collect();
    for path in &bad {
        println!("    {}", workspace.short(path));
    }
    if bad.is_empty() {
        return Ok(format!("{} files", files.len()));
    }
    let failure = Failure::new(format!(
        "{} file names do not say what is inside",
        bad.len()
    ));
    Err(failure.remedy("name the file after its one noun, or move each part to its single user"))
}

/// Fails when a published crate has more than 14 names at its root.
pub(super) fn roots(workspace: &Workspace) -> Result<String, Failure> {
    let mut counts = Vec::new();
    let mut too_many = Vec::new();
    for package in workspace
        .packages()?
        .iter()
        .filter(|package| PUBLISHED.contains(&package.name.as_str()))
    {
        let path = package.folder.join("src/lib.rs");
        let text = fs::read_to_string(&path).map_err(|error| unreadable(&path, &error))?;
        let names = root_names(&text);
        counts.push(format!("{} {}", package.name, names.len()));
        if names.len() > ROOT_NAMES {
            too_many.push(format!("{}: {}", package.name, names.join(", ")));
        }
    }
    if too_many.is_empty() {
        return Ok(counts.join(", "));
    }
    let failure = Failure::new(format!(
        "more than {ROOT_NAMES} names at the root of {}",
        too_many.join("; ")
    ));
    Err(failure.remedy("move the less used ones into a public module"))
}

/// The public names of a root file.
fn root_names(text: &str) -> Vec<String> {
    let code = code_only(text);
    let all = without_tests(&tokens(&code));
    let mut names = Vec::new();
    let mut at = 0;
    while at < all.len() {
        let word = |ahead: usize| all.get(at + ahead).map_or("", |token| token.text);
        let starts_item = word(0) == "pub"
            || [
                "mod",
                "use",
                "fn",
                "struct",
                "enum",
                "trait",
                "type",
                "const",
                "impl",
                "macro_rules",
            ]
            .contains(&word(0));
        if !starts_item {
            at += 1;
            continue;
        }
        let end = if word(0) == "pub" && word(1) == "use" {
            use_end(&all, at)
        } else {
            item_end(&all, at)
        };
        match (word(0), word(1)) {
            // A public module is a shelf for what is needed less often, not one more name to learn.
            ("pub", "(" | "mod") | ("mod" | "use" | "fn" | "impl", _) => {}
            ("pub", "use") => names.extend(leaves(&all[at + 2..end])),
            ("pub", _) => names.push(word(2).to_owned()),
            _ => {}
        }
        at = end;
    }
    names
}

/// A `use` ends at its semicolon, whatever braces it has.
fn use_end(all: &[Token<'_>], at: usize) -> usize {
    all[at..]
        .iter()
        .position(|token| token.text == ";")
        .map_or(all.len(), |length| at + length + 1)
}

/// The names that a `use` tree brings in: each word before a `,`, `}` or `;`.
fn leaves(tree: &[Token<'_>]) -> Vec<String> {
    let ends = tree
        .windows(2)
        .filter(|pair| [",", "}", ";"].contains(&pair[1].text));
    ends.filter(|pair| pair[0].is_word() || pair[0].text == "*")
        .map(|pair| pair[0].text.to_owned())
        .collect()
}

/// Fails when a file names a folder of this machine or the host of a package registry.
pub(super) fn machine(workspace: &Workspace) -> Result<String, Failure> {
    let private = private_places(workspace.root(), std::env::var("HOME").ok().as_deref());
    let mut found = 0;
    let files = workspace.files()?;
    for path in &files {
        // Pictures and other binary files have no lines to look at.
        let Ok(text) = fs::read_to_string(path) else {
            continue;
        };
        for (number, line) in (1..).zip(text.lines()) {
            if let Some(what) = belongs_elsewhere(line, &private) {
                println!("    {}:{number} names {what}", workspace.short(path));
                found += 1;
            }
        }
    }
    if found == 0 {
        return Ok(format!("{} files", files.len()));
    }
    let failure = Failure::new(format!(
        "{found} lines name a folder of this machine or a registry's host"
    ));
    Err(failure.remedy(
        "write a path from the checkout's root on; leave registries to their clients' defaults",
    ))
}

/// Beginnings of paths that exist on this machine only.
fn private_places(root: &Path, home: Option<&str>) -> Vec<String> {
    let mut places = vec![concat!("/Us", "ers/").to_owned()];
    places.push(format!("{}/", root.display()));
    places.extend(
        home.filter(|home| home.len() > 1)
            .map(|home| format!("{}/", home.trim_end_matches('/'))),
    );
    let top = root
        .iter()
        .nth(1)
        .map(|part| part.to_string_lossy().into_owned());
    places.extend(
        top.filter(|top| !ORDINARY.contains(&top.as_str()))
            .map(|top| format!("/{top}/")),
    );
    places
}

fn belongs_elsewhere(line: &str, private: &[String]) -> Option<String> {
    let starts_path = |place: &&String| {
        line.match_indices(place.as_str()).any(|(at, _)| {
            !line[..at].ends_with(|c: char| c.is_alphanumeric() || "._-}*".contains(c))
        })
    };
    let hosts = || {
        let mut hosts = REGISTRIES
            .iter()
            .map(|(first, second)| format!("{first}{second}"));
        // A lock file names an index by a longer name, as cargo writes it.
        hosts.find(|host| {
            line.match_indices(host.as_str())
                .any(|(at, _)| !line[at + host.len()..].starts_with('-'))
        })
    };
    private.iter().find(starts_path).cloned().or_else(hosts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn public_names_of_the_root_count_and_its_public_modules_do_not() {
        let text = "//! pub use x;\nmod a;\npub mod b;\npub(crate) mod c;\npub use a::{A, B as C, d::*};\npub use e::E;\n\
                    #[cfg(feature = \"f\")]\npub use f::F;\nuse g::G;\npub fn h() { pub struct Inner; }\nimpl A { pub fn i() {} }\n\
                    #[cfg(test)]\npub mod tests {}";
        assert_eq!(root_names(text), ["A", "C", "*", "E", "F", "h"]);
    }

    #[test]
    fn a_line_that_belongs_to_one_machine_is_found() {
        let private = private_places(Path::new("/build-box/bilten"), Some("/home/ann"));
        assert_eq!(
            private,
            [
                concat!("/Us", "ers/"),
                "/build-box/bilten/",
                "/home/ann/",
                "/build-box/"
            ]
            .map(str::to_owned)
        );
        for (line, expected) in [
            ("see /build-box/other/file", true),
            ("path = \"/home/ann/x\"", true),
            ("target/build-box/ is inside the checkout", false),
            ("/home/linuxbrew/.linuxbrew/bin", false),
            (concat!("https://static.crates", ".io/crates"), true),
            (
                concat!("registry+https://github.com/rust-lang/crates", ".io-index"),
                false,
            ),
        ] {
            assert_eq!(
                belongs_elsewhere(line, &private).is_some(),
                expected,
                "{line}"
            );
        }
    }

    #[test]
    fn an_ordinary_top_folder_is_no_secret() {
        assert_eq!(private_places(Path::new("/tmp/x/bilten"), None).len(), 2);
    }
}
