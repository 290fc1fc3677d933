//! The tables of options and the code say the same.

#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

type Options = BTreeMap<String, BTreeSet<String>>;

/// A page with the options of a crate.
struct Page {
    file: &'static str,
    source: &'static str,
    /// Each of them has a section of its own.
    builders: &'static [&'static str],
    /// What has setters all the same: no user sets anything with them.
    others: &'static [&'static str],
}

const PAGES: [Page; 2] = [
    Page {
        file: "docs/cache-options.md",
        source: "bilten-cache/src",
        builders: &[
            "CacheBuilder",
            "RegionBuilder",
            "Call",
            "Loaded",
            "Redis",
            "DiskOptions",
            "HttpCacheBuilder",
        ],
        // A second level for tests, and what a second level of one's own is given.
        others: &["FaultyRemote", "Pulse", "Record", "Wanted"],
    },
    Page {
        file: "docs/db-options.md",
        source: "bilten-db/src",
        builders: &[
            "ClusterBuilder",
            "PoolConfig",
            "Replica",
            "RetryConfig",
            "HedgeConfig",
            "Discovery",
            "Session",
            "SealKey",
            "SessionLayer",
            "PageRequest",
            "KeysetRequest",
            "Keyset",
            "IndexSpec",
        ],
        others: &[],
    },
];

#[test]
fn the_tables_of_options_have_every_setter_and_nothing_else() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    for page in &PAGES {
        let file = page.file;
        let table = in_table(&fs::read_to_string(root.join(file)).unwrap());
        let code = in_code(&root.join(page.source));
        for builder in page.builders {
            assert!(
                code.contains_key(*builder),
                "no setter of {builder} was found: has it another name?"
            );
            let nothing = BTreeSet::new();
            let (has, told) = (&code[*builder], table.get(*builder).unwrap_or(&nothing));
            let missing: Vec<_> = has.difference(told).collect();
            assert!(
                missing.is_empty(),
                "{file}, section `{builder}`: add a line for {missing:?}"
            );
            let gone: Vec<_> = told.difference(has).collect();
            assert!(
                gone.is_empty(),
                "{file}, section `{builder}`: {gone:?} is no setter of it any more"
            );
        }
    }
}

#[test]
fn whatever_has_setters_has_a_table() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    for page in &PAGES {
        let known: BTreeSet<_> = page.builders.iter().chain(page.others).copied().collect();
        let code = in_code(&root.join(page.source));
        let code: BTreeSet<_> = code.keys().map(String::as_str).collect();
        assert_eq!(
            code, known,
            "{}: a section for each, or a line in this test that says why not",
            page.file
        );
    }
}

/// The first cell of each row, by the heading above it.
fn in_table(text: &str) -> Options {
    let mut found = Options::new();
    let mut section = String::new();
    for line in text.lines() {
        if let Some(heading) = line.strip_prefix("## ") {
            section = heading.trim_matches('`').to_owned();
        } else if let Some(option) = line
            .strip_prefix("| `")
            .and_then(|rest| rest.split('`').next())
        {
            found
                .entry(section.clone())
                .or_default()
                .insert(option.to_owned());
        }
    }
    found
}

fn in_code(folder: &Path) -> Options {
    let mut found = Options::new();
    for file in sources(folder) {
        collect(&fs::read_to_string(file).unwrap(), &mut found);
    }
    found
}

/// The public methods that take `self` by value and give it back, by the type whose `impl` they are in.
fn collect(source: &str, into: &mut Options) {
    let mut of = None;
    let mut lines = source.lines().peekable();
    while let Some(line) = lines.next() {
        if line.starts_with("impl") {
            of = own_impl(line);
        } else if line == "}" {
            of = None;
        }
        let (Some(of), Some(signature)) = (of, line.strip_prefix("    pub fn ")) else {
            continue;
        };
        let mut whole = signature.to_owned();
        while !whole.contains('{') {
            whole.push_str(lines.next().unwrap_or("{"));
        }
        let name = whole.split(['(', '<']).next().unwrap_or_default();
        let words: Vec<&str> = whole
            .split_once('(')
            .map_or("", |(_, rest)| rest)
            .split([' ', ',', ')'])
            .filter(|word| !word.is_empty())
            .collect();
        let takes_self = matches!(words[..], ["self", ..] | ["mut", "self", ..]);
        let gives_self = ["-> Self", "-> Result<Self,"];
        if takes_self && gives_self.iter().any(|given| whole.contains(given)) {
            into.entry(of.to_owned())
                .or_default()
                .insert(name.to_owned());
        }
    }
}

/// Of `impl<V> Loaded<V> {` it is `Loaded`; of `impl<V> From<V> for Loaded<V> {` it is nothing.
fn own_impl(line: &str) -> Option<&str> {
    let rest = line.strip_prefix("impl")?;
    if line.contains(" for ") {
        return None;
    }
    let mut depth = 0;
    let of = rest
        .match_indices(|c: char| "<> ".contains(c))
        .find_map(|(at, found)| {
            match found {
                "<" => depth += 1,
                ">" => depth -= 1,
                _ if depth == 0 => return Some(&rest[at + 1..]),
                _ => {}
            }
            None
        })?;
    of.split(|c: char| !c.is_alphanumeric()).next()
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found
}
