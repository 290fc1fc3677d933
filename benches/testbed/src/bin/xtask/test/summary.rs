//! What the test runners report, as numbers.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::AddAssign;

/// How the tests of one suite, or of all, came out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(super) passed: usize,
    pub(super) failed: usize,
    pub(super) skipped: usize,
}

impl Counts {
    pub(crate) fn ran(self) -> usize {
        self.passed + self.failed
    }
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} passed, {} failed, {} skipped",
            self.passed, self.failed, self.skipped
        )
    }
}

/// Counts by suite: the package, or the package and ` (doc)`.
pub(super) type Suites = BTreeMap<String, Counts>;

/// Reads nextest's JUnit report: one `testsuite` for each test binary, called `package` or `package::binary`.
pub(super) fn from_junit(report: &str) -> Suites {
    let mut suites = Suites::new();
    for tag in report
        .split("<testsuite ")
        .skip(1)
        .filter_map(|rest| rest.split('>').next())
    {
        let number = |name| {
            attribute(tag, name)
                .and_then(|value| value.parse::<usize>().ok())
                .unwrap_or(0)
        };
        let Some(name) = attribute(tag, "name") else {
            continue;
        };
        let failed = number("failures") + number("errors");
        let package = name.split("::").next().unwrap_or(name).to_owned();
        *suites.entry(package).or_default() += Counts {
            passed: number("tests").saturating_sub(failed),
            failed,
            skipped: 0,
        };
    }
    suites
}

fn attribute<'a>(tag: &'a str, name: &str) -> Option<&'a str> {
    tag.split_once(&format!("{name}=\""))?.1.split('"').next()
}

/// The tests that nextest's last line says it skipped: ignored ones and those a filter left out.
pub(super) fn skipped_by_nextest(output: &str) -> usize {
    let summary = output
        .lines()
        .rev()
        .map(plain)
        .find(|line| line.trim_start().starts_with("Summary ["));
    summary
        .and_then(|line| before(&line, "skipped"))
        .unwrap_or(0)
}

/// Reads what `cargo test` prints. Doc tests have their crate's name; other suites are all called `tests`,
/// because `cargo test` does not say to which package an integration test belongs.
pub(super) fn from_libtest(output: &str) -> Suites {
    let mut suites = Suites::new();
    let mut suite = "tests".to_owned();
    for line in output.lines().map(plain) {
        let line = line.trim_start();
        if let Some(crate_name) = line.strip_prefix("Doc-tests ") {
            suite = doc_suite(&crate_name.trim().replace('_', "-"));
        } else if line.starts_with("Running ") {
            "tests".clone_into(&mut suite);
        } else if line.starts_with("test result: ") {
            let number = |word| before(line, word).unwrap_or(0);
            let counts = Counts {
                passed: number("passed"),
                failed: number("failed"),
                skipped: number("ignored") + number("filtered"),
            };
            *suites.entry(suite.clone()).or_default() += counts;
        }
    }
    suites
}

pub(super) fn doc_suite(package: &str) -> String {
    format!("{package} (doc)")
}

/// The tests that either runner says it ran: `PASS [ 0.1s] (1/9) package name` and `test name ... ok`.
pub(super) fn test_names(output: &str) -> Vec<String> {
    output
        .lines()
        .filter_map(|line| test_name(&plain(line)))
        .collect()
}

fn test_name(line: &str) -> Option<String> {
    let line = line.trim();
    if let Some(test) = line.strip_prefix("test ") {
        let (name, verdict) = test.rsplit_once(" ... ")?;
        return (!verdict.starts_with("ignored")).then(|| name.to_owned());
    }
    let (verdict, rest) = line.split_once(char::is_whitespace)?;
    let is_verdict = verdict.chars().all(|c| c.is_ascii_uppercase());
    (is_verdict && rest.trim_start().starts_with('['))
        .then(|| rest.rsplit(' ').next().map(str::to_owned))?
}

/// The tests that nextest says passed only when it tried again: `FLAKY 2/2 [ 0.1s] (1/9) package name`.
pub(super) fn retried(output: &str) -> Vec<String> {
    let flaky = output.lines().map(plain).filter_map(|line| {
        let rest = line.trim_start().strip_prefix("FLAKY ")?.to_owned();
        rest.rsplit(' ').next().map(str::to_owned)
    });
    // nextest names them as they end, and once more below its last line.
    let names: BTreeSet<String> = flaky.collect();
    names.into_iter().collect()
}

/// The number right before `word`.
fn before(line: &str, word: &str) -> Option<usize> {
    let words: Vec<&str> = line
        .split([' ', ',', ';', '.'])
        .filter(|part| !part.is_empty())
        .collect();
    let at = words.iter().position(|part| *part == word)?;
    words.get(at.checked_sub(1)?)?.parse().ok()
}

/// A line without colour codes.
fn plain(line: &str) -> String {
    let mut text = String::with_capacity(line.len());
    let mut parts = line.split('\u{1b}');
    text.extend(parts.next());
    text.extend(parts.map(|part| part.split_once('m').map_or("", |(_, rest)| rest)));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(passed: usize, failed: usize, skipped: usize) -> Counts {
        Counts {
            passed,
            failed,
            skipped,
        }
    }

    #[test]
    fn junit_suites_are_added_up_by_package() {
        let report = r#"<testsuites name="nextest-run" tests="6" failures="2" errors="0">
            <testsuite name="bilten-cache" tests="3" skipped="0" errors="1" failures="1">
                <testcase name="x" classname="bilten-cache"><failure message="tests=&quot;9&quot;">a &lt;testsuite </failure></testcase>
            </testsuite>
            <testsuite name="bilten-cache::it" tests="2" skipped="0" errors="0" failures="0"/>
            <testsuite name="bilten-db::it" tests="1" skipped="0" errors="0" failures="0">"#;
        let expected = [
            ("bilten-cache".to_owned(), counts(3, 2, 0)),
            ("bilten-db".to_owned(), counts(1, 0, 0)),
        ];
        assert_eq!(from_junit(report), Suites::from(expected));
    }

    #[test]
    fn nextests_last_line_names_the_skipped() {
        let output = "PASS\n\u{1b}[31;1m     Summary\u{1b}[0m [   2.003s] \u{1b}[1m4\u{1b}[0m tests run: \u{1b}[1m2\u{1b}[0m \u{1b}[32;1mpassed\u{1b}[0m (1 slow), 1 failed, 1 timed out, \u{1b}[1m7\u{1b}[0m \u{1b}[33;1mskipped\u{1b}[0m\nFAIL\n";
        assert_eq!(skipped_by_nextest(output), 7);
        assert_eq!(
            skipped_by_nextest("     Summary [ 0.1s] 3 tests run: 3 passed, 0 skipped"),
            0
        );
        assert_eq!(skipped_by_nextest("error: could not compile"), 0);
    }

    #[test]
    fn cargo_tests_lines_are_added_up_by_kind() {
        let output = "     Running unittests src/lib.rs (target/debug/deps/bilten_cache-0a)\n\
            test result: FAILED. 2 passed; 1 failed; 1 ignored; 0 measured; 0 filtered out; finished in 3.00s\n\
            \u{20}    Running tests/it/main.rs (target/debug/deps/it-0b)\n\
            test result: ok. 5 passed; 0 failed; 0 ignored; 0 measured; 3 filtered out; finished in 3.00s\n\
            \u{20}  Doc-tests bilten_cache\n\
            test result: ok. 4 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s\n\
            test result: ok. 1 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s\n";
        let expected = [
            ("bilten-cache (doc)".to_owned(), counts(5, 0, 0)),
            ("tests".to_owned(), counts(7, 1, 4)),
        ];
        assert_eq!(from_libtest(output), Suites::from(expected));
    }

    #[test]
    fn tests_are_named_whoever_ran_them() {
        let output = " Nextest run ID 1 with nextest profile: xtask\n\
            \u{1b}[32;1m        PASS\u{1b}[0m [   0.016s] (1/2) \u{1b}[35mbilten-db::it\u{1b}[0m \u{1b}[36mlag::\u{1b}[0mit_is_seen\n\
            \u{20}       FAIL [   0.016s] (2/2) bilten-db lag::it_is_not\n\
            \u{20}    Summary [   4.286s] 10 tests run: 10 passed, 37 skipped\n\
            test bilten-db/src/page.rs - page::Page (line 20) ... ok\n\
            test left_out ... ignored\n\
            test result: ok. 4 passed; 0 failed; finished in 0.00s\n";
        assert_eq!(
            test_names(output),
            [
                "lag::it_is_seen",
                "lag::it_is_not",
                "bilten-db/src/page.rs - page::Page (line 20)"
            ]
        );
    }

    #[test]
    fn what_passed_at_the_second_try_is_named_once() {
        let output = "  TRY 1 FAIL [   0.005s] (1/2) bilten-db::it lag::it_is_seen\n\
            \u{1b}[32;1m  TRY 2 PASS\u{1b}[0m [   0.004s] (1/2) \u{1b}[35mbilten-db::it\u{1b}[0m lag::it_is_seen\n\
            \u{20}   FLAKY 2/2 [   0.004s] (1/2) bilten-db::it lag::it_is_seen\n\
            \u{20}    Summary [   0.012s] 2 tests run: 2 passed (1 flaky), 0 skipped\n\
            \u{20}   FLAKY 2/2 [   0.004s] (1/2) \u{1b}[35mbilten-db::it\u{1b}[0m lag::it_is_seen\n";
        assert_eq!(retried(output), ["lag::it_is_seen"]);
        assert_eq!(retried("PASS [ 0.1s] (1/1) bilten-db FLAKY"), [""; 0]);
    }

    #[test]
    fn the_last_line_has_its_fixed_shape() {
        assert_eq!(
            counts(12, 0, 3).to_string(),
            "12 passed, 0 failed, 3 skipped"
        );
    }
}
