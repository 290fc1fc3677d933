//! The words after the command's name.

use crate::failure::Failure;

/// Takes options out one by one; what is left over at the end is a mistake and is named.
#[derive(Debug)]
pub(crate) struct Arguments {
    words: Vec<String>,
    /// Everything after a `--` of its own, handed on untouched.
    after: Vec<String>,
}

impl Arguments {
    pub(crate) fn new(words: impl IntoIterator<Item = String>) -> Self {
        let mut words: Vec<String> = words.into_iter().collect();
        let after = match words.iter().position(|word| word == "--") {
            Some(at) => words.split_off(at).split_off(1),
            None => Vec::new(),
        };
        Self { words, after }
    }

    /// Whether `--name` was given.
    pub(crate) fn flag(&mut self, name: &str) -> bool {
        let before = self.words.len();
        self.words.retain(|word| word != name);
        self.words.len() < before
    }

    /// The value of `--name VALUE` or `--name=VALUE`; `None` when it was not given.
    pub(crate) fn value(&mut self, name: &str) -> Result<Option<String>, Failure> {
        let prefix = format!("{name}=");
        let Some(at) = self
            .words
            .iter()
            .position(|word| word == name || word.starts_with(&prefix))
        else {
            return Ok(None);
        };
        let word = self.words.remove(at);
        if let Some(value) = word.strip_prefix(&prefix) {
            return Ok(Some(value.to_owned()));
        }
        if at < self.words.len() && !self.words[at].starts_with("--") {
            Ok(Some(self.words.remove(at)))
        } else {
            Err(Failure::usage(format!("{name} needs a value")).remedy(format!("{name} VALUE")))
        }
    }

    /// The words that are no options, and those after `--`; an option nobody took is an error that shows `usage`.
    pub(crate) fn rest(self, usage: &str) -> Result<(Vec<String>, Vec<String>), Failure> {
        match self.words.iter().find(|word| word.starts_with('-')) {
            Some(unknown) => Err(Failure::usage(format!("unknown option {unknown}")).remedy(usage)),
            None => Ok((self.words, self.after)),
        }
    }

    /// Ends a command that takes options only.
    pub(crate) fn none_left(self, usage: &str) -> Result<(), Failure> {
        let (words, after) = self.rest(usage)?;
        match words.first().or(after.first()) {
            Some(word) => Err(Failure::usage(format!("unexpected `{word}`")).remedy(usage)),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments(line: &str) -> Arguments {
        Arguments::new(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn options_are_taken_in_any_order_and_both_spellings() {
        let mut given = arguments("--smoke --port 8080 --name=x one -- --two");
        assert_eq!(given.value("--port"), Ok(Some("8080".to_owned())));
        assert_eq!(given.value("--name"), Ok(Some("x".to_owned())));
        assert!(given.flag("--smoke"));
        assert!(!given.flag("--servers"));
        let (words, after) = given.rest("usage").expect("nothing unknown");
        assert_eq!(
            (words, after),
            (vec!["one".to_owned()], vec!["--two".to_owned()])
        );
    }

    #[test]
    fn an_unknown_option_is_named_with_the_usage() {
        let failure = arguments("--sever")
            .none_left("cargo xtask demo [--servers]")
            .expect_err("unknown");
        assert_eq!(failure.code(), 2);
        assert_eq!(
            failure.to_string(),
            "unknown option --sever\n  what to do: cargo xtask demo [--servers]"
        );
    }

    #[test]
    fn a_value_that_is_not_there_is_an_error() {
        assert!(arguments("--port --smoke").value("--port").is_err());
        assert!(arguments("--port").value("--port").is_err());
    }

    #[test]
    fn a_word_too_many_is_an_error() {
        assert!(arguments("extra").none_left("usage").is_err());
        assert!(arguments("-- extra").none_left("usage").is_err());
    }
}
