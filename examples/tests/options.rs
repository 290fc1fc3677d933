//! The table of options and the code say the same.

#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

type Options = BTreeMap<String, BTreeSet<String>>;

/// Each of them has a section of its own in the table.
const BUILDERS: [&str; 6] = [
    "CacheBuilder",
    "RegionBuilder",
    "Call",
    "Loaded",
    "Redis",
    "HttpCacheBuilder",
];

#[test]
fn the_table_of_options_has_every_setter_and_nothing_else() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let table = in_table(&fs::read_to_string(root.join("docs/cache-options.md")).unwrap());
    let mut code = Options::new();
    for file in sources(&root.join("bilten-cache/src")) {
        collect(&fs::read_to_string(file).unwrap(), &mut code);
    }
    for builder in BUILDERS {
        assert!(
            code.contains_key(builder),
            "no setter of {builder} was found: has it another name?"
        );
        let nothing = BTreeSet::new();
        let (has, told) = (
            code.get(builder).unwrap(),
            table.get(builder).unwrap_or(&nothing),
        );
        let missing: Vec<_> = has.difference(told).collect();
        assert!(
            missing.is_empty(),
            "docs/cache-options.md, section `{builder}`: add a line for {missing:?}"
        );
        let gone: Vec<_> = told.difference(has).collect();
        assert!(
            gone.is_empty(),
            "docs/cache-options.md, section `{builder}`: {gone:?} is no setter of it any more"
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

/// The public methods that take `self` by value and give it back, by the type whose `impl` they are in.
fn collect(source: &str, into: &mut Options) {
    let mut builder = None;
    let mut lines = source.lines().peekable();
    while let Some(line) = lines.next() {
        if line.starts_with("impl") {
            builder = BUILDERS.iter().find(|name| is_own_impl(line, name));
        } else if line == "}" {
            builder = None;
        }
        let (Some(builder), Some(signature)) = (builder, line.strip_prefix("    pub fn ")) else {
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
        if takes_self && whole.contains("-> Self") {
            into.entry((*builder).to_owned())
                .or_default()
                .insert(name.to_owned());
        }
    }
}

/// `impl<V> Loaded<V> {`, but not `impl<V> From<V> for Loaded<V> {`.
fn is_own_impl(line: &str, name: &str) -> bool {
    let words: Vec<&str> = line
        .split(|c: char| !c.is_alphanumeric() && c != '_')
        .collect();
    words.contains(&name) && !words.contains(&"for")
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
