//! Why a command stopped.

use std::fmt;

/// What was wrong and what to type next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    what: String,
    remedy: Option<String>,
    code: u8,
}

impl Failure {
    /// A step did not succeed: exit code 1.
    pub(crate) fn new(what: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            remedy: None,
            code: 1,
        }
    }

    /// The command line was wrong: exit code 2.
    pub(crate) fn usage(what: impl Into<String>) -> Self {
        Self {
            code: 2,
            ..Self::new(what)
        }
    }

    /// This machine lacks something: exit code 3.
    pub(crate) fn missing(what: impl Into<String>) -> Self {
        Self {
            code: 3,
            ..Self::new(what)
        }
    }

    /// A failure whose words are printed already.
    pub(crate) fn told() -> Self {
        Self::new("")
    }

    pub(crate) fn is_told(&self) -> bool {
        self.what.is_empty()
    }

    /// Adds the line to type, or the thing to change.
    pub(crate) fn remedy(self, remedy: impl Into<String>) -> Self {
        Self {
            remedy: Some(remedy.into()),
            ..self
        }
    }

    pub(crate) fn code(&self) -> u8 {
        self.code
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)?;
        match &self.remedy {
            Some(remedy) => write!(f, "\n  what to do: {remedy}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Failure;

    #[test]
    fn a_failure_says_what_and_then_what_to_do() {
        let failure = Failure::missing("no C compiler").remedy("apt-get install gcc");
        assert_eq!(
            failure.to_string(),
            "no C compiler\n  what to do: apt-get install gcc"
        );
        assert_eq!(failure.code(), 3);
    }
}
