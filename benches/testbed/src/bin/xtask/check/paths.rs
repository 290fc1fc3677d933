//! Which parts of its own crate a source file names.

use super::source::Token;

/// A path into the crate, from its root on, and the line that names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Named {
    pub(super) path: Vec<String>,
    pub(super) line: usize,
}

/// Every path that starts with `crate::`, `super::` or `self::` in a file whose module is `module`.
pub(super) fn named(tokens: &[Token<'_>], module: &[String]) -> Vec<Named> {
    let mut scan = Scan {
        tokens,
        at: 0,
        found: Vec::new(),
    };
    let mut inline: Vec<(usize, String)> = Vec::new();
    let mut depth = 0;
    while let Some(token) = scan.tokens.get(scan.at) {
        match token.text {
            "{" => depth += 1,
            "}" => {
                inline.pop_if(|(opened, _)| *opened == depth);
                depth -= 1;
            }
            "mod" if scan.text(2) == "{" => {
                depth += 1;
                inline.push((depth, scan.text(1).to_owned()));
                scan.at += 2;
            }
            "crate" | "super" | "self" if scan.starts_a_path() => {
                let here = module.iter().chain(inline.iter().map(|(_, name)| name));
                let base = if token.text == "crate" {
                    Vec::new()
                } else {
                    here.cloned().collect()
                };
                scan.path(base);
                continue;
            }
            _ => {}
        }
        scan.at += 1;
    }
    scan.found
}

/// The names a `use` in the crate's root brings in, each with the first part of its path; `at` is the `use` itself.
pub(super) fn brought_in(tokens: &[Token<'_>], at: usize) -> Vec<(String, String)> {
    let mut scan = Scan {
        tokens,
        at: at + 1,
        found: Vec::new(),
    };
    scan.tree(Vec::new());
    let first_of = |path: &[String]| {
        path.iter()
            .find(|part| *part != "crate" && *part != "self")
            .cloned()
    };
    let leaves = scan
        .found
        .into_iter()
        .filter_map(|named| Some((named.path.last()?.clone(), first_of(&named.path)?)));
    leaves.collect()
}

struct Scan<'a, 't> {
    tokens: &'a [Token<'t>],
    at: usize,
    found: Vec<Named>,
}

impl<'t> Scan<'_, 't> {
    fn text(&self, ahead: usize) -> &'t str {
        self.tokens
            .get(self.at + ahead)
            .map_or("", |token| token.text)
    }

    /// Whether the keyword here is the head of a path and neither `$crate` nor a part of another path.
    fn starts_a_path(&self) -> bool {
        let before = self.at.checked_sub(1).map_or("", |at| self.tokens[at].text);
        self.text(1) == "::" && before != "::" && before != "$"
    }

    /// Reads the path whose head is the keyword here; `base` is the module it starts from.
    fn path(&mut self, mut base: Vec<String>) {
        if self.text(0) == "super" {
            base.pop();
        }
        self.at += 2;
        while self.text(0) == "super" && self.text(1) == "::" {
            base.pop();
            self.at += 2;
        }
        self.tree(base);
    }

    /// Reads the rest of a path or of a `use` tree and adds one entry for each leaf.
    fn tree(&mut self, mut base: Vec<String>) {
        let line = self.tokens.get(self.at).map_or(0, |token| token.line);
        match self.text(0) {
            "{" => {
                self.at += 1;
                while !matches!(self.text(0), "}" | "") {
                    self.tree(base.clone());
                    if self.text(0) == "," {
                        self.at += 1;
                    }
                }
                self.at += 1;
                return;
            }
            "*" => {
                base.push("*".to_owned());
                self.at += 1;
            }
            word if self.tokens.get(self.at).is_some_and(Token::is_word) => {
                if word != "self" || base.is_empty() {
                    base.push(word.to_owned());
                }
                self.at += 1;
                if self.text(0) == "::" && self.text(1) != "<" {
                    self.at += 1;
                    return self.tree(base);
                }
                if self.text(0) == "as" {
                    base.push(self.text(1).to_owned());
                    self.at += 2;
                }
            }
            _ => self.at += 1,
        }
        self.found.push(Named { path: base, line });
    }
}

#[cfg(test)]
mod tests {
    use super::super::source::tokens;
    use super::*;

    fn paths(code: &str, module: &[&str]) -> Vec<String> {
        let module: Vec<String> = module.iter().map(|part| (*part).to_owned()).collect();
        named(&tokens(code), &module)
            .into_iter()
            .map(|named| named.path.join("::"))
            .collect()
    }

    #[test]
    fn paths_are_followed_from_where_they_stand() {
        let cases: [(&str, &[&str], &[&str]); 9] = [
            ("use crate::error::Error;", &["cache"], &["error::Error"]),
            (
                "use crate::{error::Error, memory::{self, Memory}};",
                &[],
                &["error::Error", "memory", "memory::Memory"],
            ),
            ("use super::ticket;", &["cache"], &["ticket"]),
            (
                "use super::ticket;",
                &["remote", "redis"],
                &["remote::ticket"],
            ),
            (
                "use super::super::ticket::*;",
                &["remote", "redis"],
                &["ticket::*"],
            ),
            (
                "fn f() { let x = crate::key::full::<u8>(1); }",
                &["cache"],
                &["key::full"],
            ),
            (
                "mod inner { use super::x; } use super::y;",
                &["cache"],
                &["cache::x", "y"],
            ),
            ("macro_rules! m { () => { $crate::a::b } }", &["cache"], &[]),
            (
                "pub(crate) fn f(self) {} pub(super) fn g() {}",
                &["cache"],
                &[],
            ),
        ];
        for (code, module, expected) in cases {
            assert_eq!(paths(code, module), expected, "{code}");
        }
    }

    #[test]
    fn the_root_says_where_its_names_come_from() {
        let all = tokens("pub use cache::{Cache, Error as CacheError};");
        let names = brought_in(&all, 1);
        let expected = [("Cache", "cache"), ("CacheError", "cache")];
        assert_eq!(
            names,
            expected.map(|(name, module)| (name.to_owned(), module.to_owned()))
        );
    }
}
