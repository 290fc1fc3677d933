//! How many tests each package must run at least.
//!
//! A suite that matches nothing passes for ever, so its size is checked too. To raise a floor, run
//! `cargo xtask test`: its table shows what ran; write that number, rounded down to a multiple of five.
//! Lower one only in the commit that removes the tests.

use super::summary::{Suites, doc_suite};

/// A package, its tests (unit and integration together), and its doc tests.
const FLOORS: [(&str, usize, usize); 7] = [
    ("bilten-cache", 380, 25),
    ("bilten-db", 230, 35),
    ("bilten-monitor", 230, 40),
    ("bilten-health", 205, 40),
    ("bilten-examples", 5, 30),
    ("bilten-events", 65, 0),
    ("bilten-testbed", 145, 20),
];

/// The suites that ran fewer tests than they must, as lines for people.
pub(super) fn too_few(suites: &Suites, doc_only: bool) -> Vec<String> {
    let mut wanted: Vec<(String, usize)> = FLOORS
        .iter()
        .map(|(package, _, doc)| (doc_suite(package), *doc))
        .collect();
    if doc_only {
        return compare(suites, &wanted);
    }
    if suites.contains_key("tests") {
        // `cargo test` does not tell the packages apart.
        wanted.push((
            "tests".to_owned(),
            FLOORS.iter().map(|(_, tests, _)| tests).sum(),
        ));
    } else {
        wanted.extend(
            FLOORS
                .iter()
                .map(|(package, tests, _)| ((*package).to_owned(), *tests)),
        );
    }
    compare(suites, &wanted)
}

fn compare(suites: &Suites, wanted: &[(String, usize)]) -> Vec<String> {
    let ran = |name: &String| suites.get(name).map_or(0, |counts| counts.ran());
    let short = wanted.iter().filter(|(name, floor)| ran(name) < *floor);
    short
        .map(|(name, floor)| {
            format!(
                "{name} ran {} tests, at least {floor} are expected",
                ran(name)
            )
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::summary::Counts;
    use super::*;

    #[test]
    fn a_suite_that_is_gone_or_has_shrunk_is_named() {
        let suites = Suites::from([(
            "a".to_owned(),
            Counts {
                passed: 9,
                failed: 1,
                skipped: 5,
            },
        )]);
        let wanted = [
            ("a".to_owned(), 10),
            ("b".to_owned(), 1),
            ("c".to_owned(), 0),
        ];
        assert_eq!(
            compare(&suites, &wanted),
            ["b ran 0 tests, at least 1 are expected"]
        );
        assert_eq!(compare(&suites, &[("a".to_owned(), 11)]).len(), 1);
    }
}
