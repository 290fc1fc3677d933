//! Stops at a filter that no test can have in its name, before minutes are spent on building.

use std::fs;

use crate::failure::Failure;
use crate::workspace::Workspace;

/// The first filter with a part that no path and no source holds: whatever the tests are called, it fits none.
pub(super) fn nowhere<'a>(
    filters: &'a [String],
    workspace: &Workspace,
) -> Result<Option<&'a String>, Failure> {
    let mut wanted: Vec<&str> = filters.iter().flat_map(|filter| parts(filter)).collect();
    if wanted.is_empty() {
        return Ok(None);
    }
    for path in workspace.files()? {
        let shown = workspace.short(&path).to_string();
        let is_source = path.extension().is_some_and(|end| end == "rs");
        let text = if is_source {
            fs::read_to_string(&path).unwrap_or_default()
        } else {
            String::new()
        };
        wanted.retain(|part| !shown.contains(part) && !text.contains(part));
        if wanted.is_empty() {
            return Ok(None);
        }
    }
    Ok(filters
        .iter()
        .find(|filter| parts(filter).any(|part| wanted.contains(&part))))
}

/// `module::test` stands nowhere as a whole.
fn parts(filter: &str) -> impl Iterator<Item = &str> {
    filter.split("::").filter(|part| !part.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_that_stands_nowhere_is_found_before_anything_is_built() {
        let workspace = Workspace::find().expect("a workspace");
        // In two halves, or it would stand here.
        let missing = ["nowhere_to", "be_found"].join("_");
        let filters = |line: &str| -> Vec<String> { line.split(' ').map(str::to_owned).collect() };
        let known = filters("spelled::tests bilten-cache/src/lib.rs a_word_that_stands");
        assert_eq!(nowhere(&known, &workspace).expect("readable"), None);
        for wrong in [missing.clone(), format!("spelled::{missing}")] {
            let line = [known[0].clone(), wrong.clone()];
            let found = nowhere(&line, &workspace).expect("readable");
            assert_eq!(found, Some(&wrong));
        }
        assert_eq!(nowhere(&[], &workspace).expect("readable"), None);
    }
}
