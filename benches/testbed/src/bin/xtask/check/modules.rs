//! Imports run one way: no cycle between the top-level modules of a crate.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs;
use std::path::{Path, PathBuf};

use super::paths::{brought_in, named};
use super::source::{Token, code_only, tokens, without_tests};
use crate::failure::Failure;
use crate::workspace::{Workspace, unreadable};

/// How the crate's root file is called in the graph.
const ROOT: &str = "(root)";

/// Fails on a cycle and prints it with a file and line for each import.
pub(super) fn check(workspace: &Workspace) -> Result<String, Failure> {
    let files = workspace.files()?;
    let trees = trees(workspace, &files)?;
    let mut cycles = 0;
    for tree in &trees {
        let graph = graph(&tree.sources);
        for cycle in cycles_of(&graph) {
            cycles += 1;
            println!("    cycle in {}:", workspace.short(&tree.root));
            for (from, to) in cycle.iter().zip(cycle.iter().cycle().skip(1)) {
                println!("      {from} -> {to}   ({})", graph[from][to]);
            }
        }
    }
    if cycles > 0 {
        let failure = Failure::new(format!("{cycles} import cycles between modules"));
        return Err(failure
            .remedy("move what both need into a module below them, or pass it as an argument; `impl X { fn builder() }` can stand beside its builder"));
    }
    Ok(format!("{} crates, no cycle", trees.len()))
}

/// One crate: the folder of its root file, and its source files.
struct Tree {
    root: PathBuf,
    sources: Vec<Source>,
}

/// One file, reduced to what the graph needs.
struct Source {
    /// Its module path; empty for the root.
    module: Vec<String>,
    /// How it is written in a report.
    shown: String,
    text: String,
}

/// Every `src` folder and every binary with its own folder.
fn trees(workspace: &Workspace, files: &[PathBuf]) -> Result<Vec<Tree>, Failure> {
    let mut trees: BTreeMap<PathBuf, Vec<Source>> = BTreeMap::new();
    for package in workspace.packages()? {
        let src = package.folder.join("src");
        for file in files.iter().filter(|file| {
            file.starts_with(&src) && file.extension().is_some_and(|kind| kind == "rs")
        }) {
            let root = root_of(&src, file);
            let Ok(inside) = file.strip_prefix(&root) else {
                continue;
            };
            let text = fs::read_to_string(file).map_err(|error| unreadable(file, &error))?;
            let source = Source {
                module: module_of(inside),
                shown: inside.display().to_string(),
                text,
            };
            trees.entry(root).or_default().push(source);
        }
    }
    Ok(trees
        .into_iter()
        .map(|(root, sources)| Tree { root, sources })
        .collect())
}

/// `src/bin/name` for the files of a binary with a folder, else `src`.
fn root_of(src: &Path, file: &Path) -> PathBuf {
    let bin = src.join("bin");
    let name = file
        .strip_prefix(&bin)
        .ok()
        .and_then(|inside| inside.components().next());
    name.map_or_else(|| src.to_owned(), |name| bin.join(name))
}

/// `a/b.rs` and `a/b/mod.rs` are both `a::b`; `lib.rs` and `main.rs` are the root.
fn module_of(inside: &Path) -> Vec<String> {
    let path = inside.with_extension("");
    let mut parts: Vec<String> = path
        .iter()
        .map(|part| part.to_string_lossy().into_owned())
        .collect();
    let is_root = parts.len() == 1 && (parts[0] == "lib" || parts[0] == "main");
    if is_root || parts.last().is_some_and(|last| last == "mod") {
        parts.pop();
    }
    parts
}

/// For each module the modules it names, each with the place of one such import.
type Graph = BTreeMap<String, BTreeMap<String, String>>;

fn graph(sources: &[Source]) -> Graph {
    let modules: BTreeSet<&str> = sources
        .iter()
        .filter_map(|source| Some(source.module.first()?.as_str()))
        .collect();
    let mut graph = Graph::new();
    let mut homes = BTreeMap::new();
    for source in sources.iter().filter(|source| source.module.is_empty()) {
        let code = code_only(&source.text);
        let all = without_tests(&tokens(&code));
        homes.extend(names_at_root(&all, &modules));
        for token in calls_from_root(&all, &modules) {
            let place = format!("{}:{}", source.shown, token.line);
            graph
                .entry(ROOT.to_owned())
                .or_default()
                .entry(token.text.to_owned())
                .or_insert(place);
        }
    }
    for source in sources {
        let Some(from) = source.module.first() else {
            continue;
        };
        // A file of tests, as what stands behind `#[cfg(test)]` elsewhere.
        if source.module.iter().any(|part| part == "tests") {
            continue;
        }
        let code = code_only(&source.text);
        for named in named(&without_tests(&tokens(&code)), &source.module) {
            let first = named.path.first().map_or(ROOT, String::as_str);
            let to = modules
                .get(first)
                .copied()
                .or_else(|| homes.get(first).map(String::as_str))
                .unwrap_or(ROOT);
            if to != from {
                let place = format!("{}:{}", source.shown, named.line);
                graph
                    .entry(from.clone())
                    .or_default()
                    .entry(to.to_owned())
                    .or_insert(place);
            }
        }
    }
    graph
}

/// Which module each name that the root imports or re-exports comes from.
fn names_at_root(all: &[Token<'_>], modules: &BTreeSet<&str>) -> Vec<(String, String)> {
    let uses = all
        .iter()
        .enumerate()
        .filter(|(_, token)| token.text == "use");
    let names = uses.flat_map(|(at, _)| brought_in(all, at));
    names
        .filter(|(_, module)| modules.contains(module.as_str()))
        .collect()
}

/// The modules that the root's own code calls, outside its `use` lines: re-exporting alone makes it depend on nothing.
fn calls_from_root<'t>(all: &[Token<'t>], modules: &BTreeSet<&str>) -> Vec<Token<'t>> {
    let mut found = Vec::new();
    let mut in_use = false;
    for (at, token) in all.iter().enumerate() {
        match token.text {
            "use" => in_use = true,
            ";" => in_use = false,
            word if !in_use
                && modules.contains(word)
                && all.get(at + 1).is_some_and(|next| next.text == "::") =>
            {
                found.push(*token);
            }
            _ => {}
        }
    }
    found
}

/// One shortest cycle for each set of modules that reach each other.
fn cycles_of(graph: &Graph) -> Vec<Vec<String>> {
    let mut seen = BTreeSet::new();
    let mut cycles = Vec::new();
    for start in graph.keys() {
        if seen.contains(start) {
            continue;
        }
        if let Some(cycle) = shortest_cycle(graph, start) {
            seen.extend(cycle.iter().cloned());
            cycles.push(cycle);
        }
    }
    cycles
}

fn shortest_cycle(graph: &Graph, start: &str) -> Option<Vec<String>> {
    let mut waiting = VecDeque::from([vec![start.to_owned()]]);
    let mut seen = BTreeSet::new();
    while let Some(path) = waiting.pop_front() {
        for next in graph.get(path.last()?).into_iter().flat_map(BTreeMap::keys) {
            if next == start {
                return Some(path);
            }
            if seen.insert(next.clone()) {
                waiting.push_back(path.iter().chain([next]).cloned().collect());
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(file: &str, text: &str) -> Source {
        Source {
            module: module_of(Path::new(file)),
            shown: file.to_owned(),
            text: text.to_owned(),
        }
    }

    fn cycles(files: &[(&str, &str)]) -> Vec<String> {
        let sources: Vec<_> = files
            .iter()
            .map(|(file, text)| source(file, text))
            .collect();
        cycles_of(&graph(&sources))
            .into_iter()
            .map(|cycle| cycle.join(" "))
            .collect()
    }

    #[test]
    fn imports_that_run_down_are_fine() {
        let files = [
            (
                "lib.rs",
                "mod cache; mod error; pub use cache::Cache; pub use error::Error;",
            ),
            ("cache.rs", "use crate::remote::Remote; use crate::Error;"),
            ("remote/mod.rs", "mod redis; use crate::error::Error;"),
            ("remote/redis.rs", "use super::Remote; use crate::error;"),
            ("remote/tests.rs", "use super::*; use crate::cache::Cache;"),
            (
                "error.rs",
                "// crate::cache\n#[cfg(test)] mod tests { use crate::cache::Cache; }",
            ),
        ];
        assert!(cycles(&files).is_empty());
    }

    #[test]
    fn a_cycle_through_a_reexported_name_is_found() {
        let files = [
            ("lib.rs", "mod cache; mod error; pub use cache::Cache;"),
            ("cache.rs", "use super::error::Error;"),
            ("error.rs", "fn of(cache: &crate::Cache) {}"),
        ];
        assert_eq!(cycles(&files), ["cache error"]);
    }

    #[test]
    fn a_module_that_needs_what_the_root_defines_makes_a_cycle_with_it() {
        let files = [
            (
                "main.rs",
                "mod demo; pub(crate) struct Table; fn main() { demo::run(); }",
            ),
            ("demo.rs", "use crate::Table;"),
        ];
        assert_eq!(cycles(&files), ["(root) demo"]);
    }

    #[test]
    fn a_cycle_of_three_is_printed_in_its_order() {
        let files = [
            ("a.rs", "use crate::b;"),
            ("b.rs", "use crate::c;"),
            ("c/mod.rs", "use super::a;"),
        ];
        assert_eq!(cycles(&files), ["a b c"]);
    }

    #[test]
    fn a_binary_with_a_folder_is_a_crate_of_its_own() {
        let src = Path::new("/p/src");
        assert_eq!(
            root_of(src, Path::new("/p/src/bin/tool/check/mod.rs")),
            Path::new("/p/src/bin/tool")
        );
        assert_eq!(root_of(src, Path::new("/p/src/cache/mod.rs")), src);
    }
}
