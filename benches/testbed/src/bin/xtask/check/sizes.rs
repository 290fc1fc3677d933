//! Files and functions stay readable.

use std::fs;
use std::path::PathBuf;

use super::source::code_only;
use crate::failure::Failure;
use crate::workspace::{Workspace, unreadable};

const FILE_LIMIT: usize = 500;
const FILE_LONG: usize = 350;
const FUNCTION_LONG: usize = 60;

/// Fails when a file has more than 500 lines; lists the long files and functions.
pub(super) fn check(workspace: &Workspace) -> Result<String, Failure> {
    let mut files = Vec::new();
    let mut long_functions = 0;
    for path in rust_files(workspace)? {
        let text = fs::read_to_string(&path).map_err(|error| unreadable(&path, &error))?;
        for function in functions(&text)
            .into_iter()
            .filter(|function| function.lines > FUNCTION_LONG)
        {
            println!(
                "    {} lines: {} at {}:{}",
                function.lines,
                function.name,
                workspace.short(&path),
                function.line
            );
            long_functions += 1;
        }
        files.push((text.lines().count(), path));
    }
    files.sort();
    for (lines, path) in files
        .iter()
        .rev()
        .take_while(|(lines, _)| *lines > FILE_LONG)
    {
        println!("    {lines} lines: {}", workspace.short(path));
    }
    let too_long = files
        .iter()
        .filter(|(lines, _)| *lines > FILE_LIMIT)
        .count();
    if too_long > 0 {
        let failure = Failure::new(format!(
            "{too_long} files have more than {FILE_LIMIT} lines"
        ));
        return Err(failure.remedy("look for the second noun in each and give it its own file"));
    }
    let lines = |share: usize| {
        files
            .get(files.len() * share / 100)
            .or(files.last())
            .map_or(0, |(lines, _)| *lines)
    };
    Ok(format!(
        "{} files: median {}, p95 {}, largest {} lines; {long_functions} functions above {FUNCTION_LONG}",
        files.len(),
        lines(50),
        lines(95),
        lines(100),
    ))
}

fn rust_files(workspace: &Workspace) -> Result<Vec<PathBuf>, Failure> {
    let mut files = workspace.files()?;
    files.retain(|path| path.extension().is_some_and(|kind| kind == "rs"));
    Ok(files)
}

/// A function and its lines from `fn` to the closing brace.
#[derive(Debug, PartialEq, Eq)]
struct Function {
    name: String,
    line: usize,
    lines: usize,
}

/// Functions of a formatted file: each ends at the first brace that closes at its own indentation.
fn functions(text: &str) -> Vec<Function> {
    let code = code_only(text);
    let lines: Vec<&str> = code.lines().map(str::trim_end).collect();
    let mut found = Vec::new();
    for (start, line) in lines.iter().enumerate() {
        let Some(name) = function_name(line) else {
            continue;
        };
        let indent = line.len() - line.trim_start().len();
        let at_indent = |line: &&str| {
            line.len() > indent
                && line[..indent].trim().is_empty()
                && !line[indent..].starts_with(' ')
        };
        let ends = |line: &&str| {
            at_indent(line) && (line[indent..].starts_with('}') || line.ends_with(['}', ';']))
        };
        let length = lines[start..]
            .iter()
            .position(ends)
            .map_or(0, |end| end + 1);
        found.push(Function {
            name: name.to_owned(),
            line: start + 1,
            lines: length,
        });
    }
    found
}

/// The name after `fn` when the line starts a function.
fn function_name(line: &str) -> Option<&str> {
    let (before, after) = line
        .trim_start()
        .strip_prefix("fn ")
        .map_or_else(|| line.split_once(" fn "), |after| Some(("", after)))?;
    let qualifiers = ["pub", "async", "const", "unsafe", "extern", "default"];
    let is_item = before
        .split_whitespace()
        .all(|word| qualifiers.iter().any(|known| word.starts_with(known)) || word.ends_with(')'));
    let name = after
        .split(|c: char| !c.is_alphanumeric() && c != '_')
        .next()?;
    (is_item && !name.is_empty()).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(text: &str) -> Vec<(String, usize)> {
        functions(text)
            .into_iter()
            .map(|function| (function.name, function.lines))
            .collect()
    }

    #[test]
    fn functions_are_measured_to_their_own_brace() {
        let text = "impl A {\n    pub(crate) async fn long(\n        &self,\n    ) -> u8 {\n        if x {\n        }\n        0\n    }\n\n    fn short() {}\n}\n\ntrait T {\n    fn declared(&self) -> u8;\n}\n";
        let expected = [("long", 7), ("short", 1), ("declared", 1)];
        assert_eq!(
            measured(text),
            expected.map(|(name, lines)| (name.to_owned(), lines))
        );
    }

    #[test]
    fn a_brace_in_a_string_ends_nothing() {
        let text = "fn f() {\n    let x = \"\n}\n\";\n    g()\n}\n";
        assert_eq!(measured(text), [("f".to_owned(), 6)]);
    }

    #[test]
    fn a_function_pointer_or_a_word_in_prose_is_no_function() {
        assert_eq!(function_name("    run: fn (u8) -> u8,"), None);
        assert_eq!(
            function_name("let f: Box<dyn Fn()> = x; // a fn here"),
            None
        );
        assert_eq!(function_name("pub const unsafe fn f()"), Some("f"));
    }
}
